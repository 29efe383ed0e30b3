//! Maps, structs, nested lists and JSON. What is inside has no declared type: it is typed by what it is.
//!
//! A map may also come as JSON text; objects in text do not share their keys with those of other rows.

use serde_json::{Map as Object, Value as Json};

use super::kind::Kind;
use super::lists::items;
use super::values::describe;
use crate::features::python;
use crate::types::value::{List, Map, TextKind, Value};

pub(super) fn map(value: &Json, kind: &Kind) -> Result<Map, String> {
    match value {
        Json::Object(object) => map_of(object, fields(kind)),
        Json::String(text) => match parsed(text)? {
            Json::Object(object) => map_of(&object, None),
            _ => Err(describe(value)),
        },
        _ => Err(describe(value)),
    }
}

pub(super) fn maps(value: &Json, kind: &Kind) -> Result<Vec<Map>, String> {
    if let Json::String(text) = value {
        return maps_of(items(&parsed(text)?)?, None);
    }
    maps_of(items(value)?, item_kind(kind).and_then(fields))
}

/// The inner lists of nested lists, each typed by what it holds. An empty one is stored as an unset value.
pub(super) fn values(value: &Json, kind: &Kind) -> Result<Vec<Value>, String> {
    let kind = item_kind(kind);
    let mut values = Vec::new();
    for item in items(value)? {
        values.push(match item {
            Json::Null => Value::Null,
            Json::Array(inner) if inner.is_empty() => Value::Null,
            Json::Array(inner) => list_of(inner, kind.and_then(item_kind))?,
            _ => return Err(format!("{} in a list of lists", describe(item))),
        });
    }
    Ok(values)
}

/// Text that must be JSON and is kept as it stands; anything else as Python writes it in JSON.
pub(super) fn json(value: &Json, kind: &Kind) -> Result<Value, String> {
    json_text(value, Some(kind)).map(|text| Value::Text(TextKind::Json, text))
}

pub(super) fn json_list(value: &Json, kind: &Kind) -> Result<Value, String> {
    let kind = item_kind(kind);
    let texts = items(value)?.iter().map(|item| json_text(item, kind));
    let texts: Result<_, _> = texts.collect();
    texts.map(|texts| Value::TextList(TextKind::Json, texts))
}

fn json_text(value: &Json, kind: Option<&Kind>) -> Result<String, String> {
    if let Json::String(text) = value {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        return match is_json {
            true => Ok(text.clone()),
            false => Err(format!("{}, which is not JSON", describe(value))),
        };
    }
    let mut text = String::new();
    dump(value, kind, &mut text);
    Ok(text)
}

fn parsed(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|_| {
        let text = Json::String(text.to_owned());
        format!("{}, which is not JSON", describe(&text))
    })
}

fn fields(kind: &Kind) -> Option<&[(String, Kind)]> {
    match kind {
        Kind::Object(fields) => Some(fields),
        _ => None,
    }
}

fn item_kind(kind: &Kind) -> Option<&Kind> {
    match kind {
        Kind::List(items) => Some(items),
        _ => None,
    }
}

/// A map with all keys of its column, else with its own.
fn map_of(object: &Object<String, Json>, fields: Option<&[(String, Kind)]>) -> Result<Map, String> {
    let mut map = Map::with_capacity(object.len());
    match fields {
        Some(fields) => {
            for (name, kind) in fields {
                let value = object.get(name).unwrap_or(&Json::Null);
                map.push((name.clone(), inferred(value, Some(kind))?));
            }
        }
        None => {
            for (name, value) in object {
                map.push((name.clone(), inferred(value, None)?));
            }
        }
    }
    Ok(map)
}

fn maps_of(items: &[Json], fields: Option<&[(String, Kind)]>) -> Result<Vec<Map>, String> {
    let map = |item: &Json| match item {
        Json::Object(object) => map_of(object, fields),
        _ => Err(format!("{} in a list of maps", describe(item))),
    };
    items.iter().map(map).collect()
}

/// A value typed by what it is and, for numbers, by what its column is.
fn inferred(value: &Json, kind: Option<&Kind>) -> Result<Value, String> {
    Ok(match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) if kind != Some(&Kind::Float) => Value::Int64(number),
            _ if number.is_u64() && kind != Some(&Kind::Float) => return Err(describe(value)),
            _ => number.as_f64().map_or(Value::Null, Value::Double),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Object(object) => Value::Map(map_of(object, kind.and_then(fields))?),
        Json::Array(items) => list_of(items, kind.and_then(item_kind))?,
    })
}

/// A list typed by its items. One that is empty counts as text, so that it reads as an empty list.
fn list_of(items: &[Json], kind: Option<&Kind>) -> Result<Value, String> {
    let own;
    let kind = match kind {
        Some(kind) => kind,
        None => match Kind::of(items) {
            Ok(kind) => {
                own = kind;
                &own
            }
            Err(_) => return each(items, None).map(Value::Values),
        },
    };
    if items.is_empty() {
        return Ok(Value::List(List::String(Vec::new())));
    }
    Ok(match kind {
        Kind::Bool => Value::List(List::Bool(
            items
                .iter()
                .map(|item| item.as_bool().unwrap_or_default())
                .collect(),
        )),
        Kind::Int => {
            let item = |item: &Json| item.as_i64().ok_or_else(|| describe(item));
            let items: Result<_, _> = items.iter().map(item).collect();
            Value::List(List::Int64(items?))
        }
        Kind::Float => Value::List(List::Double(
            items
                .iter()
                .map(|item| item.as_f64().unwrap_or(f64::NAN))
                .collect(),
        )),
        Kind::Text => Value::List(List::String(
            items
                .iter()
                .map(|item| item.as_str().unwrap_or_default().to_owned())
                .collect(),
        )),
        Kind::Object(fields) => Value::MapList(maps_of(items, Some(fields))?),
        Kind::List(_) | Kind::Null => Value::Values(each(items, Some(kind))?),
    })
}

fn each(items: &[Json], kind: Option<&Kind>) -> Result<Vec<Value>, String> {
    items.iter().map(|item| inferred(item, kind)).collect()
}

/// `json.dumps` of Python: a blank behind commas and colons, nothing but ASCII.
fn dump(value: &Json, kind: Option<&Kind>, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => match number.as_f64() {
            Some(double) if number.is_f64() || kind == Some(&Kind::Float) => {
                out.push_str(&python::float_repr(double));
            }
            _ => out.push_str(&number.to_string()),
        },
        Json::String(text) => dump_text(text, out),
        Json::Array(items) => {
            let kind = kind.and_then(item_kind);
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                dump(item, kind, out);
            }
            out.push(']');
        }
        Json::Object(object) => {
            out.push('{');
            match kind.and_then(fields) {
                Some(fields) => {
                    for (i, (name, kind)) in fields.iter().enumerate() {
                        let value = object.get(name).unwrap_or(&Json::Null);
                        dump_entry(i, name, value, Some(kind), out);
                    }
                }
                None => {
                    for (i, (name, value)) in object.iter().enumerate() {
                        dump_entry(i, name, value, None, out);
                    }
                }
            }
            out.push('}');
        }
    }
}

fn dump_entry(i: usize, name: &str, value: &Json, kind: Option<&Kind>, out: &mut String) {
    out.push_str(if i > 0 { ", " } else { "" });
    dump_text(name, out);
    out.push_str(": ");
    dump(value, kind, out);
}

fn dump_text(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    // Writing to a string does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}
