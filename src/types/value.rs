//! A feature value: every kind that Feast's `feast.types.Value` can hold.
//!
//! Data and its JSON form only; the protobuf form is in `features/codec`.
//! JSON follows Feast 0.67's feature server (specs of `tests/fixtures/feast/values.json`): 64-bit integers unquoted,
//! single precision widened to double, non-finite numbers as text, bytes in padded base64, timestamps as seconds.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// One value. `Null` stands for Feast's unset value and for its `null_val`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    #[default]
    Null,
    Bytes(Vec<u8>),
    String(String),
    Int32(i32),
    Int64(i64),
    Double(f64),
    Float(f32),
    Bool(bool),
    /// Seconds since the Unix epoch.
    UnixTimestamp(i64),
    List(List),
    /// Like a list; the order means nothing.
    Set(List),
    Map(Map),
    MapList(Vec<Map>),
    Struct(Map),
    StructList(Vec<Map>),
    Text(TextKind, String),
    TextList(TextKind, Vec<String>),
    TextSet(TextKind, Vec<String>),
    /// Nested lists.
    Values(Vec<Value>),
    /// Nested sets.
    ValueSet(Vec<Value>),
    /// A map whose keys are not text, as raw protobuf; Feast's own server renders it as null.
    ScalarMap(Vec<u8>),
    /// Seconds since the Unix epoch and the name of a time zone.
    ZonedTimestamp {
        seconds: i64,
        zone: String,
    },
}

/// A list or set of one scalar type.
#[derive(Debug, Clone, PartialEq)]
pub enum List {
    Bytes(Vec<Vec<u8>>),
    String(Vec<String>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Float(Vec<f32>),
    Bool(Vec<bool>),
    UnixTimestamp(Vec<i64>),
}

/// Entries in the order they were stored in; Feast promises none.
pub type Map = Vec<(String, Value)>;

/// Values that Feast keeps as text under a type of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    Json,
    Uuid,
    TimeUuid,
    Decimal,
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Feast's name of the value's type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Bytes(_) => "BYTES",
            Self::String(_) => "STRING",
            Self::Int32(_) => "INT32",
            Self::Int64(_) => "INT64",
            Self::Double(_) => "DOUBLE",
            Self::Float(_) => "FLOAT",
            Self::Bool(_) => "BOOL",
            Self::UnixTimestamp(_) => "UNIX_TIMESTAMP",
            Self::List(_)
            | Self::TextList(..)
            | Self::MapList(_)
            | Self::StructList(_)
            | Self::Values(_) => "LIST",
            Self::Set(_) | Self::TextSet(..) | Self::ValueSet(_) => "SET",
            Self::Map(_) | Self::ScalarMap(_) => "MAP",
            Self::Struct(_) => "STRUCT",
            Self::Text(TextKind::Json, _) => "JSON",
            Self::Text(TextKind::Uuid, _) => "UUID",
            Self::Text(TextKind::TimeUuid, _) => "TIME_UUID",
            Self::Text(TextKind::Decimal, _) => "DECIMAL",
            Self::ZonedTimestamp { .. } => "ZONED_TIMESTAMP",
        }
    }
}

/// Writes a double as a JSON number, or as `"NaN"`, `"Infinity"`, `"-Infinity"` where JSON has none.
pub fn serialize_f64<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if value > 0.0 {
        serializer.serialize_str("Infinity")
    } else {
        serializer.serialize_str("-Infinity")
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::ScalarMap(_) => serializer.serialize_unit(),
            Self::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Self::String(text) | Self::Text(_, text) => serializer.serialize_str(text),
            Self::Int32(value) => serializer.serialize_i32(*value),
            Self::Int64(value) | Self::UnixTimestamp(value) => serializer.serialize_i64(*value),
            Self::Double(value) => serialize_f64(*value, serializer),
            Self::Float(value) => serialize_f64(f64::from(*value), serializer),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::List(list) | Self::Set(list) => list.serialize(serializer),
            Self::Map(map) | Self::Struct(map) => MapJson(map).serialize(serializer),
            Self::MapList(maps) | Self::StructList(maps) => {
                serializer.collect_seq(maps.iter().map(|map| MapJson(map)))
            }
            Self::TextList(_, texts) | Self::TextSet(_, texts) => serializer.collect_seq(texts),
            Self::Values(values) | Self::ValueSet(values) => {
                serializer.collect_seq(values.iter().map(NestedJson))
            }
            Self::ZonedTimestamp { seconds, zone } => match zoned_text(*seconds, zone) {
                Some(text) => serializer.serialize_str(&text),
                None => serializer.serialize_unit(),
            },
        }
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(items) => {
                serializer.collect_seq(items.iter().map(|item| STANDARD.encode(item)))
            }
            Self::String(items) => serializer.collect_seq(items),
            Self::Int32(items) => serializer.collect_seq(items),
            Self::Int64(items) | Self::UnixTimestamp(items) => serializer.collect_seq(items),
            Self::Double(items) => serializer.collect_seq(items.iter().map(|item| Double(*item))),
            Self::Float(items) => {
                serializer.collect_seq(items.iter().map(|item| Double(f64::from(*item))))
            }
            Self::Bool(items) => serializer.collect_seq(items),
        }
    }
}

struct Double(f64);

impl Serialize for Double {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_f64(self.0, serializer)
    }
}

struct MapJson<'a>(&'a [(String, Value)]);

impl Serialize for MapJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// An item of nested lists: Feast renders an empty inner list as null.
struct NestedJson<'a>(&'a Value);

impl Serialize for NestedJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::List(list) | Value::Set(list) if list.is_empty() => serializer.serialize_unit(),
            value => value.serialize(serializer),
        }
    }
}

impl List {
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(items) => items.len(),
            Self::String(items) => items.len(),
            Self::Int32(items) => items.len(),
            Self::Int64(items) | Self::UnixTimestamp(items) => items.len(),
            Self::Double(items) => items.len(),
            Self::Float(items) => items.len(),
            Self::Bool(items) => items.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// ISO 8601 with offset, as Python's `datetime.isoformat`; Feast's null is `i64::MIN` seconds. A zone is a name or an offset
/// such as `+05:30`; none is UTC.
fn zoned_text(seconds: i64, zone: &str) -> Option<Cow<'static, str>> {
    let timestamp = jiff::Timestamp::from_second(seconds).ok()?;
    let zone = match zone {
        "" => TimeZone::UTC,
        name => DateTimeParser::new().parse_time_zone(name).ok()?,
    };
    Some(Cow::Owned(
        timestamp
            .to_zoned(zone)
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string(),
    ))
}
