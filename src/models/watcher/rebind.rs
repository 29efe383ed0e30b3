//! Binds what is served anew, after the features have changed: new plans, the same engines, one swap.
//!
//! Requests keep the plan that they resolved. A version that no longer binds keeps serving by the plan it has; one that only
//! its binding kept from going live is loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Loader, report};
use crate::inference::Runtime;
use crate::models::bind::{Binder, Candidate};
use crate::models::catalog::{
    ModelCatalog, ModelStatus, ServedVersion, Snapshot, VersionState, VersionStatus,
};
use crate::models::config::Config;
use crate::models::error::LoadError;
use crate::models::registry::{ModelRegistry, RegisteredModel};
use crate::types::names::ModelVersion;

/// Binds every loaded version of the catalog anew, and tries those again that did not bind.
pub async fn rebind<B: Binder>(
    catalog: &ModelCatalog<B::Plan>,
    registry: &dyn ModelRegistry,
    runtime: &Runtime,
    binder: &B,
    config: &Config,
) {
    let loader = Loader {
        registry,
        runtime,
        binder,
        config,
    };
    let mut models = Vec::new();
    for status in catalog.models() {
        models.push(loader.rebind_model(&status).await);
    }
    catalog.publish(Snapshot::new(models));
}

impl<B: Binder> Loader<'_, B> {
    async fn rebind_model(&self, status: &ModelStatus<B::Plan>) -> ModelStatus<B::Plan> {
        let mut versions = Vec::with_capacity(status.versions.len());
        for VersionStatus { version, state } in &status.versions {
            let state = match state {
                VersionState::Loaded(served) => VersionState::Loaded(self.rebind_version(served)),
                VersionState::Failed(failure) => match &**failure {
                    LoadError::Bind(_) => self.try_again(status, *version).await,
                    _ => VersionState::Failed(Arc::clone(failure)),
                },
                VersionState::NotServed => VersionState::NotServed,
            };
            versions.push(VersionStatus {
                version: *version,
                state,
            });
        }
        ModelStatus {
            name: Arc::clone(&status.name),
            aliases: status.aliases.clone(),
            serving: status.serving.clone(),
            versions,
            traffic: None,
        }
    }

    fn rebind_version(&self, served: &Arc<ServedVersion<B::Plan>>) -> Arc<ServedVersion<B::Plan>> {
        let candidate = Candidate {
            name: &served.name,
            version: served.version,
            tags: &served.tags,
            signature: &served.signature,
            graph: served.model.graph(),
        };
        match self.binder.bind(&candidate) {
            Ok(plan) => Arc::new(served.with_plan(plan)),
            Err(error) => {
                tracing::error!(
                    model = %served.name, version = %served.version, %error, code = error.code(),
                    "the changed features do not fit; the version keeps the plan that it has"
                );
                Arc::clone(served)
            }
        }
    }

    /// Loads a version that did not bind before.
    async fn try_again(
        &self,
        status: &ModelStatus<B::Plan>,
        version: ModelVersion,
    ) -> VersionState<B::Plan> {
        let tags = self.tags(&status.name, version).await;
        let outcome = self.load_version(status, version, tags).await;
        report(&status.name, version, outcome)
    }

    /// What the registry says now; nothing if it cannot be asked.
    async fn tags(&self, name: &str, version: ModelVersion) -> BTreeMap<String, String> {
        let Ok(listings) = self.registry.list().await else {
            return BTreeMap::new();
        };
        let listing = listings.into_iter().find(|listing| listing.name == name);
        let model: Option<RegisteredModel> = listing.and_then(|listing| listing.model.ok());
        let tags = model.and_then(|mut model| model.versions.remove(&version));
        tags.unwrap_or_default()
    }
}
