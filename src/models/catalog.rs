//! What is served, as a snapshot that requests read without a lock and that a load replaces as a whole.
//!
//! A request holds the version that it resolved, so a swap takes nothing away from it; the last holder frees the old.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::config::Ready;
use super::error::{Error, LoadError};
use super::traffic::{self, Rules, Traffic};
use crate::inference::ServedModel;
use crate::types::names::{ModelRef, ModelVersion, VersionSelector};
use crate::types::signature::Signature;
use crate::types::timestamp::Timestamp;

/// A loaded version with its plan `P`, which the layer above made.
pub struct ServedVersion<P> {
    pub name: Arc<str>,
    pub version: ModelVersion,
    /// Of the version, else of the registered model; those that the plan was made by.
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
    pub(super) fn with_plan(&self, plan: P, tags: BTreeMap<String, String>) -> Self {
        Self {
            name: Arc::clone(&self.name),
            version: self.version,
            tags,
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
    /// Where other versions share the calls for this reference or run beside it; `version` is then the main one.
    pub traffic: Option<Arc<Traffic<P>>>,
}

impl<P> fmt::Debug for Resolved<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolved({:?}, {:?})", self.version, self.alias)
    }
}

/// A registered model as it stands: what is served of it and what is not.
pub struct ModelStatus<P> {
    pub name: Arc<str>,
    /// What each alias stands for here, in ascending order; `behind` has those of which the registry says otherwise.
    pub aliases: Vec<(Arc<str>, ModelVersion)>,
    /// What the plain name stands for; else why the registry could say nothing about the model.
    pub serving: Result<Serving, Arc<LoadError>>,
    /// Names that stand for an older version than the registry wants.
    pub behind: Vec<Behind>,
    /// Why the registry's newest word on the model cannot be followed; what served before does so still.
    pub trouble: Option<Arc<LoadError>>,
    /// All registered versions, in ascending order, those that were asked for without being registered, and those that
    /// are kept.
    pub versions: Vec<VersionStatus<P>>,
    /// How calls are shared out, where the configuration says so.
    pub traffic: Option<Arc<Traffic<P>>>,
}

/// A name that goes on meaning the version that served before: the one that the registry wants still loads, or did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// `None` for a plain name that no alias decides.
    pub alias: Option<Arc<str>>,
    pub wanted: ModelVersion,
    pub served: ModelVersion,
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
    /// Why it could not be loaded or bound anew, for a version that serves as it was before.
    pub setback: Option<Arc<LoadError>>,
    /// What became of it before the plain name's gate, if it stood there.
    pub gate: Option<Gate>,
    /// Until when a loaded version that nothing wants any more stays, for going back to it.
    pub kept_until: Option<Timestamp>,
}

/// Whether the plain name may move to a version, where recorded predictions decide that.
#[derive(Debug, Clone)]
pub enum Gate {
    /// It is being judged.
    Pending,
    /// What was found, in a sentence.
    Passed(Arc<str>),
    /// It passed because there was too little to judge it by.
    Unjudged(Arc<str>),
    Refused(Arc<LoadError>),
    /// It could not be judged; that is tried again.
    Failed(Arc<LoadError>),
}

impl Gate {
    /// Why the version stays out, if it does.
    pub fn failure(&self) -> Option<&Arc<LoadError>> {
        match self {
            Self::Refused(failure) | Self::Failed(failure) => Some(failure),
            Self::Pending | Self::Passed(_) | Self::Unjudged(_) => None,
        }
    }
}

pub enum VersionState<P> {
    Loaded(Arc<ServedVersion<P>>),
    Failed(Arc<LoadError>),
    /// Wanted, and not yet tried.
    Loading,
    /// Registered, and not wanted by any alias or setting.
    NotServed,
}

/// How the last load went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The load of every wanted version was tried.
    pub tried: bool,
    /// Versions that serve, without those that are only kept.
    pub n_loaded: usize,
    /// Versions that are kept for going back to them.
    pub n_kept: usize,
    /// What did not load, as `name` or `name:version`, unless an older version stands in for it.
    pub failed: Vec<String>,
    /// Where an older version stands in for one that did not load or still loads, one sentence each.
    pub behind: Vec<String>,
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
    /// `tried`: the load of every wanted version was tried once.
    pub(super) fn new(models: Vec<ModelStatus<P>>, tried: bool) -> Self {
        let models = models
            .into_iter()
            .map(|model| (Arc::clone(&model.name), Arc::new(model)));
        Self {
            tried,
            models: models.collect(),
        }
    }
}

/// How the registry was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryStatus {
    /// For people to read, without secrets.
    pub location: String,
    /// When it was last listed with success; of a saved set, when that was written.
    pub read_at: Option<Timestamp>,
    /// What is served comes from the last known good set: the registry has not answered since the start.
    pub from_saved_set: bool,
    /// Why the newest attempt failed, if it did.
    pub failure: Option<RegistryFailure>,
}

/// Attempts that have failed since the last good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryFailure {
    pub code: &'static str,
    /// Of the newest attempt.
    pub message: String,
    pub hint: Option<String>,
    pub since: Timestamp,
    pub n_attempts: u32,
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
    /// Absent before the first look.
    registry: ArcSwapOption<RegistryStatus>,
    traffic: Arc<Rules<P>>,
}

impl<P> ModelCatalog<P> {
    /// A catalog before its first load: nothing resolves, `Error::Loading` says why.
    pub fn loading() -> Self {
        Self::with_traffic(Arc::new(Rules::none()))
    }

    /// The same, with rules by which the calls for a plain name are shared out.
    pub fn with_traffic(traffic: Arc<Rules<P>>) -> Self {
        Self {
            traffic,
            snapshot: ArcSwap::from_pointee(Snapshot {
                tried: false,
                models: BTreeMap::new(),
            }),
            registry: ArcSwapOption::empty(),
        }
    }

    pub(super) fn publish(&self, mut snapshot: Snapshot<P>) {
        let before = self.snapshot.load();
        for (name, model) in &mut snapshot.models {
            // One that is shared already was published before, with the same versions.
            if let Some(model) = Arc::get_mut(model) {
                self.traffic.apply(model);
            }
            // Until every version was tried, an alias without one is not out of order.
            if snapshot.tried {
                let before = before.models.get(name).filter(|_| before.tried);
                traffic::tell(model, before.map(|before| &**before));
            }
        }
        self.snapshot.store(Arc::new(snapshot));
    }

    pub(super) fn set_registry(&self, status: RegistryStatus) {
        self.registry.store(Some(Arc::new(status)));
    }

    /// How the registry was last read; `None` before the first time.
    pub fn registry(&self) -> Option<Arc<RegistryStatus>> {
        self.registry.load_full()
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
            ..Readiness::default()
        };
        for model in snapshot.models.values() {
            model.add_to(&mut readiness);
        }
        readiness
    }
}

impl<P> ModelStatus<P> {
    fn add_to(&self, readiness: &mut Readiness) {
        if self.serving.is_err() {
            readiness.failed.push(self.name.to_string());
        }
        for status in &self.versions {
            match &status.state {
                VersionState::Loaded(_) if status.kept_until.is_some() => readiness.n_kept += 1,
                VersionState::Loaded(_) => readiness.n_loaded += 1,
                VersionState::Failed(_) if self.has_stand_in(status.version) => {}
                VersionState::Failed(_) => {
                    let failed = format!("{}:{}", self.name, status.version);
                    readiness.failed.push(failed);
                }
                VersionState::Loading | VersionState::NotServed => {}
            }
        }
        let name = &self.name;
        for Behind {
            alias,
            wanted,
            served,
        } in &self.behind
        {
            let at = alias.as_ref().map_or_else(String::new, |a| format!("@{a}"));
            let sentence =
                format!("`{name}{at}` is served by version {served}, not yet by version {wanted}");
            readiness.behind.push(sentence);
        }
        if let Some(trouble) = &self.trouble {
            let sentence = format!("model `{name}` is served as it was: {trouble}");
            readiness.behind.push(sentence);
        }
    }

    /// Every name that should mean the version means an older one.
    fn has_stand_in(&self, version: ModelVersion) -> bool {
        let is_behind = self.behind.iter().any(|behind| behind.wanted == version);
        let is_served = |serving: &Serving| serving.version == version;
        is_behind
            && self.aliases_of(version).is_empty()
            && !self.serving.as_ref().is_ok_and(is_served)
    }

    fn resolve(&self, selector: &VersionSelector) -> Result<Resolved<P>, Error> {
        if let (VersionSelector::Serving, Some(traffic)) = (selector, &self.traffic)
            && let Some(resolved) = traffic.resolve()
        {
            return Ok(resolved);
        }
        let Serving { version, alias } = self.select(selector)?;
        match self.version(version).map(|status| &status.state) {
            Some(VersionState::Loaded(served)) => Ok(Resolved {
                version: Arc::clone(served),
                alias,
                traffic: None,
            }),
            Some(VersionState::Failed(failure)) => Err(Error::Unavailable {
                name: format!("{}:{version}", self.name),
                failure: Arc::clone(failure),
            }),
            Some(VersionState::Loading) => Err(Error::Loading),
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
            VersionState::Failed(_) | VersionState::Loading | VersionState::NotServed => None,
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
