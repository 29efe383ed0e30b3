//! Feast's transformation server.

use std::sync::Arc;

use super::{Error, Transform};
use crate::features::definitions::{Field, OnDemandFeatureView};

#[derive(Debug, Clone)]
pub(super) struct Service {
    endpoint: Option<String>,
    project: String,
}

impl Service {
    pub(super) fn new(endpoint: Option<String>, project: &str) -> Self {
        Self {
            endpoint,
            project: project.to_owned(),
        }
    }

    pub(super) fn compile(
        &self,
        view: &OnDemandFeatureView,
        _input: &[Field],
    ) -> Result<Arc<dyn Transform>, Error> {
        let _ = (&self.endpoint, &self.project);
        Err(Error::no_way(view))
    }
}
