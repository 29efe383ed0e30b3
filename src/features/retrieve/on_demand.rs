//! On-demand views of a request: what they read, and their columns.

use super::{Answer, Error};
use crate::features;
use crate::features::FeatureStore;
use crate::features::definitions::{
    Field, OnDemandFeatureView, OnDemandSource, Projection, Transformation,
};
use crate::features::plan::OnlinePlan;
use crate::features::registry::Registry;
use crate::features::transform::{CompiledView, InputValues, Inputs};
use crate::types::deadline::Deadline;
use crate::types::value::Value;

/// A compiled on-demand view.
#[derive(Debug)]
pub(super) struct OnDemand {
    compiled: CompiledView,
    /// The features that are wanted, and what they are called in the answer.
    outputs: Vec<(String, String)>,
    is_python: bool,
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
    for field in views.iter().flat_map(|view| &view.compiled.inputs.request) {
        if !fields.iter().any(|other| other.name == field.name) {
            fields.push(field.clone());
        }
    }
    fields
}

impl OnDemand {
    /// The plan reads everything that the view is computed from.
    pub(super) fn compile(
        store: &FeatureStore,
        registry: &Registry,
        view: &OnDemandFeatureView,
        outputs: Vec<(String, String)>,
        plan: &OnlinePlan,
    ) -> Result<Self, Error> {
        let inputs = Inputs::of(view, registry).map_err(features::Error::from)?;
        let mut features = Vec::with_capacity(inputs.sources.len());
        for source in &inputs.sources {
            let name = source.projection.effective_name();
            let fields = source.projection.features.iter();
            // A feature that the plan lacks is not in the registry either, and `Inputs` would have said so.
            let places = fields.filter_map(|field| {
                let mut planned = plan.features.iter();
                planned.position(|planned| planned.view == name && planned.feature == field.name)
            });
            features.push(places.collect());
        }
        let compiled = CompiledView::new(store.transforms(), view, inputs, features);
        Ok(Self {
            compiled: compiled.map_err(features::Error::from)?,
            outputs,
            is_python: matches!(view.transformation, Transformation::Python { .. }),
        })
    }

    pub(super) fn hide_python_columns(&mut self) {
        if self.is_python {
            self.outputs.clear();
        }
    }

    /// The wanted columns, in the order in which the view gives them.
    pub(super) async fn run(
        &self,
        answer: &Answer,
        deadline: Deadline,
    ) -> Result<Vec<(String, Vec<Value>)>, Error> {
        if self.outputs.is_empty() {
            return Ok(Vec::new());
        }
        let input = self.compiled.input(answer)?;
        let computed = self.compiled.run(input, deadline).await;
        let computed = computed.map_err(features::Error::from)?.columns;
        let wanted = computed.into_iter().filter_map(|column| {
            let mut outputs = self.outputs.iter();
            let (_, label) = outputs.find(|(name, _)| *name == column.name)?;
            Some((label.clone(), column.values))
        });
        Ok(wanted.collect())
    }
}

impl InputValues for Answer {
    type Error = Error;

    fn n_rows(&self) -> usize {
        Answer::n_rows(self)
    }

    fn entity(&self, field: &Field) -> Option<Vec<Value>> {
        self.entity_values(field)
    }

    fn request_data(&self, field: &Field) -> Option<Vec<Value>> {
        Some(self.request_column(&field.name).to_vec())
    }

    fn feature(&self, place: usize) -> Result<Vec<Value>, Error> {
        self.decoded(place)
    }
}
