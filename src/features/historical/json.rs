//! Columns of the result as JSON: times are RFC 3339 in UTC, bytes base64, what JSON has no number for is text.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::Error;
use crate::features::offline::utc_micros;
use crate::types::timestamp::Timestamp;

/// One value per row.
pub fn json_values(array: &ArrayRef) -> Result<Vec<Json>, Error> {
    let failed = Error::Assemble;
    Ok(match array.data_type() {
        DataType::Null => vec![Json::Null; array.len()],
        DataType::Boolean => each(array.as_boolean(), Json::from),
        DataType::UInt64 => each(array.as_primitive::<UInt64Type>(), Json::from),
        kind if kind.is_integer() => {
            let array = cast(array, &DataType::Int64).map_err(failed)?;
            each(array.as_primitive::<Int64Type>(), Json::from)
        }
        kind if kind.is_floating() => {
            let array = cast(array, &DataType::Float64).map_err(failed)?;
            each(array.as_primitive::<Float64Type>(), number)
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let array = utc_micros(array).map_err(failed)?;
            each(array.as_primitive::<TimestampMicrosecondType>(), |micros| {
                Json::from(Timestamp::from_micros(micros).to_string())
            })
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let array = cast(array, &DataType::Binary).map_err(failed)?;
            each(array.as_binary::<i32>(), |bytes| {
                Json::from(STANDARD.encode(bytes))
            })
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let lists = lists.iter().map(|list| match list {
                Some(list) => Ok(Json::Array(json_values(&list)?)),
                None => Ok(Json::Null),
            });
            lists.collect::<Result<_, Error>>()?
        }
        _ => {
            let array = cast(array, &DataType::Utf8).map_err(failed)?;
            each(array.as_string::<i32>(), Json::from)
        }
    })
}

fn each<T>(items: impl IntoIterator<Item = Option<T>>, json: impl Fn(T) -> Json) -> Vec<Json> {
    let item = |item: Option<T>| item.map_or(Json::Null, &json);
    items.into_iter().map(item).collect()
}

fn number(number: f64) -> Json {
    match serde_json::Number::from_f64(number) {
        Some(number) => Json::Number(number),
        None if number.is_nan() => Json::from("NaN"),
        None if number > 0.0 => Json::from("Infinity"),
        None => Json::from("-Infinity"),
    }
}
