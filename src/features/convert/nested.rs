//! Arrow structs, maps and lists of lists to feature values. The values inside are typed by what they are, as in Feast.
//!
//! A map column and one of nested lists may also hold JSON text. An empty inner list is stored as an unset value.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::lists::{as_list_array, spans};
use super::{cast, values};
use crate::features::definitions::ValueType;
use crate::types::value::{List, Map, Value};

/// One map per row, from structs, Arrow maps or JSON objects.
pub(super) fn maps(
    array: &ArrayRef,
    wrap: impl Fn(Map) -> Value,
) -> Result<Option<Vec<Value>>, ArrowError> {
    let mut maps = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            maps.push(Value::Null);
            continue;
        }
        match map(array, row)? {
            Some(map) => maps.push(wrap(map)),
            None => return Ok(None),
        }
    }
    Ok(Some(maps))
}

/// A list of maps per row, from lists of structs or of Arrow maps, or from JSON text.
pub(super) fn map_lists(
    array: &ArrayRef,
    wrap: impl Fn(Vec<Map>) -> Value,
) -> Result<Option<Vec<Value>>, ArrowError> {
    lists_of(array, json_maps, map, wrap)
}

/// A list of typed values per row, from lists of anything or from JSON text.
pub(super) fn value_lists(
    array: &ArrayRef,
    wrap: impl Fn(Vec<Value>) -> Value,
) -> Result<Option<Vec<Value>>, ArrowError> {
    let item = |array: &ArrayRef, row| Ok(Some(unset_if_empty(inferred(array, row)?)));
    lists_of(array, json_items, item, wrap)
}

/// A list per row: `parse` reads a whole one from JSON text, `item` one place of an Arrow list, `None` where its type cannot be
/// an item.
fn lists_of<T>(
    array: &ArrayRef,
    parse: impl Fn(&str) -> Result<Vec<T>, ArrowError>,
    item: impl Fn(&ArrayRef, usize) -> Result<Option<T>, ArrowError>,
    wrap: impl Fn(Vec<T>) -> Value,
) -> Result<Option<Vec<Value>>, ArrowError> {
    let mut lists = Vec::with_capacity(array.len());
    if let Some(texts) = cast(array, &DataType::Utf8)? {
        for text in texts.as_string::<i32>() {
            lists.push(match text {
                None => Value::Null,
                Some(text) => wrap(parse(text)?),
            });
        }
        return Ok(Some(lists));
    }
    let Some(array) = as_list_array(array)? else {
        return Ok(None);
    };
    for span in spans(&array) {
        let Some((start, length)) = span else {
            lists.push(Value::Null);
            continue;
        };
        let mut items = Vec::with_capacity(length);
        for row in start..start + length {
            match item(array.values(), row)? {
                Some(item) => items.push(item),
                None => return Ok(None),
            }
        }
        lists.push(wrap(items));
    }
    Ok(Some(lists))
}

fn unset_if_empty(item: Value) -> Value {
    match item {
        Value::List(list) if list.is_empty() => Value::Null,
        item => item,
    }
}

/// The map in one row; `None` where the column holds no maps.
fn map(array: &ArrayRef, row: usize) -> Result<Option<Map>, ArrowError> {
    let mut map = Map::new();
    match array.data_type() {
        DataType::Struct(fields) => {
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                map.push((field.name().clone(), inferred(column, row)?));
            }
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let Some(keys) = cast(entries.column(0), &DataType::Utf8)? else {
                return Ok(None);
            };
            for (i, key) in keys.as_string::<i32>().iter().enumerate() {
                let value = inferred(entries.column(1), i)?;
                map.push((key.unwrap_or_default().to_owned(), value));
            }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let Some(text) = cast(&array.slice(row, 1), &DataType::Utf8)? else {
                return Ok(None);
            };
            return json_map(text.as_string::<i32>().value(0)).map(Some);
        }
        _ => return Ok(None),
    }
    Ok(Some(map))
}

/// One value, typed by its Arrow type.
fn inferred(array: &ArrayRef, row: usize) -> Result<Value, ArrowError> {
    let kind = array.data_type();
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    if let Some(map) = map_unless_text(array, row)? {
        return Ok(Value::Map(map));
    }
    let one = array.slice(row, 1);
    if kind.is_list() {
        return inferred_list(&one);
    }
    let first = values(&one, scalar_type(kind))?.and_then(|values| values.into_iter().next());
    first.ok_or_else(|| ArrowError::CastError(format!("{kind} has no feature value type")))
}

fn map_unless_text(array: &ArrayRef, row: usize) -> Result<Option<Map>, ArrowError> {
    match array.data_type() {
        DataType::Struct(_) | DataType::Map(..) => map(array, row),
        _ => Ok(None),
    }
}

/// The one list of a column of one row.
fn inferred_list(one: &ArrayRef) -> Result<Value, ArrowError> {
    let unknown =
        || ArrowError::CastError(format!("{} has no feature value type", one.data_type()));
    let Some(list) = as_list_array(one)? else {
        return Err(unknown());
    };
    let wanted = match list.value_type() {
        kind if kind.is_nested() => ValueType::ValueList,
        kind => match scalar_type(&kind) {
            ValueType::Bytes => ValueType::BytesList,
            ValueType::Int64 => ValueType::Int64List,
            ValueType::Double => ValueType::DoubleList,
            ValueType::Bool => ValueType::BoolList,
            ValueType::UnixTimestamp => ValueType::UnixTimestampList,
            _ => ValueType::StringList,
        },
    };
    let first = values(one, wanted)?.and_then(|values| values.into_iter().next());
    first.ok_or_else(unknown)
}

fn scalar_type(kind: &DataType) -> ValueType {
    match kind {
        kind if kind.is_integer() => ValueType::Int64,
        kind if kind.is_floating() => ValueType::Double,
        DataType::Boolean => ValueType::Bool,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => ValueType::UnixTimestamp,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => ValueType::Bytes,
        _ => ValueType::String,
    }
}

fn json_items(text: &str) -> Result<Vec<Value>, ArrowError> {
    let items: Vec<serde_json::Value> = serde_json::from_str(text).map_err(not_json)?;
    Ok(items
        .into_iter()
        .map(|item| unset_if_empty(json_value(item)))
        .collect())
}

fn json_maps(text: &str) -> Result<Vec<Map>, ArrowError> {
    let objects: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(text).map_err(not_json)?;
    Ok(objects.into_iter().map(object).collect())
}

fn json_map(text: &str) -> Result<Map, ArrowError> {
    Ok(object(serde_json::from_str(text).map_err(not_json)?))
}

fn not_json(error: serde_json::Error) -> ArrowError {
    ArrowError::ParseError(format!("not JSON of the wanted shape: {error}"))
}

fn object(object: serde_json::Map<String, serde_json::Value>) -> Map {
    object
        .into_iter()
        .map(|(key, value)| (key, json_value(value)))
        .collect()
}

fn json_value(value: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int64(number),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(text),
        Json::Object(entries) => Value::Map(object(entries)),
        Json::Array(items) => json_list(items.into_iter().map(json_value).collect()),
    }
}

/// A typed list where all items are of one type.
fn json_list(items: Vec<Value>) -> Value {
    let mut texts = Vec::new();
    let mut integers = Vec::new();
    let mut doubles = Vec::new();
    let mut booleans = Vec::new();
    for item in &items {
        match item {
            Value::String(text) => texts.push(text.clone()),
            Value::Int64(number) => integers.push(*number),
            Value::Double(number) => doubles.push(*number),
            Value::Bool(value) => booleans.push(*value),
            _ => {}
        }
    }
    let n = items.len();
    if texts.len() == n {
        Value::List(List::String(texts))
    } else if integers.len() == n {
        Value::List(List::Int64(integers))
    } else if doubles.len() == n {
        Value::List(List::Double(doubles))
    } else if booleans.len() == n {
        Value::List(List::Bool(booleans))
    } else {
        Value::Values(items)
    }
}
