//! Bytes to values.

use super::wire::{Content, Reader, WireError};
use crate::types::timestamp::Timestamp;
use crate::types::value::{List, Map, TextKind, Value};

/// How deep lists and maps may lie in each other.
const MAX_DEPTH: usize = 32;

/// Reads a `feast.types.Value`; no bytes are null.
pub fn decode(bytes: &[u8]) -> Result<Value, WireError> {
    value(bytes, MAX_DEPTH)
}

/// Reads a `google.protobuf.Timestamp`; fractions of a microsecond are dropped.
pub fn decode_timestamp(bytes: &[u8]) -> Result<Timestamp, WireError> {
    let mut reader = Reader::new(bytes);
    let mut seconds = 0;
    let mut nanos = 0;
    while let Some((field, content)) = reader.field()? {
        match field {
            1 => seconds = content.varint(field)? as i64,
            2 => nanos = content.varint(field)? as i64,
            _ => {}
        }
    }
    let micros = seconds.saturating_mul(1_000_000);
    Ok(Timestamp::from_micros(micros.saturating_add(nanos / 1_000)))
}

fn value(bytes: &[u8], depth: usize) -> Result<Value, WireError> {
    let mut reader = Reader::new(bytes);
    let mut value = Value::Null;
    // One field is the rule; of several the last counts, as in every protobuf reader.
    while let Some((field, content)) = reader.field()? {
        value = member(field, content, depth)?;
    }
    Ok(value)
}

fn member(field: u32, content: Content<'_>, depth: usize) -> Result<Value, WireError> {
    Ok(match field {
        1 => Value::Bytes(content.bytes(field)?.to_vec()),
        2 => Value::String(content.text(field)?.to_owned()),
        3 => Value::Int32(content.varint(field)? as i32),
        4 => Value::Int64(content.varint(field)? as i64),
        5 => Value::Double(content.double(field)?),
        6 => Value::Float(content.float(field)?),
        7 => Value::Bool(content.varint(field)? != 0),
        8 => Value::UnixTimestamp(content.varint(field)? as i64),
        11..=18 => Value::List(list(field - 10, content.bytes(field)?)?),
        19 => Value::Null,
        20 => Value::Map(map(content.bytes(field)?, depth)?),
        21 => Value::MapList(maps(content.bytes(field)?, depth)?),
        22..=29 => Value::Set(list(field - 21, content.bytes(field)?)?),
        32 => Value::Text(TextKind::Json, content.text(field)?.to_owned()),
        33 => Value::TextList(TextKind::Json, texts(content.bytes(field)?)?),
        34 => Value::Struct(map(content.bytes(field)?, depth)?),
        35 => Value::StructList(maps(content.bytes(field)?, depth)?),
        36 => Value::Text(TextKind::Uuid, content.text(field)?.to_owned()),
        37 => Value::Text(TextKind::TimeUuid, content.text(field)?.to_owned()),
        38 => Value::TextList(TextKind::Uuid, texts(content.bytes(field)?)?),
        39 => Value::TextList(TextKind::TimeUuid, texts(content.bytes(field)?)?),
        40 => Value::TextSet(TextKind::Uuid, texts(content.bytes(field)?)?),
        41 => Value::TextSet(TextKind::TimeUuid, texts(content.bytes(field)?)?),
        42 => Value::Values(values(content.bytes(field)?, depth)?),
        43 => Value::ValueSet(values(content.bytes(field)?, depth)?),
        44 => Value::Text(TextKind::Decimal, content.text(field)?.to_owned()),
        45 => Value::TextList(TextKind::Decimal, texts(content.bytes(field)?)?),
        46 => Value::TextSet(TextKind::Decimal, texts(content.bytes(field)?)?),
        47 => Value::ScalarMap(content.bytes(field)?.to_vec()),
        48 => zoned_timestamp(content.bytes(field)?)?,
        _ => return Err(WireError::UnknownField { field }),
    })
}

/// A list or set message, by the number of its scalar type.
fn list(scalar: u32, bytes: &[u8]) -> Result<List, WireError> {
    Ok(match scalar {
        1 => List::Bytes(repeated(bytes, |content| Ok(content.bytes(1)?.to_vec()))?),
        2 => List::String(texts(bytes)?),
        3 => List::Int32(varints(bytes, |varint| varint as i32)?),
        4 => List::Int64(varints(bytes, |varint| varint as i64)?),
        5 => List::Double(packed(
            bytes,
            |reader| reader.array().map(f64::from_le_bytes),
            |content| content.double(1),
        )?),
        6 => List::Float(packed(
            bytes,
            |reader| reader.array().map(f32::from_le_bytes),
            |content| content.float(1),
        )?),
        7 => List::Bool(varints(bytes, |varint| varint != 0)?),
        _ => List::UnixTimestamp(varints(bytes, |varint| varint as i64)?),
    })
}

fn varints<T>(bytes: &[u8], convert: impl Fn(u64) -> T) -> Result<Vec<T>, WireError> {
    packed(
        bytes,
        |reader| reader.varint().map(&convert),
        |content| content.varint(1).map(&convert),
    )
}

/// Repeated numbers: packed, as Feast writes them, or one by one.
fn packed<T>(
    bytes: &[u8],
    next: impl Fn(&mut Reader<'_>) -> Result<T, WireError>,
    single: impl Fn(Content<'_>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((field, content)) = reader.field()? {
        match (field, content) {
            (1, Content::Bytes(bytes)) => {
                let mut numbers = Reader::new(bytes);
                while !numbers.is_empty() {
                    items.push(next(&mut numbers)?);
                }
            }
            (1, content) => items.push(single(content)?),
            _ => {}
        }
    }
    Ok(items)
}

/// Repeated messages, texts or bytes in field 1; other fields are skipped.
fn repeated<'a, T>(
    bytes: &'a [u8],
    convert: impl Fn(Content<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((field, content)) = reader.field()? {
        if field == 1 {
            items.push(convert(content)?);
        }
    }
    Ok(items)
}

fn texts(bytes: &[u8]) -> Result<Vec<String>, WireError> {
    repeated(bytes, |content| Ok(content.text(1)?.to_owned()))
}

fn values(bytes: &[u8], depth: usize) -> Result<Vec<Value>, WireError> {
    let depth = deeper(depth)?;
    repeated(bytes, |content| value(content.bytes(1)?, depth))
}

fn maps(bytes: &[u8], depth: usize) -> Result<Vec<Map>, WireError> {
    let depth = deeper(depth)?;
    repeated(bytes, |content| map(content.bytes(1)?, depth))
}

fn map(bytes: &[u8], depth: usize) -> Result<Map, WireError> {
    let depth = deeper(depth)?;
    repeated(bytes, |content| entry(content.bytes(1)?, depth))
}

fn entry(bytes: &[u8], depth: usize) -> Result<(String, Value), WireError> {
    let mut key = String::new();
    let mut item = Value::Null;
    let mut reader = Reader::new(bytes);
    while let Some((field, content)) = reader.field()? {
        match field {
            1 => key = content.text(field)?.to_owned(),
            2 => item = value(content.bytes(field)?, depth)?,
            _ => {}
        }
    }
    Ok((key, item))
}

fn zoned_timestamp(bytes: &[u8]) -> Result<Value, WireError> {
    let mut seconds = 0;
    let mut zone = String::new();
    let mut reader = Reader::new(bytes);
    while let Some((field, content)) = reader.field()? {
        match field {
            1 => seconds = content.varint(field)? as i64,
            2 => zone = content.text(field)?.to_owned(),
            _ => {}
        }
    }
    Ok(Value::ZonedTimestamp { seconds, zone })
}

fn deeper(depth: usize) -> Result<usize, WireError> {
    depth
        .checked_sub(1)
        .ok_or(WireError::TooDeep { limit: MAX_DEPTH })
}
