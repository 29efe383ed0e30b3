//! Online rows beside offline rows: which features are equal.
//!
//! Equal are values of one type and the same bits. The order of sets and of a map's entries means nothing, and a NaN is a NaN.
//! A feature that is not there is not a null.

use super::offline::OfflineRow;
use super::online::OnlineRow;
use super::report::{FeatureSkew, MAX_EXAMPLES, Mismatch, Side, ViewSkew};
use super::sample::SampledKey;
use crate::features::offline::PullLatest;
use crate::types::timestamp::Timestamp;
use crate::types::value::{List, Map, Value};

/// One key in both stores.
pub(super) struct Row<'a> {
    pub(super) key: &'a SampledKey,
    pub(super) online: Option<OnlineRow>,
    /// At the time of the online row; where there is none, a row that should have been materialized.
    pub(super) offline: Option<OfflineRow>,
}

/// The rows have the features of the pull, in its order.
pub(super) fn rows(pull: &PullLatest, rows: Vec<Row<'_>>, tolerance: f64) -> ViewSkew {
    let feature = |column: &crate::features::offline::Column| FeatureSkew {
        feature: column.field.name.clone(),
        n_compared: 0,
        n_mismatched: 0,
        examples: Vec::new(),
    };
    let mut skew = ViewSkew {
        n_sampled: rows.len(),
        n_not_online: 0,
        n_missed: 0,
        features: pull.features.iter().map(feature).collect(),
    };
    for row in rows {
        if row.online.is_none() {
            skew.n_not_online += 1;
            skew.n_missed += usize::from(row.offline.is_some());
        }
        let Some(event_timestamp) = row.event_timestamp() else {
            continue;
        };
        for (i, feature) in skew.features.iter_mut().enumerate() {
            let (online, offline) = (row.online_side(i), row.offline_side(i));
            feature.n_compared += 1;
            if are_equal(&online, &offline, tolerance) {
                continue;
            }
            feature.n_mismatched += 1;
            if feature.examples.len() < MAX_EXAMPLES {
                feature.examples.push(Mismatch {
                    entity_key: entity_key(pull, row.key),
                    event_timestamp,
                    online,
                    offline,
                });
            }
        }
    }
    skew
}

impl Row<'_> {
    fn event_timestamp(&self) -> Option<Timestamp> {
        let online = self.online.as_ref().map(|row| row.event_timestamp);
        online.or(self.offline.as_ref().map(|row| row.event_timestamp))
    }

    fn online_side(&self, feature: usize) -> Side {
        match &self.online {
            Some(row) => row.values[feature].clone(),
            None => Side::Missing,
        }
    }

    fn offline_side(&self, feature: usize) -> Side {
        match &self.offline {
            Some(row) => Side::Value(row.values[feature].clone()),
            None => Side::Missing,
        }
    }
}

fn entity_key(pull: &PullLatest, key: &SampledKey) -> Vec<(String, Value)> {
    let names = pull.keys.iter().map(|key| key.field.name.clone());
    let values = key.values.iter().map(|value| value.clone().into());
    names.zip(values).collect()
}

fn are_equal(online: &Side, offline: &Side, tolerance: f64) -> bool {
    match (online, offline) {
        (Side::Value(one), Side::Value(other)) => same(one, other, tolerance),
        (Side::Missing, Side::Missing) => true,
        (Side::Missing | Side::Invalid | Side::Value(_), _) => false,
    }
}

fn same(one: &Value, other: &Value, tolerance: f64) -> bool {
    match (one, other) {
        (Value::Double(one), Value::Double(other)) => {
            one.to_bits() == other.to_bits() || near(*one, *other, tolerance)
        }
        (Value::Float(one), Value::Float(other)) => {
            one.to_bits() == other.to_bits() || near(f64::from(*one), f64::from(*other), tolerance)
        }
        (Value::List(one), Value::List(other)) => in_order(&items(one), &items(other), tolerance),
        (Value::Set(one), Value::Set(other)) => in_any_order(&items(one), &items(other), tolerance),
        (Value::TextSet(kind, one), Value::TextSet(other_kind, other)) => {
            let is_in = |some: &Vec<String>, text| some.contains(text);
            kind == other_kind
                && one.iter().all(|text| is_in(other, text))
                && other.iter().all(|text| is_in(one, text))
        }
        (Value::Values(one), Value::Values(other)) => in_order(one, other, tolerance),
        (Value::ValueSet(one), Value::ValueSet(other)) => in_any_order(one, other, tolerance),
        (Value::Map(one), Value::Map(other)) | (Value::Struct(one), Value::Struct(other)) => {
            same_map(one, other, tolerance)
        }
        (Value::MapList(one), Value::MapList(other))
        | (Value::StructList(one), Value::StructList(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_map(one, other, tolerance))
        }
        _ => one == other,
    }
}

/// Two NaN of any bits; with a tolerance, numbers that lie so near.
fn near(one: f64, other: f64, tolerance: f64) -> bool {
    if one.is_nan() && other.is_nan() {
        return true;
    }
    let limit = tolerance * one.abs().max(other.abs()).max(1.0);
    let are_finite = one.is_finite() && other.is_finite();
    are_finite && tolerance > 0.0 && (one - other).abs() <= limit
}

fn in_order(one: &[Value], other: &[Value], tolerance: f64) -> bool {
    let mut pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.all(|(one, other)| same(one, other, tolerance))
}

fn in_any_order(one: &[Value], other: &[Value], tolerance: f64) -> bool {
    let is_in = |some: &[Value], value| some.iter().any(|own| same(own, value, tolerance));
    one.iter().all(|value| is_in(other, value)) && other.iter().all(|value| is_in(one, value))
}

fn same_map(one: &Map, other: &Map, tolerance: f64) -> bool {
    let of = |name: &String| other.iter().find(|(own, _)| own == name);
    let mut entries = one.iter();
    one.len() == other.len()
        && entries
            .all(|(name, value)| of(name).is_some_and(|(_, other)| same(value, other, tolerance)))
}

fn items(list: &List) -> Vec<Value> {
    match list {
        List::Bytes(items) => items.iter().cloned().map(Value::Bytes).collect(),
        List::String(items) => items.iter().cloned().map(Value::String).collect(),
        List::Int32(items) => items.iter().copied().map(Value::Int32).collect(),
        List::Int64(items) => items.iter().copied().map(Value::Int64).collect(),
        List::Double(items) => items.iter().copied().map(Value::Double).collect(),
        List::Float(items) => items.iter().copied().map(Value::Float).collect(),
        List::Bool(items) => items.iter().copied().map(Value::Bool).collect(),
        List::UnixTimestamp(items) => items.iter().copied().map(Value::UnixTimestamp).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::value::TextKind;

    #[test]
    fn numbers_have_the_same_bits_or_lie_within_the_tolerance() {
        let double = Value::Double;
        assert!(same(&double(0.1), &double(0.1), 0.0));
        assert!(!same(&double(0.1), &double(0.1 + 1e-16), 0.0));
        assert!(!same(&double(0.0), &double(-0.0), 0.0));
        assert!(same(&double(f64::NAN), &double(-f64::NAN), 0.0));
        assert!(same(&double(f64::INFINITY), &double(f64::INFINITY), 0.1));
        assert!(!same(
            &double(f64::INFINITY),
            &double(1.0),
            f64::MIN_POSITIVE
        ));
        assert!(same(&double(0.001), &double(0.0019), 1e-3));
        assert!(same(&double(1_000.0), &double(1_000.9), 1e-3));
        assert!(!same(&double(1_000.0), &double(1_001.1), 1e-3));
        assert!(same(&Value::Float(1.0), &Value::Float(1.000_1), 1e-3));
        assert!(!same(&Value::Float(1.0), &Value::Double(1.0), 1e-3));
        assert!(!same(&Value::Int64(1), &Value::Int64(2), 10.0));
    }

    #[test]
    fn lists_have_an_order_and_sets_and_maps_have_none() {
        let (one, other) = (vec![1, 2, 2], vec![2, 1]);
        let list = |items: &Vec<i64>| Value::List(List::Int64(items.clone()));
        let set = |items: &Vec<i64>| Value::Set(List::Int64(items.clone()));
        assert!(!same(&list(&one), &list(&other), 0.0));
        assert!(same(&list(&one), &list(&one), 0.0));
        assert!(same(&set(&one), &set(&other), 0.0));
        assert!(!same(&set(&one), &set(&vec![2, 3]), 0.0));
        assert!(!same(&set(&one), &list(&one), 0.0));

        let texts = |texts: &[&str]| {
            let texts = texts.iter().map(|&text| text.to_owned());
            Value::TextSet(TextKind::Uuid, texts.collect())
        };
        assert!(same(&texts(&["a", "b"]), &texts(&["b", "a"]), 0.0));
        assert!(!same(&texts(&["a", "b"]), &texts(&["a"]), 0.0));

        let entry = |name: &str, value| (name.to_owned(), Value::Double(value));
        let map = Value::Map(vec![entry("a", 1.0), entry("b", 2.0)]);
        let turned = Value::Map(vec![entry("b", 2.0), entry("a", 1.0)]);
        assert!(same(&map, &turned, 0.0));
        let shorter = Value::Map(vec![entry("a", 1.0)]);
        assert!(!same(&map, &shorter, 0.0) && !same(&shorter, &map, 0.0));
    }

    #[test]
    fn what_is_missing_is_not_null_and_what_is_invalid_equals_nothing() {
        let null = Side::Value(Value::Null);
        assert!(are_equal(&null, &null.clone(), 0.0));
        assert!(!are_equal(&Side::Missing, &null, 0.0));
        assert!(!are_equal(&null, &Side::Missing, 0.0));
        assert!(are_equal(&Side::Missing, &Side::Missing, 0.0));
        assert!(!are_equal(&Side::Invalid, &Side::Missing, 0.0));
        assert!(!are_equal(&Side::Invalid, &null, 0.0));
    }
}
