//! What is served, as a snapshot that requests read without a lock and that a load replaces as a whole.
//!
//! A request holds the version that it resolved, so a swap takes nothing away from it; the last holder frees the old.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::config::Ready;
use super::error::{Error, LoadError};
use crate::inference::ServedModel;
use crate::types::names::{ModelRef, ModelVersion, VersionSelector};
use crate::types::signature::Signature;
use crate::types::timestamp::Timestamp;

/// A loaded version with its plan `P`, which the layer above made.
pub struct ServedVersion<P> {
    pub name: Arc<str>,
    pub version: ModelVersion,
    /// That point to this version, in ascending order.
    pub aliases: Vec<Arc<str>>,
    /// Of the version, else of the registered model.
    pub tags: BTreeMap<String, String>,
    pub signature: Signature,
    pub plan: P,
    pub model: ServedModel,
    pub directory: PathBuf,
    /// Size of the ONNX file.
    pub n_bytes: u64,
    pub mlflow_version: Option<String>,
    pub model_uuid: Option<String>,
    /// When the model was logged, as MLflow writes it.
    pub utc_time_created: Option<String>,
    pub loaded_at: Timestamp,
}

impl<P> fmt::Debug for ServedVersion<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServedVersion({}:{})", self.name, self.version)
    }
}

impl<P> ServedVersion<P> {
    /// The same version, on the same engines, by another plan.
    pub(super) fn with_plan(&self, plan: P) -> Self {
        Self {
            name: Arc::clone(&self.name),
            version: self.version,
            aliases: self.aliases.clone(),
            tags: self.tags.clone(),
            signature: self.signature.clone(),
            plan,
            model: self.model.clone(),
            directory: self.directory.clone(),
            n_bytes: self.n_bytes,
            mlflow_version: self.mlflow_version.clone(),
            model_uuid: self.model_uuid.clone(),
            utc_time_created: self.utc_time_created.clone(),
            loaded_at: self.loaded_at,
        }
    }
}

/// What a model reference stands for now.
pub struct Resolved<P> {
    pub version: Arc<ServedVersion<P>>,
    /// The alias through which the version was reached, if by one.
    pub alias: Option<Arc<str>>,
}

impl<P> fmt::Debug for Resolved<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolved({:?}, {:?})", self.version, self.alias)
    }
}

/// A registered model as it stands: what is served of it and what is not.
pub struct ModelStatus<P> {
    pub name: Arc<str>,
    /// In ascending order.
    pub aliases: Vec<(Arc<str>, ModelVersion)>,
    /// What the plain name stands for; else why the registry could say nothing about the model.
    pub serving: Result<Serving, Arc<LoadError>>,
    /// All registered versions, in ascending order, and those that were asked for without being registered.
    pub versions: Vec<VersionStatus<P>>,
}

/// What a model's plain name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    pub version: ModelVersion,
    /// The serving alias, if the model has it.
    pub alias: Option<Arc<str>>,
}

pub struct VersionStatus<P> {
    pub version: ModelVersion,
    pub state: VersionState<P>,
}

pub enum VersionState<P> {
    Loaded(Arc<ServedVersion<P>>),
    Failed(Arc<LoadError>),
    /// Registered, and not wanted by any alias or setting.
    NotServed,
}

/// How the last load went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The load of every wanted version was tried.
    pub tried: bool,
    pub n_loaded: usize,
    /// What did not load, as `name` or `name:version`.
    pub failed: Vec<String>,
}

impl Readiness {
    pub fn is_ready(&self, rule: Ready) -> bool {
        match rule {
            Ready::Any => self.tried,
            Ready::All => self.tried && self.failed.is_empty(),
        }
    }
}

/// The outcome of a load.
pub(super) struct Snapshot<P> {
    tried: bool,
    models: BTreeMap<Arc<str>, Arc<ModelStatus<P>>>,
}

impl<P> Snapshot<P> {
    pub(super) fn new(models: Vec<ModelStatus<P>>) -> Self {
        let models = models
            .into_iter()
            .map(|model| (Arc::clone(&model.name), Arc::new(model)));
        Self {
            tried: true,
            models: models.collect(),
        }
    }
}

impl<P> Snapshot<P> {
    fn find(&self, name: &str) -> Result<&Arc<ModelStatus<P>>, Error> {
        match self.models.get(name) {
            Some(model) => Ok(model),
            None if !self.tried => Err(Error::Loading),
            None => Err(Error::UnknownModel {
                name: name.to_owned(),
                served: self.models.keys().map(ToString::to_string).collect(),
            }),
        }
    }
}

/// Everything that is served.
pub struct ModelCatalog<P> {
    snapshot: ArcSwap<Snapshot<P>>,
}

impl<P> ModelCatalog<P> {
    /// A catalog before its first load: nothing resolves, `Error::Loading` says why.
    pub fn loading() -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot {
                tried: false,
                models: BTreeMap::new(),
            }),
        }
    }

    pub(super) fn publish(&self, snapshot: Snapshot<P>) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Name to version. Memory only, without a lock; nothing is allocated unless it fails.
    pub fn resolve(&self, reference: &ModelRef) -> Result<Resolved<P>, Error> {
        self.snapshot
            .load()
            .find(&reference.name)?
            .resolve(&reference.version)
    }

    /// All registered models by name, those that did not load among them.
    pub fn models(&self) -> Vec<Arc<ModelStatus<P>>> {
        self.snapshot.load().models.values().cloned().collect()
    }

    /// The name of the only registered model, if there is one and no more. Errors: `Loading`.
    pub fn only(&self) -> Result<Option<Arc<str>>, Error> {
        let snapshot = self.snapshot.load();
        if !snapshot.tried {
            return Err(Error::Loading);
        }
        let mut names = snapshot.models.keys();
        let only = names.next().filter(|_| snapshot.models.len() == 1);
        Ok(only.map(Arc::clone))
    }

    /// One registered model. Errors: `UnknownModel`, `Loading`.
    pub fn model(&self, name: &str) -> Result<Arc<ModelStatus<P>>, Error> {
        self.snapshot.load().find(name).cloned()
    }

    pub fn readiness(&self) -> Readiness {
        let snapshot = self.snapshot.load();
        let mut readiness = Readiness {
            tried: snapshot.tried,
            n_loaded: 0,
            failed: Vec::new(),
        };
        for model in snapshot.models.values() {
            if model.serving.is_err() {
                readiness.failed.push(model.name.to_string());
            }
            for status in &model.versions {
                match &status.state {
                    VersionState::Loaded(_) => readiness.n_loaded += 1,
                    VersionState::Failed(_) => {
                        let failed = format!("{}:{}", model.name, status.version);
                        readiness.failed.push(failed);
                    }
                    VersionState::NotServed => {}
                }
            }
        }
        readiness
    }
}

impl<P> ModelStatus<P> {
    fn resolve(&self, selector: &VersionSelector) -> Result<Resolved<P>, Error> {
        let Serving { version, alias } = self.select(selector)?;
        match self.version(version).map(|status| &status.state) {
            Some(VersionState::Loaded(served)) => Ok(Resolved {
                version: Arc::clone(served),
                alias,
            }),
            Some(VersionState::Failed(failure)) => Err(Error::Unavailable {
                name: format!("{}:{version}", self.name),
                failure: Arc::clone(failure),
            }),
            Some(VersionState::NotServed) | None => Err(Error::UnknownVersion {
                name: self.name.to_string(),
                version,
                served: self.loaded_versions(),
            }),
        }
    }

    /// The version that the plain name stands for, if it is loaded.
    pub fn served(&self) -> Option<&Arc<ServedVersion<P>>> {
        let serving = self.serving.as_ref().ok()?;
        match &self.version(serving.version)?.state {
            VersionState::Loaded(served) => Some(served),
            VersionState::Failed(_) | VersionState::NotServed => None,
        }
    }

    pub fn version(&self, version: ModelVersion) -> Option<&VersionStatus<P>> {
        let place = self
            .versions
            .binary_search_by_key(&version, |status| status.version);
        self.versions.get(place.ok()?)
    }

    /// The aliases that point to a version, in ascending order.
    pub fn aliases_of(&self, version: ModelVersion) -> Vec<Arc<str>> {
        let pointing = self.aliases.iter().filter(|(_, to)| *to == version);
        pointing.map(|(alias, _)| Arc::clone(alias)).collect()
    }

    /// The version that a selector stands for, whatever its state.
    pub(super) fn select(&self, selector: &VersionSelector) -> Result<Serving, Error> {
        let serving = self
            .serving
            .as_ref()
            .map_err(|failure| Error::Unavailable {
                name: self.name.to_string(),
                failure: Arc::clone(failure),
            })?;
        match selector {
            VersionSelector::Serving => Ok(serving.clone()),
            VersionSelector::Version(version) => Ok(Serving {
                version: *version,
                alias: None,
            }),
            VersionSelector::Alias(wanted) => {
                let found = self.aliases.iter().find(|(alias, _)| **alias == **wanted);
                let (alias, version) = found.ok_or_else(|| self.unknown_alias(wanted))?;
                Ok(Serving {
                    version: *version,
                    alias: Some(Arc::clone(alias)),
                })
            }
        }
    }

    fn unknown_alias(&self, alias: &str) -> Error {
        Error::UnknownAlias {
            name: self.name.to_string(),
            alias: alias.to_owned(),
            known: self
                .aliases
                .iter()
                .map(|(alias, _)| alias.to_string())
                .collect(),
        }
    }

    fn loaded_versions(&self) -> Vec<String> {
        let loaded = self
            .versions
            .iter()
            .filter(|status| matches!(status.state, VersionState::Loaded(_)));
        loaded.map(|status| status.version.to_string()).collect()
    }
}
