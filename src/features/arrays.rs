//! Columns of feature values as Arrow arrays and back, for what computes on them.
//!
//! Maps, structs and nested lists, whose inner types a column does not know, are JSON text in Arrow. Times are microseconds in
//! UTC. Sets are lists. In Arrow a null is a null for every type: the number that Feast stores for a time that is not there
//! becomes one.
//! Not here: what an Arrow type can become (`convert`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, ListBuilder, NullArray,
    PrimitiveArray, PrimitiveBuilder, StringBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field as ArrowField, FieldRef, Float32Type, Float64Type,
    Int32Type, Int64Type, TimeUnit,
};
use arrow::error::ArrowError;

use super::columns::Column;
use super::convert;
use super::definitions::ValueType;
use crate::types::value::{List, Value};

/// What Feast stores for a moment that is not there.
const NULL_TIMESTAMP: i64 = i64::MIN;
const MICROS: i64 = 1_000_000;

/// The Arrow type of a column; `None` for values that Arrow has no form of.
pub(in crate::features) fn data_type(value_type: ValueType) -> Option<DataType> {
    use ValueType as T;
    let data_type = match value_type {
        T::Invalid | T::ScalarMap => return None,
        T::Null => DataType::Null,
        T::BytesList | T::BytesSet => list(DataType::Binary),
        T::StringList
        | T::StringSet
        | T::JsonList
        | T::UuidList
        | T::UuidSet
        | T::TimeUuidList
        | T::TimeUuidSet
        | T::DecimalList
        | T::DecimalSet => list(DataType::Utf8),
        T::Int32List | T::Int32Set => list(DataType::Int32),
        T::Int64List | T::Int64Set => list(DataType::Int64),
        T::DoubleList | T::DoubleSet => list(DataType::Float64),
        T::FloatList | T::FloatSet => list(DataType::Float32),
        T::BoolList | T::BoolSet => list(DataType::Boolean),
        T::UnixTimestampList | T::UnixTimestampSet => list(time()),
        T::Bytes => DataType::Binary,
        T::Int32 => DataType::Int32,
        T::Int64 => DataType::Int64,
        T::Double => DataType::Float64,
        T::Float => DataType::Float32,
        T::Bool => DataType::Boolean,
        T::UnixTimestamp | T::ZonedTimestamp => time(),
        T::String
        | T::Json
        | T::Uuid
        | T::TimeUuid
        | T::Decimal
        | T::Map
        | T::MapList
        | T::Struct
        | T::StructList
        | T::ValueList
        | T::ValueSet => DataType::Utf8,
    };
    Some(data_type)
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn list(item: DataType) -> DataType {
    DataType::List(item_field(item))
}

fn item_field(item: DataType) -> FieldRef {
    Arc::new(ArrowField::new_list_field(item, true))
}

/// The column in the type that `data_type` says.
pub(in crate::features) fn array(column: &Column) -> Result<ArrayRef, ArrowError> {
    use ValueType as T;
    let values = &column.values;
    let array: ArrayRef = match column.value_type {
        T::Invalid | T::ScalarMap => {
            let kind = column.value_type.name();
            return Err(ArrowError::NotYetImplemented(format!("{kind} in Arrow")));
        }
        T::Null => Arc::new(NullArray::new(values.len())),
        T::Bytes => {
            let mut builder = BinaryBuilder::with_capacity(values.len(), 0);
            for value in values {
                builder.append_option(match value {
                    Value::Bytes(bytes) => Some(bytes),
                    _ => None,
                });
            }
            Arc::new(builder.finish())
        }
        T::Bool => {
            let mut builder = BooleanBuilder::with_capacity(values.len());
            for value in values {
                builder.append_option(match value {
                    Value::Bool(value) => Some(*value),
                    _ => None,
                });
            }
            Arc::new(builder.finish())
        }
        T::Int32 => numbers::<Int32Type>(values, |value| match value {
            Value::Int32(number) => Some(*number),
            _ => None,
        }),
        T::Int64 => numbers::<Int64Type>(values, |value| match value {
            Value::Int64(number) => Some(*number),
            _ => None,
        }),
        T::Float => numbers::<Float32Type>(values, |value| match value {
            Value::Float(number) => Some(*number),
            _ => None,
        }),
        T::Double => numbers::<Float64Type>(values, |value| match value {
            Value::Double(number) => Some(*number),
            _ => None,
        }),
        T::UnixTimestamp | T::ZonedTimestamp => times(values)?,
        T::String | T::Json | T::Uuid | T::TimeUuid | T::Decimal => {
            let mut builder = StringBuilder::with_capacity(values.len(), 0);
            for value in values {
                builder.append_option(match value {
                    Value::String(text) | Value::Text(_, text) => Some(text),
                    _ => None,
                });
            }
            Arc::new(builder.finish())
        }
        T::Map | T::MapList | T::Struct | T::StructList | T::ValueList | T::ValueSet => {
            json(values)?
        }
        _ => lists(column)?,
    };
    Ok(array)
}

fn numbers<T: ArrowPrimitiveType>(
    values: &[Value],
    number: impl Fn(&Value) -> Option<T::Native>,
) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(values.len());
    for value in values {
        builder.append_option(number(value));
    }
    Arc::new(builder.finish())
}

fn times(values: &[Value]) -> Result<ArrayRef, ArrowError> {
    let mut builder = TimestampMicrosecondBuilder::with_capacity(values.len()).with_timezone("UTC");
    for value in values {
        builder.append_option(match value {
            Value::UnixTimestamp(seconds) | Value::ZonedTimestamp { seconds, .. } => {
                micros(*seconds)?
            }
            _ => None,
        });
    }
    Ok(Arc::new(builder.finish()))
}

fn micros(seconds: i64) -> Result<Option<i64>, ArrowError> {
    if seconds == NULL_TIMESTAMP {
        return Ok(None);
    }
    let micros = seconds.checked_mul(MICROS);
    let too_far = || ArrowError::ComputeError("a time lies out of range".to_owned());
    micros.map(Some).ok_or_else(too_far)
}

fn json(values: &[Value]) -> Result<ArrayRef, ArrowError> {
    let mut builder = StringBuilder::new();
    for value in values {
        if value.is_null() {
            builder.append_null();
            continue;
        }
        let text = serde_json::to_string(value);
        builder.append_value(text.map_err(|error| ArrowError::JsonError(error.to_string()))?);
    }
    Ok(Arc::new(builder.finish()))
}

/// Lists and sets of scalars and of texts.
fn lists(column: &Column) -> Result<ArrayRef, ArrowError> {
    let Some(DataType::List(item)) = data_type(column.value_type) else {
        let kind = column.value_type.name();
        return Err(ArrowError::NotYetImplemented(format!("{kind} in Arrow")));
    };
    let values = &column.values;
    let array: ArrayRef = match item.data_type() {
        DataType::Binary => {
            let mut builder = ListBuilder::new(BinaryBuilder::new());
            for value in values {
                let items = match value {
                    Value::List(List::Bytes(items)) | Value::Set(List::Bytes(items)) => items,
                    _ => {
                        builder.append(false);
                        continue;
                    }
                };
                for bytes in items {
                    builder.values().append_value(bytes);
                }
                builder.append(true);
            }
            Arc::new(builder.finish())
        }
        DataType::Utf8 => {
            let mut builder = ListBuilder::new(StringBuilder::new());
            for value in values {
                let items = match value {
                    Value::List(List::String(items))
                    | Value::Set(List::String(items))
                    | Value::TextList(_, items)
                    | Value::TextSet(_, items) => items,
                    _ => {
                        builder.append(false);
                        continue;
                    }
                };
                for text in items {
                    builder.values().append_value(text);
                }
                builder.append(true);
            }
            Arc::new(builder.finish())
        }
        DataType::Boolean => {
            let mut builder = ListBuilder::new(BooleanBuilder::new());
            for value in values {
                let items = match value {
                    Value::List(List::Bool(items)) | Value::Set(List::Bool(items)) => items,
                    _ => {
                        builder.append(false);
                        continue;
                    }
                };
                builder.values().append_slice(items);
                builder.append(true);
            }
            Arc::new(builder.finish())
        }
        DataType::Int32 => number_lists::<Int32Type>(values, |list| match list {
            List::Int32(items) => Some(items),
            _ => None,
        }),
        DataType::Int64 => number_lists::<Int64Type>(values, |list| match list {
            List::Int64(items) => Some(items),
            _ => None,
        }),
        DataType::Float32 => number_lists::<Float32Type>(values, |list| match list {
            List::Float(items) => Some(items),
            _ => None,
        }),
        DataType::Float64 => number_lists::<Float64Type>(values, |list| match list {
            List::Double(items) => Some(items),
            _ => None,
        }),
        _ => time_lists(values)?,
    };
    Ok(array)
}

fn number_lists<T: ArrowPrimitiveType>(
    values: &[Value],
    items: impl Fn(&List) -> Option<&Vec<T::Native>>,
) -> ArrayRef {
    let mut builder = ListBuilder::new(PrimitiveBuilder::<T>::new());
    for value in values {
        let items = match value {
            Value::List(list) | Value::Set(list) => items(list),
            _ => None,
        };
        if let Some(items) = items {
            builder.values().append_slice(items);
        }
        builder.append(items.is_some());
    }
    Arc::new(builder.finish())
}

fn time_lists(values: &[Value]) -> Result<ArrayRef, ArrowError> {
    let item = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut builder = ListBuilder::new(item).with_field(item_field(time()));
    for value in values {
        let items = match value {
            Value::List(List::UnixTimestamp(items)) | Value::Set(List::UnixTimestamp(items)) => {
                items
            }
            _ => {
                builder.append(false);
                continue;
            }
        };
        for seconds in items {
            builder.values().append_option(micros(*seconds)?);
        }
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}

/// An array as feature values; `None` where nothing of its type can become the wanted one. What the check of computed columns
/// refuses may still be converted as Feast converts it when it writes.
pub(in crate::features) fn values(
    array: &ArrayRef,
    value_type: ValueType,
) -> Result<Option<Vec<Value>>, ArrowError> {
    if array.data_type().is_null() {
        return Ok(Some(vec![Value::Null; array.len()]));
    }
    let Some(mut values) = convert::values(array, value_type)? else {
        return Ok(None);
    };
    if value_type == ValueType::UnixTimestamp {
        for (row, value) in values.iter_mut().enumerate() {
            if array.is_null(row) {
                *value = Value::Null;
            }
        }
    }
    Ok(Some(values))
}

/// A column of a source in the type that `data_type` says, its values as `convert` makes them; `None` where nothing of its type
/// can become the wanted one.
pub(in crate::features) fn of_source(
    array: &ArrayRef,
    value_type: ValueType,
) -> Result<Option<ArrayRef>, ArrowError> {
    use ValueType as T;
    if array.data_type().is_null() {
        return Ok(data_type(value_type).map(|kind| new_null_array(&kind, array.len())));
    }
    match value_type {
        // Without a detour over single values.
        T::Bytes | T::String | T::Int32 | T::Int64 | T::Bool => {
            convert::canonical(array, value_type)
        }
        T::Double => Ok(convert::canonical(array, value_type)?.map(without_nan::<Float64Type>)),
        T::Float => Ok(convert::canonical(array, value_type)?.map(without_nan::<Float32Type>)),
        _ => {
            let Some(values) = values(array, value_type)? else {
                return Ok(None);
            };
            let column = Column {
                name: String::new(),
                value_type,
                values,
            };
            self::array(&column).map(Some)
        }
    }
}

/// NaN is null.
fn without_nan<T: ArrowPrimitiveType>(array: ArrayRef) -> ArrayRef
where
    T::Native: PartialEq,
{
    let numbers = array.as_primitive::<T>();
    // Only NaN differs from itself.
    #[expect(clippy::eq_op, reason = "what NaN is told by, for every width")]
    let is_nan = |number: &T::Native| number != number;
    if !numbers.values().iter().any(is_nan) {
        return array;
    }
    let numbers = numbers
        .iter()
        .map(|number| number.filter(|number| !is_nan(number)));
    Arc::new(numbers.collect::<PrimitiveArray<T>>())
}
