//! An on-demand view compiled over what somebody reads for it: the same for Feast's answers and for serving plans.

use std::sync::Arc;

use super::{Error, Inputs, Transform, Transforms};
use crate::features::columns::{Column, Columns};
use crate::features::definitions::{Field, OnDemandFeatureView};
use crate::types::deadline::Deadline;
use crate::types::value::Value;

/// A compiled view. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::features) struct CompiledView {
    transform: Arc<dyn Transform>,
    pub(in crate::features) inputs: Arc<Inputs>,
    /// For each source, for each of its features, its place among what is read.
    places: Arc<[Vec<usize>]>,
}

/// Where the input of a view comes from in one request. Every column has a value per row.
pub(in crate::features) trait InputValues {
    type Error;

    fn n_rows(&self) -> usize;

    /// An entity column in its type; `None` where it is not given, and then it is null.
    fn entity(&self, field: &Field) -> Option<Vec<Value>>;

    /// A column of request data; `None` where it is not given, and then nothing that uses it can be computed.
    fn request_data(&self, field: &Field) -> Option<Vec<Value>>;

    /// A feature by its place among what is read; one that is not stored is null.
    fn feature(&self, place: usize) -> Result<Vec<Value>, Self::Error>;
}

impl CompiledView {
    /// `places` has, for each source of the inputs, the place of each of its features among what is read.
    pub(in crate::features) fn new(
        transforms: &Transforms,
        view: &OnDemandFeatureView,
        inputs: Inputs,
        places: Vec<Vec<usize>>,
    ) -> Result<Self, Error> {
        Ok(Self {
            transform: transforms.compile(view, &inputs.fields)?,
            inputs: Arc::new(inputs),
            places: places.into(),
        })
    }

    /// The places of all source features.
    pub(in crate::features) fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().flatten().copied()
    }

    /// All features of the view, in its order. Cancel safe.
    pub(in crate::features) async fn run(
        &self,
        input: Columns,
        deadline: Deadline,
    ) -> Result<Columns, Error> {
        self.transform.run(input, deadline).await
    }

    /// The columns that the view is computed from, each under all its names.
    pub(in crate::features) fn input<V: InputValues>(
        &self,
        values: &V,
    ) -> Result<Columns, V::Error> {
        let n_rows = values.n_rows();
        let inputs = &self.inputs;
        let mut columns: Vec<Column> = Vec::with_capacity(inputs.fields.len());
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
        for field in &inputs.entities {
            let given = values.entity(field);
            let given = given.unwrap_or_else(|| vec![Value::Null; n_rows]);
            push(&field.name, field, given);
        }
        for field in &inputs.request {
            if let Some(given) = values.request_data(field) {
                push(&field.name, field, given);
            }
        }
        for (source, places) in inputs.sources.iter().zip(self.places.iter()) {
            let names = source.plain.iter().zip(&source.full);
            let fields = source.projection.features.iter();
            for ((field, (plain, full)), &place) in fields.zip(names).zip(places) {
                let read = values.feature(place)?;
                if let Some(plain) = plain {
                    push(plain, field, read.clone());
                }
                push(full, field, read);
            }
        }
        Ok(Columns { n_rows, columns })
    }
}
