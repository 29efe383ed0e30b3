//! Whether a model would go live, before anybody else sees it: bound and run as the server will do it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Package;
use super::source::Opened;
use crate::models::bring_up::{self, bring_up};
use crate::models::{Binder, LoadError, ServedVersion};
use crate::types::names::ModelVersion;

/// What a version that is not registered yet is shown as.
const NOT_YET: ModelVersion = ModelVersion(0);

impl Opened {
    /// Compiles the serving plan and runs the model, on its input example if it has one.
    /// Takes as long as that takes: call it off the async workers.
    ///
    /// Errors: those that would keep the version from going live.
    pub fn try_out<B: Binder>(
        self,
        name: &str,
        tags: &BTreeMap<String, String>,
        binder: &B,
    ) -> Result<(Package, ServedVersion<B::Plan>), LoadError> {
        let opened = bring_up::Opened {
            name: Arc::from(name),
            version: NOT_YET,
            tags: tags.clone(),
            artifact: self.artifact,
            model: self.model,
        };
        Ok((self.package, bring_up(opened, binder)?))
    }
}
