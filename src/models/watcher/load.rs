//! Brings one version to life: files → session → plan → warm-up. Publishes nothing.
//!
//! Whatever takes long runs off the async workers.
//! Not here: which step decides what (`artifact`, `inference`, the binder), when it is done and what comes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::files::Files;
use super::wish::Wish;
use super::{Settings, Watcher};
use crate::inference::{self, Runtime};
use crate::models::artifact::Artifact;
use crate::models::bind::{BindError, Binder, Candidate};
use crate::models::bring_up::{Opened, bring_up};
use crate::models::catalog::{ModelCatalog, ServedVersion};
use crate::models::error::{Error, LoadError};
use crate::models::policy::Policy;
use crate::models::registry::ModelRegistry;
use crate::models::thread::{Lost, Thread};
use crate::models::traffic::Rules;
use crate::shutdown::run_blocking;
use crate::types::names::{ModelRef, ModelVersion, VersionSelector};

/// Tags by name.
pub(super) type Tags = BTreeMap<String, String>;

/// What versions are loaded with. Clones share everything.
pub struct Loader<B: Binder> {
    pub(super) registry: Arc<dyn ModelRegistry>,
    runtime: Runtime,
    /// Where versions are opened and closed.
    pub(super) thread: Arc<Thread>,
    pub(super) binder: Arc<B>,
    pub(super) policy: Arc<Policy>,
    pub(super) traffic: Arc<Rules<B::Plan>>,
}

impl<B: Binder> Clone for Loader<B> {
    fn clone(&self) -> Self {
        Self {
            registry: Arc::clone(&self.registry),
            runtime: self.runtime.clone(),
            thread: Arc::clone(&self.thread),
            binder: Arc::clone(&self.binder),
            policy: Arc::clone(&self.policy),
            traffic: Arc::clone(&self.traffic),
        }
    }
}

/// A version that would go live.
pub struct Checked<P> {
    pub version: ServedVersion<P>,
    /// That point to it, in ascending order.
    pub aliases: Vec<String>,
}

/// What came of trying to load a version.
pub(super) struct Attempt<P> {
    /// As they were before they were read; absent if they could not be got.
    pub(super) files: Option<Files>,
    pub(super) outcome: Result<ServedVersion<P>, LoadError>,
}

impl<B: Binder> Loader<B> {
    pub fn new(
        registry: Arc<dyn ModelRegistry>,
        runtime: Runtime,
        binder: B,
        policy: Policy,
    ) -> Self {
        Self {
            registry,
            runtime,
            thread: Arc::new(Thread::start("models")),
            binder: Arc::new(binder),
            policy: Arc::new(policy),
            traffic: Arc::new(Rules::none()),
        }
    }

    /// The same, and calls for a plain name are shared out by these rules.
    pub fn with_traffic(self, rules: Rules<B::Plan>) -> Self {
        Self {
            traffic: Arc::new(rules),
            ..self
        }
    }

    /// Loads every wanted version of every registered model once.
    ///
    /// Errors: when the registry cannot be listed. What does not load is in the catalog, with its reason.
    pub async fn load_all(&self) -> Result<Arc<ModelCatalog<B::Plan>>, Error> {
        let mut watcher = Watcher::open(self.clone(), Settings::default()).await?;
        watcher.start().await;
        Ok(watcher.catalog())
    }

    /// Takes one version through everything that would bring it live.
    pub async fn check(&self, reference: &ModelRef) -> Result<Checked<B::Plan>, Error> {
        let mut known = Vec::new();
        let mut found = None;
        for listing in self.registry.list().await? {
            known.push(listing.name.clone());
            if listing.name == reference.name {
                found = Some(listing);
            }
        }
        let listing = found.ok_or_else(|| Error::UnknownModel {
            name: reference.name.clone(),
            served: known,
        })?;
        let wish = Wish::new(&self.policy, &listing.name, listing.model, None);
        let version = chosen(&wish, reference)?;
        let attempt = self
            .load(Arc::from(listing.name), version, wish.tags(version))
            .await;
        let served = attempt.outcome.map_err(|failure| Error::Unavailable {
            name: format!("{}:{version}", reference.name),
            failure: Arc::new(failure),
        })?;
        let pointing = wish.registered.aliases.iter();
        let pointing = pointing.filter(|(_, to)| **to == version);
        Ok(Checked {
            version: served,
            aliases: pointing.map(|(alias, _)| alias.clone()).collect(),
        })
    }

    pub(super) async fn load(
        &self,
        name: Arc<str>,
        version: ModelVersion,
        tags: Tags,
    ) -> Attempt<B::Plan> {
        let directory = match self.registry.directory(&name, version).await {
            Ok(directory) => directory,
            Err(error) => {
                return Attempt {
                    files: None,
                    outcome: Err(error.into()),
                };
            }
        };
        let (runtime, binder) = (self.runtime.clone(), Arc::clone(&self.binder));
        let work = move || {
            let files = Files::read(&directory);
            let outcome = open(&runtime, &*binder, &directory, name, version, tags);
            (files, outcome)
        };
        match self.thread.run(work).await {
            Ok((files, outcome)) => Attempt {
                files: Some(files),
                outcome,
            },
            Err(lost) => Attempt {
                files: None,
                outcome: Err(match lost {
                    Lost::Panicked => inference::Error::Panicked.into(),
                    Lost::NoThread => inference::Error::Stopping.into(),
                }),
            },
        }
    }

    /// New plans for versions, by these tags, on the engines that they have; in the order given. Nothing if the process stops.
    pub(super) async fn bind(
        &self,
        versions: Vec<(Arc<ServedVersion<B::Plan>>, Tags)>,
    ) -> Vec<Result<B::Plan, BindError>> {
        let binder = Arc::clone(&self.binder);
        let work = move || {
            let plans = versions
                .iter()
                .map(|(served, tags)| bind(&*binder, served, tags));
            plans.collect()
        };
        run_blocking(work).await.unwrap_or_default()
    }
}

fn bind<B: Binder>(
    binder: &B,
    served: &ServedVersion<B::Plan>,
    tags: &Tags,
) -> Result<B::Plan, BindError> {
    binder.bind(&Candidate {
        name: &served.name,
        version: served.version,
        tags,
        signature: &served.signature,
        graph: served.model.graph(),
    })
}

/// The version that a reference means, by the registry alone.
fn chosen(wish: &Wish, reference: &ModelRef) -> Result<ModelVersion, Error> {
    match &reference.version {
        VersionSelector::Version(version) => Ok(*version),
        VersionSelector::Serving => match &wish.serving {
            Ok(serving) => Ok(serving.version),
            Err(failure) => Err(Error::Unavailable {
                name: reference.name.clone(),
                failure: Arc::clone(failure),
            }),
        },
        VersionSelector::Alias(alias) => {
            let aliases = &wish.registered.aliases;
            let version = aliases.get(alias).copied();
            version.ok_or_else(|| Error::UnknownAlias {
                name: reference.name.clone(),
                alias: alias.clone(),
                known: aliases.keys().cloned().collect(),
            })
        }
    }
}

/// Blocks for as long as that takes.
fn open<B: Binder>(
    runtime: &Runtime,
    binder: &B,
    directory: &Path,
    name: Arc<str>,
    version: ModelVersion,
    tags: Tags,
) -> Result<ServedVersion<B::Plan>, LoadError> {
    let artifact = Artifact::read(directory)?;
    let model = runtime.load_model(&artifact.onnx_file, &artifact.session_options)?;
    let opened = Opened {
        name,
        version,
        tags,
        artifact,
        model,
    };
    bring_up(opened, binder)
}
