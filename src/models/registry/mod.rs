//! Where registered models come from: names, versions, aliases, tags, and the files of a version.
//!
//! Not here: which versions are wanted, what is in their files (`artifact`).

#[cfg(test)]
mod contract;
mod error;
mod local;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::Error;

use crate::types::names::ModelVersion;

/// A model registry. `contract` tests what is said here.
#[async_trait]
pub trait ModelRegistry: Send + Sync {
    /// Where the registry is, for people to read.
    fn location(&self) -> String;

    /// All registered models that have a version, by name in ascending order, each name once. What is wrong with one
    /// model stands in its own entry; an error means that nothing could be listed.
    async fn list(&self) -> Result<Vec<Listing>, Error>;

    /// A directory on this machine that holds the files of a version, `MLmodel` among them if the version is sound.
    /// Errors: `UnknownVersion` for a version that is not registered.
    async fn directory(&self, model: &str, version: ModelVersion) -> Result<PathBuf, Error>;

    /// Frees what is kept on this machine of versions other than these. Registries that keep nothing do nothing.
    async fn retain(&self, _kept: &[(String, ModelVersion)]) -> Result<(), Error> {
        Ok(())
    }
}

/// One entry of a registry.
#[derive(Debug)]
pub struct Listing {
    pub name: String,
    pub model: Result<RegisteredModel, Error>,
}

/// What a registry knows about a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegisteredModel {
    /// Every version with its tags; tags of the model stand in for those that the version has not. Never empty.
    pub versions: BTreeMap<ModelVersion, BTreeMap<String, String>>,
    /// Each points to one of `versions`.
    pub aliases: BTreeMap<String, ModelVersion>,
}

/// The model registry, chosen by the name of its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Config {
    /// A directory of models in MLflow format.
    Local(local::Config),
}

impl Default for Config {
    fn default() -> Self {
        Self::Local(local::Config::default())
    }
}

impl Config {
    pub fn connect(&self) -> Arc<dyn ModelRegistry> {
        match self {
            Self::Local(config) => Arc::new(local::LocalRegistry::connect(config)),
        }
    }

    /// The same for a server that has work without models: the default directory need not be there.
    pub fn connect_optional(&self) -> Arc<dyn ModelRegistry> {
        match self {
            Self::Local(config) => Arc::new(local::LocalRegistry::connect_optional(config)),
        }
    }

    /// How often the registry is looked at for changes; `None` for never.
    pub fn poll(&self) -> Option<Duration> {
        match self {
            Self::Local(_) => Some(Duration::from_secs(10)),
        }
    }

    /// Where files of versions are kept; `None` for a registry whose files are on this machine anyway.
    pub fn cache_dir(&self) -> Option<&Path> {
        match self {
            Self::Local(_) => None,
        }
    }
}
