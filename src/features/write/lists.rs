//! Lists and sets of one scalar type. A null inside is zero, empty or false, and NaN among numbers; Feast refuses it among
//! integers and in sets of integers or text, and so it is refused here.

use serde_json::Value as Json;

use super::scalars::{NULL_TIMESTAMP, decoded};
use super::values::describe;
use crate::features::definitions::ValueType;
use crate::types::value::{List, TextKind, Value};

pub(super) fn list(value: &Json, scalar: ValueType) -> Result<List, String> {
    let items = items(value)?;
    Ok(match scalar {
        ValueType::Bytes => List::Bytes(each(items, bytes)?),
        ValueType::Int32 => List::Int32(each(whole(items, 0)?, |item| {
            i32::try_from(item).map_err(|_| format!("the number `{item}` in a list"))
        })?),
        ValueType::Int64 => List::Int64(whole(items, 0)?),
        ValueType::UnixTimestamp => List::UnixTimestamp(whole(items, NULL_TIMESTAMP)?),
        ValueType::Double => List::Double(doubles(items)?),
        ValueType::Float => {
            let doubles = doubles(items)?.into_iter();
            List::Float(doubles.map(|double| double as f32).collect())
        }
        ValueType::Bool => List::Bool(each(items, boolean)?),
        _ => List::String(each(items, text)?),
    })
}

/// The first of equal items, in order.
pub(super) fn set(value: &Json, scalar: ValueType) -> Result<Value, String> {
    let takes_null = matches!(
        scalar,
        ValueType::Double | ValueType::Float | ValueType::Bool
    );
    if !takes_null && items(value)?.iter().any(Json::is_null) {
        return Err("null in a set".to_owned());
    }
    Ok(Value::Set(match list(value, scalar)? {
        List::Bytes(items) => List::Bytes(unique(items, Vec::clone)),
        List::String(items) => List::String(unique(items, String::clone)),
        List::Int32(items) => List::Int32(unique(items, |item| *item)),
        List::Int64(items) => List::Int64(unique(items, |item| *item)),
        List::Double(items) => List::Double(unique(items, |item| bits(*item))),
        List::Float(items) => List::Float(unique(items, |item| bits(f64::from(*item)))),
        List::Bool(items) => List::Bool(unique(items, |item| *item)),
        List::UnixTimestamp(items) => List::UnixTimestamp(unique(items, |item| *item)),
    }))
}

pub(super) fn texts(value: &Json, kind: TextKind) -> Result<Value, String> {
    each(items(value)?, text).map(|texts| Value::TextList(kind, texts))
}

pub(super) fn text_set(value: &Json, kind: TextKind) -> Result<Value, String> {
    let items = items(value)?;
    if items.iter().any(Json::is_null) {
        return Err("null in a set".to_owned());
    }
    let texts = each(items, text)?;
    Ok(Value::TextSet(kind, unique(texts, String::clone)))
}

pub(super) fn items(value: &Json) -> Result<&[Json], String> {
    match value {
        Json::Array(items) => Ok(items),
        _ => Err(describe(value)),
    }
}

fn each<T, U>(
    items: impl IntoIterator<Item = T>,
    convert: impl Fn(T) -> Result<U, String>,
) -> Result<Vec<U>, String> {
    items.into_iter().map(convert).collect()
}

/// Integers. Nulls count as `null` where there is nothing else.
fn whole(items: &[Json], null: i64) -> Result<Vec<i64>, String> {
    if items.iter().all(Json::is_null) {
        return Ok(vec![null; items.len()]);
    }
    each(items, |item| item.as_i64().ok_or_else(|| in_list(item)))
}

/// Floating point; a null is NaN beside numbers and zero where there is nothing else.
fn doubles(items: &[Json]) -> Result<Vec<f64>, String> {
    if items.iter().all(Json::is_null) {
        return Ok(vec![0.0; items.len()]);
    }
    each(items, |item| match item {
        Json::Null => Ok(f64::NAN),
        item => item.as_f64().ok_or_else(|| in_list(item)),
    })
}

fn boolean(item: &Json) -> Result<bool, String> {
    match item {
        Json::Null => Ok(false),
        item => item.as_bool().ok_or_else(|| in_list(item)),
    }
}

fn text(item: &Json) -> Result<String, String> {
    match item {
        Json::Null => Ok(String::new()),
        Json::String(text) => Ok(text.clone()),
        _ => Err(in_list(item)),
    }
}

fn bytes(item: &Json) -> Result<Vec<u8>, String> {
    match item {
        Json::Null => Ok(Vec::new()),
        item => decoded(item),
    }
}

fn in_list(item: &Json) -> String {
    format!("{} in a list", describe(item))
}

/// Equal numbers have equal bits, and no NaN differs from another.
fn bits(double: f64) -> u64 {
    if double == 0.0 {
        0
    } else if double.is_nan() {
        f64::NAN.to_bits()
    } else {
        double.to_bits()
    }
}

fn unique<T, K: std::hash::Hash + Eq>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = std::collections::HashSet::with_capacity(items.len());
    let mut items = items;
    items.retain(|item| seen.insert(key(item)));
    items
}
