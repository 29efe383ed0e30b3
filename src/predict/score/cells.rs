//! A column of a table as the values of a request: what the same row would say in JSON.
//!
//! Times are whole seconds, as UNIX_TIMESTAMP features are; bytes are base64; decimals are numbers. Anything else that JSON
//! has no plain form of is refused.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, UInt64Type};
use arrow::error::ArrowError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::features::strict_cast;
use crate::types::cell::Cell;

/// One cell for each row; `None` for a column of a type that no request could give.
///
/// Errors: a value that does not fit, such as a time far outside any calendar.
pub(super) fn cells(array: &ArrayRef) -> Result<Option<Vec<Cell>>, ArrowError> {
    Ok(Some(match array.data_type() {
        DataType::Null => vec![Cell::Null; array.len()],
        DataType::Boolean => each(array.as_boolean(), Cell::Bool),
        DataType::UInt64 => each(array.as_primitive::<UInt64Type>(), |number| {
            i64::try_from(number).map_or(Cell::UInt(number), Cell::Int)
        }),
        kind if kind.is_integer() => {
            let array = strict_cast(array, &DataType::Int64)?;
            each(array.as_primitive::<Int64Type>(), Cell::Int)
        }
        kind if kind.is_floating() || kind.is_decimal() => {
            let array = strict_cast(array, &DataType::Float64)?;
            each(array.as_primitive::<Float64Type>(), Cell::Float)
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => times(array)?,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let array = strict_cast(array, &DataType::Utf8)?;
            each(array.as_string::<i32>(), |text| Cell::Text(text.to_owned()))
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let array = strict_cast(array, &DataType::Binary)?;
            each(array.as_binary::<i32>(), |bytes| {
                Cell::Text(STANDARD.encode(bytes))
            })
        }
        DataType::Dictionary(_, values) => return cells(&strict_cast(array, values)?),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return cells(&strict_cast(array, &DataType::List(item.clone()))?);
        }
        DataType::List(_) => return lists(array),
        _ => return Ok(None),
    }))
}

/// Rounded down, as times of features are; without a zone they are in UTC.
fn times(array: &ArrayRef) -> Result<Vec<Cell>, ArrowError> {
    const DAY: i64 = 86_400;
    let per_second = match array.data_type() {
        DataType::Date32 => {
            let days = strict_cast(&strict_cast(array, &DataType::Int32)?, &DataType::Int64)?;
            let days = days.as_primitive::<Int64Type>();
            return Ok(each(days, |days| Cell::Int(days * DAY)));
        }
        DataType::Timestamp(TimeUnit::Second, _) => 1,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000_000,
        // Dates of 64 bits and the remaining unit.
        _ => 1_000,
    };
    let parts = strict_cast(array, &DataType::Int64)?;
    let parts = parts.as_primitive::<Int64Type>();
    Ok(each(parts, |parts| Cell::Int(parts.div_euclid(per_second))))
}

fn lists(array: &ArrayRef) -> Result<Option<Vec<Cell>>, ArrowError> {
    let mut lists = Vec::with_capacity(array.len());
    for list in array.as_list::<i32>().iter() {
        lists.push(match list {
            None => Cell::Null,
            Some(items) => match cells(&items)? {
                Some(items) => Cell::List(items),
                None => return Ok(None),
            },
        });
    }
    Ok(Some(lists))
}

fn each<T>(items: impl IntoIterator<Item = Option<T>>, cell: impl Fn(T) -> Cell) -> Vec<Cell> {
    let item = |item: Option<T>| item.map_or(Cell::Null, &cell);
    items.into_iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Date32Array, DictionaryArray, Float32Array, Int32Array, ListArray,
        StringArray, StructArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn of(array: impl Array + 'static) -> Vec<Cell> {
        let array: ArrayRef = Arc::new(array);
        cells(&array).unwrap().unwrap()
    }

    #[test]
    fn values_are_those_that_json_would_say() {
        assert_eq!(
            of(Int32Array::from(vec![Some(1), None])),
            [Cell::Int(1), Cell::Null]
        );
        assert_eq!(
            of(UInt64Array::from(vec![7, u64::MAX])),
            [Cell::Int(7), Cell::UInt(u64::MAX)]
        );
        assert_eq!(
            of(Float32Array::from(vec![0.1])),
            [Cell::Float(f64::from(0.1_f32))]
        );
        assert_eq!(
            of(StringArray::from(vec!["007"])),
            [Cell::Text("007".into())]
        );
        assert_eq!(
            of(BinaryArray::from(vec![&b"ab"[..]])),
            [Cell::Text("YWI=".into())]
        );
        let dictionary: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
        assert_eq!(of(dictionary)[2], Cell::Text("a".into()));
    }

    #[test]
    fn times_are_whole_seconds_rounded_down() {
        let times = TimestampNanosecondArray::from(vec![Some(1_500_000_000), Some(-1), None]);
        assert_eq!(of(times), [Cell::Int(1), Cell::Int(-1), Cell::Null]);
        let days = Date32Array::from(vec![2]);
        assert_eq!(of(days), [Cell::Int(172_800)]);
    }

    #[test]
    fn lists_stay_lists_and_what_json_cannot_say_is_refused() {
        let lists = vec![Some(vec![Some(1), None]), None];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
        assert_eq!(
            of(lists),
            [Cell::List(vec![Cell::Int(1), Cell::Null]), Cell::Null]
        );
        let nested: ArrayRef = Arc::new(StructArray::new_empty_fields(2, None));
        assert!(cells(&nested).unwrap().is_none());
    }
}
