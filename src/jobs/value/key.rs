//! Which keys are one key: Python's equality and hash, as far as dicts and sets of plain values need them.
//!
//! Integers, booleans and whole floats are equal when their numbers are. A NaN equals nothing. Frozensets are
//! compared in the order of their items, and a record of an object equals nothing: such duplicates stay.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use num_bigint::BigInt;

use super::Value;

/// A mutable value as a key of a dict or an item of a set; Python refuses it too.
#[derive(Debug, thiserror::Error)]
#[error("a {type_name} cannot be a key of a dict or an item of a set")]
pub struct Unhashable {
    pub type_name: &'static str,
}

pub(super) fn unique_pairs(pairs: Vec<(Value, Value)>) -> Result<Vec<(Value, Value)>, Unhashable> {
    for (key, _) in &pairs {
        hashable(key)?;
    }
    if all_different(pairs.iter().map(|(key, _)| key)) {
        return Ok(pairs);
    }
    let mut places: HashMap<Key<'_>, usize> = HashMap::with_capacity(pairs.len());
    let mut n_unique = 0;
    let targets: Vec<usize> = pairs
        .iter()
        .map(|(key, _)| {
            *places.entry(Key(key)).or_insert_with(|| {
                n_unique += 1;
                n_unique - 1
            })
        })
        .collect();
    drop(places);
    let mut unique: Vec<(Value, Value)> = Vec::with_capacity(n_unique);
    for ((key, value), target) in pairs.into_iter().zip(targets) {
        match unique.get_mut(target) {
            Some(earlier) => earlier.1 = value,
            None => unique.push((key, value)),
        }
    }
    Ok(unique)
}

pub(super) fn unique_items(items: Vec<Value>) -> Result<Vec<Value>, Unhashable> {
    for item in &items {
        hashable(item)?;
    }
    if all_different(items.iter()) {
        return Ok(items);
    }
    let mut seen = HashSet::with_capacity(items.len());
    let first: Vec<bool> = items.iter().map(|item| seen.insert(Key(item))).collect();
    drop(seen);
    let unique = items.into_iter().zip(first).filter(|(_, first)| *first);
    Ok(unique.map(|(item, _)| item).collect())
}

/// Few keys are compared with each other; many go through a table, which an adversary cannot fill unevenly.
fn all_different<'a>(keys: impl ExactSizeIterator<Item = &'a Value> + Clone) -> bool {
    const FEW: usize = 8;
    if keys.len() > FEW {
        let mut seen = HashSet::with_capacity(keys.len());
        return keys.map(Key).all(|key| seen.insert(key));
    }
    let later = keys.clone();
    keys.enumerate().all(|(place, key)| {
        later
            .clone()
            .skip(place + 1)
            .all(|other| Key(key) != Key(other))
    })
}

fn hashable(value: &Value) -> Result<(), Unhashable> {
    let type_name = match value {
        Value::List(_) => "list",
        Value::Dict(_) => "dict",
        Value::Set(_) => "set",
        Value::ByteArray(_) => "bytearray",
        Value::Tuple(items) | Value::FrozenSet(items) => {
            return items.iter().try_for_each(hashable);
        }
        _ => return Ok(()),
    };
    Err(Unhashable { type_name })
}

struct Key<'a>(&'a Value);

/// Numbers that Python takes for the same are the same here.
#[derive(PartialEq, Hash)]
enum Number<'a> {
    Int(i64),
    Big(&'a BigInt),
    Float(u64),
    Nan,
}

fn number(value: &Value) -> Option<Number<'_>> {
    match value {
        Value::Bool(flag) => Some(Number::Int(i64::from(*flag))),
        Value::Int(value) => Some(Number::Int(*value)),
        Value::BigInt(value) => Some(Number::Big(value)),
        Value::Float(value) => Some(float(*value)),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "within i64, as checked")]
fn float(value: f64) -> Number<'static> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if value.is_nan() {
        Number::Nan
    } else if value.fract() == 0.0 && (-BOUND..BOUND).contains(&value) {
        Number::Int(value as i64)
    } else {
        Number::Float(value.to_bits())
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        if let (Some(left), Some(right)) = (number(self.0), number(other.0)) {
            return left == right && left != Number::Nan;
        }
        match (self.0, other.0) {
            (Value::Tuple(left), Value::Tuple(right))
            | (Value::FrozenSet(left), Value::FrozenSet(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .all(|(left, right)| Key(left) == Key(right))
            }
            (Value::Object(_), _) => false,
            (left, right) => left == right,
        }
    }
}

/// Not reflexive for NaN and objects, which only means that a table keeps both: what Python does.
impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(number) = number(self.0) {
            return number.hash(state);
        }
        std::mem::discriminant(self.0).hash(state);
        match self.0 {
            Value::Str(text) | Value::Decimal(text) => text.hash(state),
            Value::Bytes(bytes) => bytes.hash(state),
            Value::Tuple(items) | Value::FrozenSet(items) => {
                items.iter().for_each(|item| Key(item).hash(state));
            }
            Value::DateTime(value) => value.hash(state),
            Value::Date(value) => value.hash(state),
            Value::TimeDelta(value) => value.hash(state),
            Value::Uuid(value) => value.hash(state),
            Value::Complex { re, im } => (re.to_bits(), im.to_bits()).hash(state),
            Value::Object(object) => (&object.module, &object.name).hash(state),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_keys_the_first_place_and_the_last_value_win() {
        let pairs = vec![
            (Value::Int(1), Value::from("int")),
            (Value::from("a"), Value::None),
            (Value::Float(1.0), Value::from("float")),
            (Value::Bool(true), Value::from("bool")),
        ];
        let wanted = vec![
            (Value::Int(1), Value::from("bool")),
            (Value::from("a"), Value::None),
        ];
        assert_eq!(Value::dict(pairs).unwrap(), Value::Dict(wanted));
    }

    #[test]
    fn duplicates_among_many_keys_are_found() {
        let mut pairs: Vec<_> = (0..100).map(|n| (Value::Int(n), Value::Int(n))).collect();
        pairs.push((Value::Float(40.0), Value::None));
        let Value::Dict(unique) = Value::dict(pairs).unwrap() else {
            panic!("no dict");
        };
        assert_eq!(unique.len(), 100);
        assert_eq!(unique[40], (Value::Int(40), Value::None));
    }

    #[test]
    fn a_nan_is_a_key_of_its_own() {
        let nan = || (Value::Float(f64::NAN), Value::None);
        let Value::Dict(pairs) = Value::dict(vec![nan(), nan()]).unwrap() else {
            panic!("no dict");
        };
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn a_list_inside_a_tuple_is_no_key() {
        let key = Value::Tuple(vec![Value::List(Vec::new())]);
        let error = Value::dict(vec![(key, Value::None)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a list cannot be a key of a dict or an item of a set"
        );
    }

    #[test]
    fn zero_has_one_key_whatever_its_sign() {
        let items = vec![Value::Float(0.0), Value::Float(-0.0), Value::Int(0)];
        assert_eq!(
            Value::set(items).unwrap(),
            Value::Set(vec![Value::Float(0.0)])
        );
    }
}
