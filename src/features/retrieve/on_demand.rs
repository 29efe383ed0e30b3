//! On-demand views of a request: what they read, and their columns.

use super::{Answer, Error};
use crate::features;
use crate::features::FeatureStore;
use crate::features::definitions::{Field, OnDemandFeatureView, OnDemandSource, Projection};
use crate::features::plan::OnlinePlan;
use crate::features::registry::Registry;
use crate::types::deadline::Deadline;
use crate::types::value::Value;

/// A compiled on-demand view.
#[derive(Debug)]
pub(super) struct OnDemand {
    request: Vec<Field>,
}

/// The views that an on-demand view is computed from.
pub(super) fn sources(view: &OnDemandFeatureView) -> impl Iterator<Item = &Projection> {
    view.sources.iter().filter_map(|source| match source {
        OnDemandSource::View(projection) => Some(projection),
        OnDemandSource::Request { .. } => None,
    })
}

/// What the request must bring for all of them, each field once.
pub(super) fn request_data(views: &[OnDemand]) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for field in views.iter().flat_map(|view| &view.request) {
        if !fields.iter().any(|other| other.name == field.name) {
            fields.push(field.clone());
        }
    }
    fields
}

impl OnDemand {
    pub(super) fn compile(
        _store: &FeatureStore,
        _registry: &Registry,
        view: &OnDemandFeatureView,
        _requested: &[String],
        _label: &dyn Fn(&str) -> String,
        _plan: &OnlinePlan,
    ) -> Result<Self, Error> {
        Err(Error::Features(features::Error::OnDemand {
            view: view.name.clone(),
        }))
    }

    pub(super) fn hide_python_columns(&mut self) {}

    #[expect(clippy::unused_async, reason = "the transformation is")]
    pub(super) async fn run(
        &self,
        _answer: &Answer,
        _deadline: Deadline,
    ) -> Result<Vec<(String, Vec<Value>)>, Error> {
        Ok(Vec::new())
    }
}
