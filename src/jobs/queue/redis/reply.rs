//! What scripts answer, taken apart. `None` throughout: it has another form.

use bytes::Bytes;
use redis::Value;

use crate::types::timestamp::Timestamp;

pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

pub(super) fn array_of<const N: usize>(value: Value) -> Option<[Value; N]> {
    array(value)?.try_into().ok()
}

pub(super) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// `Some(None)` for nothing.
pub(super) fn optional_bytes(value: Value) -> Option<Option<Bytes>> {
    match value {
        Value::Nil => Some(None),
        value => Some(Some(bytes(value)?.into())),
    }
}

pub(super) fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

/// A score. Redis writes infinities as `inf`.
pub(super) fn score(value: &Value) -> Option<f64> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::Double(score) => Some(*score),
        Value::Int(number) => Some(*number as f64),
        _ => None,
    }
}

/// `Some(None)` for nothing.
pub(super) fn optional_score(value: &Value) -> Option<Option<f64>> {
    match value {
        Value::Nil => Some(None),
        value => Some(Some(score(value)?)),
    }
}

/// The moment of a score in milliseconds; saturates far outside any calendar.
pub(super) fn moment(score: f64) -> Timestamp {
    // The cast saturates.
    Timestamp::from_micros((score.trunc() as i64).saturating_mul(1_000))
}

/// Numbers, all of them.
pub(super) fn ints(value: Value) -> Option<Vec<i64>> {
    array(value)?.iter().map(int).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_a_double_and_its_moment_is_whole() {
        let score = |text: &str| score(&Value::BulkString(text.as_bytes().to_vec()));
        assert_eq!(score("1795360141123"), Some(1_795_360_141_123.0));
        assert_eq!(score("1.5e3"), Some(1500.0));
        assert_eq!(score("inf"), Some(f64::INFINITY));
        assert_eq!(score("x"), None);
        assert_eq!(moment(1.9), Timestamp::from_micros(1_000));
        assert_eq!(moment(-1.9), Timestamp::from_micros(-1_000));
        assert_eq!(moment(f64::INFINITY).as_micros(), i64::MAX);
    }
}
