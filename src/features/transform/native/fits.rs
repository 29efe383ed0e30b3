//! Which Arrow types can become which features, known before anything is computed.

use arrow::datatypes::DataType;

use crate::features::definitions::ValueType;

/// Whether a column of this Arrow type can become features of the type: the same kind; integers also as floating point, as
/// times (seconds) and, where each value fits, as narrower integers. Floating point never becomes integer, and text never
/// becomes a number.
pub(super) fn can_hold(value_type: ValueType, data_type: &DataType) -> bool {
    use ValueType as T;
    if data_type.is_null() {
        return !matches!(value_type, T::Invalid | T::ScalarMap | T::ZonedTimestamp);
    }
    let items_hold =
        |item: ValueType| item_type(data_type).is_some_and(|found| can_hold(item, found));
    match value_type {
        T::Invalid | T::Null | T::ScalarMap | T::ZonedTimestamp => false,
        T::Bool => *data_type == DataType::Boolean,
        T::Int32 | T::Int64 => data_type.is_integer(),
        T::Float | T::Double => data_type.is_numeric(),
        T::String | T::Json | T::Uuid | T::TimeUuid => is_text(data_type),
        T::Decimal => is_text(data_type) || data_type.is_integer() || is_decimal(data_type),
        T::Bytes => matches!(
            data_type,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        ),
        T::UnixTimestamp => {
            data_type.is_integer()
                || matches!(
                    data_type,
                    DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
                )
        }
        T::Map | T::Struct => is_map(data_type) || is_text(data_type),
        T::MapList | T::StructList => {
            is_text(data_type) || item_type(data_type).is_some_and(is_map)
        }
        T::ValueList | T::ValueSet => is_text(data_type) || item_type(data_type).is_some(),
        T::BytesList | T::BytesSet => items_hold(T::Bytes),
        T::StringList | T::StringSet => items_hold(T::String),
        T::Int32List | T::Int32Set => items_hold(T::Int32),
        T::Int64List | T::Int64Set => items_hold(T::Int64),
        T::DoubleList | T::DoubleSet => items_hold(T::Double),
        T::FloatList | T::FloatSet => items_hold(T::Float),
        T::BoolList | T::BoolSet => items_hold(T::Bool),
        T::UnixTimestampList | T::UnixTimestampSet => items_hold(T::UnixTimestamp),
        T::JsonList => items_hold(T::Json),
        T::UuidList | T::UuidSet | T::TimeUuidList | T::TimeUuidSet => items_hold(T::Uuid),
        T::DecimalList | T::DecimalSet => items_hold(T::Decimal),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_decimal(data_type: &DataType) -> bool {
    data_type.is_numeric() && !data_type.is_integer() && !data_type.is_floating()
}

fn is_map(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Struct(_) | DataType::Map(..))
}

fn item_type(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}
