//! A joined table as the rows of a serving plan, and features of serving as columns of a table.
//!
//! Names are full ones, `view__feature`. What was not found and what is null look alike in a joined table; both are `null`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::Field;

use super::Error;
use crate::features::columns::Column;
use crate::features::definitions::ValueType;
use crate::features::plan::{OnlinePlan, PlannedFeature};
use crate::features::retrieve::Wanted;
use crate::features::{Selection, arrays};
use crate::types::feature::{FeatureCell, FeatureRows, FeatureStatus};
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

impl OnlinePlan {
    /// The features of this plan as a point-in-time join takes them: a service as a whole, since its views may have aliases
    /// that only it knows; of a list those that the plan has.
    pub fn wanted(&self, selection: &Selection) -> Wanted {
        match selection {
            Selection::Service(service) => Wanted::Service(service.clone()),
            Selection::Features(_) => Wanted::Features(self.names.to_vec()),
        }
    }

    /// The plan's features in a batch of a joined table with full names, as if they had been read: row `r` of the batch is
    /// row `r` of the result.
    ///
    /// Errors: a feature that the table does not have, or has in a type that its own cannot be made of.
    pub fn rows_of(&self, batch: &RecordBatch) -> Result<FeatureRows, Error> {
        let n_rows = batch.num_rows();
        let n_features = self.features.len();
        let mut cells = vec![FeatureCell::not_found(); n_rows * n_features];
        for (place, feature) in self.features.iter().enumerate() {
            let values = feature.values_in(batch)?;
            for (row, value) in values.into_iter().enumerate() {
                let status = match value {
                    Value::Null => FeatureStatus::Null,
                    _ => FeatureStatus::Present,
                };
                cells[row * n_features + place] = FeatureCell {
                    value,
                    status,
                    event_timestamp: None,
                };
            }
        }
        Ok(FeatureRows {
            names: Arc::clone(&self.names),
            n_rows,
            cells,
            read_at: Timestamp::EPOCH,
        })
    }
}

impl PlannedFeature {
    /// `view__feature`
    pub fn column_name(&self) -> String {
        format!("{}__{}", self.view, self.feature)
    }

    fn values_in(&self, batch: &RecordBatch) -> Result<Vec<Value>, Error> {
        let name = self.column_name();
        let column = batch.column_by_name(&name);
        let values = column.map(|column| arrays::values(column, self.value_type));
        let values = values.transpose().map_err(Error::Assemble)?.flatten();
        values.ok_or_else(|| Error::Malformed {
            problem: format!(
                "joined without a column `{name}` of {}",
                self.value_type.name()
            ),
        })
    }

    /// The column of the feature in a table. Errors for a type of which there are no columns.
    pub fn field(&self) -> Result<Field, Error> {
        match arrays::data_type(self.value_type) {
            Some(kind) => Ok(Field::new(self.column_name(), kind, true)),
            None => Err(self.no_column()),
        }
    }

    /// Values of the feature as the column that `field` says. Numbers of a default or of a request are narrowed as the
    /// feature's type is.
    ///
    /// Errors: a value that is not null and cannot stand in the column.
    pub fn array(&self, values: Vec<Value>) -> Result<ArrayRef, Error> {
        let values: Vec<Value> = values
            .into_iter()
            .map(|value| in_type(value, self.value_type))
            .collect();
        let n_null = values.iter().filter(|value| **value == Value::Null).count();
        let column = Column {
            name: self.feature.clone(),
            value_type: self.value_type,
            values,
        };
        let array = arrays::array(&column).map_err(Error::Assemble)?;
        match array.logical_null_count() == n_null {
            true => Ok(array),
            false => Err(self.no_column()),
        }
    }

    fn no_column(&self) -> Error {
        Error::NoColumnType {
            view: self.view.clone(),
            feature: self.feature.clone(),
            value_type: self.value_type,
        }
    }
}

/// A number that a request or a default gave, in the feature's own type.
fn in_type(value: Value, wanted: ValueType) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "to the nearest is the rule for numbers that become floating point"
    )]
    match (value, wanted) {
        (Value::Double(number), ValueType::Float) => Value::Float(number as f32),
        (Value::Int64(number), ValueType::Float) => Value::Float(number as f32),
        (Value::Int64(number), ValueType::Double) => Value::Double(number as f64),
        (Value::Int64(number), ValueType::UnixTimestamp) => Value::UnixTimestamp(number),
        (Value::Int64(number), ValueType::Int32) => {
            i32::try_from(number).map_or(Value::Int64(number), Value::Int32)
        }
        (value, _) => value,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::AsArray;
    use arrow::datatypes::Float32Type;

    use super::*;

    fn feature(value_type: ValueType) -> PlannedFeature {
        PlannedFeature {
            view: "stats".to_owned(),
            feature: "rate".to_owned(),
            value_type,
            ttl: Duration::ZERO,
            max_age: None,
        }
    }

    #[test]
    fn a_default_stands_in_the_column_in_the_features_type() {
        let rate = feature(ValueType::Float);
        let field = rate.field().unwrap();
        assert_eq!(field.name(), "stats__rate");
        let values = vec![
            Value::Float(0.25),
            Value::Null,
            Value::Double(0.5),
            Value::Int64(2),
        ];
        let array = rate.array(values).unwrap();
        assert_eq!(array.data_type(), field.data_type());
        let numbers: Vec<Option<f32>> = array.as_primitive::<Float32Type>().iter().collect();
        assert_eq!(numbers, [Some(0.25), None, Some(0.5), Some(2.0)]);
    }

    #[test]
    fn a_value_that_has_no_place_in_the_column_is_no_null() {
        let text = vec![Value::String("much".to_owned())];
        let error = feature(ValueType::Float).array(text).unwrap_err();
        assert!(matches!(error, Error::NoColumnType { .. }), "{error}");
    }
}
