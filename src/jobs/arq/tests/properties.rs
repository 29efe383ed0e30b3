//! Any value is read as it was written; any bytes are read or refused.

use num_bigint::BigInt;
use proptest::prelude::*;

use super::super::codec::Objects;
use super::super::{Accept, ArqJob, Codec, decode_job, decode_result, encode_job, keys, pickle};
use crate::jobs::value::{DateTime, TimeDelta, Value};

/// Bits of floats decide: a NaN is the same as itself, and zero is not minus zero.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => {
            left.to_bits() == right.to_bits() || left.is_nan() && right.is_nan()
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(left, right))
        }
        (Value::Dict(left), Value::Dict(right)) => {
            let pair = |((k1, v1), (k2, v2)): (&(Value, Value), &(Value, Value))| {
                same(k1, k2) && same(v1, v2)
            };
            left.len() == right.len() && left.iter().zip(right).all(pair)
        }
        _ => left == right,
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-70_000_i64..70_000).prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::Float),
        any::<String>().prop_map(Value::Str),
    ]
}

fn python_scalar() -> impl Strategy<Value = Value> {
    let moment = (
        -62_135_596_800_i64..253_402_300_800,
        0..1_000_000_i32,
        proptest::option::of(-86_399_999_999_i64..86_400_000_000),
    );
    prop_oneof![
        4 => scalar(),
        1 => proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::ByteArray),
        1 => proptest::collection::vec(any::<u8>(), 0..600).prop_map(|bytes| Value::from(BigInt::from_signed_bytes_le(&bytes))),
        1 => any::<u128>().prop_map(|number| Value::Uuid(uuid::Uuid::from_u128(number))),
        1 => (any::<f64>(), -1e3..1e3).prop_filter_map("NaN", |(re, im)| (!re.is_nan()).then_some(Value::Complex { re, im })),
        1 => "-?[0-9]{1,20}(\\.[0-9]{1,9})?(E[+-][0-9]{1,3})?".prop_map(Value::Decimal),
        1 => (-999_999_998..999_999_998_i64, any::<i32>(), any::<i32>()).prop_filter_map("range", |(days, seconds, micros)| {
            TimeDelta::new(days, seconds.into(), micros.into()).map(Value::TimeDelta)
        }),
        1 => (moment, any::<bool>()).prop_filter_map("range", |((seconds, micros, offset), fold)| {
            let moment = jiff::Timestamp::new(seconds, micros * 1_000).ok()?;
            let civil = moment.to_zoned(jiff::tz::TimeZone::UTC).datetime();
            DateTime::new(civil, offset, fold).map(|moment| Value::DateTime(Box::new(moment)))
        }),
    ]
}

fn nested(leaf: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            proptest::collection::vec((any::<String>(), inner), 0..8).prop_map(|pairs| {
                let pairs = pairs
                    .into_iter()
                    .map(|(key, value)| (Value::Str(key), value));
                Value::dict(pairs.collect()).unwrap()
            }),
        ]
    })
}

fn python_value() -> impl Strategy<Value = Value> {
    nested(python_scalar()).prop_flat_map(|value| {
        let tuple = Value::Tuple(vec![value.clone(), Value::None]);
        prop_oneof![
            Just(value.clone()),
            Just(tuple),
            proptest::collection::vec(scalar(), 0..8).prop_map(|items| Value::set(items).unwrap()),
            proptest::collection::vec((scalar(), Just(value)), 0..12)
                .prop_map(|pairs| Value::dict(pairs).unwrap()),
        ]
    })
}

fn has_nan(value: &Value) -> bool {
    match value {
        Value::Float(value) => value.is_nan(),
        Value::Set(items) => items.iter().any(has_nan),
        _ => false,
    }
}

fn job(value: Value) -> ArqJob {
    ArqJob {
        job_try: None,
        function: "predict".to_owned(),
        args: vec![value],
        kwargs: vec![("k".to_owned(), Value::None)],
        enqueued_at: keys::time(1_795_360_131_740),
    }
}

#[test]
fn a_value_as_deep_as_a_json_body_fits_into_a_job() {
    let text = format!("{}{}", "[".repeat(127), "]".repeat(127));
    let value = Value::from(serde_json::from_str::<serde_json::Value>(&text).unwrap());
    for codec in Codec::ALL {
        let bytes = encode_job(&job(value.clone()), codec).unwrap();
        let (read, _) = decode_job(&bytes, &Accept::default()).unwrap();
        assert_eq!(read.args, std::slice::from_ref(&value));
    }
}

proptest! {
    #[test]
    fn every_python_value_survives_a_pickle(value in python_value()) {
        prop_assume!(!has_nan(&value));
        let mut out = Vec::new();
        pickle::put_header(&mut out);
        pickle::put(&mut out, &value).unwrap();
        pickle::put_stop(&mut out);
        let read = pickle::decode(&out, Objects::Refuse, &Accept::default()).unwrap();
        prop_assert!(same(&read, &value), "{:?} is read as {:?}", value, read);
    }

    #[test]
    fn every_json_like_value_survives_every_codec(value in nested(scalar())) {
        for codec in Codec::ALL {
            let bytes = encode_job(&job(value.clone()), codec).unwrap();
            let (read, found) = decode_job(&bytes, &Accept::default()).unwrap();
            prop_assert_eq!(found, codec);
            prop_assert!(same(&read.args[0], &value), "{} makes {:?} of {:?}", codec, read.args[0], value);
        }
    }

    #[test]
    fn finite_values_survive_serde_json(value in nested(scalar().prop_filter("finite", |value| {
        !matches!(value, Value::Float(value) if !value.is_finite())
    }))) {
        let json = value.to_json().unwrap();
        prop_assert!(same(&Value::from(json.clone()), &value));
        let mut out = Vec::new();
        Codec::Json.put(&mut out, &value).unwrap();
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), json);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let accept = Accept { max_memory: 1 << 20, ..Accept::default() };
        for codec in Codec::ALL {
            for objects in [Objects::Refuse, Objects::Record] {
                let _ = codec.decode(&bytes, objects, &accept);
            }
        }
        let _ = decode_result(&bytes, &accept);
    }

    #[test]
    fn a_damaged_pickle_is_read_or_refused(value in python_value(), place in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut out = Vec::new();
        pickle::put_header(&mut out);
        pickle::put(&mut out, &value).unwrap();
        pickle::put_stop(&mut out);
        let place = place.index(out.len());
        out[place] = byte;
        let accept = Accept { max_memory: 1 << 20, ..Accept::default() };
        for objects in [Objects::Refuse, Objects::Record] {
            let _ = pickle::decode(&out, objects, &accept);
        }
    }
}
