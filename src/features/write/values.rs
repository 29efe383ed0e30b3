//! JSON columns to feature values, as Feast 0.67 stores what pandas and Arrow make of them.
//!
//! Here Feast is left where it loses or refuses what is plainly meant:
//! * UNIX_TIMESTAMP: a number beside a null or a fraction is stored; Feast stores its null timestamp for the whole column.
//! * bytes come as base64 and zoned timestamps as ISO 8601 with offset, as the feature server renders them; Feast's JSON
//!   cannot carry them.
//! * integers are taken for lists of floating point; objects in lists, and lists in objects, are taken as maps and lists.
//!
//! Not here: what the values of a column are together (`kind`).

use serde_json::Value as Json;

use super::kind::{Clash, Kind};
use super::{lists, nested, scalars};
use crate::features::definitions::ValueType;
use crate::types::value::{TextKind, Value};

/// A value that cannot become the wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) row: usize,
    /// What is there, as far as it helps.
    pub(super) got: String,
}

/// Why a column does not become feature values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    Clash(usize, Clash),
    Unfit(Unfit),
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

/// One value per row.
pub(super) fn convert(values: &[Json], wanted: ValueType) -> Result<Vec<Value>, Problem> {
    let kind = Kind::of(values).map_err(|(row, clash)| Problem::Clash(row, clash))?;
    if kind == Kind::Null {
        return Ok(vec![Value::Null; values.len()]);
    }
    each(values, |value| one(value, &kind, wanted)).map_err(Problem::Unfit)
}

/// Converts value by value; an error tells what was found.
fn each(
    values: &[Json],
    convert: impl Fn(&Json) -> Result<Value, String>,
) -> Result<Vec<Value>, Unfit> {
    let mut converted = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        converted.push(convert(value).map_err(|got| Unfit { row, got })?);
    }
    Ok(converted)
}

fn one(value: &Json, kind: &Kind, wanted: ValueType) -> Result<Value, String> {
    use ValueType as T;
    if value.is_null() && wanted != T::UnixTimestamp {
        return Ok(Value::Null);
    }
    match wanted {
        T::Int32 => scalars::int32(value),
        T::Int64 => scalars::int64(value, kind),
        T::UnixTimestamp => scalars::unix_timestamp(value, kind),
        T::Double => scalars::double(value),
        T::Float => scalars::float(value),
        T::Bool => scalars::bool(value, kind),
        T::String => scalars::string(value, kind),
        T::Bytes => scalars::bytes(value),
        T::Uuid => scalars::text(value, TextKind::Uuid),
        T::TimeUuid => scalars::text(value, TextKind::TimeUuid),
        T::Decimal => scalars::text(value, TextKind::Decimal),
        T::ZonedTimestamp => scalars::zoned(value),
        T::Json => nested::json(value, kind),
        T::JsonList => nested::json_list(value, kind),
        T::Map => nested::map(value, kind).map(Value::Map),
        T::Struct => nested::map(value, kind).map(Value::Struct),
        T::MapList => nested::maps(value, kind).map(Value::MapList),
        T::StructList => nested::maps(value, kind).map(Value::StructList),
        T::ValueList => nested::values(value, kind).map(Value::Values),
        T::ValueSet => nested::values(value, kind).map(Value::ValueSet),
        T::UuidList => lists::texts(value, TextKind::Uuid),
        T::TimeUuidList => lists::texts(value, TextKind::TimeUuid),
        T::DecimalList => lists::texts(value, TextKind::Decimal),
        T::UuidSet => lists::text_set(value, TextKind::Uuid),
        T::TimeUuidSet => lists::text_set(value, TextKind::TimeUuid),
        T::DecimalSet => lists::text_set(value, TextKind::Decimal),
        T::BytesList => lists::list(value, T::Bytes).map(Value::List),
        T::StringList => lists::list(value, T::String).map(Value::List),
        T::Int32List => lists::list(value, T::Int32).map(Value::List),
        T::Int64List => lists::list(value, T::Int64).map(Value::List),
        T::DoubleList => lists::list(value, T::Double).map(Value::List),
        T::FloatList => lists::list(value, T::Float).map(Value::List),
        T::BoolList => lists::list(value, T::Bool).map(Value::List),
        T::UnixTimestampList => lists::list(value, T::UnixTimestamp).map(Value::List),
        T::BytesSet => lists::set(value, T::Bytes),
        T::StringSet => lists::set(value, T::String),
        T::Int32Set => lists::set(value, T::Int32),
        T::Int64Set => lists::set(value, T::Int64),
        T::DoubleSet => lists::set(value, T::Double),
        T::FloatSet => lists::set(value, T::Float),
        T::BoolSet => lists::set(value, T::Bool),
        T::UnixTimestampSet => lists::set(value, T::UnixTimestamp),
        T::ScalarMap | T::Invalid | T::Null => Err(describe(value)),
    }
}

/// At most so many characters of a value stand in an error.
const MAX_ECHO: usize = 40;

/// A value in a message: its kind, and its beginning where that helps.
pub(super) fn describe(value: &Json) -> String {
    let (kind, text) = match value {
        Json::Null => return "null".to_owned(),
        Json::Array(_) => return "a list".to_owned(),
        Json::Object(_) => return "an object".to_owned(),
        Json::Bool(value) => ("boolean", value.to_string()),
        Json::Number(number) => ("number", number.to_string()),
        Json::String(text) => ("string", text.clone()),
    };
    let mut shown: String = text.chars().take(MAX_ECHO).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    format!("{kind} `{shown}`")
}
