//! Conversions against what Feast's own code made of the same columns, and against a naive oracle.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::features::codec;
use crate::features::definitions::ValueType;
use crate::features::python;
use crate::features::testing::{hex, recorded, unhex};
use crate::features::write::kind::Kind;
use crate::features::write::values::convert;
use crate::types::value::{List, Map, TextKind, Value};

fn value_type(name: &str) -> ValueType {
    let known = (0..64).filter_map(ValueType::from_number);
    let mut named = known.filter(|value_type| value_type.name() == name);
    named.next().unwrap()
}

/// In an order of its own: that of maps and sets means nothing.
fn sorted(value: Value) -> Value {
    let map = |map: Map| -> Map {
        let mut map: Map = map
            .into_iter()
            .map(|(key, value)| (key, sorted(value)))
            .collect();
        map.sort_by(|(left, _), (right, _)| left.cmp(right));
        map
    };
    match value {
        Value::Map(own) => Value::Map(map(own)),
        Value::Struct(own) => Value::Struct(map(own)),
        Value::MapList(maps) => Value::MapList(maps.into_iter().map(map).collect()),
        Value::StructList(maps) => Value::StructList(maps.into_iter().map(map).collect()),
        Value::Values(values) => Value::Values(values.into_iter().map(sorted).collect()),
        Value::ValueSet(values) => Value::ValueSet(values.into_iter().map(sorted).collect()),
        Value::TextSet(kind, mut texts) => {
            texts.sort();
            Value::TextSet(kind, texts)
        }
        Value::Set(List::String(mut items)) => {
            items.sort();
            Value::Set(List::String(items))
        }
        Value::Set(List::Int64(mut items)) => {
            items.sort();
            Value::Set(List::Int64(items))
        }
        Value::Set(List::Bool(mut items)) => {
            items.sort();
            Value::Set(List::Bool(items))
        }
        Value::Set(List::Double(mut items)) => {
            items.sort_by(f64::total_cmp);
            Value::Set(List::Double(items))
        }
        Value::Set(List::Float(mut items)) => {
            items.sort_by(f32::total_cmp);
            Value::Set(List::Float(items))
        }
        other => other,
    }
}

/// NaN differs from itself; its bytes do not.
fn bytes(value: &Value) -> String {
    let mut bytes = Vec::new();
    codec::encode(&sorted(value.clone()), &mut bytes);
    hex(&bytes)
}

/// Where something else is stored than by Feast.
fn is_stored_otherwise(wanted: ValueType, kind: &Kind) -> bool {
    let among_nulls =
        matches!(kind, Kind::List(items) if matches!(**items, Kind::Float | Kind::Null));
    match wanted {
        // Feast stores its null timestamp for every value of a floating-point column.
        ValueType::UnixTimestamp => *kind == Kind::Float,
        // Feast stores the text `NaN`, which is not JSON, for a null beside numbers.
        ValueType::Json => *kind == Kind::Float,
        ValueType::JsonList => among_nulls,
        _ => false,
    }
}

/// What Feast stores and we refuse: values that were meant as something else.
fn is_refused(wanted: ValueType, kind: &Kind) -> bool {
    use ValueType as T;
    let is_text = |kind: &Kind| matches!(kind, Kind::Text | Kind::Object(_));
    let has_texts = matches!(kind, Kind::List(items) if is_text(items) || **items == Kind::Null);
    match wanted {
        // `{"_value": ...}` with whatever Python prints of the value.
        T::Struct => !matches!(kind, Kind::Object(_)),
        // Only an empty object gets through.
        T::ScalarMap => matches!(kind, Kind::Object(_)),
        // The number 0, but no other.
        T::Uuid | T::TimeUuid | T::Decimal => *kind == Kind::Int,
        // A moment out of range, as its null timestamp.
        T::UnixTimestamp => *kind == Kind::Float,
        // `Infinity` and `NaN`.
        T::Json => *kind == Kind::Text,
        // The text `None` for a null.
        T::UuidSet | T::TimeUuidSet | T::DecimalSet => has_texts || is_text(kind),
        T::ValueList | T::ValueSet => has_texts || is_text(kind),
        // The characters of text, the keys of objects.
        _ => is_text(kind),
    }
}

/// What Feast refuses and we store.
fn is_taken(wanted: ValueType, kind: &Kind) -> bool {
    use ValueType as T;
    match wanted {
        T::Bytes | T::BytesList | T::BytesSet | T::ZonedTimestamp => true,
        // Integers.
        T::DoubleList | T::FloatList | T::DoubleSet | T::FloatSet => matches!(kind, Kind::List(_)),
        // 2^63 and up.
        T::Double | T::Bool => *kind == Kind::Int,
        // What is not text.
        T::Json | T::JsonList => true,
        // Lists as arrays, not as text; lists in maps.
        T::Map | T::Struct | T::MapList | T::StructList => true,
        // Null among lists of nothing else.
        T::ValueList | T::ValueSet => true,
        _ => false,
    }
}

#[test]
fn columns_become_what_feast_makes_of_them() {
    let recording = recorded("push_values.json");
    let columns = recording["columns"].as_array().unwrap();
    let (mut n_equal, mut n_refused, mut wrong) = (0, 0, Vec::new());
    for (name, outcomes) in recording["values"].as_object().unwrap() {
        let wanted = value_type(name);
        for (column, outcome) in columns.iter().zip(outcomes.as_array().unwrap()) {
            let column = column.as_array().unwrap();
            let ours = convert(column, wanted);
            let ours = ours.map(|ours| ours.iter().map(bytes).collect::<Vec<_>>());
            let feasts = outcome.as_array().map(|feasts| {
                let value = |hex: &Json| codec::decode(&unhex(hex.as_str().unwrap())).unwrap();
                feasts
                    .iter()
                    .map(|hex| bytes(&value(hex)))
                    .collect::<Vec<_>>()
            });
            let kind = Kind::of(column);
            let is_fine = match (&ours, &feasts, &kind) {
                (Ok(ours), Some(feasts), _) if ours == feasts => {
                    n_equal += 1;
                    true
                }
                (Err(_), None, _) => {
                    n_refused += 1;
                    true
                }
                (_, _, Err(_)) => false,
                (Ok(_), Some(_), Ok(kind)) => is_stored_otherwise(wanted, kind),
                (Err(_), Some(_), Ok(kind)) => is_refused(wanted, kind),
                (Ok(_), None, Ok(kind)) => is_taken(wanted, kind),
            };
            if !is_fine {
                wrong.push(format!("{name} of {column:?}: {ours:?}, Feast {feasts:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        n_equal > 1_000 && n_refused > 3_000,
        "{n_equal} {n_refused}"
    );
}

#[test]
fn bytes_and_zoned_timestamps_come_as_the_feature_server_renders_them() {
    let values = [
        Value::Bytes(vec![0, 255, 1]),
        Value::List(List::Bytes(vec![vec![1], vec![]])),
        Value::ZonedTimestamp {
            seconds: 1_709_600_400,
            zone: "UTC+05:30".to_owned(),
        },
    ];
    for (value, wanted) in values.into_iter().zip([
        ValueType::Bytes,
        ValueType::BytesList,
        ValueType::ZonedTimestamp,
    ]) {
        let json = serde_json::to_value(&value).unwrap();
        if wanted != ValueType::ZonedTimestamp {
            assert_eq!(convert(&[json], wanted), Ok(vec![value]));
        }
    }
    for (text, seconds, zone) in [
        ("2024-03-05T06:30:00+05:30", 1_709_600_400, "UTC+05:30"),
        ("2024-03-05T01:00:00Z", 1_709_600_400, "UTC"),
        ("2024-03-05T01:00:00", 1_709_600_400, ""),
        (
            "2024-03-04T17:00:00-08:00[America/Los_Angeles]",
            1_709_600_400,
            "America/Los_Angeles",
        ),
    ] {
        let zone = zone.to_owned();
        let value = Value::ZonedTimestamp { seconds, zone };
        assert_eq!(
            convert(&[json!(text)], ValueType::ZonedTimestamp),
            Ok(vec![value]),
            "{text}"
        );
    }
    assert!(convert(&[json!("not base64!")], ValueType::Bytes).is_err());
    assert!(convert(&[json!("soon")], ValueType::ZonedTimestamp).is_err());
}

#[test]
fn json_is_written_as_python_writes_it() {
    let column = [json!({"a": [1, 2.5], "b": "é\n\u{1f600}", "c": {"d": null, "e": true}})];
    let text = r#"{"a": [1.0, 2.5], "b": "\u00e9\n\ud83d\ude00", "c": {"d": null, "e": true}}"#;
    assert_eq!(
        convert(&column, ValueType::Json),
        Ok(vec![Value::Text(TextKind::Json, text.to_owned())])
    );
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<i64>().prop_map(Json::from),
        (-1e18..1e18).prop_map(|number: f64| json!(number)),
    ]
}

/// One number by pandas' rule: floating point if any of the column is, or is null.
fn oracle(column: &[Json], value: &Json, wanted: ValueType) -> Value {
    if value.is_null() {
        return Value::Null;
    }
    let is_float = column.iter().any(|value| value.is_null() || value.is_f64());
    let double = value.as_f64().unwrap();
    match wanted {
        ValueType::Double => Value::Double(double),
        ValueType::Float => Value::Float(double as f32),
        ValueType::String if is_float => Value::String(python::float_repr(double)),
        ValueType::String => Value::String(value.as_i64().unwrap().to_string()),
        _ if is_float => Value::Int64(double.trunc() as i64),
        _ => Value::Int64(value.as_i64().unwrap()),
    }
}

proptest! {
    #[test]
    fn numbers_convert_as_one_by_one(column in prop::collection::vec(scalar(), 1..20)) {
        for wanted in [ValueType::Int64, ValueType::Double, ValueType::Float, ValueType::String] {
            let wants: Vec<Value> = column.iter().map(|value| oracle(&column, value, wanted)).collect();
            match convert(&column, wanted) {
                Ok(values) => prop_assert_eq!(values, wants),
                // 2^63 - 1 as floating point is 2^63.
                Err(_) => prop_assert!(wants.contains(&Value::Int64(i64::MAX))),
            }
        }
    }

    #[test]
    fn whatever_the_column_no_conversion_panics(texts in prop::collection::vec(".{0,12}", 1..4), depth in 0_usize..4) {
        let mut column: Vec<Json> = texts.into_iter().map(Json::from).collect();
        for _ in 0..depth {
            column = column.into_iter().map(|value| json!([value, {"k": 1}])).collect();
        }
        for number in 0..64 {
            if let Some(wanted) = ValueType::from_number(number) {
                let _ = convert(&column, wanted);
            }
        }
    }
}
