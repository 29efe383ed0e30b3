//! Loading on demand: the registry is looked at now, and the caller waits for what comes of it for one model.

use super::catalog::{Gate, ModelCatalog, ModelStatus, VersionState, VersionStatus};
use super::error::Error;
use super::watcher::Handle;
use crate::types::deadline::Deadline;
use crate::types::names::ModelRef;

impl<P> ModelCatalog<P> {
    /// Has the registry looked at and waits until everything that it says of the model is loaded or has failed.
    ///
    /// Errors: the registry cannot be read; there is no such model; a version that it wants did not load, also if an
    /// older one serves in its place; the deadline.
    /// Cancel safety: the look and the loads go on.
    pub async fn load_now(
        &self,
        handle: &Handle,
        model: &ModelRef,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let is_settled = || match self.model(&model.name) {
            Ok(status) => !status.is_loading(),
            Err(Error::Loading) => false,
            Err(_) => true,
        };
        let settled = tokio::time::timeout_at(deadline.instant(), handle.look_until(is_settled));
        if settled.await.is_err() {
            return Err(Error::LoadLate {
                name: model.name.clone(),
            });
        }
        let registry = self.registry();
        if let Some(failure) = registry.and_then(|registry| registry.failure.clone()) {
            return Err(Error::RegistryUnread(Box::new(failure)));
        }
        self.model(&model.name)?.check_followed()?;
        self.resolve(model).map(|_| ())
    }
}

impl<P> ModelStatus<P> {
    fn is_loading(&self) -> bool {
        let is_pending = |status: &VersionStatus<P>| {
            matches!(status.state, VersionState::Loading)
                || matches!(status.gate, Some(Gate::Pending))
        };
        self.versions.iter().any(is_pending)
    }

    /// Every name means the version that the registry wants.
    fn check_followed(&self) -> Result<(), Error> {
        let unavailable = |name, failure| Err(Error::Unavailable { name, failure });
        if let Some(trouble) = &self.trouble {
            return unavailable(self.name.to_string(), trouble.clone());
        }
        for behind in &self.behind {
            let Some(status) = self.version(behind.wanted) else {
                continue;
            };
            let gate = status.gate.as_ref().and_then(Gate::failure);
            let failure = match &status.state {
                VersionState::Failed(failure) => Some(failure),
                VersionState::Loaded(_) | VersionState::Loading | VersionState::NotServed => gate,
            };
            if let Some(failure) = failure {
                let name = format!("{}:{}", self.name, behind.wanted);
                return unavailable(name, failure.clone());
            }
        }
        Ok(())
    }
}
