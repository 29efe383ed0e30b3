//! Makes a registered model version of an ONNX file or a model directory.
//!
//! ```text
//! Source::open          files, graph, signature            -> Opened
//!   Opened::try_out     serving plan, a run                -> Package, as it would be served
//!     Registry::register   upload, version, tags; alias last  -> Registered
//! ```
//! Nothing leaves this machine before the model was tried. Nothing serves before the alias is set, which is the last step.
//! Every step may be the last one of a process: the next attempt finds by the fingerprint of the content what is there.
//! Not here: reading a registry (`registry`), what a serving plan is (the binder).

mod environment;
mod error;
mod example;
mod infer;
mod local;
mod mlflow;
mod mlmodel;
mod names;
mod onnx;
mod package;
mod signature;
mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

pub use error::Error;
pub use mlmodel::Identity;
pub use package::{File, Package, SignatureFrom};
pub use source::{Opened, Source};

use super::registry;
use crate::types::names::ModelVersion;

/// The tag that holds the fingerprint of a version's content.
pub const TAG_SHA256: &str = "terrarium.sha256";

/// As what a package is registered.
#[derive(Debug, Clone)]
pub struct Order {
    pub name: String,
    /// Set last.
    pub alias: Option<String>,
    /// Of the version.
    pub tags: BTreeMap<String, String>,
    pub description: Option<String>,
    /// Of an MLflow server: the experiment that the logged model belongs to; made if it is not there.
    pub experiment: String,
    /// Of an MLflow server: whether there is a run from which the model comes.
    pub run: bool,
    /// Who does this, for MLflow's user interface.
    pub user: Option<String>,
    /// A new version even if this content is registered.
    pub force: bool,
}

impl Order {
    /// Errors: a name or an alias that no registry takes.
    pub fn check(&self) -> Result<(), Error> {
        names::check_model(&self.name)?;
        self.alias.as_deref().map_or(Ok(()), names::check_alias)
    }

    /// The user's, and the fingerprint.
    fn version_tags(&self, package: &Package) -> BTreeMap<String, String> {
        let mut tags = self.tags.clone();
        tags.insert(TAG_SHA256.to_owned(), package.fingerprint().to_owned());
        tags
    }

    /// Those of the run and of the logged model: as MLflow's own client sets them besides.
    fn content_tags(&self, package: &Package) -> BTreeMap<String, String> {
        let mut tags = self.version_tags(package);
        tags.insert("mlflow.source.name".to_owned(), "terrarium".to_owned());
        tags.insert("mlflow.source.type".to_owned(), "LOCAL".to_owned());
        if let Some(user) = &self.user {
            tags.insert("mlflow.user".to_owned(), user.clone());
        }
        tags
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registered {
    pub name: String,
    pub version: ModelVersion,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// False if the content was registered already: then only tags and alias were set.
    pub is_new: bool,
    /// Whether an interrupted attempt was completed.
    pub resumed: bool,
    /// The registry.
    pub location: String,
    /// Of the logged model, on an MLflow server that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The fingerprint of the content.
    pub sha256: String,
}

/// Is told how far a registration is. Clones tell the same listener.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Stage<'_>) + Send + Sync>);

/// How far a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage<'a> {
    Step(&'static str),
    Uploading {
        file: &'a str,
        n_sent: u64,
        n_bytes: u64,
    },
}

impl Progress {
    pub fn new(listener: impl Fn(Stage<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    fn step(&self, step: &'static str) {
        (self.0)(Stage::Step(step));
    }

    fn uploading(&self, file: &str, n_sent: u64, n_bytes: u64) {
        (self.0)(Stage::Uploading {
            file,
            n_sent,
            n_bytes,
        });
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

/// A registry that can be written to.
pub struct Registry(Kind);

enum Kind {
    Local(PathBuf),
    Mlflow(mlflow::Server),
}

impl Registry {
    /// The configured registry. Nothing is reached out to yet.
    ///
    /// Errors: one that is only ever read.
    pub fn open(
        config: &registry::Config,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let reach = Error::step("opening the registry");
        match config.resolved(environment).map_err(&reach)? {
            registry::Config::Local(config) => Ok(Self(Kind::Local(config.path))),
            config @ registry::Config::Mlflow(_) => {
                let rest = config.rest(environment).map_err(reach)?;
                let stores = registry::Stores::read(environment);
                Ok(Self(Kind::Mlflow(mlflow::Server::new(rest, stores))))
            }
            config @ (registry::Config::Mlruns(_) | registry::Config::MlflowSqlite(_)) => {
                let registry = config.connect(environment).map_err(reach)?;
                Err(Error::ReadOnly {
                    location: registry.location(),
                })
            }
        }
    }

    /// Where it is, for people to read.
    pub fn location(&self) -> String {
        match &self.0 {
            Kind::Local(path) => path.display().to_string(),
            Kind::Mlflow(server) => server.origin().to_owned(),
        }
    }

    /// Registers a package; see this module for what an interruption leaves behind.
    pub async fn register(
        &self,
        package: &Package,
        order: &Order,
        progress: &Progress,
    ) -> Result<Registered, Error> {
        order.check()?;
        match &self.0 {
            Kind::Local(path) => local::register(path, package, order, progress).await,
            Kind::Mlflow(server) => server.register(package, order, progress).await,
        }
    }

    /// Points an alias to a version; it moves if it is there.
    pub async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        version: ModelVersion,
    ) -> Result<(), Error> {
        names::check_model(name)?;
        names::check_alias(alias)?;
        match &self.0 {
            Kind::Local(path) => local::set_alias(path, name, alias, version).await,
            Kind::Mlflow(server) => server.set_alias(name, alias, version).await,
        }
    }

    /// Takes an alias away. Whether there was one.
    pub async fn delete_alias(&self, name: &str, alias: &str) -> Result<bool, Error> {
        names::check_model(name)?;
        match &self.0 {
            Kind::Local(path) => local::delete_alias(path, name, alias).await,
            Kind::Mlflow(server) => server.delete_alias(name, alias).await,
        }
    }
}
