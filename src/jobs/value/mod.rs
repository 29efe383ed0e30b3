//! The plain values that jobs carry: what Python, MessagePack and JSON have in common, and Python's few own.
//!
//! A value is a tree. It owns everything below it, nothing in it is shared, and nothing in it can be run.
//! Integers are exact at any size. A dict keeps its order; its keys are unique by Python's rules (`1`, `1.0` and
//! `True` are one key), which [`Value::dict`] ensures.
//! Not here: bytes on a wire (`arq`).

mod json;
mod key;
mod time;

use std::fmt;

use num_bigint::BigInt;
use uuid::Uuid;

pub use self::json::NotJson;
pub use self::key::Unhashable;
pub use self::time::{DateTime, TimeDelta};

/// One value of a job's arguments or of its result.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    #[default]
    None,
    Bool(bool),
    Int(i64),
    /// An integer outside of `i64`; `From<BigInt>` keeps to that.
    BigInt(Box<BigInt>),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    ByteArray(Vec<u8>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Set(Vec<Value>),
    FrozenSet(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    DateTime(Box<DateTime>),
    Date(jiff::civil::Date),
    TimeDelta(TimeDelta),
    /// The text of a Python `Decimal`, digits and exponent as they came.
    Decimal(String),
    Uuid(Uuid),
    Complex {
        re: f64,
        im: f64,
    },
    /// What was left of an object of some Python class. Only in results; never written.
    Object(Box<Object>),
}

/// The inert record of a Python object: what its pickle says of it. Nothing of it was looked up or run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    /// The Python module of the class, such as `builtins`.
    pub module: String,
    /// The name of the class within its module.
    pub name: String,
    pub args: Vec<Value>,
    pub kwargs: Vec<(Value, Value)>,
    /// What its `__setstate__` would have been given.
    pub state: Value,
    /// What would have been appended to it; of a mapping, its pairs as tuples.
    pub items: Vec<Value>,
}

impl Value {
    /// A dict with unique keys. Of equal keys the first place and the last value win, as in Python.
    pub fn dict(pairs: Vec<(Self, Self)>) -> Result<Self, Unhashable> {
        key::unique_pairs(pairs).map(Self::Dict)
    }

    /// A set without what is equal to an earlier item.
    pub fn set(items: Vec<Self>) -> Result<Self, Unhashable> {
        key::unique_items(items).map(Self::Set)
    }

    /// A frozenset without what is equal to an earlier item.
    pub fn frozen_set(items: Vec<Self>) -> Result<Self, Unhashable> {
        key::unique_items(items).map(Self::FrozenSet)
    }

    /// The value under that text key of a dict.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Dict(pairs) = self else {
            return None;
        };
        pairs
            .iter()
            .find(|(key, _)| key.as_str() == Some(name))
            .map(|(_, value)| value)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn as_items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// What Python calls the type of this value.
    pub fn type_name(&self) -> &str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::ByteArray(_) => "bytearray",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Set(_) => "set",
            Self::FrozenSet(_) => "frozenset",
            Self::Dict(_) => "dict",
            Self::DateTime(_) => "datetime",
            Self::Date(_) => "date",
            Self::TimeDelta(_) => "timedelta",
            Self::Decimal(_) => "Decimal",
            Self::Uuid(_) => "UUID",
            Self::Complex { .. } => "complex",
            Self::Object(object) => &object.name,
        }
    }
}

impl fmt::Display for Object {
    /// As Python shows an exception: the class and what it was made with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.args.as_slice() {
            [] => Ok(()),
            [Value::Str(text)] => write!(f, ": {text}"),
            args => {
                for (place, arg) in args.iter().enumerate() {
                    let before = if place == 0 { ": " } else { ", " };
                    write!(f, "{before}{}", arg.shown())?;
                }
                Ok(())
            }
        }
    }
}

impl From<BigInt> for Value {
    fn from(value: BigInt) -> Self {
        match i64::try_from(&value) {
            Ok(small) => Self::Int(small),
            Err(_) => Self::BigInt(Box::new(value)),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        match i64::try_from(value) {
            Ok(small) => Self::Int(small),
            Err(_) => Self::BigInt(Box::new(BigInt::from(value))),
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}
