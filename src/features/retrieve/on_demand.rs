//! On-demand views of a request: what they read, and their columns.

use std::sync::Arc;

use super::{Answer, Error};
use crate::features;
use crate::features::FeatureStore;
use crate::features::columns::{Column, Columns};
use crate::features::definitions::{
    Field, OnDemandFeatureView, OnDemandSource, Projection, Transformation,
};
use crate::features::plan::OnlinePlan;
use crate::features::registry::Registry;
use crate::features::transform::{Inputs, Transform};
use crate::types::deadline::Deadline;
use crate::types::value::Value;

/// A compiled on-demand view.
#[derive(Debug)]
pub(super) struct OnDemand {
    transform: Arc<dyn Transform>,
    inputs: Inputs,
    /// For each source, for each of its features, which of the plan's it is.
    features: Vec<Vec<usize>>,
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
    for field in views.iter().flat_map(|view| &view.inputs.request) {
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
        let transform = store.transforms().compile(view, &inputs.fields);
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
        Ok(Self {
            transform: transform.map_err(features::Error::from)?,
            inputs,
            features,
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
        let input = self.input(answer)?;
        let computed = self.transform.run(input, deadline).await;
        let computed = computed.map_err(features::Error::from)?.columns;
        let wanted = computed.into_iter().filter_map(|column| {
            let mut outputs = self.outputs.iter();
            let (_, label) = outputs.find(|(name, _)| *name == column.name)?;
            Some((label.clone(), column.values))
        });
        Ok(wanted.collect())
    }

    fn input(&self, answer: &Answer) -> Result<Columns, Error> {
        let n_rows = answer.n_rows();
        let mut columns: Vec<Column> = Vec::with_capacity(self.inputs.fields.len());
        let mut push = |name: &str, field: &Field, values: Vec<Value>| {
            // A name stands for the first that bears it, see `Inputs`.
            if !columns.iter().any(|column| column.name == name) {
                columns.push(Column {
                    name: name.to_owned(),
                    value_type: field.value_type,
                    values,
                });
            }
        };
        for field in &self.inputs.entities {
            let values = answer.entity_values(field);
            push(
                &field.name,
                field,
                values.unwrap_or_else(|| vec![Value::Null; n_rows]),
            );
        }
        for field in &self.inputs.request {
            push(
                &field.name,
                field,
                answer.request_data(&field.name).to_vec(),
            );
        }
        for (source, places) in self.inputs.sources.iter().zip(&self.features) {
            let names = source.plain.iter().zip(&source.full);
            let fields = source.projection.features.iter();
            for ((field, (plain, full)), &place) in fields.zip(names).zip(places) {
                let values = answer.decoded(place)?;
                if let Some(plain) = plain {
                    push(plain, field, values.clone());
                }
                push(full, field, values);
            }
        }
        Ok(Columns { n_rows, columns })
    }
}
