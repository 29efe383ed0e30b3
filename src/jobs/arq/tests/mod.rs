//! The codec against what real arq, CPython and msgpack wrote: `tests/fixtures/arq`.

mod handwritten;
mod hostile;
mod pickles;
mod properties;
mod scenarios;
mod written;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::jobs::value::{Object, Value};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/arq")
        .join(name)
}

/// A file of golden data. It has one lone surrogate, which strict JSON refuses; bytes stand beside it in hex.
fn golden(name: &str) -> serde_json::Value {
    let text = fs_err::read_to_string(path(name)).unwrap();
    serde_json::from_str(&text.replace("\\ud800y", "\\ufffdy")).unwrap()
}

fn unhex(item: &serde_json::Value) -> Vec<u8> {
    let digits = item.as_str().unwrap();
    let byte = |place: usize| u8::from_str_radix(&digits[place..place + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value with the tags of the golden data; see their README.
fn tagged(value: &Value) -> serde_json::Value {
    match value {
        Value::None => json!(null),
        Value::Bool(flag) => json!(flag),
        Value::Int(value) if value.unsigned_abs() < 1 << 53 => json!(value),
        Value::Int(value) => json!({"$int": value.to_string()}),
        Value::BigInt(value) => json!({"$int": value.to_string()}),
        Value::Float(value) => tagged_float(*value),
        Value::Str(text) => json!(text),
        Value::Bytes(bytes) => json!({"$bytes": hex(bytes)}),
        Value::ByteArray(bytes) => json!({"$bytearray": hex(bytes)}),
        Value::List(items) => tagged_items(items),
        Value::Tuple(items) => json!({"$tuple": tagged_items(items)}),
        Value::Set(items) => json!({"$set": sorted(items)}),
        Value::FrozenSet(items) => json!({"$frozenset": sorted(items)}),
        Value::Dict(pairs) => tagged_pairs(pairs),
        Value::DateTime(moment) => json!({"$datetime": moment.to_string()}),
        Value::Date(date) => json!({"$date": date.to_string()}),
        Value::TimeDelta(span) => {
            json!({"$timedelta_us": i64::try_from(span.total_micros()).unwrap()})
        }
        Value::Decimal(text) => json!({"$decimal": text}),
        Value::Uuid(uuid) => json!({"$uuid": uuid.to_string()}),
        Value::Complex { re, im } => json!({"$complex": [re, im]}),
        Value::Object(object) if object.name == "Ellipsis" => json!({"$repr": "Ellipsis"}),
        Value::Object(object) => tagged_object(object),
    }
}

fn tagged_object(object: &Object) -> serde_json::Value {
    let mut exception = json!({
        "module": object.module,
        "name": object.name,
        "args": tagged_items(&object.args),
    });
    if !matches!(&object.state, Value::None) && object.state != Value::Dict(Vec::new()) {
        exception["state"] = tagged(&object.state);
    }
    json!({"$exc": exception})
}

fn tagged_items(items: &[Value]) -> serde_json::Value {
    items.iter().map(tagged).collect()
}

fn sorted(items: &[Value]) -> serde_json::Value {
    let mut items: Vec<_> = items.iter().map(tagged).collect();
    items.sort_by_key(ToString::to_string);
    items.into()
}

fn tagged_pairs(pairs: &[(Value, Value)]) -> serde_json::Value {
    let is_plain = |key: &Value| key.as_str().is_some_and(|key| !key.starts_with('$'));
    if pairs.iter().all(|(key, _)| is_plain(key)) {
        let pair =
            |(key, value): &(Value, Value)| (key.as_str().unwrap().to_owned(), tagged(value));
        return serde_json::Value::Object(pairs.iter().map(pair).collect());
    }
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| json!([tagged(key), tagged(value)]))
        .collect();
    json!({"$dict": pairs})
}

/// Python writes floats with an exponent of at least two digits, and from 1e16 on.
fn tagged_float(value: f64) -> serde_json::Value {
    if value.is_finite() && value.fract() != 0.0 {
        return json!(value);
    }
    let text = match value {
        value if value.is_nan() => "nan".to_owned(),
        value if value.is_infinite() => if value > 0.0 { "inf" } else { "-inf" }.to_owned(),
        value => format!("{value:?}").replacen('e', "e+", 1),
    };
    json!({"$float": text})
}
