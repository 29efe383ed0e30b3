//! Dense arrays in and out of a model.

use std::sync::Arc;

use half::{bf16, f16};
use ndarray::{ArrayD, Axis};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::dtype::DType;
use super::value::serialize_f64;

/// A dense array; the first axis counts rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    Bool(ArrayD<bool>),
    Int8(ArrayD<i8>),
    Int16(ArrayD<i16>),
    Int32(ArrayD<i32>),
    Int64(ArrayD<i64>),
    UInt8(ArrayD<u8>),
    UInt16(ArrayD<u16>),
    UInt32(ArrayD<u32>),
    UInt64(ArrayD<u64>),
    Float16(ArrayD<f16>),
    BFloat16(ArrayD<bf16>),
    Float32(ArrayD<f32>),
    Float64(ArrayD<f64>),
    String(ArrayD<String>),
}

/// Runs one expression over the array inside, whatever its element type.
macro_rules! with_array {
    ($tensor:expr, $array:ident => $body:expr) => {
        match $tensor {
            Tensor::Bool($array) => $body,
            Tensor::Int8($array) => $body,
            Tensor::Int16($array) => $body,
            Tensor::Int32($array) => $body,
            Tensor::Int64($array) => $body,
            Tensor::UInt8($array) => $body,
            Tensor::UInt16($array) => $body,
            Tensor::UInt32($array) => $body,
            Tensor::UInt64($array) => $body,
            Tensor::Float16($array) => $body,
            Tensor::BFloat16($array) => $body,
            Tensor::Float32($array) => $body,
            Tensor::Float64($array) => $body,
            Tensor::String($array) => $body,
        }
    };
}

pub(crate) use with_array;

impl Tensor {
    pub fn shape(&self) -> &[usize] {
        with_array!(self, array => array.shape())
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        with_array!(self, array => array.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dtype(&self) -> DType {
        match self {
            Self::Bool(_) => DType::Bool,
            Self::Int8(_) => DType::Int8,
            Self::Int16(_) => DType::Int16,
            Self::Int32(_) => DType::Int32,
            Self::Int64(_) => DType::Int64,
            Self::UInt8(_) => DType::UInt8,
            Self::UInt16(_) => DType::UInt16,
            Self::UInt32(_) => DType::UInt32,
            Self::UInt64(_) => DType::UInt64,
            Self::Float16(_) => DType::Float16,
            Self::BFloat16(_) => DType::BFloat16,
            Self::Float32(_) => DType::Float32,
            Self::Float64(_) => DType::Float64,
            Self::String(_) => DType::String,
        }
    }
}

macro_rules! tensor_of {
    ($($variant:ident: $type:ty),*) => {
        $(impl From<ArrayD<$type>> for Tensor {
            fn from(array: ArrayD<$type>) -> Self {
                Self::$variant(array)
            }
        })*
    };
}

tensor_of!(Bool: bool, String: String);
tensor_of!(Int8: i8, Int16: i16, Int32: i32, Int64: i64);
tensor_of!(UInt8: u8, UInt16: u16, UInt32: u32, UInt64: u64);
tensor_of!(Float16: f16, BFloat16: bf16, Float32: f32, Float64: f64);

/// One element of a tensor, whatever its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Element<'a> {
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'a str),
}

macro_rules! element_of {
    ($variant:ident: $($type:ty),*) => {
        $(impl From<&$type> for Element<'_> {
            fn from(value: &$type) -> Self {
                Self::$variant((*value).into())
            }
        })*
    };
}

element_of!(Bool: bool);
element_of!(Int: i8, i16, i32, i64, u8, u16, u32, u64);
element_of!(Float: f16, bf16, f32, f64);

impl<'a> From<&'a String> for Element<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

/// Joins arrays of one element type, or tells that they are not.
macro_rules! join_rows {
    ($parts:expr, $order:expr, $($variant:ident),*) => {
        match $parts.first()? {
            $(Tensor::$variant(_) => {
                let mut views = Vec::with_capacity($parts.len());
                for part in $parts {
                    match part {
                        Tensor::$variant(array) => views.push(array.view()),
                        _ => return None,
                    }
                }
                let joined = ndarray::concatenate(Axis(0), &views).ok()?;
                Some(Tensor::$variant(joined.select(Axis(0), $order)))
            })*
        }
    };
}

impl Tensor {
    /// The rows of all parts, one part behind the other, then put in order: row `i` of the result is row `order[i]` of that.
    /// `None` if the parts are not of one type and row shape. Every item of `order` must be a row.
    pub fn join_rows(parts: &[&Self], order: &[usize]) -> Option<Self> {
        join_rows!(
            parts, order, Bool, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float16,
            BFloat16, Float32, Float64, String
        )
    }

    /// All elements in row-major order.
    pub fn elements(&self) -> Vec<Element<'_>> {
        with_array!(self, array => array.iter().map(Element::from).collect())
    }
}

/// A graph input or output by name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    pub name: String,
    /// Shared with the run, so that neither it nor the audit event needs a copy.
    pub tensor: Arc<Tensor>,
}

impl Serialize for Tensor {
    /// Nested lists in the tensor's own shape; numbers as in [`Output`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_shaped(self, self.shape(), serializer)
    }
}

/// One output of a model run.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Tensor(Tensor),
    /// One map per row, in row order; keys as text, in the order the model gives them.
    Maps(Vec<Vec<(String, f64)>>),
}

impl Output {
    /// Length of the first axis; `None` for a scalar tensor.
    pub fn n_rows(&self) -> Option<usize> {
        match self {
            Self::Tensor(tensor) => tensor.shape().first().copied(),
            Self::Maps(rows) => Some(rows.len()),
        }
    }

    /// As `Tensor::join_rows`; outputs of two kinds do not go together.
    pub fn join_rows(parts: &[&Self], order: &[usize]) -> Option<Self> {
        if let Some(Self::Maps(_)) = parts.first() {
            let mut joined = Vec::with_capacity(order.len());
            for part in parts {
                match part {
                    Self::Maps(rows) => joined.extend(rows),
                    Self::Tensor(_) => return None,
                }
            }
            let in_order = order.iter().map(|row| joined[*row].clone());
            return Some(Self::Maps(in_order.collect()));
        }
        let mut tensors = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Self::Tensor(tensor) => tensors.push(tensor),
                Self::Maps(_) => return None,
            }
        }
        Tensor::join_rows(&tensors, order).map(Self::Tensor)
    }
}

impl Serialize for Output {
    /// A list with one item per row: `[N]` and `[N,1]` give scalars, `[N,k]` lists (nested for more axes), maps
    /// objects. `f16`, `bf16` and `f32` are widened to the same number in `f64`; NaN and infinities are strings.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Maps(rows) => serializer.collect_seq(rows.iter().map(|row| MapRow(row))),
            Self::Tensor(tensor) => {
                let shape = match tensor.shape() {
                    [n, 1] => &[*n][..],
                    shape => shape,
                };
                serialize_shaped(tensor, shape, serializer)
            }
        }
    }
}

fn serialize_shaped<S: Serializer>(
    tensor: &Tensor,
    shape: &[usize],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    with_array!(tensor, array => match array.as_slice() {
        Some(elements) => Nested { elements, shape }.serialize(serializer),
        // Engines give row-major arrays; another layout is copied into it first.
        None => {
            let array = array.as_standard_layout();
            let elements = array.as_slice().unwrap_or_default();
            Nested { elements, shape }.serialize(serializer)
        }
    })
}

struct MapRow<'a>(&'a [(String, f64)]);

impl Serialize for MapRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, &JsonElement(value))?;
        }
        map.end()
    }
}

/// Row-major elements seen as nested lists of the given shape.
struct Nested<'a, T> {
    elements: &'a [T],
    shape: &'a [usize],
}

impl<T> Serialize for Nested<'_, T>
where
    for<'e> JsonElement<'e, T>: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.shape {
            [] => match self.elements.first() {
                Some(element) => JsonElement(element).serialize(serializer),
                None => serializer.serialize_unit(),
            },
            [_] => serializer.collect_seq(self.elements.iter().map(JsonElement)),
            [n, inner @ ..] => {
                let width: usize = inner.iter().product();
                let parts = (0..*n).map(|i| Nested {
                    elements: &self.elements[i * width..(i + 1) * width],
                    shape: inner,
                });
                serializer.collect_seq(parts)
            }
        }
    }
}

struct JsonElement<'a, T>(&'a T);

impl Serialize for JsonElement<'_, f16> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_f64(self.0.to_f64(), serializer)
    }
}

impl Serialize for JsonElement<'_, bf16> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_f64(self.0.to_f64(), serializer)
    }
}

impl Serialize for JsonElement<'_, f32> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_f64(f64::from(*self.0), serializer)
    }
}

impl Serialize for JsonElement<'_, f64> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_f64(*self.0, serializer)
    }
}

macro_rules! plain_elements {
    ($($type:ty),*) => {
        $(impl Serialize for JsonElement<'_, $type> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        })*
    };
}

plain_elements!(bool, i8, i16, i32, i64, u8, u16, u32, u64, String);

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;

    fn json(shape: &[usize], elements: Vec<f32>) -> String {
        let array = ArrayD::from_shape_vec(IxDyn(shape), elements).unwrap();
        serde_json::to_string(&Output::Tensor(Tensor::Float32(array))).unwrap()
    }

    #[test]
    fn one_item_per_row() {
        assert_eq!(json(&[2], vec![1.0, 2.5]), "[1.0,2.5]");
        assert_eq!(json(&[2, 1], vec![1.0, 2.5]), "[1.0,2.5]");
        assert_eq!(
            json(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]),
            "[[1.0,2.0],[3.0,4.0]]"
        );
        assert_eq!(json(&[1, 2, 1], vec![1.0, 2.0]), "[[[1.0],[2.0]]]");
        assert_eq!(json(&[0, 3], vec![]), "[]");
    }

    #[test]
    fn single_precision_is_widened_and_non_finite_numbers_are_text() {
        let numbers = vec![0.1, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(
            json(&[4], numbers),
            r#"[0.10000000149011612,"NaN","Infinity","-Infinity"]"#
        );
    }

    #[test]
    fn maps_are_objects() {
        let output = Output::Maps(vec![vec![("0".into(), 0.25), ("1".into(), 0.75)]]);
        assert_eq!(
            serde_json::to_string(&output).unwrap(),
            r#"[{"0":0.25,"1":0.75}]"#
        );
    }
}
