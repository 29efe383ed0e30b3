//! Arrow columns to feature values, as Feast 0.67 converts them when it writes.
//!
//! A null is null, with two exceptions: a null UNIX_TIMESTAMP is stored as `i64::MIN`, and inside lists a null is zero, empty
//! or false. NaN is null, but stays inside lists. Times are floored to whole seconds. Unlike Feast, which goes through pandas,
//! integers beside a null keep all 64 bits.
//! Not here: lists, sets and kinds of text (`lists`), maps, structs and nested lists (`nested`).

mod lists;
mod nested;
#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;

use self::lists::{as_lists, as_sets, lists, text_lists, text_sets, texts};
use super::definitions::ValueType;
use crate::types::value::{List, TextKind, Value};

/// What Feast stores for a moment that is not there.
const NULL_TIMESTAMP: i64 = i64::MIN;

/// The column's values; `None` where nothing of this Arrow type can become the wanted one.
pub(in crate::features) fn values(
    array: &ArrayRef,
    wanted: ValueType,
) -> Result<Option<Vec<Value>>, ArrowError> {
    use ValueType as T;
    let values = match wanted {
        T::Bytes
        | T::String
        | T::Int32
        | T::Int64
        | T::Double
        | T::Float
        | T::Bool
        | T::UnixTimestamp => return scalars(array, wanted),
        T::BytesList => lists(array, T::Bytes)?.map(as_lists),
        T::StringList => lists(array, T::String)?.map(as_lists),
        T::Int32List => lists(array, T::Int32)?.map(as_lists),
        T::Int64List => lists(array, T::Int64)?.map(as_lists),
        T::DoubleList => lists(array, T::Double)?.map(as_lists),
        T::FloatList => lists(array, T::Float)?.map(as_lists),
        T::BoolList => lists(array, T::Bool)?.map(as_lists),
        T::UnixTimestampList => lists(array, T::UnixTimestamp)?.map(as_lists),
        T::BytesSet => lists(array, T::Bytes)?.map(as_sets),
        T::StringSet => lists(array, T::String)?.map(as_sets),
        T::Int32Set => lists(array, T::Int32)?.map(as_sets),
        T::Int64Set => lists(array, T::Int64)?.map(as_sets),
        T::DoubleSet => lists(array, T::Double)?.map(as_sets),
        T::FloatSet => lists(array, T::Float)?.map(as_sets),
        T::BoolSet => lists(array, T::Bool)?.map(as_sets),
        T::UnixTimestampSet => lists(array, T::UnixTimestamp)?.map(as_sets),
        T::Json => texts(array, TextKind::Json)?,
        T::Uuid => texts(array, TextKind::Uuid)?,
        T::TimeUuid => texts(array, TextKind::TimeUuid)?,
        T::Decimal => texts(array, TextKind::Decimal)?,
        T::JsonList => text_lists(array, TextKind::Json)?,
        T::UuidList => text_lists(array, TextKind::Uuid)?,
        T::TimeUuidList => text_lists(array, TextKind::TimeUuid)?,
        T::DecimalList => text_lists(array, TextKind::Decimal)?,
        T::UuidSet => text_lists(array, TextKind::Uuid)?.map(text_sets),
        T::TimeUuidSet => text_lists(array, TextKind::TimeUuid)?.map(text_sets),
        T::DecimalSet => text_lists(array, TextKind::Decimal)?.map(text_sets),
        T::Map => nested::maps(array, Value::Map)?,
        T::Struct => nested::maps(array, Value::Struct)?,
        T::MapList => nested::map_lists(array, Value::MapList)?,
        T::StructList => nested::map_lists(array, Value::StructList)?,
        T::ValueList => nested::value_lists(array, Value::Values)?,
        T::ValueSet => nested::value_lists(array, Value::ValueSet)?,
        T::Invalid | T::Null | T::ScalarMap | T::ZonedTimestamp => None,
    };
    Ok(values)
}

fn scalars(array: &ArrayRef, wanted: ValueType) -> Result<Option<Vec<Value>>, ArrowError> {
    let Some(array) = canonical(array, wanted)? else {
        return Ok(None);
    };
    let list = items(&array, wanted);
    let mut values = split(list);
    for (row, value) in values.iter_mut().enumerate() {
        let is_nan = match value {
            Value::Double(number) => number.is_nan(),
            Value::Float(number) => number.is_nan(),
            _ => false,
        };
        let is_null = array.is_null(row) && wanted != ValueType::UnixTimestamp;
        if is_null || is_nan {
            *value = Value::Null;
        }
    }
    Ok(Some(values))
}

/// The items of a list, each a value of its own.
fn split(list: List) -> Vec<Value> {
    match list {
        List::Bytes(items) => items.into_iter().map(Value::Bytes).collect(),
        List::String(items) => items.into_iter().map(Value::String).collect(),
        List::Int32(items) => items.into_iter().map(Value::Int32).collect(),
        List::Int64(items) => items.into_iter().map(Value::Int64).collect(),
        List::Double(items) => items.into_iter().map(Value::Double).collect(),
        List::Float(items) => items.into_iter().map(Value::Float).collect(),
        List::Bool(items) => items.into_iter().map(Value::Bool).collect(),
        List::UnixTimestamp(items) => items.into_iter().map(Value::UnixTimestamp).collect(),
    }
}

/// A column in the one Arrow type that `items` reads for `wanted`. Numbers that do not fit are an error.
pub(super) fn canonical(
    array: &ArrayRef,
    wanted: ValueType,
) -> Result<Option<ArrayRef>, ArrowError> {
    let target = match wanted {
        ValueType::Bytes => DataType::Binary,
        ValueType::String => DataType::Utf8,
        ValueType::Int32 => DataType::Int32,
        ValueType::Int64 => DataType::Int64,
        ValueType::Double => DataType::Float64,
        ValueType::Float => DataType::Float32,
        ValueType::Bool => DataType::Boolean,
        ValueType::UnixTimestamp => return seconds(array),
        _ => return Ok(None),
    };
    let from_float = array.data_type().is_floating() && target.is_integer();
    if from_float {
        return cast(&whole(array)?, &target);
    }
    cast(array, &target)
}

/// Arrow's cast, where a value that does not fit is an error and no null.
pub(crate) fn strict_cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, target, &strict)
}

/// Strict, and `None` where Arrow knows no way at all or the way is from or to a nested type.
pub(super) fn cast(array: &ArrayRef, target: &DataType) -> Result<Option<ArrayRef>, ArrowError> {
    let from = array.data_type();
    if from.is_nested() != target.is_nested() || !arrow::compute::can_cast_types(from, target) {
        return Ok(None);
    }
    strict_cast(array, target).map(Some)
}

/// Floating point that stands for integers, as pandas makes of a column with nulls: NaN is null, fractions are cut off.
fn whole(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(doubles) = cast(array, &DataType::Float64)? else {
        return Ok(array.clone());
    };
    let doubles = doubles.as_primitive::<Float64Type>();
    let mut whole = Vec::with_capacity(doubles.len());
    for double in doubles {
        whole.push(match double {
            Some(double) if !double.is_nan() => Some(integer(double)?),
            _ => None,
        });
    }
    Ok(std::sync::Arc::new(Int64Array::from(whole)))
}

fn integer(double: f64) -> Result<i64, ArrowError> {
    // Both bounds are exact in floating point.
    if (-(2f64.powi(63))..2f64.powi(63)).contains(&double) {
        return Ok(double as i64);
    }
    Err(ArrowError::CastError(format!(
        "{double} does not fit 64 bits"
    )))
}

/// Times as whole seconds since the epoch; integers count as seconds already.
fn seconds(array: &ArrayRef) -> Result<Option<ArrayRef>, ArrowError> {
    let per_second = match array.data_type() {
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        },
        DataType::Date32 | DataType::Date64 => {
            let Some(days) = cast(array, &DataType::Timestamp(TimeUnit::Second, None))? else {
                return Ok(None);
            };
            return cast(&days, &DataType::Int64);
        }
        from if from.is_integer() => 1,
        from if from.is_floating() => return whole(array).map(Some),
        _ => return Ok(None),
    };
    let Some(ticks) = cast(array, &DataType::Int64)? else {
        return Ok(None);
    };
    let ticks = ticks.as_primitive::<Int64Type>();
    let seconds: Int64Array = ticks.unary(|tick: i64| tick.div_euclid(per_second));
    Ok(Some(std::sync::Arc::new(seconds)))
}

/// All items of a canonical column; nulls are zero, empty or false.
fn items(array: &ArrayRef, scalar: ValueType) -> List {
    match scalar {
        ValueType::Bytes => {
            let items = array.as_binary::<i32>().iter();
            List::Bytes(
                items
                    .map(|item| item.unwrap_or_default().to_vec())
                    .collect(),
            )
        }
        ValueType::Int32 => List::Int32(numbers::<Int32Type>(array, 0)),
        ValueType::Int64 => List::Int64(numbers::<Int64Type>(array, 0)),
        ValueType::Double => List::Double(numbers::<Float64Type>(array, 0.0)),
        ValueType::Float => List::Float(numbers::<Float32Type>(array, 0.0)),
        ValueType::Bool => {
            let items: &BooleanArray = array.as_boolean();
            List::Bool(items.iter().map(|item| item.unwrap_or_default()).collect())
        }
        ValueType::UnixTimestamp => {
            List::UnixTimestamp(numbers::<Int64Type>(array, NULL_TIMESTAMP))
        }
        _ => {
            let items = array.as_string::<i32>().iter();
            List::String(
                items
                    .map(|item| item.unwrap_or_default().to_owned())
                    .collect(),
            )
        }
    }
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, null: T::Native) -> Vec<T::Native> {
    let items = array.as_primitive::<T>().iter();
    items.map(|item| item.unwrap_or(null)).collect()
}
