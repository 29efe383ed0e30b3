//! Values and `serde_json`: what a job carries as a JSON body would, and a view of any result for people.
//!
//! | value | JSON |
//! |---|---|
//! | integers up to 64 bits, booleans, text, `None` | the same |
//! | floats | the same; `"NaN"`, `"Infinity"`, `"-Infinity"` as text |
//! | list, tuple, set, frozenset | array |
//! | dict with text keys | object |
//! | bytes, bytearray | text in padded base64 |
//! | datetime, date, UUID, Decimal | text, as Python's `str` or `isoformat` writes it |
//! | larger integers, timedelta, complex, other keys, objects | none: [`NotJson`], or text in the view |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, json};

use super::Value;

/// A value that JSON has no form for, and where it is.
#[derive(Debug, thiserror::Error)]
#[error("{what} at `{place}` has no form in JSON")]
pub struct NotJson {
    what: String,
    place: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Exact,
    Shown,
}

impl Value {
    /// The value as JSON, where nothing is lost but the difference between kinds of sequences and of text.
    pub fn to_json(&self) -> Result<serde_json::Value, NotJson> {
        convert(self, Mode::Exact).map_err(|(what, mut path)| {
            path.reverse();
            NotJson {
                what,
                place: format!("${}", path.concat()),
            }
        })
    }

    /// The value for people to read: whatever JSON has no form for is text.
    pub fn shown(&self) -> serde_json::Value {
        convert(self, Mode::Shown).unwrap_or_default()
    }
}

/// What cannot be converted, and the way to it, innermost step first.
type Misfit = (String, Vec<String>);

fn convert(value: &Value, mode: Mode) -> Result<serde_json::Value, Misfit> {
    Ok(match value {
        Value::None => serde_json::Value::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(value) => json!(value),
        Value::BigInt(value) => match u64::try_from(value.as_ref()) {
            Ok(value) => json!(value),
            Err(_) => text(value.to_string(), "an integer of more than 64 bits", mode)?,
        },
        Value::Float(value) => float(*value),
        Value::Str(text) => json!(text),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => json!(STANDARD.encode(bytes)),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            serde_json::Value::Array(array(items, mode)?)
        }
        Value::Dict(pairs) => serde_json::Value::Object(object(pairs, mode)?),
        Value::DateTime(value) => json!(value.to_string()),
        Value::Date(value) => json!(value.to_string()),
        Value::Decimal(value) => json!(value),
        Value::Uuid(value) => json!(value.to_string()),
        Value::TimeDelta(value) => text(value.to_string(), "a timedelta", mode)?,
        Value::Complex { re, im } => text(format!("({re}{im:+}j)"), "a complex number", mode)?,
        Value::Object(object) => {
            if mode == Mode::Exact {
                return misfit(format!("an object of class `{}`", object.name));
            }
            let mut shown = json!({
                "class": format!("{}.{}", object.module, object.name),
                "args": array(&object.args, mode)?,
            });
            if object.state != Value::None {
                shown["state"] = convert(&object.state, mode)?;
            }
            shown
        }
    })
}

fn misfit<T>(what: impl Into<String>) -> Result<T, Misfit> {
    Err((what.into(), Vec::new()))
}

fn text(shown: String, what: &str, mode: Mode) -> Result<serde_json::Value, Misfit> {
    match mode {
        Mode::Exact => misfit(what),
        Mode::Shown => Ok(json!(shown)),
    }
}

fn float(value: f64) -> serde_json::Value {
    match Number::from_f64(value) {
        Some(number) => serde_json::Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None if value > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

fn array(items: &[Value], mode: Mode) -> Result<Vec<serde_json::Value>, Misfit> {
    let mut array = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let item = convert(item, mode).map_err(|(what, mut path)| {
            path.push(format!("[{place}]"));
            (what, path)
        })?;
        array.push(item);
    }
    Ok(array)
}

fn object(pairs: &[(Value, Value)], mode: Mode) -> Result<Map<String, serde_json::Value>, Misfit> {
    let mut object = Map::with_capacity(pairs.len());
    for (key, value) in pairs {
        let key = match (key, mode) {
            (Value::Str(key), _) => key.clone(),
            (_, Mode::Exact) => return misfit(format!("a key of type {}", key.type_name())),
            (_, Mode::Shown) => match convert(key, mode)? {
                serde_json::Value::String(key) => key,
                key => key.to_string(),
            },
        };
        let value = convert(value, mode).map_err(|(what, mut path)| {
            path.push(format!(".{key}"));
            (what, path)
        })?;
        object.insert(key, value);
    }
    Ok(object)
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::None,
            serde_json::Value::Bool(flag) => Self::Bool(flag),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::from(value),
                (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Self::Str(text),
            serde_json::Value::Array(items) => {
                Self::List(items.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(object) => {
                let pair = |(key, value)| (Self::Str(key), Self::from(value));
                Self::Dict(object.into_iter().map(pair).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_64_bits_are_exact_both_ways() {
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "9007199254740993",
        ] {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(Value::from(json.clone()).to_json().unwrap(), json);
        }
    }

    #[test]
    fn what_json_lacks_is_named_with_its_place() {
        let big = Value::from(num_bigint::BigInt::from(u64::MAX) + 1);
        let value = Value::Dict(vec![(
            Value::from("x"),
            Value::Tuple(vec![Value::None, big]),
        )]);
        assert_eq!(
            value.to_json().unwrap_err().to_string(),
            "an integer of more than 64 bits at `$.x[1]` has no form in JSON"
        );
        assert_eq!(value.shown(), json!({"x": [null, "18446744073709551616"]}));
        let keyed = Value::Dict(vec![(Value::Int(1), Value::None)]);
        assert_eq!(
            keyed.to_json().unwrap_err().to_string(),
            "a key of type int at `$` has no form in JSON"
        );
        assert_eq!(keyed.shown(), json!({"1": null}));
    }

    #[test]
    fn numbers_without_json_form_are_the_house_texts() {
        let floats = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Value::Float);
        let json = Value::List(floats.to_vec()).to_json().unwrap();
        assert_eq!(json, json!(["NaN", "Infinity", "-Infinity"]));
    }
}
