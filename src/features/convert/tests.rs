//! Conversions, each against what Feast stores or against a rule of the module's doc.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int8Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type};

use super::*;
use crate::types::value::{List, TextKind, Value};

fn converted(array: impl arrow::array::Array + 'static, wanted: ValueType) -> Vec<Value> {
    let array: ArrayRef = Arc::new(array);
    values(&array, wanted).unwrap().unwrap()
}

#[test]
fn nulls_and_nan_are_null_except_for_timestamps_and_inside_lists() {
    let nulls = Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)]);
    assert_eq!(
        converted(nulls, ValueType::Float),
        [Value::Float(1.5), Value::Null, Value::Null]
    );
    let flags = BooleanArray::from(vec![Some(true), None]);
    assert_eq!(
        converted(flags, ValueType::Bool),
        [Value::Bool(true), Value::Null]
    );
    let times = TimestampMillisecondArray::from(vec![Some(-1_500), None]);
    assert_eq!(
        converted(times, ValueType::UnixTimestamp),
        [Value::UnixTimestamp(-2), Value::UnixTimestamp(i64::MIN)]
    );
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
        Some(vec![Some(1.0), None]),
        None,
        Some(vec![]),
    ]);
    assert_eq!(
        converted(lists, ValueType::DoubleList),
        [
            Value::List(List::Double(vec![1.0, 0.0])),
            Value::Null,
            Value::List(List::Double(vec![])),
        ]
    );
}

#[test]
fn integers_beside_a_null_keep_all_bits() {
    let big = 1_700_000_000_123_456_789;
    let numbers = Int64Array::from(vec![Some(big), None]);
    assert_eq!(
        converted(numbers, ValueType::Int64),
        [Value::Int64(big), Value::Null]
    );
}

#[test]
fn numbers_widen_and_narrow_only_where_they_fit() {
    assert_eq!(
        converted(Int8Array::from(vec![-1]), ValueType::Int64),
        [Value::Int64(-1)]
    );
    assert_eq!(
        converted(Int64Array::from(vec![5]), ValueType::Double),
        [Value::Double(5.0)]
    );
    assert_eq!(
        converted(Float64Array::from(vec![-2.9]), ValueType::Int32),
        [Value::Int32(-2)]
    );
    assert_eq!(
        converted(Date32Array::from(vec![1]), ValueType::UnixTimestamp),
        [Value::UnixTimestamp(86_400)]
    );
    let too_wide: ArrayRef = Arc::new(Int64Array::from(vec![1 << 31]));
    assert!(values(&too_wide, ValueType::Int32).is_err());
    let too_large: ArrayRef = Arc::new(Float64Array::from(vec![1e19]));
    assert!(values(&too_large, ValueType::Int64).is_err());
}

#[test]
fn a_sliced_list_column_gives_its_own_items() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), Some(2)]),
        Some(vec![Some(3)]),
        Some(vec![Some(4), Some(4)]),
    ]);
    let slice: ArrayRef = Arc::new(lists.slice(1, 2));
    assert_eq!(
        values(&slice, ValueType::Int64Set).unwrap().unwrap(),
        [
            Value::Set(List::Int64(vec![3])),
            Value::Set(List::Int64(vec![4]))
        ]
    );
}

#[test]
fn json_must_parse_and_is_kept_as_it_stands() {
    let texts = StringArray::from(vec![Some(" {\"a\" : 1}"), None]);
    assert_eq!(
        converted(texts, ValueType::Json),
        [
            Value::Text(TextKind::Json, " {\"a\" : 1}".into()),
            Value::Null
        ]
    );
    let broken: ArrayRef = Arc::new(StringArray::from(vec!["{"]));
    assert!(values(&broken, ValueType::Json).is_err());
    assert!(values(&broken, ValueType::Map).is_err());
}

#[test]
fn maps_in_json_are_typed_by_what_they_hold() {
    let texts = StringArray::from(vec![
        r#"{"i": 1, "d": 1.5, "n": null, "l": [1, 2], "x": [1, "a"], "o": {"b": true}}"#,
    ]);
    let entry = |key: &str, value| (key.to_owned(), value);
    assert_eq!(
        converted(texts, ValueType::Map),
        [Value::Map(vec![
            entry("i", Value::Int64(1)),
            entry("d", Value::Double(1.5)),
            entry("n", Value::Null),
            entry("l", Value::List(List::Int64(vec![1, 2]))),
            entry(
                "x",
                Value::Values(vec![Value::Int64(1), Value::String("a".into())])
            ),
            entry("o", Value::Map(vec![entry("b", Value::Bool(true))])),
        ])]
    );
}

#[test]
fn bytes_of_fixed_size_are_bytes() {
    let array = FixedSizeBinaryArray::try_from_iter([[1u8, 2], [3, 4]].iter()).unwrap();
    assert_eq!(
        converted(array, ValueType::Bytes),
        [Value::Bytes(vec![1, 2]), Value::Bytes(vec![3, 4])]
    );
}

#[test]
fn naive_and_zoned_times_are_the_same_moment() {
    let naive = TimestampMicrosecondArray::from(vec![1_500_000]);
    let zoned = naive.clone().with_timezone("+05:30");
    assert_eq!(
        converted(naive, ValueType::UnixTimestamp),
        [Value::UnixTimestamp(1)]
    );
    assert_eq!(
        converted(zoned, ValueType::UnixTimestamp),
        [Value::UnixTimestamp(1)]
    );
}
