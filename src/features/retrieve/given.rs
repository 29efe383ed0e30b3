//! Values as a request gives them, borrowed from its bytes, and what becomes of them.

use std::borrow::Cow;

use super::error::ValueError;
use crate::features::computed::key_value;
use crate::features::definitions::ValueType;
use crate::features::key::{KeyType, KeyValue};
use crate::types::cell::Cell;
use crate::types::value::{TextKind, Value};

/// One value of a request column.
#[derive(Debug, Clone, PartialEq)]
pub enum Given<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    List(Vec<Given<'a>>),
    /// An object, as JSON text.
    Object(Cow<'a, str>),
}

impl Given<'_> {
    /// The part of an entity key, converted as Feast converts it.
    pub(super) fn key(&self, key_type: KeyType) -> Result<KeyValue, ValueError> {
        match (self, key_type) {
            (Self::Null, _) => Err(ValueError::Null),
            (Self::Int(number), KeyType::Int64) => Ok(KeyValue::Int64(*number)),
            (Self::Text(text), KeyType::String) => Ok(KeyValue::String(text.clone().into_owned())),
            (Self::Bytes(bytes), KeyType::Bytes) => Ok(KeyValue::Bytes(bytes.clone().into_owned())),
            _ => Ok(key_type.convert(&self.cell())?),
        }
    }

    /// For conversions that are not worth a way of their own.
    fn cell(&self) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(value) => Cell::Bool(*value),
            Self::Int(number) => Cell::Int(*number),
            Self::UInt(number) => Cell::UInt(*number),
            Self::Float(number) => Cell::Float(*number),
            Self::Text(text) => Cell::Text(text.clone().into_owned()),
            Self::Bytes(_) | Self::List(_) | Self::Object(_) => Cell::List(Vec::new()),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "bytes",
            Self::Object(_) => "object",
            other => other.cell().type_name(),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::UInt(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Null | Self::Bytes(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// A value of a declared type: request data of on-demand views.
    pub(super) fn value(&self, value_type: ValueType) -> Result<Value, ValueError> {
        let wrong = || ValueError::Type {
            wanted: value_type.name(),
            got: self.type_name(),
        };
        if matches!(self, Self::Null) {
            return Ok(Value::Null);
        }
        if let Some(key_type) = KeyType::from_value_type(value_type) {
            return Ok(key_value(self.key(key_type)?));
        }
        let text = |kind| match self {
            Self::Text(text) => Ok(Value::Text(kind, text.clone().into_owned())),
            _ => Err(wrong()),
        };
        match value_type {
            ValueType::Double => self.number().map(Value::Double).ok_or_else(wrong),
            ValueType::Float => {
                let number = self.number().ok_or_else(wrong)?;
                Ok(Value::Float(number as f32))
            }
            ValueType::Bool => match self {
                Self::Bool(value) => Ok(Value::Bool(*value)),
                Self::Int(number) => Ok(Value::Bool(*number != 0)),
                _ => Err(wrong()),
            },
            ValueType::Json => text(TextKind::Json),
            ValueType::Uuid => text(TextKind::Uuid),
            ValueType::TimeUuid => text(TextKind::TimeUuid),
            ValueType::Decimal => text(TextKind::Decimal),
            _ => Err(wrong()),
        }
    }
}

/// A column that no view gives a type: Feast takes that of the first value that is not null.
pub(super) fn inferred(values: &[Given<'_>]) -> Result<Vec<Value>, (usize, ValueError)> {
    let value_type = values.iter().find_map(|given| match given {
        Given::Null => None,
        Given::Bool(_) => Some(ValueType::Bool),
        Given::Int(_) | Given::UInt(_) => Some(ValueType::Int64),
        Given::Float(_) => Some(ValueType::Double),
        Given::Text(_) => Some(ValueType::String),
        Given::Bytes(_) => Some(ValueType::Bytes),
        Given::List(_) | Given::Object(_) => Some(ValueType::Invalid),
    });
    let Some(value_type) = value_type else {
        return Ok(vec![Value::Null; values.len()]);
    };
    let convert =
        |(row, given): (usize, &Given<'_>)| given.value(value_type).map_err(|error| (row, error));
    values.iter().enumerate().map(convert).collect()
}

/// A cell of a request as request data of a declared type, by the same rules as on Feast's own routes.
pub fn request_value(cell: &Cell, value_type: ValueType) -> Result<Value, ValueError> {
    Given::from(cell).value(value_type)
}

impl<'a> From<&'a Cell> for Given<'a> {
    fn from(cell: &'a Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Bool(value) => Self::Bool(*value),
            Cell::Int(number) => Self::Int(*number),
            Cell::UInt(number) => Self::UInt(*number),
            Cell::Float(number) => Self::Float(*number),
            Cell::Text(text) => Self::Text(Cow::Borrowed(text)),
            Cell::List(cells) => Self::List(cells.iter().map(Self::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_without_a_type_takes_that_of_its_first_value() {
        let text = |text: &'static str| Given::Text(text.into());
        let column = [Given::Null, Given::Int(1), text("2")];
        let values = vec![Value::Null, Value::Int64(1), Value::Int64(2)];
        assert_eq!(inferred(&column), Ok(values));
        let column = [text("a"), Given::Int(5)];
        let values = vec![Value::String("a".into()), Value::String("5".into())];
        assert_eq!(inferred(&column), Ok(values));
        assert_eq!(inferred(&[Given::Null]), Ok(vec![Value::Null]));
        assert_eq!(inferred(&[Given::Int(1), text("x")]).unwrap_err().0, 1);
        assert!(inferred(&[Given::List(vec![])]).is_err());
    }

    #[test]
    fn request_data_take_their_declared_type() {
        assert_eq!(
            Given::Int(3).value(ValueType::Double),
            Ok(Value::Double(3.0))
        );
        assert_eq!(Given::Int(3).value(ValueType::Int32), Ok(Value::Int32(3)));
        assert_eq!(Given::Null.value(ValueType::Int64), Ok(Value::Null));
        assert!(Given::Text("x".into()).value(ValueType::Double).is_err());
        assert!(Given::Int(1).value(ValueType::Int64List).is_err());
    }
}
