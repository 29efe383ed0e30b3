//! Arrow lists to feature lists and sets, and the kinds of text that have a type of their own.

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::{canonical, cast, items};
use crate::features::definitions::ValueType;
use crate::types::value::{List, TextKind, Value};

/// The lists of a list column, item by item in canonical form; `None` for a null list.
pub(super) fn lists(
    array: &ArrayRef,
    scalar: ValueType,
) -> Result<Option<Vec<Option<List>>>, ArrowError> {
    let Some(lists) = as_list_array(array)? else {
        return Ok(None);
    };
    let Some(all) = canonical(lists.values(), scalar)? else {
        return Ok(None);
    };
    let each = spans(&lists)
        .map(|span| span.map(|(start, length)| items(&all.slice(start, length), scalar)));
    Ok(Some(each.collect()))
}

/// Start and length of every list among the items; `None` for a null list.
pub(super) fn spans(lists: &ListArray) -> impl Iterator<Item = Option<(usize, usize)>> {
    let offsets = lists.value_offsets();
    (0..lists.len()).map(move |row| {
        let start = usize::try_from(offsets[row]).unwrap_or(0);
        let end = usize::try_from(offsets[row + 1]).unwrap_or(0);
        lists.is_valid(row).then_some((start, end - start))
    })
}

/// Any kind of Arrow list as the plain one.
pub(super) fn as_list_array(array: &ArrayRef) -> Result<Option<ListArray>, ArrowError> {
    let item = match array.data_type() {
        DataType::List(_) => return Ok(Some(array.as_list::<i32>().clone())),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.clone(),
        _ => return Ok(None),
    };
    let plain = cast(array, &DataType::List(item))?;
    Ok(plain.map(|array| array.as_list::<i32>().clone()))
}

pub(super) fn as_lists(lists: Vec<Option<List>>) -> Vec<Value> {
    let value = |list: Option<List>| list.map_or(Value::Null, Value::List);
    lists.into_iter().map(value).collect()
}

pub(super) fn as_sets(lists: Vec<Option<List>>) -> Vec<Value> {
    let value = |list: Option<List>| match list {
        None => Value::Null,
        Some(List::Bytes(items)) => Value::Set(List::Bytes(unique(items))),
        Some(List::String(items)) => Value::Set(List::String(unique(items))),
        Some(List::Int32(items)) => Value::Set(List::Int32(unique(items))),
        Some(List::Int64(items)) => Value::Set(List::Int64(unique(items))),
        Some(List::Double(items)) => Value::Set(List::Double(unique(items))),
        Some(List::Float(items)) => Value::Set(List::Float(unique(items))),
        Some(List::Bool(items)) => Value::Set(List::Bool(unique(items))),
        Some(List::UnixTimestamp(items)) => Value::Set(List::UnixTimestamp(unique(items))),
    };
    lists.into_iter().map(value).collect()
}

/// The first of equal items, in order.
fn unique<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

pub(super) fn texts(array: &ArrayRef, kind: TextKind) -> Result<Option<Vec<Value>>, ArrowError> {
    let Some(array) = cast(array, &DataType::Utf8)? else {
        return Ok(None);
    };
    let mut values = Vec::with_capacity(array.len());
    for text in array.as_string::<i32>() {
        values.push(match text {
            None => Value::Null,
            Some(text) => Value::Text(kind, checked(text, kind)?),
        });
    }
    Ok(Some(values))
}

pub(super) fn text_lists(
    array: &ArrayRef,
    kind: TextKind,
) -> Result<Option<Vec<Value>>, ArrowError> {
    let Some(lists) = lists(array, ValueType::String)? else {
        return Ok(None);
    };
    let mut values = Vec::with_capacity(lists.len());
    for list in lists {
        let Some(List::String(texts)) = list else {
            values.push(Value::Null);
            continue;
        };
        let texts: Result<_, _> = texts.iter().map(|text| checked(text, kind)).collect();
        values.push(Value::TextList(kind, texts?));
    }
    Ok(Some(values))
}

pub(super) fn text_sets(values: Vec<Value>) -> Vec<Value> {
    let set = |value| match value {
        Value::TextList(kind, texts) => Value::TextSet(kind, unique(texts)),
        other => other,
    };
    values.into_iter().map(set).collect()
}

/// JSON must parse; it is stored as it stands.
fn checked(text: &str, kind: TextKind) -> Result<String, ArrowError> {
    if kind == TextKind::Json {
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| ArrowError::ParseError(format!("not JSON: {error}")))?;
    }
    Ok(text.to_owned())
}
