//! The codec against values recorded from Feast, and against hostile bytes.

use proptest::prelude::*;

use super::super::testing::{hex, recorded, unhex};
use super::*;
use crate::types::timestamp::Timestamp;
use crate::types::value::{List, TextKind, Value};

#[test]
fn every_recorded_value_decodes_to_feasts_json_and_encodes_to_the_same_bytes() {
    let recorded = recorded("values.json");
    let cases = recorded["cases"].as_array().unwrap();
    assert!(cases.len() > 70);
    for case in cases {
        let bytes = unhex(case["proto_hex"].as_str().unwrap());
        let value = decode(&bytes).unwrap();
        let json = serde_json::to_value(&value).unwrap();
        assert_eq!(json, case["http_json"], "{}", case["name"]);
        let mut again = Vec::new();
        encode(&value, &mut again);
        if case["name"] == "null_val" {
            assert!(again.is_empty(), "a null is always written as no bytes");
        } else {
            assert_eq!(hex(&again), hex(&bytes), "{}", case["name"]);
        }
    }
}

#[test]
fn unpacked_numbers_read_like_packed_ones() {
    assert_eq!(
        decode(&unhex("7206080108020803")).unwrap(),
        Value::List(List::Int64(vec![1, 2, 3]))
    );
    assert_eq!(
        decode(&unhex("8201050d0000c03f")).unwrap(),
        Value::List(List::Float(vec![1.5]))
    );
}

#[test]
fn hostile_bytes_are_told_apart() {
    for (bytes, wanted) in [
        ("12ff", WireError::Truncated),
        ("12ffffffffffffffffff01", WireError::Truncated),
        ("29000000", WireError::Truncated),
        ("20ffffffffffffffffffffff01", WireError::Overlong),
        ("1202fffe", WireError::NotUtf8),
        ("1801ff", WireError::Truncated),
        ("15", WireError::Truncated),
        (
            "0801",
            WireError::WrongWireType {
                field: 1,
                wire_type: 0,
            },
        ),
        (
            "0b",
            WireError::WrongWireType {
                field: 1,
                wire_type: 3,
            },
        ),
        ("980601", WireError::UnknownField { field: 99 }),
    ] {
        assert_eq!(decode(&unhex(bytes)).unwrap_err(), wanted, "{bytes}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let mut value = Value::Int64(1);
        for _ in 0..depth {
            value = Value::Values(vec![value]);
        }
        let mut bytes = Vec::new();
        encode(&value, &mut bytes);
        bytes
    };
    assert!(decode(&nested(32)).is_ok());
    assert_eq!(
        decode(&nested(33)).unwrap_err(),
        WireError::TooDeep { limit: 32 }
    );
}

#[test]
fn timestamps_are_microseconds_and_the_epoch_is_no_bytes() {
    for (micros, wanted) in [
        (0, ""),
        (1_709_251_200_000_000, "0880b584af06"),
        (1, "10e807"),
        (-1, "08ffffffffffffffffff0110988cebdc03"),
    ] {
        let timestamp = Timestamp::from_micros(micros);
        let mut bytes = Vec::new();
        encode_timestamp(timestamp, &mut bytes);
        assert_eq!(hex(&bytes), wanted);
        assert_eq!(decode_timestamp(&bytes).unwrap(), timestamp);
    }
}

fn any_list() -> impl Strategy<Value = List> {
    prop_oneof![
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4).prop_map(List::Bytes),
        prop::collection::vec(".{0,4}", 0..4).prop_map(List::String),
        prop::collection::vec(any::<i32>(), 0..4).prop_map(List::Int32),
        prop::collection::vec(any::<i64>(), 0..4).prop_map(List::Int64),
        prop::collection::vec(-1e300..1e300, 0..4).prop_map(List::Double),
        prop::collection::vec(-1e30f32..1e30, 0..4).prop_map(List::Float),
        prop::collection::vec(any::<bool>(), 0..4).prop_map(List::Bool),
        prop::collection::vec(any::<i64>(), 0..4).prop_map(List::UnixTimestamp),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just(TextKind::Json),
        Just(TextKind::Uuid),
        Just(TextKind::TimeUuid),
        Just(TextKind::Decimal)
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
        ".{0,9}".prop_map(Value::String),
        any::<i32>().prop_map(Value::Int32),
        any::<i64>().prop_map(Value::Int64),
        (-1e300..1e300).prop_map(Value::Double),
        (-1e30f32..1e30).prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::UnixTimestamp),
        any_list().prop_map(Value::List),
        any_list().prop_map(Value::Set),
        (kind.clone(), ".{0,9}").prop_map(|(kind, text)| Value::Text(kind, text)),
        (kind, prop::collection::vec(".{0,9}", 0..3))
            .prop_map(|(kind, texts)| Value::TextList(kind, texts)),
        (any::<i64>(), "[a-z]{0,5}")
            .prop_map(|(seconds, zone)| Value::ZonedTimestamp { seconds, zone }),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let map = prop::collection::vec((".{0,3}", inner.clone()), 0..3);
        prop_oneof![
            map.clone().prop_map(Value::Map),
            map.clone().prop_map(Value::Struct),
            prop::collection::vec(map, 0..3).prop_map(Value::MapList),
            prop::collection::vec(inner, 0..3).prop_map(Value::Values),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_a_round_trip(value in any_value()) {
        let mut bytes = Vec::new();
        encode(&value, &mut bytes);
        prop_assert_eq!(decode(&bytes).unwrap(), value);
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = decode_timestamp(&bytes);
    }

    #[test]
    fn damaged_values_decode_or_fail(value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Vec::new();
        encode(&value, &mut bytes);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }
    }
}
