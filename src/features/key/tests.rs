//! Entity keys against those recorded from Feast.

use serde_json::Value as Json;

use super::super::testing::{bytes_of, hex, recorded, unhex};
use super::*;

/// The type and value of a recorded key, or `None` where Feast has no such key.
fn recorded_value(key: &Json) -> Option<KeyValue> {
    let value = &key["value"];
    Some(match key["value_field"].as_str().unwrap() {
        "bytes_val" => KeyValue::Bytes(bytes_of(value)),
        "string_val" => KeyValue::String(value.as_str().unwrap().to_owned()),
        "int32_val" => KeyValue::Int32(value.as_i64().unwrap().try_into().unwrap()),
        "int64_val" => KeyValue::Int64(value.as_i64().unwrap()),
        "unix_timestamp_val" => KeyValue::UnixTimestamp(value.as_i64().unwrap()),
        _ => return None,
    })
}

#[test]
fn keys_are_byte_for_byte_feasts() {
    let recorded = recorded("entity_keys.json");
    let mut n_keys = 0;
    for case in recorded["cases"].as_array().unwrap() {
        let keys = case["keys"].as_array().unwrap();
        let values: Option<Vec<KeyValue>> = keys.iter().map(recorded_value).collect();
        let Some(values) = values else {
            assert!(case.get("v3_error").is_some(), "{case}");
            continue;
        };
        let names: Vec<&str> = keys
            .iter()
            .map(|key| key["join_key"].as_str().unwrap())
            .collect();
        for (version, number) in [(KeyVersion::V2, 2), (KeyVersion::V3, 3)] {
            let layout = KeyLayout::new(version, &names);
            assert_eq!(hex(layout.prefix()), case[format!("prefix_v{number}_hex")]);
            let mut key = Vec::new();
            layout.encode(|i| &values[i], &mut key);
            assert_eq!(
                hex(&key),
                case[format!("v{number}_hex")],
                "{}",
                case["name"]
            );
            let redis = case.get(format!("redis_key_v{number}_hex"));
            for (project, wanted) in redis.and_then(Json::as_object).into_iter().flatten() {
                let mut redis_key = key.clone();
                redis_key.extend_from_slice(project.as_bytes());
                assert_eq!(hex(&redis_key), *wanted, "{}", case["name"]);
            }
            n_keys += 1;
        }
    }
    assert_eq!(n_keys, 42);
}

#[test]
fn types_without_a_key_are_refused() {
    let recorded = recorded("entity_keys.json");
    let mut n_refused = 0;
    for case in recorded["cases"].as_array().unwrap() {
        if case.get("v3_error").is_none() {
            continue;
        }
        let field = case["keys"][0]["value_field"].as_str().unwrap();
        let name = field.strip_suffix("_val").unwrap().to_uppercase();
        let value_type = (0..50)
            .filter_map(ValueType::from_number)
            .find(|t| t.name() == name);
        assert_eq!(
            KeyType::from_value_type(value_type.unwrap()),
            None,
            "{name}"
        );
        n_refused += 1;
    }
    assert_eq!(n_refused, 5);
}

#[test]
fn the_key_of_an_entityless_view_is_feasts() {
    let recorded = recorded("entity_keys.json");
    let cases = recorded["cases"].as_array().unwrap();
    let case = cases
        .iter()
        .find(|case| case["name"] == "entityless view")
        .unwrap();
    for (version, wanted) in [
        (KeyVersion::V2, &case["v2_hex"]),
        (KeyVersion::V3, &case["v3_hex"]),
    ] {
        let mut key = Vec::new();
        let no_values = |_| -> &KeyValue { unreachable!("the key is constant") };
        KeyLayout::entityless(version).encode(no_values, &mut key);
        assert_eq!(hex(&key), *wanted);
    }
}

#[test]
fn request_values_convert_as_in_feast() {
    use KeyType as T;
    let text = |text: &str| Cell::Text(text.to_owned());
    for (key_type, cell, wanted) in [
        (T::Int64, Cell::Int(12), KeyValue::Int64(12)),
        (T::Int64, text("12"), KeyValue::Int64(12)),
        (T::Int64, text(" -12 "), KeyValue::Int64(-12)),
        (T::Int64, Cell::Float(12.0), KeyValue::Int64(12)),
        (T::Int64, Cell::Bool(true), KeyValue::Int64(1)),
        (
            T::Int64,
            Cell::Float(-(2f64.powi(63))),
            KeyValue::Int64(i64::MIN),
        ),
        (T::Int32, Cell::Int(-3), KeyValue::Int32(-3)),
        (T::String, text("r-1"), KeyValue::String("r-1".into())),
        (T::String, Cell::Int(5), KeyValue::String("5".into())),
        (T::String, Cell::Float(5.0), KeyValue::String("5.0".into())),
        (T::String, Cell::Bool(true), KeyValue::String("True".into())),
        (
            T::UnixTimestamp,
            Cell::Int(1_709_251_200),
            KeyValue::UnixTimestamp(1_709_251_200),
        ),
        (
            T::Bytes,
            text("AQIA/w=="),
            KeyValue::Bytes(vec![1, 2, 0, 255]),
        ),
    ] {
        assert_eq!(key_type.convert(&cell), Ok(wanted), "{cell:?}");
    }
}

#[test]
fn a_value_that_does_not_convert_is_named_with_both_types() {
    let long = "x".repeat(100);
    for (key_type, cell, message) in [
        (
            KeyType::Int64,
            Cell::Text("abc".into()),
            "wanted INT64, got string `abc`",
        ),
        (
            KeyType::Int64,
            Cell::Float(12.5),
            "wanted INT64, got number `12.5`",
        ),
        (
            KeyType::Int64,
            Cell::Float(2f64.powi(63)),
            "wanted INT64, got number `9.223372036854776e+18`",
        ),
        (
            KeyType::Int64,
            Cell::Float(f64::NAN),
            "wanted INT64, got number `nan`",
        ),
        (
            KeyType::Int64,
            Cell::UInt(u64::MAX),
            "wanted INT64, got integer `18446744073709551615`",
        ),
        (
            KeyType::Int32,
            Cell::Int(1 << 31),
            "wanted INT32, got integer `2147483648`",
        ),
        (KeyType::String, Cell::Null, "wanted STRING, got null"),
        (
            KeyType::String,
            Cell::List(vec![]),
            "wanted STRING, got list",
        ),
        (
            KeyType::Bytes,
            Cell::Text("?".into()),
            "wanted BYTES, got string `?`",
        ),
        (
            KeyType::Int64,
            Cell::Text(long),
            "wanted INT64, got string `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...`",
        ),
    ] {
        assert_eq!(key_type.convert(&cell).unwrap_err().to_string(), message);
    }
}

#[test]
fn deduplication_keeps_first_appearances_in_order() {
    let mut keys = EntityKeys::default();
    for key in ["b", "a", "b", "c", "a"] {
        keys.push_with(|bytes| bytes.extend_from_slice(key.as_bytes()));
    }
    assert_eq!(keys.deduplicate(), [0, 1, 0, 2, 1]);
    let left: Vec<&[u8]> = keys.iter().collect();
    assert_eq!(left, [b"b", b"a", b"c"]);
}

#[test]
fn what_stands_behind_a_key_is_split_from_it() {
    for version in [KeyVersion::V2, KeyVersion::V3] {
        let layout = KeyLayout::new(version, &["driver_id", "rider_code"]);
        let values = [
            KeyValue::Int64(0x5f73_706f),
            KeyValue::String("*ops".to_owned()),
        ];
        let mut key = Vec::new();
        layout.encode(|i| &values[i], &mut key);
        for project in ["", "ops", "ride_ops"] {
            let whole = [key.as_slice(), project.as_bytes()].concat();
            let split = layout.split(&whole);
            assert_eq!(split, Some((key.as_slice(), project.as_bytes())));
        }
        for end in 0..key.len() {
            assert_eq!(layout.split(&key[..end]), None, "a part of a key is none");
        }
        let other = KeyLayout::new(version, &["driver_id"]);
        assert_eq!(other.split(&key), None, "{version:?}");
    }
}

#[test]
fn a_value_of_an_impossible_type_or_length_is_no_key() {
    let layout = KeyLayout::new(KeyVersion::V3, &["k"]);
    for value in [
        "05000000 08000000 0000000000000000",
        "04000000 04000000 00000000",
        "03000000 08000000 0000000000000000",
        "02000000 ffffffff 61",
        "02000000",
    ] {
        let value = unhex(&value.replace(' ', ""));
        let whole = [layout.prefix(), &value].concat();
        assert_eq!(layout.split(&whole), None);
    }
    let entityless = KeyLayout::entityless(KeyVersion::V3);
    let whole = [entityless.prefix(), b"ops"].concat();
    assert_eq!(
        entityless.split(&whole),
        Some((entityless.prefix(), &b"ops"[..]))
    );
}
