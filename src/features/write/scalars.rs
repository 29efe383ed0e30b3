//! Scalars: JSON values to one value of a type, by Python's conversions where Feast uses them.
//!
//! A list or an object in a scalar column is null, as in Feast.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::temporal::DateTimeParser;
use serde_json::Value as Json;

use super::kind::Kind;
use super::values::describe;
use crate::features::python;
use crate::types::value::{TextKind, Value};

/// What Feast stores for a moment that is not there.
pub(super) const NULL_TIMESTAMP: i64 = i64::MIN;

pub(super) fn int32(value: &Json) -> Result<Value, String> {
    if is_container(value) {
        return Ok(Value::Null);
    }
    let number = integer(value, &Kind::Int).and_then(|number| i32::try_from(number).ok());
    number.map(Value::Int32).ok_or_else(|| describe(value))
}

pub(super) fn int64(value: &Json, kind: &Kind) -> Result<Value, String> {
    if is_container(value) {
        return Ok(Value::Null);
    }
    let number = integer(value, kind);
    number.map(Value::Int64).ok_or_else(|| describe(value))
}

/// Whole seconds, a fraction rounded down. A null is Feast's null timestamp beside numbers, and null beside anything else.
pub(super) fn unix_timestamp(value: &Json, kind: &Kind) -> Result<Value, String> {
    if value.is_null() && *kind == Kind::Float {
        return Ok(Value::UnixTimestamp(NULL_TIMESTAMP));
    }
    if value.is_null() || is_container(value) {
        return Ok(Value::Null);
    }
    let seconds = match value {
        Json::Number(number) if number.is_f64() => {
            number.as_f64().and_then(|seconds| whole(seconds.floor()))
        }
        _ => integer(value, &Kind::Int),
    };
    let seconds = seconds.map(Value::UnixTimestamp);
    seconds.ok_or_else(|| describe(value))
}

/// `int(value)` of Python. A number of a floating-point column goes through floating point.
fn integer(value: &Json, kind: &Kind) -> Option<i64> {
    match value {
        Json::Bool(value) => Some(i64::from(*value)),
        Json::Number(number) if number.is_f64() || *kind == Kind::Float => {
            number.as_f64().and_then(|double| whole(double.trunc()))
        }
        Json::Number(number) => number.as_i64(),
        Json::String(text) => without_underscores(text.trim())?.parse().ok(),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn whole(double: f64) -> Option<i64> {
    // Both bounds are exact: every whole double in [-2^63, 2^63) is an i64.
    let fits = (-(2f64.powi(63))..2f64.powi(63)).contains(&double);
    fits.then_some(double as i64)
}

/// Python allows single underscores between digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (i, _) in text.match_indices('_') {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        if i == 0 || !digit(i - 1) || !digit(i + 1) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

pub(super) fn double(value: &Json) -> Result<Value, String> {
    match value {
        Json::Number(number) => Ok(number.as_f64().map_or(Value::Null, Value::Double)),
        Json::Array(_) | Json::Object(_) => Ok(Value::Null),
        _ => Err(describe(value)),
    }
}

pub(super) fn float(value: &Json) -> Result<Value, String> {
    let double = match value {
        Json::Number(number) => number.as_f64(),
        Json::Bool(value) => Some(f64::from(u8::from(*value))),
        Json::String(text) => without_underscores(text.trim()).and_then(|text| text.parse().ok()),
        Json::Null | Json::Array(_) | Json::Object(_) => return Ok(Value::Null),
    };
    // To the nearest; beyond the range it is infinity, as in Feast.
    let float = double.map(|double| Value::Float(double as f32));
    float.ok_or_else(|| describe(value))
}

pub(super) fn bool(value: &Json, kind: &Kind) -> Result<Value, String> {
    match value {
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::Number(number) if *kind == Kind::Int => Ok(Value::Bool(number.as_u64() != Some(0))),
        Json::Array(_) | Json::Object(_) => Ok(Value::Null),
        _ => Err(describe(value)),
    }
}

/// `str(value)` of Python.
pub(super) fn string(value: &Json, kind: &Kind) -> Result<Value, String> {
    Ok(match value {
        Json::String(text) => Value::String(text.clone()),
        Json::Bool(value) => Value::String(python::bool_str(*value).to_owned()),
        Json::Number(number) => Value::String(match number.as_f64() {
            Some(double) if *kind == Kind::Float => python::float_repr(double),
            _ => number.to_string(),
        }),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
    })
}

pub(super) fn bytes(value: &Json) -> Result<Value, String> {
    if is_container(value) {
        return Ok(Value::Null);
    }
    decoded(value).map(Value::Bytes)
}

/// Base64 text as bytes.
pub(super) fn decoded(value: &Json) -> Result<Vec<u8>, String> {
    let Json::String(text) = value else {
        return Err(describe(value));
    };
    STANDARD
        .decode(text)
        .map_err(|_| format!("{}, which is not base64", describe(value)))
}

pub(super) fn text(value: &Json, kind: TextKind) -> Result<Value, String> {
    match value {
        Json::String(text) => Ok(Value::Text(kind, text.clone())),
        Json::Array(_) | Json::Object(_) => Ok(Value::Null),
        _ => Err(describe(value)),
    }
}

/// ISO 8601 with an offset, with a zone's name in brackets, or naive; the zone is kept as Python spells it.
pub(super) fn zoned(value: &Json) -> Result<Value, String> {
    if is_container(value) {
        return Ok(Value::Null);
    }
    let Json::String(text) = value else {
        return Err(describe(value));
    };
    moment(text).ok_or_else(|| describe(value))
}

fn moment(text: &str) -> Option<Value> {
    let parser = DateTimeParser::new();
    if let Ok(zoned) = parser.parse_zoned(text) {
        let zone = zoned.time_zone().iana_name().unwrap_or_default().to_owned();
        let seconds = zoned.timestamp().as_second();
        return Some(Value::ZonedTimestamp { seconds, zone });
    }
    if let Ok(timestamp) = parser.parse_timestamp(text) {
        // Seconds are rounded down; the text's offset is all after the time.
        let seconds = timestamp.as_microsecond().div_euclid(1_000_000);
        let zone = offset(text);
        return Some(Value::ZonedTimestamp { seconds, zone });
    }
    let naive = parser.parse_datetime(text).ok()?;
    let utc = naive.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Value::ZonedTimestamp {
        seconds: utc.timestamp().as_microsecond().div_euclid(1_000_000),
        zone: String::new(),
    })
}

/// `UTC` or `UTC+05:30`, as Python names an offset.
fn offset(text: &str) -> String {
    let Some(at) = text.rfind(['+', '-']).filter(|at| *at > 10) else {
        return "UTC".to_owned();
    };
    let (sign, digits) = text[at..].split_at(1);
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    if digits.chars().all(|digit| digit == '0') {
        return "UTC".to_owned();
    }
    let (hours, minutes) = digits.split_at(digits.len().min(2));
    format!("UTC{sign}{hours}:{minutes:0<2}")
}

fn is_container(value: &Json) -> bool {
    matches!(value, Json::Array(_) | Json::Object(_))
}
