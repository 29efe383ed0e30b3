//! JSON columns to Arrow arrays of a given type.
//!
//! Times are text with or without a zone, as the type has one or not, or integer nanoseconds; bytes are base64. A number that
//! does not fit, or a fraction for an integer, is an error.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, MapArray,
    NullArray, StringArray, StructArray, UInt64Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use arrow::error::ArrowError;
use serde_json::Value as Json;

use crate::features::convert::strict_cast;
use crate::features::write::kind::{Clash, Kind};
use crate::features::write::values::describe;
use crate::features::write::{scalars, times};

pub(super) fn array(values: &[&Json], target: &DataType) -> Result<ArrayRef, ArrowError> {
    match target {
        DataType::Null => Ok(Arc::new(NullArray::new(values.len()))),
        DataType::Timestamp(unit, zone) => timestamps(values, *unit, zone.is_some(), target),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => bytes(values, target),
        DataType::List(item) => Ok(Arc::new(lists(values, item)?)),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            strict_cast(&(Arc::new(lists(values, item)?) as ArrayRef), target)
        }
        DataType::Struct(fields) => Ok(Arc::new(structs(values, fields)?)),
        DataType::Map(entries, sorted) => Ok(Arc::new(maps(values, entries, *sorted)?)),
        _ => plain(values, target),
    }
}

/// Refuses nulls where the file has none.
pub(super) fn check_nulls(array: ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    if !field.is_nullable() && array.null_count() > 0 {
        return Err(wrong("the file takes no nulls there".to_owned()));
    }
    Ok(array)
}

fn wrong(what: String) -> ArrowError {
    ArrowError::CastError(what)
}

/// Numbers, booleans and text.
fn plain(values: &[&Json], target: &DataType) -> Result<ArrayRef, ArrowError> {
    let kind = Kind::of(values.iter().copied()).map_err(|(row, clash)| match clash {
        Clash::Mixed { was, found } => wrong(format!("row {row} is a {found} after a {was}")),
        Clash::TooManyKeys => wrong("the objects have too many different keys".to_owned()),
    })?;
    let array: ArrayRef = match kind {
        Kind::Null => return Ok(new_null_array(target, values.len())),
        Kind::Bool => {
            let values = values.iter().map(|value| value.as_bool());
            Arc::new(values.collect::<BooleanArray>())
        }
        Kind::Text => Arc::new(
            values
                .iter()
                .map(|value| value.as_str())
                .collect::<StringArray>(),
        ),
        Kind::Float if !target.is_integer() => {
            let values = values.iter().map(|value| value.as_f64());
            Arc::new(values.collect::<Float64Array>())
        }
        Kind::Int | Kind::Float => whole(values)?,
        Kind::List(_) | Kind::Object(_) => {
            return Err(wrong(format!("there is a {} in it", kind.name())));
        }
    };
    strict_cast(&array, target)
}

/// Integers, and floating point without a fraction.
fn whole(values: &[&Json]) -> Result<ArrayRef, ArrowError> {
    if values.iter().any(|value| value.is_u64() && !value.is_i64()) {
        let values = each(values, |value| value.as_u64())?;
        return Ok(Arc::new(UInt64Array::from(values)));
    }
    let values = each(values, |value| match value.as_f64() {
        Some(double) if value.is_f64() => {
            // Both bounds are exact in floating point.
            let fits = double.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&double);
            fits.then_some(double as i64)
        }
        _ => value.as_i64(),
    })?;
    Ok(Arc::new(Int64Array::from(values)))
}

/// Converts what is not null; `None` from `convert` is an error that tells row and value.
fn each<T>(
    values: &[&Json],
    convert: impl Fn(&Json) -> Option<T>,
) -> Result<Vec<Option<T>>, ArrowError> {
    let mut converted = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        converted.push(match value {
            Json::Null => None,
            value => match convert(value) {
                Some(value) => Some(value),
                None => return Err(wrong(format!("row {row} is {}", describe(value)))),
            },
        });
    }
    Ok(converted)
}

fn timestamps(
    values: &[&Json],
    unit: TimeUnit,
    wants_zone: bool,
    target: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let mut ticks: Vec<Option<i64>> = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        ticks.push(match value {
            Json::Null => None,
            Json::Number(number) => {
                let nanos = number
                    .as_i64()
                    .map(i128::from)
                    .and_then(|n| in_unit(n, unit));
                Some(nanos.ok_or_else(|| wrong(format!("row {row} is {}", describe(value))))?)
            }
            Json::String(text) => {
                let parsed = times::parse(text).ok_or_else(|| {
                    wrong(format!("row {row} is {}, not a time", describe(value)))
                })?;
                if parsed.has_zone() != wants_zone {
                    let needed = if wants_zone { "needs" } else { "must not have" };
                    let problem = format!("row {row} {needed} a zone offset: {}", describe(value));
                    return Err(wrong(problem));
                }
                let nanos = i128::from(parsed.micros) * 1_000 + i128::from(parsed.nanos);
                let ticks = in_unit(nanos, unit);
                Some(ticks.ok_or_else(|| wrong(format!("row {row} is {}", describe(value))))?)
            }
            _ => return Err(wrong(format!("row {row} is {}", describe(value)))),
        });
    }
    strict_cast(&(Arc::new(Int64Array::from(ticks)) as ArrayRef), target)
}

/// Nanoseconds in another unit, rounded down.
fn in_unit(nanos: i128, unit: TimeUnit) -> Option<i64> {
    let per_tick = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    i64::try_from(nanos.div_euclid(per_tick)).ok()
}

fn bytes(values: &[&Json], target: &DataType) -> Result<ArrayRef, ArrowError> {
    let mut decoded = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        decoded.push(match value {
            Json::Null => None,
            value => {
                let bytes = scalars::decoded(value);
                Some(bytes.map_err(|got| wrong(format!("row {row} is {got}")))?)
            }
        });
    }
    let array: BinaryArray = decoded.iter().map(|bytes| bytes.as_deref()).collect();
    strict_cast(&(Arc::new(array) as ArrayRef), target)
}

fn lists(values: &[&Json], item: &FieldRef) -> Result<ListArray, ArrowError> {
    let mut items = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        match value {
            Json::Null => lengths.push(0),
            Json::Array(own) => {
                lengths.push(own.len());
                items.extend(own);
            }
            _ => return Err(wrong(format!("row {row} is {}", describe(value)))),
        }
    }
    let items = check_nulls(array(&items, item.data_type())?, item)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    ListArray::try_new(item.clone(), offsets, items, present(values))
}

fn structs(values: &[&Json], fields: &Fields) -> Result<StructArray, ArrowError> {
    let known = |name: &String| fields.iter().any(|field| field.name() == name);
    for (row, value) in values.iter().enumerate() {
        match value {
            Json::Null => {}
            Json::Object(object) => {
                if let Some(name) = object.keys().find(|name| !known(name)) {
                    return Err(wrong(format!(
                        "row {row} has the key `{name}`, the file has not"
                    )));
                }
            }
            _ => return Err(wrong(format!("row {row} is {}", describe(value)))),
        }
    }
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let own: Vec<&Json> = values
            .iter()
            .map(|value| value.get(field.name()).unwrap_or(&Json::Null))
            .collect();
        columns.push(array(&own, field.data_type())?);
    }
    StructArray::try_new_with_length(fields.clone(), columns, present(values), values.len())
}

fn maps(values: &[&Json], entries: &FieldRef, sorted: bool) -> Result<MapArray, ArrowError> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(wrong("the file's map has no entries".to_owned()));
    };
    let [key, value] = &fields[..] else {
        return Err(wrong("the file's map has no keys and values".to_owned()));
    };
    let mut keys = Vec::new();
    let mut items = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        match value {
            Json::Null => lengths.push(0),
            Json::Object(object) => {
                lengths.push(object.len());
                for (key, item) in object {
                    keys.push(Json::String(key.clone()));
                    items.push(item);
                }
            }
            _ => return Err(wrong(format!("row {row} is {}", describe(value)))),
        }
    }
    let keys: Vec<&Json> = keys.iter().collect();
    let columns = vec![
        array(&keys, key.data_type())?,
        array(&items, value.data_type())?,
    ];
    let own = StructArray::try_new_with_length(fields.clone(), columns, None, items.len())?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    MapArray::try_new(entries.clone(), offsets, own, present(values), sorted)
}

fn present(values: &[&Json]) -> Option<NullBuffer> {
    let nulls = NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
    (nulls.null_count() > 0).then_some(nulls)
}
