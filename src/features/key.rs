//! Entity keys: the values a row is stored under, and their bytes exactly as Feast writes them.
//!
//! ```text
//! v3   u32 number of join keys, then per join key by name: u32 2, u32 length, name,
//!      then per value in the same order: u32 type, u32 length, value
//! v2   the same without the number of keys and without the lengths of names
//! ```
//! All numbers are little endian. Names sort by code point. The part up to the names is the same for every row of a view and
//! is built once, in a `KeyLayout`.
//! Not here: the project name that Redis appends (`online/redis`).

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::definitions::{DUMMY_JOIN_KEY, ValueType};
use super::python;
use crate::types::cell::Cell;

/// `entity_key_serialization_version` of feature_store.yaml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyVersion {
    V2,
    #[default]
    V3,
}

impl KeyVersion {
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            _ => None,
        }
    }
}

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

/// Everything about the keys of a view that does not depend on the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLayout {
    /// Number and names of the join keys; for a constant key the values too.
    prefix: Vec<u8>,
    /// For each value to append, which of the caller's values it is.
    order: Vec<usize>,
}

impl KeyLayout {
    /// For keys made of `names`, whose values the caller gives in the same order.
    pub fn new(version: KeyVersion, names: &[&str]) -> Self {
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|&i| names[i]);
        let mut prefix = Vec::new();
        if version == KeyVersion::V3 {
            put_length(&mut prefix, names.len());
        }
        for &i in &order {
            prefix.extend_from_slice(&2u32.to_le_bytes());
            if version == KeyVersion::V3 {
                put_length(&mut prefix, names[i].len());
            }
            prefix.extend_from_slice(names[i].as_bytes());
        }
        Self { prefix, order }
    }

    /// The one key of a view without entities.
    pub fn entityless(version: KeyVersion) -> Self {
        let mut layout = Self::new(version, &[DUMMY_JOIN_KEY]);
        put_value(&mut layout.prefix, &KeyValue::String(String::new()));
        layout.order.clear();
        layout
    }

    /// Number and names, without values: what all keys of the view begin with.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Appends the key whose values `value` gives by position in `names`.
    pub fn encode<'a>(&self, value: impl Fn(usize) -> &'a KeyValue, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        for &i in &self.order {
            put_value(out, value(i));
        }
    }
}

fn put_value(out: &mut Vec<u8>, value: &KeyValue) {
    match value {
        KeyValue::Bytes(bytes) => put_typed(out, 1, bytes),
        KeyValue::String(text) => put_typed(out, 2, text.as_bytes()),
        KeyValue::Int32(number) => put_typed(out, 3, &number.to_le_bytes()),
        KeyValue::Int64(number) => put_typed(out, 4, &number.to_le_bytes()),
        KeyValue::UnixTimestamp(seconds) => put_typed(out, 8, &seconds.to_le_bytes()),
    }
}

fn put_typed(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    out.extend_from_slice(&tag.to_le_bytes());
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    // Nothing that reaches a key is 4 GiB long: requests and cells are limited far below.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
}

/// Distinct keys, one behind the other in a single buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntityKeys {
    bytes: Vec<u8>,
    ranges: Vec<(usize, usize)>,
}

impl EntityKeys {
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn get(&self, i: usize) -> &[u8] {
        let (start, end) = self.ranges[i];
        &self.bytes[start..end]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ranges
            .iter()
            .map(|&(start, end)| &self.bytes[start..end])
    }

    /// Appends a key that `write` puts behind what is there.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.ranges.push((start, self.bytes.len()));
    }

    /// Drops repeated keys; the answer tells for each former key which of the remaining ones it is.
    pub fn deduplicate(&mut self) -> Vec<usize> {
        let mut positions = HashMap::with_capacity(self.ranges.len());
        let mut rows = Vec::with_capacity(self.ranges.len());
        let mut unique = Vec::with_capacity(self.ranges.len());
        for &(start, end) in &self.ranges {
            let next = unique.len();
            let position = *positions.entry(&self.bytes[start..end]).or_insert(next);
            if position == next {
                unique.push((start, end));
            }
            rows.push(position);
        }
        drop(positions);
        self.ranges = unique;
        rows
    }
}
