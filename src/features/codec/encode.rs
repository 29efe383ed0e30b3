//! Values to bytes.

use super::wire::{put_bytes, put_message, put_tag, put_varint};
use crate::types::timestamp::Timestamp;
use crate::types::value::{List, Map, TextKind, Value};

/// Appends a `feast.types.Value`; null appends nothing.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bytes(bytes) => put_bytes(out, 1, bytes),
        Value::String(text) => put_bytes(out, 2, text.as_bytes()),
        Value::Int32(number) => put_signed(out, 3, i64::from(*number)),
        Value::Int64(number) => put_signed(out, 4, *number),
        Value::Double(number) => {
            put_tag(out, 5, 1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Float(number) => {
            put_tag(out, 6, 5);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Bool(value) => put_signed(out, 7, i64::from(*value)),
        Value::UnixTimestamp(seconds) => put_signed(out, 8, *seconds),
        Value::List(list) => put_message(out, 10 + scalar_number(list), |out| put_list(out, list)),
        Value::Set(list) => put_message(out, 21 + scalar_number(list), |out| put_list(out, list)),
        Value::Map(map) => put_message(out, 20, |out| put_map(out, map)),
        Value::MapList(maps) => put_message(out, 21, |out| put_maps(out, maps)),
        Value::Struct(map) => put_message(out, 34, |out| put_map(out, map)),
        Value::StructList(maps) => put_message(out, 35, |out| put_maps(out, maps)),
        Value::Text(kind, text) => put_bytes(out, text_numbers(*kind).0, text.as_bytes()),
        Value::TextList(kind, texts) => {
            put_message(out, text_numbers(*kind).1, |out| put_texts(out, texts));
        }
        Value::TextSet(kind, texts) => {
            put_message(out, text_numbers(*kind).2, |out| put_texts(out, texts));
        }
        Value::Values(values) => put_message(out, 42, |out| put_values(out, values)),
        Value::ValueSet(values) => put_message(out, 43, |out| put_values(out, values)),
        Value::ScalarMap(bytes) => put_bytes(out, 47, bytes),
        Value::ZonedTimestamp { seconds, zone } => put_message(out, 48, |out| {
            if *seconds != 0 {
                put_signed(out, 1, *seconds);
            }
            if !zone.is_empty() {
                put_bytes(out, 2, zone.as_bytes());
            }
        }),
    }
}

/// Appends a `google.protobuf.Timestamp`; the epoch appends nothing.
pub fn encode_timestamp(timestamp: Timestamp, out: &mut Vec<u8>) {
    let seconds = timestamp.as_seconds();
    let micros = timestamp.as_micros().rem_euclid(1_000_000);
    if seconds != 0 {
        put_signed(out, 1, seconds);
    }
    if micros != 0 {
        put_signed(out, 2, micros * 1_000);
    }
}

fn put_signed(out: &mut Vec<u8>, field: u32, value: i64) {
    put_tag(out, field, 0);
    // A negative number takes ten bytes, also where the field is 32 bits wide.
    put_varint(out, value as u64);
}

/// The number of the list's scalar type; lists lie 10 above it and sets 21.
fn scalar_number(list: &List) -> u32 {
    match list {
        List::Bytes(_) => 1,
        List::String(_) => 2,
        List::Int32(_) => 3,
        List::Int64(_) => 4,
        List::Double(_) => 5,
        List::Float(_) => 6,
        List::Bool(_) => 7,
        List::UnixTimestamp(_) => 8,
    }
}

/// Numbers of the scalar, the list and the set. JSON has no set; its list number stands there.
fn text_numbers(kind: TextKind) -> (u32, u32, u32) {
    match kind {
        TextKind::Json => (32, 33, 33),
        TextKind::Uuid => (36, 38, 40),
        TextKind::TimeUuid => (37, 39, 41),
        TextKind::Decimal => (44, 45, 46),
    }
}

fn put_list(out: &mut Vec<u8>, list: &List) {
    match list {
        List::Bytes(items) => {
            for item in items {
                put_bytes(out, 1, item);
            }
        }
        List::String(items) => put_texts(out, items),
        List::Int32(items) => put_varints(out, items.iter().map(|item| i64::from(*item))),
        List::Int64(items) | List::UnixTimestamp(items) => put_varints(out, items.iter().copied()),
        List::Bool(items) => put_varints(out, items.iter().map(|item| i64::from(*item))),
        List::Double(items) => put_fixed(out, items.iter().map(|item| item.to_le_bytes())),
        List::Float(items) => put_fixed(out, items.iter().map(|item| item.to_le_bytes())),
    }
}

fn put_varints(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = i64>) {
    if items.len() == 0 {
        return;
    }
    put_message(out, 1, |out| {
        for item in items {
            put_varint(out, item as u64);
        }
    });
}

fn put_fixed<const N: usize>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = [u8; N]>) {
    if items.len() == 0 {
        return;
    }
    put_message(out, 1, |out| {
        for item in items {
            out.extend_from_slice(&item);
        }
    });
}

fn put_texts(out: &mut Vec<u8>, texts: &[String]) {
    for text in texts {
        put_bytes(out, 1, text.as_bytes());
    }
}

fn put_values(out: &mut Vec<u8>, values: &[Value]) {
    for value in values {
        put_message(out, 1, |out| encode(value, out));
    }
}

fn put_maps(out: &mut Vec<u8>, maps: &[Map]) {
    for map in maps {
        put_message(out, 1, |out| put_map(out, map));
    }
}

fn put_map(out: &mut Vec<u8>, map: &Map) {
    for (key, value) in map {
        put_message(out, 1, |out| {
            put_bytes(out, 1, key.as_bytes());
            put_message(out, 2, |out| encode(value, out));
        });
    }
}
