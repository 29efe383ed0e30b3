//! What the machine works on: values whose parts are numbers of other nodes, because a pickle can share and change
//! parts that it has already used.

use std::borrow::Cow;

use num_bigint::BigInt;

use super::calls::Callable;
use super::numpy::DType;
use crate::jobs::value::Value;

/// The place of a node in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u32);

#[derive(Debug)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    BigInt(Box<BigInt>),
    Float(f64),
    Str(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    ByteArray(Cow<'a, [u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A value that a call made; it has no parts.
    Plain(Box<Value>),
    /// A function or class of the closed table.
    Callable(Callable),
    /// Any other function or class.
    Global(Box<Global<'a>>),
    Object(Box<ObjectNode<'a>>),
    /// A time zone by its offset in microseconds; only a part of a datetime.
    TimeZone(i64),
    /// A `UUID` whose number comes with its state.
    EmptyUuid,
    DType(DType),
    /// A NumPy array whose elements come with its state.
    EmptyArray,
}

#[derive(Debug, Clone)]
pub(super) struct Global<'a> {
    pub(super) module: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
}

/// The record of an object of a class that is not known.
#[derive(Debug)]
pub(super) struct ObjectNode<'a> {
    pub(super) class: Global<'a>,
    pub(super) args: Vec<Id>,
    pub(super) kwargs: Vec<(Id, Id)>,
    pub(super) state: Option<Id>,
    pub(super) items: Vec<Id>,
}

impl Node<'_> {
    /// What Python calls the type of this node.
    pub(super) fn type_name(&self) -> &'static str {
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
            Self::Plain(_) | Self::EmptyUuid => "value",
            Self::Callable(_) | Self::Global(_) => "class or function",
            Self::Object(_) => "object",
            Self::TimeZone(_) => "timezone",
            Self::DType(_) => "dtype",
            Self::EmptyArray => "ndarray",
        }
    }
}
