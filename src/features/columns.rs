//! Feature values by columns: what goes into an on-demand transformation and what comes out.
//!
//! Every column has one value per row, each of the column's type or null.
//! Not here: Arrow (`arrays`), which columns a view needs (`transform::Inputs`).

use super::definitions::{Field, ValueType};
use crate::types::value::{List, TextKind, Value};

/// Columns of equal length with different names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Columns {
    pub n_rows: usize,
    pub columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub value_type: ValueType,
    /// Each null or of the type.
    pub values: Vec<Value>,
}

/// Columns that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("column `{column}` has {actual} values where there are {expected} rows")]
    WrongLength {
        column: String,
        expected: usize,
        actual: usize,
    },
    #[error("column `{column}` is there twice")]
    Twice { column: String },
    #[error("column `{column}` of type {} has a value of type {actual} in row {row}", value_type.name())]
    WrongType {
        column: String,
        value_type: ValueType,
        row: usize,
        actual: &'static str,
    },
}

impl Columns {
    /// All of `n_rows` values and with different names.
    pub fn new(n_rows: usize, columns: Vec<Column>) -> Result<Self, Error> {
        for (i, column) in columns.iter().enumerate() {
            if column.values.len() != n_rows {
                return Err(Error::WrongLength {
                    column: column.name.clone(),
                    expected: n_rows,
                    actual: column.values.len(),
                });
            }
            if columns[..i].iter().any(|other| other.name == column.name) {
                return Err(Error::Twice {
                    column: column.name.clone(),
                });
            }
        }
        Ok(Self { n_rows, columns })
    }

    pub fn get(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Names and types, in order.
    pub fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(Column::field).collect()
    }
}

impl Column {
    /// All values null or of the type. A null that Feast stores as a number (`i64::MIN` seconds) is a value of its type.
    pub fn new(name: String, value_type: ValueType, values: Vec<Value>) -> Result<Self, Error> {
        let wrong = values.iter().position(|value| !fits(value, value_type));
        if let Some(row) = wrong {
            return Err(Error::WrongType {
                actual: values[row].type_name(),
                column: name,
                value_type,
                row,
            });
        }
        Ok(Self {
            name,
            value_type,
            values,
        })
    }

    pub fn field(&self) -> Field {
        Field {
            name: self.name.clone(),
            value_type: self.value_type,
        }
    }
}

/// Whether a column of the type may hold the value.
fn fits(value: &Value, value_type: ValueType) -> bool {
    use ValueType as T;
    match value {
        Value::Null => true,
        Value::Bytes(_) => value_type == T::Bytes,
        Value::String(_) => value_type == T::String,
        Value::Int32(_) => value_type == T::Int32,
        Value::Int64(_) => value_type == T::Int64,
        Value::Double(_) => value_type == T::Double,
        Value::Float(_) => value_type == T::Float,
        Value::Bool(_) => value_type == T::Bool,
        Value::UnixTimestamp(_) => value_type == T::UnixTimestamp,
        Value::List(list) => value_type == list_type(list),
        Value::Set(list) => value_type == set_type(list),
        Value::Map(_) => value_type == T::Map,
        Value::MapList(_) => value_type == T::MapList,
        Value::Struct(_) => value_type == T::Struct,
        Value::StructList(_) => value_type == T::StructList,
        Value::Text(kind, _) => {
            value_type
                == match kind {
                    TextKind::Json => T::Json,
                    TextKind::Uuid => T::Uuid,
                    TextKind::TimeUuid => T::TimeUuid,
                    TextKind::Decimal => T::Decimal,
                }
        }
        Value::TextList(kind, _) => {
            value_type
                == match kind {
                    TextKind::Json => T::JsonList,
                    TextKind::Uuid => T::UuidList,
                    TextKind::TimeUuid => T::TimeUuidList,
                    TextKind::Decimal => T::DecimalList,
                }
        }
        Value::TextSet(kind, _) => match kind {
            // Feast has no sets of JSON.
            TextKind::Json => false,
            TextKind::Uuid => value_type == T::UuidSet,
            TextKind::TimeUuid => value_type == T::TimeUuidSet,
            TextKind::Decimal => value_type == T::DecimalSet,
        },
        Value::Values(_) => value_type == T::ValueList,
        Value::ValueSet(_) => value_type == T::ValueSet,
        Value::ScalarMap(_) => value_type == T::ScalarMap,
        Value::ZonedTimestamp { .. } => value_type == T::ZonedTimestamp,
    }
}

fn list_type(list: &List) -> ValueType {
    match list {
        List::Bytes(_) => ValueType::BytesList,
        List::String(_) => ValueType::StringList,
        List::Int32(_) => ValueType::Int32List,
        List::Int64(_) => ValueType::Int64List,
        List::Double(_) => ValueType::DoubleList,
        List::Float(_) => ValueType::FloatList,
        List::Bool(_) => ValueType::BoolList,
        List::UnixTimestamp(_) => ValueType::UnixTimestampList,
    }
}

fn set_type(list: &List) -> ValueType {
    match list {
        List::Bytes(_) => ValueType::BytesSet,
        List::String(_) => ValueType::StringSet,
        List::Int32(_) => ValueType::Int32Set,
        List::Int64(_) => ValueType::Int64Set,
        List::Double(_) => ValueType::DoubleSet,
        List::Float(_) => ValueType::FloatSet,
        List::Bool(_) => ValueType::BoolSet,
        List::UnixTimestamp(_) => ValueType::UnixTimestampSet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, n: i64) -> Column {
        let values = (0..n).map(Value::Int64).collect();
        Column::new(name.to_owned(), ValueType::Int64, values).unwrap()
    }

    #[test]
    fn columns_are_of_one_length_and_of_different_names() {
        let columns = Columns::new(2, vec![column("a", 2), column("b", 2)]).unwrap();
        assert_eq!(columns.get("b"), Some(&column("b", 2)));
        assert_eq!(columns.get("c"), None);
        assert_eq!(columns.fields()[0].name, "a");
        let error = Columns::new(2, vec![column("a", 2), column("b", 3)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column `b` has 3 values where there are 2 rows"
        );
        let error = Columns::new(2, vec![column("a", 2), column("a", 2)]).unwrap_err();
        assert_eq!(error.to_string(), "column `a` is there twice");
    }

    #[test]
    fn a_column_holds_values_of_its_type_and_nulls() {
        let column = |values| Column::new("a".to_owned(), ValueType::Int64, values);
        assert!(column(vec![Value::Null, Value::Int64(1)]).is_ok());
        let error = column(vec![Value::Null, Value::Int32(1)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column `a` of type INT64 has a value of type INT32 in row 1"
        );
    }
}
