//! Where registered models come from: names, versions, aliases, tags, and the files of a version.
//!
//! Not here: which versions are wanted, what is in their files (`artifact`).

mod cache;
#[cfg(test)]
mod contract;
mod error;
mod local;
mod mlflow;
mod mlflow_sqlite;
mod mlruns;
mod moved;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cache::Error as FilesError;
pub use error::Error;
pub(in crate::models) use mlflow::{Rest, Stores, Upload, as_object_url, local_path};

use crate::inference::confine;
use crate::types::model_uri::ModelUri;
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

    /// The files that an MLflow URI names; registries that have no logged models or runs resolve registered ones only.
    /// Errors: `UnknownUri`, `UnknownAlias`, `UnknownVersion` for what is not there.
    async fn directory_of(&self, uri: &ModelUri) -> Result<PathBuf, Error> {
        named_directory(self, uri).await
    }

    /// Frees what is kept on this machine of versions other than these. Registries that keep nothing do nothing.
    async fn retain(&self, _kept: &[(String, ModelVersion)]) -> Result<(), Error> {
        Ok(())
    }
}

/// The files that a URI of a registered model names.
async fn named_directory<R>(registry: &R, uri: &ModelUri) -> Result<PathBuf, Error>
where
    R: ModelRegistry + ?Sized,
{
    let unknown = |reason: &str| Error::UnknownUri {
        uri: uri.to_string(),
        reason: reason.to_owned(),
    };
    let (name, version) = match uri {
        ModelUri::Version { name, version, .. } => (name, *version),
        ModelUri::Alias { name, .. } | ModelUri::Latest { name } => {
            let listings = registry.list().await?;
            let listing = listings.into_iter().find(|listing| listing.name == *name);
            let model = listing
                .ok_or_else(|| unknown("there is no such model"))?
                .model?;
            let version = match uri {
                ModelUri::Alias { alias, .. } => {
                    let version = model.aliases.get(alias);
                    *version.ok_or_else(|| Error::UnknownAlias {
                        model: name.clone(),
                        alias: alias.clone(),
                    })?
                }
                _ => {
                    let newest = model.versions.last_key_value();
                    *newest.ok_or_else(|| unknown("it has no version"))?.0
                }
            };
            (name, version)
        }
        ModelUri::Stage { .. } => return Err(unknown("this registry has no stages")),
        ModelUri::Logged { .. } | ModelUri::Run { .. } => {
            return Err(unknown("this registry has only registered models"));
        }
    };
    let directory = registry.directory(name, version).await?;
    match uri.path() {
        "" => Ok(directory),
        path => confine(&directory, path).map_err(unknown),
    }
}

/// What a request can name: `@` and `:` would end the name.
fn is_model_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['@', ':', '/', '\\', '\0'])
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
    /// An MLflow server. Credentials come from MLflow's own variables, such as MLFLOW_TRACKING_TOKEN.
    Mlflow(mlflow::Config),
    /// A directory that MLflow's file store has written, read only.
    Mlruns(mlruns::Config),
    /// The SQLite database of an MLflow without a server, read only.
    MlflowSqlite(mlflow_sqlite::Config),
}

impl Default for Config {
    fn default() -> Self {
        Self::Local(local::Config::default())
    }
}

/// Whether the default directory of models must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    Mistake,
    /// Nobody asked for it.
    Empty,
}

impl Config {
    /// The registry at an address that MLflow's client would take.
    pub fn at(address: &str) -> Self {
        Self::Mlflow(mlflow::Config {
            uri: Some(address.to_owned()),
            ..mlflow::Config::default()
        })
    }

    /// What the settings come to: an address names a server, a database or a directory, and without a table, and without a
    /// directory `models`, MLFLOW_TRACKING_URI says which. Errors: `Settings`.
    pub fn resolved(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        match self {
            Self::Local(config) => match implied(config, environment) {
                Some(implied) => by_address(&implied, environment),
                None => Ok(self.clone()),
            },
            Self::Mlflow(config) => by_address(config, environment),
            Self::Mlruns(_) | Self::MlflowSqlite(_) => Ok(self.clone()),
        }
    }

    /// The registry. Nothing is reached out to yet. Errors: `Settings`.
    pub fn connect(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Arc<dyn ModelRegistry>, Error> {
        self.open(environment, Absence::Mistake)
    }

    /// The same for a server that has work without models: the default directory need not be there.
    pub fn connect_optional(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Arc<dyn ModelRegistry>, Error> {
        self.open(environment, Absence::Empty)
    }

    /// How often to ask for changes; `None` for never. Ask what is `resolved`.
    pub fn poll(&self) -> Option<Duration> {
        let poll = match self {
            Self::Local(config) => config.poll,
            Self::Mlflow(config) => config.poll,
            Self::Mlruns(config) => config.poll,
            Self::MlflowSqlite(config) => config.poll,
        };
        (!poll.is_zero()).then_some(poll)
    }

    /// Where files that were fetched are kept, for registries that fetch any. Ask what is `resolved`.
    pub fn cache_dir(&self) -> Option<&Path> {
        match self {
            Self::Mlflow(config) => Some(&config.cache),
            Self::Local(_) | Self::Mlruns(_) | Self::MlflowSqlite(_) => None,
        }
    }

    fn open(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        absence: Absence,
    ) -> Result<Arc<dyn ModelRegistry>, Error> {
        Ok(match self.resolved(environment)? {
            Self::Local(config) => Arc::new(match absence {
                Absence::Mistake => local::LocalRegistry::connect(&config),
                Absence::Empty => local::LocalRegistry::connect_optional(&config),
            }),
            Self::Mlflow(config) => {
                Arc::new(mlflow::MlflowRegistry::connect(&config, environment)?)
            }
            Self::Mlruns(config) => Arc::new(mlruns::Mlruns::connect(&config)),
            Self::MlflowSqlite(config) => {
                Arc::new(mlflow_sqlite::MlflowSqlite::connect(&config, environment))
            }
        })
    }

    /// The client of the MLflow server, for what changes a registry. Nothing is reached out to yet.
    pub(in crate::models) fn rest(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Rest, Error> {
        match self {
            Self::Mlflow(config) => mlflow::open(config, environment),
            // What is not configured may still be in the environment.
            Self::Local(_) | Self::Mlruns(_) | Self::MlflowSqlite(_) => {
                mlflow::open(&mlflow::Config::default(), environment)
            }
        }
    }
}

/// The registry that MLflow's variables name, where nothing was configured and the default directory is not there.
fn implied(
    config: &local::Config,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<mlflow::Config> {
    let is_default = config.path == local::Config::default().path;
    let names = ["MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"];
    let is_set = |name: &&str| environment(name).is_some_and(|uri| !uri.is_empty());
    (is_default && !config.path.exists() && names.iter().any(is_set)).then(mlflow::Config::default)
}

/// A server, a database or a directory: MLflow's URIs may name any.
fn by_address(
    config: &mlflow::Config,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Error> {
    let address = config.address(environment)?;
    if address.starts_with("http://") || address.starts_with("https://") {
        return Ok(Config::Mlflow(config.clone()));
    }
    if let Some(path) = address.strip_prefix("sqlite:///") {
        return Ok(Config::MlflowSqlite(mlflow_sqlite::Config {
            path: PathBuf::from(path),
            poll: config.poll,
            ..mlflow_sqlite::Config::default()
        }));
    }
    match mlflow::local_path(&address) {
        // `databricks` is no directory's name to MLflow.
        Some(path) if !address.starts_with("databricks") => Ok(Config::Mlruns(mlruns::Config {
            path,
            poll: config.poll,
        })),
        // The rest of the address may hold a password.
        _ => Err(Error::Settings {
            option: "registry.mlflow.uri",
            reason: format!(
                "a registry of kind `{}` is not read directly; start `mlflow server` on it and give the server's address",
                address.split(':').next().unwrap_or_default()
            ),
        }),
    }
}
