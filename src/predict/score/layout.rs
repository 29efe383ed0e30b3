//! The table of a result: entity columns as they came, features if they are wanted, outputs, and why a row has none.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::Error;
use super::calls::{Answers, Part};
use super::outputs::OutputColumn;
use super::summary::ERROR_COLUMN;
use crate::error::Failure;
use crate::features::PlannedFeature;
use crate::models::ServedVersion;
use crate::predict::ServingPlan;
use crate::types::prediction::Prediction;

/// How calls become rows of a result.
pub(super) struct Layout {
    pub(super) schema: SchemaRef,
    /// So many columns of a call's batch are those of the entity rows; what follows was joined.
    n_entity_columns: usize,
    features: Vec<PlannedFeature>,
    outputs: Vec<OutputColumn>,
}

/// Whether features stand in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Features,
    OutputsOnly,
}

impl Layout {
    /// `rows` is the schema of the calls' batches, of whose columns the first ones are those of the entity rows.
    pub(super) fn of(
        version: &ServedVersion<ServingPlan>,
        rows: &Schema,
        n_entity_columns: usize,
        shown: Shown,
        notes: HashMap<String, String>,
    ) -> Result<Self, Error> {
        let plan = &version.plan;
        let features = match (shown, &plan.online) {
            (Shown::Features, Some(online)) => online.features.clone(),
            _ => Vec::new(),
        };
        let outputs = plan.outputs.iter().zip(&version.model.graph().outputs);
        let outputs: Vec<OutputColumn> = outputs
            .map(|(name, output)| OutputColumn::of(name, &output.kind))
            .collect();
        let entities = rows.fields().iter().take(n_entity_columns);
        let mut fields: Vec<FieldRef> = entities.map(Arc::clone).collect();
        for feature in &features {
            fields.push(Arc::new(feature.field()?));
        }
        fields.extend(outputs.iter().map(|output| Arc::new(output.field())));
        fields.push(Arc::new(Field::new(ERROR_COLUMN, DataType::Utf8, true)));
        check_names(&fields)?;
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(fields, notes)),
            n_entity_columns,
            features,
            outputs,
        })
    }

    /// The rows of one call, in their order.
    pub(super) fn table(&self, answers: &Answers) -> Result<RecordBatch, Error> {
        let Answers { rows, parts } = answers;
        let entities = rows.batch.columns().iter().take(self.n_entity_columns);
        let mut columns: Vec<ArrayRef> = entities.map(Arc::clone).collect();
        for (place, feature) in self.features.iter().enumerate() {
            let kind = self.schema.field(columns.len()).data_type();
            columns.push(column(parts, kind, |prediction| {
                let cells = prediction.features.column(place);
                let values = cells.map(|cell| cell.value.clone());
                Ok(feature.array(values.collect())?)
            })?);
        }
        for (place, output) in self.outputs.iter().enumerate() {
            columns.push(column(parts, &output.kind, |prediction| {
                let named = prediction.outputs.get(place);
                let named = named.ok_or_else(|| Error::OutputShape {
                    output: output.name.to_string(),
                    shape: Vec::new(),
                })?;
                output.array(named)
            })?);
        }
        columns.push(reasons(parts));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(Error::Arrow)
    }
}

/// Of the answered parts what `array` makes of them, of the others nulls.
fn column(
    parts: &[Part],
    kind: &DataType,
    array: impl Fn(&Prediction) -> Result<ArrayRef, Error>,
) -> Result<ArrayRef, Error> {
    let mut arrays = Vec::with_capacity(parts.len());
    for part in parts {
        arrays.push(match &part.outcome {
            Ok(prediction) => array(prediction)?,
            Err(_) => new_null_array(kind, part.n_rows),
        });
    }
    match &arrays[..] {
        [only] => Ok(Arc::clone(only)),
        several => {
            let several: Vec<&dyn arrow::array::Array> =
                several.iter().map(AsRef::as_ref).collect();
            concat(&several).map_err(Error::Arrow)
        }
    }
}

/// The codes of failures.
fn reasons(parts: &[Part]) -> ArrayRef {
    let mut codes = StringBuilder::new();
    for part in parts {
        let code = part.outcome.as_ref().err().map(Failure::code);
        for _ in 0..part.n_rows {
            codes.append_option(code);
        }
    }
    Arc::new(codes.finish())
}

/// No name may come twice: nobody could tell the columns apart.
fn check_names(fields: &[FieldRef]) -> Result<(), Error> {
    let names = fields.iter().map(|field| field.name().as_str());
    match crate::types::names::repeated(names) {
        Some(column) => Err(Error::ColumnTwice {
            column: column.to_owned(),
        }),
        None => Ok(()),
    }
}
