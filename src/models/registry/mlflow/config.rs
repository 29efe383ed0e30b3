//! `[registry.mlflow]`: where the server is, how often to ask it, and where files are kept.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rest::{Patience, seconds};
use crate::models::registry::Error;
use crate::types::byte_size::ByteSize;

/// An MLflow server. Credentials come from MLflow's own variables, such as MLFLOW_TRACKING_TOKEN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The server's address, with its path prefix if it has one; also `sqlite:///mlflow.db` or a file store's directory, as
    /// MLflow takes them. Without it MLFLOW_REGISTRY_URI, else MLFLOW_TRACKING_URI.
    pub uri: Option<String>,
    /// How often the registry is asked for changes. Zero for never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub poll: Duration,
    /// Longest that one call of the registry may take; downloads may take longer. Without it
    /// MLFLOW_HTTP_REQUEST_TIMEOUT, else ten seconds.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub timeout: Option<Duration>,
    /// Where downloaded files are kept. A server that starts while the registry is down serves from it.
    pub cache: PathBuf,
    /// Largest version that is downloaded, all files together.
    pub max_size: ByteSize,
    /// Most files that a version may have.
    pub max_files: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            uri: None,
            poll: Duration::from_secs(10),
            timeout: None,
            cache: PathBuf::from(".terrarium/cache"),
            max_size: ByteSize::from_mebibytes(16 << 10),
            max_files: 10_000,
        }
    }
}

impl Config {
    /// The address that counts.
    pub(in crate::models::registry) fn address(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, Error> {
        let given = |name| environment(name).filter(|value| !value.is_empty());
        let found = self.uri.clone().filter(|uri| !uri.is_empty());
        found
            .or_else(|| given("MLFLOW_REGISTRY_URI"))
            .or_else(|| given("MLFLOW_TRACKING_URI"))
            .ok_or_else(|| Error::Settings {
                option: "registry.mlflow.uri",
                reason: "it is not set, nor is MLFLOW_TRACKING_URI".to_owned(),
            })
    }

    pub(super) fn patience(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Patience, Error> {
        let mut patience = Patience::default();
        if let Some(text) = environment("MLFLOW_HTTP_REQUEST_TIMEOUT") {
            patience.timeout = seconds(&text).ok_or_else(|| Error::Settings {
                option: "MLFLOW_HTTP_REQUEST_TIMEOUT",
                reason: format!("`{text}` is not a number of seconds"),
            })?;
        }
        if let Some(text) = environment("MLFLOW_HTTP_REQUEST_MAX_RETRIES") {
            patience.retries = text.trim().parse().map_err(|_| Error::Settings {
                option: "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
                reason: format!("`{text}` is not a whole number"),
            })?;
        }
        if let Some(timeout) = self.timeout {
            patience.timeout = timeout;
        }
        Ok(patience)
    }
}
