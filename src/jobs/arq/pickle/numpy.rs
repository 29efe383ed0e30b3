//! NumPy arrays and scalars of numbers, booleans and text: they become nested lists and plain values.
//!
//! Layouts: an array is its shape, its dtype, the order of its elements and their bytes. NumPy writes it as
//! `_reconstruct` with a state, or with protocol 5 as `_frombuffer`. Dtypes are `b1`, `i1`-`i8`, `u1`-`u8`,
//! `f2`-`f8`, `U<n>` and `S<n>` in either byte order; others are refused.

use super::super::DecodeError;
use super::calls::Callable;
use super::memory::Memory;
use super::node::{Id, Node};
use crate::jobs::value::Value;

/// Most dimensions that NumPy has.
const MAX_DIMENSIONS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DType {
    kind: Kind,
    /// Bytes per element.
    size: usize,
    big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    UInt,
    Float,
    /// UCS-4, filled up with zeros.
    Text,
    /// Bytes, filled up with zeros.
    Bytes,
}

/// `dtype("f4", False, True)`; the byte order comes with the state.
pub(super) fn dtype<'a>(memory: &Memory<'_>, args: &[Id]) -> Option<Node<'a>> {
    let name = memory.text(*args.first()?)?;
    let (kind, size) = name.split_at_checked(1)?;
    let size: usize = size.parse().ok()?;
    let (kind, size) = match (kind, size) {
        ("b", 1) => (Kind::Bool, size),
        ("i", 1 | 2 | 4 | 8) => (Kind::Int, size),
        ("u", 1 | 2 | 4 | 8) => (Kind::UInt, size),
        ("f", 2 | 4 | 8) => (Kind::Float, size),
        ("U", _) => (Kind::Text, size.checked_mul(4)?),
        ("S", _) => (Kind::Bytes, size),
        _ => return None,
    };
    Some(Node::DType(DType {
        kind,
        size,
        big_endian: false,
    }))
}

/// The state of a dtype: version 3, byte order, and six things that plain dtypes have no use for.
pub(super) fn dtype_with_state<'a>(
    memory: &Memory<'_>,
    dtype: DType,
    state: Id,
) -> Option<Node<'a>> {
    let (version, order, fields) = match memory.tuple(state)? {
        [version, order, _, _, fields, ..] => (version, order, fields),
        _ => return None,
    };
    if !matches!(memory.int(*version), Some(3 | 4)) || !matches!(memory.node(*fields), Node::None) {
        return None;
    }
    let big_endian = match memory.text(*order)? {
        "<" | "|" => false,
        ">" => true,
        _ => return None,
    };
    Some(Node::DType(DType {
        big_endian,
        ..dtype
    }))
}

/// `_reconstruct(ndarray, (0,), b"b")`: an array that its state fills.
pub(super) fn reconstruct<'a>(memory: &Memory<'_>, args: &[Id]) -> Option<Node<'a>> {
    match memory.node(*args.first()?) {
        Node::Callable(Callable::NumpyArray) => Some(Node::EmptyArray),
        _ => None,
    }
}

/// The state of an array: version 1, shape, dtype, whether in Fortran's order, bytes.
pub(super) fn array_with_state<'a>(
    memory: &mut Memory<'_>,
    state: Id,
) -> Result<Option<Node<'a>>, DecodeError> {
    let Some([version, shape, dtype, fortran, data]) = memory.tuple(state) else {
        return Ok(None);
    };
    let (shape, dtype, data) = (*shape, *dtype, *data);
    let fortran = match (memory.int(*version), memory.node(*fortran)) {
        (Some(1), Node::Bool(fortran)) => *fortran,
        _ => return Ok(None),
    };
    array(memory, data, dtype, shape, fortran)
}

/// `_frombuffer(bytes, dtype, shape, order)`.
pub(super) fn from_buffer<'a>(
    memory: &mut Memory<'_>,
    args: &[Id],
) -> Result<Option<Node<'a>>, DecodeError> {
    let [data, dtype, shape, order] = args else {
        return Ok(None);
    };
    let fortran = match memory.text(*order) {
        Some("C") => false,
        Some("F") => true,
        _ => return Ok(None),
    };
    array(memory, *data, *dtype, *shape, fortran)
}

/// `scalar(dtype, bytes)`.
pub(super) fn scalar<'a>(
    memory: &mut Memory<'_>,
    args: &[Id],
) -> Result<Option<Node<'a>>, DecodeError> {
    let [dtype, data] = args else {
        return Ok(None);
    };
    let (Node::DType(dtype), Some(data)) = (memory.node(*dtype), memory.bytes(*data)) else {
        return Ok(None);
    };
    if data.len() != dtype.size {
        return Ok(None);
    }
    let value = element(*dtype, data);
    memory.charge::<Value>(1)?;
    memory.charge::<u8>(match &value {
        Some(Value::Str(text)) => text.len(),
        Some(Value::Bytes(bytes)) => bytes.len(),
        _ => 0,
    })?;
    Ok(value.map(|value| Node::Plain(Box::new(value))))
}

fn array<'a>(
    memory: &mut Memory<'_>,
    data: Id,
    dtype: Id,
    shape: Id,
    fortran: bool,
) -> Result<Option<Node<'a>>, DecodeError> {
    let Node::DType(dtype) = memory.node(dtype) else {
        return Ok(None);
    };
    let dtype = *dtype;
    let Some(shape) = dimensions(memory, shape) else {
        return Ok(None);
    };
    let Some(n_values) = n_values(&shape) else {
        return Ok(None);
    };
    memory.charge::<Value>(n_values)?;
    let n_bytes = memory.bytes(data).map_or(0, <[u8]>::len);
    memory.charge::<u8>(n_bytes)?;
    let Some(data) = memory.bytes(data) else {
        return Ok(None);
    };
    let n_elements: usize = shape.iter().product();
    if n_elements.checked_mul(dtype.size) != Some(data.len()) {
        return Ok(None);
    }
    let elements = Elements {
        data,
        dtype,
        strides: strides(&shape, fortran),
    };
    let value = elements.nested(&shape, 0, 0);
    Ok(value.map(|value| Node::Plain(Box::new(value))))
}

fn dimensions(memory: &Memory<'_>, shape: Id) -> Option<Vec<usize>> {
    let shape = memory.tuple(shape)?;
    if shape.len() > MAX_DIMENSIONS {
        return None;
    }
    let dimension = |id: &Id| usize::try_from(memory.int(*id)?).ok();
    shape.iter().map(dimension).collect()
}

/// Lists and elements together: a shape such as `(1000000, 0)` has no elements, and many lists.
fn n_values(shape: &[usize]) -> Option<usize> {
    let mut total: usize = 1;
    let mut n_lists: usize = 1;
    for dimension in shape {
        n_lists = n_lists.checked_mul(*dimension)?;
        total = total.checked_add(n_lists)?;
    }
    Some(total)
}

/// How many elements lie between neighbours, per dimension.
fn strides(shape: &[usize], fortran: bool) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    let mut stride: usize = 1;
    for place in 0..shape.len() {
        let dimension = if fortran {
            place
        } else {
            shape.len() - 1 - place
        };
        strides[dimension] = stride;
        // Only an array without elements can overflow here, and that has no use for strides.
        stride = stride.wrapping_mul(shape[dimension]);
    }
    strides
}

struct Elements<'a> {
    data: &'a [u8],
    dtype: DType,
    strides: Vec<usize>,
}

impl Elements<'_> {
    fn nested(&self, shape: &[usize], dimension: usize, first: usize) -> Option<Value> {
        let Some(len) = shape.get(dimension) else {
            let start = first * self.dtype.size;
            return element(self.dtype, self.data.get(start..start + self.dtype.size)?);
        };
        let stride = self.strides.get(dimension)?;
        let next = |place: usize| first.wrapping_add(place.wrapping_mul(*stride));
        let items = (0..*len).map(|place| self.nested(shape, dimension + 1, next(place)));
        items.collect::<Option<Vec<_>>>().map(Value::List)
    }
}

/// `data` has as many bytes as the dtype says.
fn element(dtype: DType, data: &[u8]) -> Option<Value> {
    match dtype.kind {
        Kind::Text => {
            let unit = |unit: &[u8; 4]| {
                let unit = if dtype.big_endian {
                    u32::from_be_bytes(*unit)
                } else {
                    u32::from_le_bytes(*unit)
                };
                char::from_u32(unit)
            };
            let text: String = data.as_chunks().0.iter().map(unit).collect::<Option<_>>()?;
            Some(Value::from(text.trim_end_matches('\0')))
        }
        Kind::Bytes => {
            let end = data
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            Some(Value::Bytes(data.get(..end)?.to_vec()))
        }
        Kind::Bool => data.first().map(|byte| Value::Bool(*byte != 0)),
        Kind::Int | Kind::UInt | Kind::Float => number(dtype, data),
    }
}

fn number(dtype: DType, data: &[u8]) -> Option<Value> {
    let mut little = [0; 8];
    little.get_mut(..data.len())?.copy_from_slice(data);
    if dtype.big_endian {
        little.get_mut(..data.len())?.reverse();
    }
    let raw = u64::from_le_bytes(little);
    let [b0, b1, b2, b3, ..] = little;
    Some(match (dtype.kind, dtype.size) {
        (Kind::UInt, _) => Value::from(raw),
        (Kind::Int, 1) => Value::Int(i8::from_le_bytes([b0]).into()),
        (Kind::Int, 2) => Value::Int(i16::from_le_bytes([b0, b1]).into()),
        (Kind::Int, 4) => Value::Int(i32::from_le_bytes([b0, b1, b2, b3]).into()),
        (Kind::Int, 8) => Value::Int(raw.cast_signed()),
        (Kind::Float, 2) => Value::Float(half::f16::from_le_bytes([b0, b1]).into()),
        (Kind::Float, 4) => Value::Float(f32::from_le_bytes([b0, b1, b2, b3]).into()),
        (Kind::Float, 8) => Value::Float(f64::from_bits(raw)),
        _ => return None,
    })
}
