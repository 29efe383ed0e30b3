//! Brings registered versions to life: list → files → session → plan → warm-up → publish.
//!
//! Versions load one after another, so that a warm-up is not timed while others take its cores; whatever takes long
//! runs off the async workers. What fails is published with its reason and keeps nothing else from loading.
//! When the features change under them, versions are bound anew on the engines they have (`rebind`).
//! Not here: which step decides what (`artifact`, `inference`, the binder).

mod rebind;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

pub use self::rebind::rebind;
use super::artifact::Artifact;
use super::bind::{Binder, Candidate};
use super::catalog::{
    ModelCatalog, ModelStatus, ServedVersion, Serving, Snapshot, VersionState, VersionStatus,
};
use super::config::Config;
use super::error::{Error, LoadError};
use super::registry::{self, Listing, ModelRegistry, RegisteredModel};
use super::warm_up::{self, WarmUp};
use crate::error::Failure;
use crate::inference::{self, Runtime, ServedModel};
use crate::shutdown::run_blocking;
use crate::types::names::{ModelRef, ModelVersion};
use crate::types::timestamp::Timestamp;

/// Loads every wanted version of every registered model.
///
/// Errors: when the registry cannot be listed. What does not load is in the catalog, with its reason.
pub async fn load_all<B: Binder>(
    registry: &dyn ModelRegistry,
    runtime: &Runtime,
    binder: &B,
    config: &Config,
) -> Result<ModelCatalog<B::Plan>, Error> {
    let catalog = ModelCatalog::loading();
    load_into(&catalog, registry, runtime, binder, config).await?;
    Ok(catalog)
}

/// The same into a catalog that is in use already; it changes at once, at the end.
pub async fn load_into<B: Binder>(
    catalog: &ModelCatalog<B::Plan>,
    registry: &dyn ModelRegistry,
    runtime: &Runtime,
    binder: &B,
    config: &Config,
) -> Result<(), Error> {
    let loader = Loader {
        registry,
        runtime,
        binder,
        config,
    };
    let mut models = Vec::new();
    for listing in registry.list().await? {
        models.push(loader.load_model(listing).await);
    }
    catalog.publish(Snapshot::new(models));
    Ok(())
}

/// Takes one version through everything that would bring it live, and publishes nothing.
pub async fn check_one<B: Binder>(
    registry: &dyn ModelRegistry,
    runtime: &Runtime,
    binder: &B,
    config: &Config,
    reference: &ModelRef,
) -> Result<ServedVersion<B::Plan>, Error> {
    let loader = Loader {
        registry,
        runtime,
        binder,
        config,
    };
    let listings = registry.list().await?;
    let known = listings
        .iter()
        .map(|listing| listing.name.clone())
        .collect();
    let listing = listings
        .into_iter()
        .find(|listing| listing.name == reference.name)
        .ok_or_else(|| Error::UnknownModel {
            name: reference.name.clone(),
            served: known,
        })?;
    let (status, registered) = loader.describe(listing);
    let version = status.select(&reference.version)?.version;
    let tags = registered.versions.get(&version).cloned();
    let loaded = loader
        .load_version(&status, version, tags.unwrap_or_default())
        .await;
    loaded.map_err(|failure| Error::Unavailable {
        name: format!("{}:{version}", reference.name),
        failure: Arc::new(failure),
    })
}

struct Loader<'a, B> {
    registry: &'a dyn ModelRegistry,
    runtime: &'a Runtime,
    binder: &'a B,
    config: &'a Config,
}

impl<B: Binder> Loader<'_, B> {
    /// What the registry says, with nothing loaded yet.
    fn describe(&self, listing: Listing) -> (ModelStatus<B::Plan>, RegisteredModel) {
        let name: Arc<str> = Arc::from(listing.name);
        let registered = match listing.model {
            Ok(registered) => registered,
            Err(error) => {
                tracing::error!(model = %name, %error, code = error.code(), "model is not served");
                let status = ModelStatus {
                    name,
                    aliases: Vec::new(),
                    serving: Err(Arc::new(error.into())),
                    versions: Vec::new(),
                    traffic: None,
                };
                return (status, RegisteredModel::default());
            }
        };
        let mut aliases = Vec::new();
        for (alias, version) in &registered.aliases {
            aliases.push((Arc::from(alias.as_str()), *version));
        }
        let not_served = |version: &ModelVersion| VersionStatus {
            version: *version,
            state: VersionState::NotServed,
        };
        let status = ModelStatus {
            serving: self.serving(&name, &registered, &aliases),
            versions: registered.versions.keys().map(not_served).collect(),
            name,
            aliases,
            traffic: None,
        };
        (status, registered)
    }

    /// The serving alias, else the highest version.
    fn serving(
        &self,
        name: &str,
        registered: &RegisteredModel,
        aliases: &[(Arc<str>, ModelVersion)],
    ) -> Result<Serving, Arc<LoadError>> {
        let by_alias = aliases
            .iter()
            .find(|(alias, _)| **alias == *self.config.alias);
        if let Some((alias, version)) = by_alias {
            return Ok(Serving {
                version: *version,
                alias: Some(Arc::clone(alias)),
            });
        }
        match registered.versions.last_key_value() {
            Some((version, _)) => Ok(Serving {
                version: *version,
                alias: None,
            }),
            None => Err(Arc::new(LoadError::Registry(registry::Error::NoVersion {
                model: name.to_owned(),
            }))),
        }
    }

    async fn load_model(&self, listing: Listing) -> ModelStatus<B::Plan> {
        let (mut status, registered) = self.describe(listing);
        let Ok(serving) = &status.serving else {
            return status;
        };
        let mut wanted = BTreeSet::from([serving.version]);
        wanted.extend(registered.aliases.values());
        match self.config.versions.listed(&status.name) {
            Some(versions) => wanted.extend(versions),
            None => wanted.extend(registered.versions.keys()),
        }
        let mut states = BTreeMap::new();
        for version in wanted {
            let tags = registered
                .versions
                .get(&version)
                .cloned()
                .unwrap_or_default();
            let outcome = self.load_version(&status, version, tags).await;
            states.insert(version, report(&status.name, version, outcome));
        }
        for version in registered.versions.keys() {
            states.entry(*version).or_insert(VersionState::NotServed);
        }
        let in_order = states.into_iter();
        status.versions = in_order
            .map(|(version, state)| VersionStatus { version, state })
            .collect();
        status
    }

    async fn load_version(
        &self,
        status: &ModelStatus<B::Plan>,
        version: ModelVersion,
        tags: BTreeMap<String, String>,
    ) -> Result<ServedVersion<B::Plan>, LoadError> {
        let directory = self.registry.directory(&status.name, version).await?;
        let runtime = self.runtime.clone();
        let (artifact, model) = elsewhere(move || open(&runtime, directory)).await?;
        let candidate = Candidate {
            name: &status.name,
            version,
            tags: &tags,
            signature: &artifact.signature,
            graph: model.graph(),
        };
        let plan = self.binder.bind(&candidate).map_err(LoadError::Bind)?;
        let example = artifact.input_example.as_ref();
        let inputs = warm_up::choose(model.graph(), &artifact.signature, example);
        let model = elsewhere(move || warm_up(model, &inputs)).await?;
        Ok(ServedVersion {
            name: Arc::clone(&status.name),
            version,
            aliases: status.aliases_of(version),
            tags,
            signature: artifact.signature,
            plan,
            model,
            directory: artifact.directory,
            n_bytes: artifact.n_bytes,
            mlflow_version: artifact.mlflow_version,
            model_uuid: artifact.model_uuid,
            utc_time_created: artifact.utc_time_created,
            loaded_at: Timestamp::now(),
        })
    }
}

/// Tells the log what came of a load.
fn report<P>(
    name: &str,
    version: ModelVersion,
    outcome: Result<ServedVersion<P>, LoadError>,
) -> VersionState<P> {
    match outcome {
        Ok(served) => {
            tracing::info!(model = name, %version, engines = served.model.n_engines(), "model loaded");
            VersionState::Loaded(Arc::new(served))
        }
        Err(error) => {
            tracing::error!(model = name, %version, %error, code = error.code(), "model did not load");
            VersionState::Failed(Arc::new(error))
        }
    }
}

fn open(runtime: &Runtime, directory: PathBuf) -> Result<(Artifact, ServedModel), LoadError> {
    let artifact = Artifact::read(&directory)?;
    let model = runtime.load_model(&artifact.onnx_file, &artifact.session_options)?;
    Ok((artifact, model))
}

fn warm_up(mut model: ServedModel, inputs: &WarmUp) -> Result<ServedModel, LoadError> {
    match inputs {
        WarmUp::Example(inputs) => model.warm_up(inputs).map_err(LoadError::InputExample)?,
        WarmUp::MadeUp(inputs) => {
            if let Err(error) = model.warm_up(inputs) {
                tracing::warn!(%error, "the model does not run on made-up values, so it goes live cold");
            }
        }
        WarmUp::Nothing => tracing::debug!("the model's inputs are too large to make up"),
    }
    Ok(model)
}

/// Runs a step of a load off the async workers.
async fn elsewhere<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    match run_blocking(step).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => Err(inference::Error::Panicked.into()),
        Err(_) => Err(inference::Error::Stopping.into()),
    }
}
