//! Entity keys: what the values of a request become before a row can be looked up.
//!
//! Not here: the bytes of a key (`layout`).

mod layout;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::layout::{EntityKeys, KeyLayout, KeyVersion};
use super::definitions::ValueType;
use super::python;
use crate::types::cell::Cell;
use crate::types::value::Value;

/// The type of a join key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    Bytes,
    String,
    Int32,
    Int64,
    UnixTimestamp,
}

impl KeyType {
    /// `None` for a type that Feast cannot make a key of.
    pub fn from_value_type(value_type: ValueType) -> Option<Self> {
        match value_type {
            ValueType::Bytes => Some(Self::Bytes),
            ValueType::String => Some(Self::String),
            ValueType::Int32 => Some(Self::Int32),
            ValueType::Int64 => Some(Self::Int64),
            ValueType::UnixTimestamp => Some(Self::UnixTimestamp),
            _ => None,
        }
    }

    /// Feast's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "BYTES",
            Self::String => "STRING",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::UnixTimestamp => "UNIX_TIMESTAMP",
        }
    }

    /// Converts a request value as Feast's server does: `"12"` and `12.0` are 12, `5` is `"5"`, `true` is `"True"`.
    ///
    /// Two things differ from Feast: 12.7 is an error and not 12; bytes, which Feast cannot take at all, come as base64.
    pub fn convert(self, cell: &Cell) -> Result<KeyValue, KeyError> {
        let value = match self {
            Self::Bytes => bytes(cell).map(KeyValue::Bytes),
            Self::String => text(cell).map(KeyValue::String),
            Self::Int32 => integer(cell)
                .and_then(|value| i32::try_from(value).ok())
                .map(KeyValue::Int32),
            Self::Int64 => integer(cell).map(KeyValue::Int64),
            Self::UnixTimestamp => integer(cell).map(KeyValue::UnixTimestamp),
        };
        value.ok_or_else(|| KeyError {
            wanted: self,
            got: describe(cell),
        })
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The value of one join key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyValue {
    Bytes(Vec<u8>),
    String(String),
    Int32(i32),
    Int64(i64),
    /// Seconds since the Unix epoch.
    UnixTimestamp(i64),
}

impl KeyValue {
    /// `None` for a value that no key can be made of.
    pub fn of(value: Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(Self::Bytes(bytes)),
            Value::String(text) => Some(Self::String(text)),
            Value::Int32(number) => Some(Self::Int32(number)),
            Value::Int64(number) => Some(Self::Int64(number)),
            Value::UnixTimestamp(seconds) => Some(Self::UnixTimestamp(seconds)),
            _ => None,
        }
    }
}

impl From<KeyValue> for Value {
    fn from(key: KeyValue) -> Self {
        match key {
            KeyValue::Bytes(bytes) => Self::Bytes(bytes),
            KeyValue::String(text) => Self::String(text),
            KeyValue::Int32(number) => Self::Int32(number),
            KeyValue::Int64(number) => Self::Int64(number),
            KeyValue::UnixTimestamp(seconds) => Self::UnixTimestamp(seconds),
        }
    }
}

/// A request value that cannot be a key of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("wanted {wanted}, got {got}")]
pub struct KeyError {
    pub wanted: KeyType,
    /// The type of the value, and its beginning where that helps.
    pub got: String,
}

/// At most so many characters of a value stand in an error.
const MAX_ECHO: usize = 40;

fn describe(cell: &Cell) -> String {
    let value = match cell {
        Cell::Null | Cell::List(_) => return cell.type_name().to_owned(),
        Cell::Bool(value) => value.to_string(),
        Cell::Int(value) => value.to_string(),
        Cell::UInt(value) => value.to_string(),
        Cell::Float(value) => python::float_repr(*value),
        Cell::Text(value) => value.clone(),
    };
    let mut shown: String = value.chars().take(MAX_ECHO).collect();
    if shown.len() < value.len() {
        shown.push_str("...");
    }
    format!("{} `{shown}`", cell.type_name())
}

fn integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Int(value) => Some(*value),
        Cell::Bool(value) => Some(i64::from(*value)),
        Cell::Float(value) => integral(*value),
        Cell::Text(value) => value.trim().parse().ok(),
        Cell::Null | Cell::UInt(_) | Cell::List(_) => None,
    }
}

fn integral(value: f64) -> Option<i64> {
    // Both bounds are exact: every whole double in [-2^63, 2^63) is an i64.
    let fits = value.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&value);
    fits.then_some(value as i64)
}

fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(value) => Some(value.clone()),
        Cell::Int(value) => Some(value.to_string()),
        Cell::UInt(value) => Some(value.to_string()),
        Cell::Float(value) => Some(python::float_repr(*value)),
        Cell::Bool(value) => Some(python::bool_str(*value).to_owned()),
        Cell::Null | Cell::List(_) => None,
    }
}

fn bytes(cell: &Cell) -> Option<Vec<u8>> {
    match cell {
        Cell::Text(value) => STANDARD.decode(value).ok(),
        Cell::Null
        | Cell::Bool(_)
        | Cell::Int(_)
        | Cell::UInt(_)
        | Cell::Float(_)
        | Cell::List(_) => None,
    }
}
