//! The closed table of functions and classes that plain values are made with, and what each of them makes.
//!
//! A call whose arguments are not those that Python writes makes nothing.

use std::borrow::Cow;
use std::fmt;

use jiff::civil;
use uuid::Uuid;

use super::super::DecodeError;
use super::memory::Memory;
use super::node::{Global, Id, Node, ObjectNode};
use super::numpy;
use crate::jobs::value::{DateTime, TimeDelta, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callable {
    Bytes,
    ByteArray,
    Set,
    FrozenSet,
    Complex,
    /// The base class, an argument of `Reconstructor`.
    Object,
    Encode,
    Reconstructor,
    DateTime,
    Date,
    TimeDelta,
    TimeZone,
    Decimal,
    Uuid,
    OrderedDict,
    NumpyArray,
    NumpyDType,
    NumpyReconstruct,
    NumpyScalar,
    NumpyFromBuffer,
}

/// Module, name, meaning. NumPy moved its core to `numpy._core` with version 2.
const TABLE: [(&str, &str, Callable); 23] = [
    ("builtins", "bytes", Callable::Bytes),
    ("builtins", "bytearray", Callable::ByteArray),
    ("builtins", "set", Callable::Set),
    ("builtins", "frozenset", Callable::FrozenSet),
    ("builtins", "complex", Callable::Complex),
    ("builtins", "object", Callable::Object),
    ("_codecs", "encode", Callable::Encode),
    ("copyreg", "_reconstructor", Callable::Reconstructor),
    ("datetime", "datetime", Callable::DateTime),
    ("datetime", "date", Callable::Date),
    ("datetime", "timedelta", Callable::TimeDelta),
    ("datetime", "timezone", Callable::TimeZone),
    ("decimal", "Decimal", Callable::Decimal),
    ("uuid", "UUID", Callable::Uuid),
    ("collections", "OrderedDict", Callable::OrderedDict),
    ("numpy", "ndarray", Callable::NumpyArray),
    ("numpy", "dtype", Callable::NumpyDType),
    (
        "numpy._core.multiarray",
        "_reconstruct",
        Callable::NumpyReconstruct,
    ),
    ("numpy._core.multiarray", "scalar", Callable::NumpyScalar),
    (
        "numpy._core.numeric",
        "_frombuffer",
        Callable::NumpyFromBuffer,
    ),
    (
        "numpy.core.multiarray",
        "_reconstruct",
        Callable::NumpyReconstruct,
    ),
    ("numpy.core.multiarray", "scalar", Callable::NumpyScalar),
    (
        "numpy.core.numeric",
        "_frombuffer",
        Callable::NumpyFromBuffer,
    ),
];

impl Callable {
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        let mut rows = TABLE.iter();
        rows.find(|row| (row.0, row.1) == (module, name))
            .map(|row| row.2)
    }

    /// Module and name.
    pub(super) fn path(self) -> (&'static str, &'static str) {
        let row = TABLE.iter().find(|row| row.2 == self);
        row.map_or(("", ""), |row| (row.0, row.1))
    }
}

impl fmt::Display for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (module, name) = self.path();
        write!(f, "{module}.{name}")
    }
}

/// Protocols 0 to 2 name modules as Python 2 did.
pub(super) fn module_of_python_3(module: Cow<'_, str>) -> Cow<'_, str> {
    match module.as_ref() {
        "__builtin__" | "exceptions" => Cow::Borrowed("builtins"),
        "copy_reg" => Cow::Borrowed("copyreg"),
        _ => module,
    }
}

/// What the call makes; `args` is a tuple.
pub(super) fn call<'a>(
    memory: &mut Memory<'a>,
    callable: Callable,
    args: Id,
) -> Result<Option<Node<'a>>, DecodeError> {
    let n_args = memory.tuple(args).map_or(0, <[Id]>::len);
    memory.charge::<Id>(n_args)?;
    memory.charge::<Value>(2)?;
    let args = memory.tuple(args).unwrap_or_default().to_vec();
    let args = args.as_slice();
    Ok(match callable {
        Callable::Bytes if args.is_empty() => Some(Node::Bytes(Cow::Borrowed(&[]))),
        Callable::ByteArray => byte_array(memory, args)?,
        Callable::Set => items(memory, args)?.map(Node::Set),
        Callable::FrozenSet => items(memory, args)?.map(Node::FrozenSet),
        Callable::Encode => encoded(memory, args)?.map(|bytes| Node::Bytes(Cow::Owned(bytes))),
        Callable::OrderedDict if args.is_empty() => Some(Node::Dict(Vec::new())),
        Callable::Reconstructor => reconstructed(memory, args),
        Callable::NumpyReconstruct => numpy::reconstruct(memory, args),
        Callable::NumpyDType => numpy::dtype(memory, args),
        Callable::NumpyScalar => numpy::scalar(memory, args)?,
        Callable::NumpyFromBuffer => numpy::from_buffer(memory, args)?,
        Callable::Complex => complex(memory, args).map(plain),
        Callable::DateTime => date_time(memory, args).map(plain),
        Callable::Date => date(memory, args).map(plain),
        Callable::TimeDelta => time_delta(memory, args).map(plain),
        Callable::TimeZone => time_zone(memory, args).map(Node::TimeZone),
        Callable::Decimal => decimal(memory, args)?.map(plain),
        Callable::Bytes
        | Callable::OrderedDict
        | Callable::Object
        | Callable::Uuid
        | Callable::NumpyArray => None,
    })
}

fn plain<'a>(value: Value) -> Node<'a> {
    Node::Plain(Box::new(value))
}

/// What a set is made of: the items of a list.
fn items(memory: &mut Memory<'_>, args: &[Id]) -> Result<Option<Vec<Id>>, DecodeError> {
    let n_items = match args {
        [] => return Ok(Some(Vec::new())),
        [items] => match memory.node(*items) {
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => items.len(),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    memory.charge::<Id>(n_items)?;
    Ok(match args.first().map(|items| memory.node(*items)) {
        Some(Node::List(items) | Node::Tuple(items) | Node::Set(items)) => Some(items.clone()),
        _ => None,
    })
}

fn byte_array<'a>(memory: &mut Memory<'a>, args: &[Id]) -> Result<Option<Node<'a>>, DecodeError> {
    let bytes = match args {
        [] => Some(Cow::Borrowed(&[][..])),
        [bytes] => {
            let n_bytes = memory.bytes(*bytes).map_or(0, <[u8]>::len);
            memory.charge::<u8>(n_bytes)?;
            match memory.node(*bytes) {
                Node::Bytes(bytes) => Some(bytes.clone()),
                _ => None,
            }
        }
        _ => encoded(memory, args)?.map(Cow::Owned),
    };
    Ok(bytes.map(Node::ByteArray))
}

/// `_codecs.encode(text, "latin1")`: how protocols 0 to 2 carry bytes.
fn encoded(memory: &mut Memory<'_>, args: &[Id]) -> Result<Option<Vec<u8>>, DecodeError> {
    let [text, encoding] = args else {
        return Ok(None);
    };
    let len = memory.text(*text).map_or(0, str::len);
    memory.charge::<u8>(len)?;
    let (Some(text), Some("latin1" | "latin-1")) = (memory.text(*text), memory.text(*encoding))
    else {
        return Ok(None);
    };
    Ok(text.chars().map(|c| u8::try_from(c).ok()).collect())
}

/// An object without arguments, of a class that does not say how it is made; its state follows.
fn reconstructed<'a>(memory: &Memory<'a>, args: &[Id]) -> Option<Node<'a>> {
    let [class, base, start] = args else {
        return None;
    };
    if !matches!(memory.node(*base), Node::Callable(Callable::Object))
        || !matches!(memory.node(*start), Node::None)
    {
        return None;
    }
    match memory.node(*class) {
        Node::Callable(Callable::Uuid) => Some(Node::EmptyUuid),
        Node::Global(class) => Some(Node::Object(Box::new(ObjectNode {
            class: Global::clone(class),
            args: Vec::new(),
            kwargs: Vec::new(),
            state: None,
            items: Vec::new(),
        }))),
        _ => None,
    }
}

fn complex(memory: &Memory<'_>, args: &[Id]) -> Option<Value> {
    match args {
        [re, im] => match (memory.node(*re), memory.node(*im)) {
            (Node::Float(re), Node::Float(im)) => Some(Value::Complex { re: *re, im: *im }),
            _ => None,
        },
        _ => None,
    }
}

/// Ten bytes: year, month with the fold in its first bit, day, hour, minute, second, microseconds.
fn date_time(memory: &Memory<'_>, args: &[Id]) -> Option<Value> {
    let (packed, offset) = match args {
        [packed] => (packed, None),
        [packed, zone] => match memory.node(*zone) {
            Node::TimeZone(offset) => (packed, Some(*offset)),
            _ => return None,
        },
        _ => return None,
    };
    let packed = <[u8; 10]>::try_from(memory.bytes(*packed)?).ok()?;
    let [y1, y2, month, day, hour, minute, second, us1, us2, us3] = packed;
    let micros = i32::from_be_bytes([0, us1, us2, us3]);
    let date = civil_date(y1, y2, month & 0x7f, day)?;
    let [hour, minute, second] = [hour, minute, second].map(|part| i8::try_from(part).ok());
    let time = civil::Time::new(hour?, minute?, second?, micros.checked_mul(1_000)?).ok()?;
    let moment = DateTime::new(date.to_datetime(time), offset, month & 0x80 != 0)?;
    Some(Value::DateTime(Box::new(moment)))
}

/// Four bytes: year, month, day.
fn date(memory: &Memory<'_>, args: &[Id]) -> Option<Value> {
    let [packed] = args else {
        return None;
    };
    let [y1, y2, month, day] = <[u8; 4]>::try_from(memory.bytes(*packed)?).ok()?;
    civil_date(y1, y2, month, day).map(Value::Date)
}

fn civil_date(y1: u8, y2: u8, month: u8, day: u8) -> Option<civil::Date> {
    let year = i16::from_be_bytes([y1, y2]);
    let date = civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    (date.year() >= 1).then_some(date)
}

fn time_delta(memory: &Memory<'_>, args: &[Id]) -> Option<Value> {
    let [days, seconds, micros] = args else {
        return None;
    };
    let span = TimeDelta::new(
        memory.int(*days)?,
        memory.int(*seconds)?,
        memory.int(*micros)?,
    )?;
    Some(Value::TimeDelta(span))
}

/// The offset of a zone in microseconds. The name that it may have is left out.
fn time_zone(memory: &Memory<'_>, args: &[Id]) -> Option<i64> {
    let offset = match args {
        [offset] => offset,
        [offset, name] if memory.text(*name).is_some() => offset,
        _ => return None,
    };
    match memory.node(*offset) {
        Node::Plain(value) => match value.as_ref() {
            Value::TimeDelta(span) => i64::try_from(span.total_micros()).ok(),
            _ => None,
        },
        _ => None,
    }
}

fn decimal(memory: &mut Memory<'_>, args: &[Id]) -> Result<Option<Value>, DecodeError> {
    let [text] = args else {
        return Ok(None);
    };
    let len = memory.text(*text).map_or(0, str::len);
    memory.charge::<u8>(len)?;
    let text = memory.text(*text).filter(|text| is_decimal(text));
    Ok(text.map(|text| Value::Decimal(text.to_owned())))
}

/// Whether `Decimal` would take the text, as far as `str(Decimal)` writes it.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let not_a_number = unsigned
        .strip_prefix("sNaN")
        .or(unsigned.strip_prefix("NaN"));
    if unsigned == "Infinity" || not_a_number.is_some_and(all_digits) {
        return true;
    }
    let (number, exponent) = match unsigned.split_once(['E', 'e']) {
        Some((number, exponent)) => (
            number,
            exponent.strip_prefix(['-', '+']).unwrap_or(exponent),
        ),
        None => (unsigned, "0"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && !exponent.is_empty()
        && all_digits(exponent)
}

/// A `UUID` of its state: a dict with its number, and with how safely it was made.
pub(super) fn uuid<'a>(memory: &Memory<'a>, state: Id) -> Option<Node<'a>> {
    let Node::Dict(pairs) = memory.node(state) else {
        return None;
    };
    let mut number = None;
    for (key, value) in pairs {
        match (memory.text(*key)?, memory.node(*value)) {
            ("int", Node::Int(value)) => number = Some(u128::try_from(*value).ok()?),
            ("int", Node::BigInt(value)) => number = Some(u128::try_from(value.as_ref()).ok()?),
            ("is_safe", _) => {}
            _ => return None,
        }
    }
    number.map(|number| plain(Value::Uuid(Uuid::from_u128(number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_what_python_takes() {
        for text in [
            "0",
            "-12.3400",
            "1E+5",
            "-0.001E+5",
            ".5",
            "5.",
            "Infinity",
            "-NaN123",
            "sNaN",
        ] {
            assert!(is_decimal(text), "{text}");
        }
        for text in [
            "", ".", "1E", "--1", "1.2.3", "0x1", "inf", "1_0", "١", "NaNa",
        ] {
            assert!(!is_decimal(text), "{text}");
        }
    }
}
