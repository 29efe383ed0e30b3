//! Rows of all parts to rows of the result: times in UTC, features in their types, on-demand features computed.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, TimeUnit};

use super::Error;
use super::plan::{OnDemandPlan, Plan};
use crate::features::arrays;
use crate::features::columns::{Column, Columns};
use crate::features::offline::{feature_array, utc_micros};
use crate::shutdown::run_blocking;
use crate::types::deadline::Deadline;

/// Event timestamps of the result.
pub(super) static TIME: std::sync::LazyLock<DataType> =
    std::sync::LazyLock::new(|| DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));

impl Plan {
    /// `parts` are the entity rows, then each view's features with the event timestamp last; as many rows of each.
    pub(super) async fn assemble(
        self: Arc<Self>,
        parts: Vec<RecordBatch>,
        deadline: Deadline,
    ) -> Result<RecordBatch, Error> {
        let n_rows = parts.first().map_or(0, RecordBatch::num_rows);
        let plan = self.clone();
        let converted = run_blocking(move || plan.columns(&parts)).await;
        let mut columns = converted.map_err(Error::Panicked)??;
        for view in &self.on_demand {
            let computed = view.run(&columns, n_rows, deadline).await?;
            columns.extend(computed);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(Error::Assemble)
    }

    fn columns(&self, parts: &[RecordBatch]) -> Result<Vec<ArrayRef>, Error> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        let Some((entities, views)) = parts.split_first() else {
            return Ok(columns);
        };
        columns.extend(entities.columns().iter().cloned());
        columns[self.time] = utc_micros(&columns[self.time]).map_err(Error::Assemble)?;
        for (view, part) in self.views.iter().zip(views) {
            for (feature, array) in view.pull.features.iter().zip(part.columns()) {
                columns.push(feature_array(&view.pull.view, feature, array)?);
            }
        }
        Ok(columns)
    }
}

impl OnDemandPlan {
    async fn run(
        &self,
        columns: &[ArrayRef],
        n_rows: usize,
        deadline: Deadline,
    ) -> Result<Vec<ArrayRef>, Error> {
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (field, place) in &self.inputs {
            let values = arrays::values(&columns[*place], field.value_type);
            let values = values.map_err(Error::Entities)?;
            let Some(values) = values else {
                let found = columns[*place].data_type();
                return Err(Error::Malformed {
                    problem: format!(
                        "wrong: column `{}` is {found} and cannot become {}",
                        field.name,
                        field.value_type.name()
                    ),
                });
            };
            inputs.push(Column {
                name: field.name.clone(),
                value_type: field.value_type,
                values,
            });
        }
        let input = Columns {
            n_rows,
            columns: inputs,
        };
        let computed = self.transform.run(input, deadline).await?;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for field in &self.outputs {
            let kind = arrays::data_type(field.value_type).unwrap_or(DataType::Null);
            outputs.push(match computed.get(&field.name) {
                Some(column) => arrays::array(column).map_err(Error::Assemble)?,
                None => arrow::array::new_null_array(&kind, n_rows),
            });
        }
        Ok(outputs)
    }
}
