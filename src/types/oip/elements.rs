//! Tensor data in JSON: a flat list or nested ones, the leaves in row-major order.
//!
//! * Integers are exact and must fit; `1.0` is no integer, `1` is a number, `1` is no boolean.
//! * Numbers that JSON has not are the texts `"NaN"`, `"Infinity"`, `"-Infinity"`; null is NaN. Both only as floating point.
//! * A number that the type can only hold as infinity is refused.

use std::fmt;

use half::{bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::error::Error;
use super::shape::Shape;
use crate::types::dtype::DType;
use crate::types::tensor::Tensor;
use crate::types::value::serialize_f64;

/// Lists may be nested so deep.
const MAX_DEPTH: usize = 100;

/// The tensor that the JSON text `data` is.
pub fn json_data(tensor: &str, dtype: DType, shape: &Shape, data: &str) -> Result<Tensor, Error> {
    macro_rules! elements {
        ($variant:ident) => {
            Tensor::$variant(shape.array(tensor, elements(tensor, dtype, shape, data)?)?)
        };
    }
    Ok(match dtype {
        DType::Bool => elements!(Bool),
        DType::Int8 => elements!(Int8),
        DType::Int16 => elements!(Int16),
        DType::Int32 => elements!(Int32),
        DType::Int64 | DType::Datetime => elements!(Int64),
        DType::UInt8 => elements!(UInt8),
        DType::UInt16 => elements!(UInt16),
        DType::UInt32 => elements!(UInt32),
        DType::UInt64 => elements!(UInt64),
        DType::Float16 => elements!(Float16),
        DType::BFloat16 => elements!(BFloat16),
        DType::Float32 => elements!(Float32),
        DType::Float64 => elements!(Float64),
        DType::String | DType::Binary => elements!(String),
    })
}

fn elements<T: Leaf>(
    tensor: &str,
    dtype: DType,
    shape: &Shape,
    data: &str,
) -> Result<Vec<T>, Error> {
    let wanted = shape.n_elements();
    let mut leaves = Leaves {
        // An element takes a digit and a comma at least.
        elements: Vec::with_capacity(wanted.min(data.len() / 2 + 1)),
        dtype,
        limit: wanted,
        too_many: false,
    };
    let mut json = serde_json::Deserializer::from_str(data);
    let read = Nested {
        leaves: &mut leaves,
        depth: 0,
    };
    let outcome = read.deserialize(&mut json);
    let length = |actual: String| Error::Length {
        tensor: tensor.to_owned(),
        shape: shape.dimensions().to_vec(),
        datatype: dtype.oip_name(),
        wanted: format!("{wanted} elements"),
        actual,
    };
    if leaves.too_many {
        return Err(length(format!("more than {wanted} elements")));
    }
    if let Err(error) = outcome {
        let text = error.to_string();
        // Lines and columns count from the beginning of the data, which means nothing to the caller.
        let reason = text
            .rsplit_once(" at line ")
            .map_or(&*text, |(reason, _)| reason);
        let place = leaves.elements.len();
        return Err(Error::data(tensor, format!("element {place}: {reason}")));
    }
    if leaves.elements.len() != wanted {
        return Err(length(format!("{} elements", leaves.elements.len())));
    }
    Ok(leaves.elements)
}

struct Leaves<T> {
    elements: Vec<T>,
    dtype: DType,
    limit: usize,
    too_many: bool,
}

impl<T> Leaves<T> {
    fn push<E: serde::de::Error>(
        &mut self,
        element: Result<T, Refused>,
        given: &dyn fmt::Display,
    ) -> Result<(), E> {
        if self.elements.len() == self.limit {
            self.too_many = true;
            return Err(E::custom("too many elements"));
        }
        let name = self.dtype.oip_name();
        match element {
            Ok(element) => self.elements.push(element),
            Err(Refused::Kind) => return Err(E::custom(format_args!("{given} is no {name}"))),
            Err(Refused::Range) => {
                return Err(E::custom(format_args!("{given} does not fit {name}")));
            }
        }
        Ok(())
    }
}

/// One leaf, or a list of what may be one.
struct Nested<'a, T> {
    leaves: &'a mut Leaves<T>,
    depth: usize,
}

impl<'de, T: Leaf> DeserializeSeed<'de> for Nested<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Leaf> Visitor<'de> for Nested<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.depth {
            0 => f.write_str("a list"),
            _ => f.write_str(self.leaves.dtype.oip_name()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.depth == MAX_DEPTH {
            return Err(A::Error::custom("the lists are nested too deep"));
        }
        let depth = self.depth + 1;
        while items
            .next_element_seed(Nested {
                leaves: self.leaves,
                depth,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.leaf(T::from_bool(value), &value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.leaf(T::from_u64(value), &value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.leaf(T::from_i64(value), &value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.leaf(T::from_f64(value), &value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.leaf(T::from_text(value), &"a text")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.leaf(T::from_null(), &"null")
    }
}

impl<T> Nested<'_, T> {
    fn leaf<E: serde::de::Error>(
        self,
        element: Result<T, Refused>,
        given: &dyn fmt::Display,
    ) -> Result<(), E> {
        if self.depth == 0 {
            return Err(E::custom("`data` is not a list"));
        }
        self.leaves.push(element, given)
    }
}

/// Why a JSON value is no element of a type.
enum Refused {
    Kind,
    Range,
}

/// An element of a tensor, from each kind of JSON value.
trait Leaf: Sized {
    fn from_bool(_: bool) -> Result<Self, Refused> {
        Err(Refused::Kind)
    }

    fn from_u64(_: u64) -> Result<Self, Refused> {
        Err(Refused::Kind)
    }

    fn from_i64(_: i64) -> Result<Self, Refused> {
        Err(Refused::Kind)
    }

    /// Also an integer beyond 64 bits.
    fn from_f64(_: f64) -> Result<Self, Refused> {
        Err(Refused::Kind)
    }

    fn from_text(_: &str) -> Result<Self, Refused> {
        Err(Refused::Kind)
    }

    fn from_null() -> Result<Self, Refused> {
        Err(Refused::Kind)
    }
}

impl Leaf for bool {
    fn from_bool(value: bool) -> Result<Self, Refused> {
        Ok(value)
    }
}

impl Leaf for String {
    fn from_text(value: &str) -> Result<Self, Refused> {
        Ok(value.to_owned())
    }
}

macro_rules! integers {
    ($($type:ty),*) => {
        $(impl Leaf for $type {
            fn from_u64(value: u64) -> Result<Self, Refused> {
                Self::try_from(value).map_err(|_| Refused::Range)
            }

            fn from_i64(value: i64) -> Result<Self, Refused> {
                Self::try_from(value).map_err(|_| Refused::Range)
            }
        })*
    };
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! floats {
    ($($type:ty: $from_f64:expr),*) => {
        $(impl Leaf for $type {
            fn from_u64(value: u64) -> Result<Self, Refused> {
                Leaf::from_f64(value as f64)
            }

            fn from_i64(value: i64) -> Result<Self, Refused> {
                Leaf::from_f64(value as f64)
            }

            fn from_f64(value: f64) -> Result<Self, Refused> {
                let narrow: Self = $from_f64(value);
                match narrow.is_finite() {
                    true => Ok(narrow),
                    false => Err(Refused::Range),
                }
            }

            fn from_text(value: &str) -> Result<Self, Refused> {
                match value {
                    "NaN" => Ok(Self::NAN),
                    "Infinity" => Ok(Self::INFINITY),
                    "-Infinity" => Ok(Self::NEG_INFINITY),
                    _ => Err(Refused::Kind),
                }
            }

            fn from_null() -> Result<Self, Refused> {
                Ok(Self::NAN)
            }
        })*
    };
}

floats!(f16: f16::from_f64, bf16: bf16::from_f64, f32: |value| value as f32, f64: std::convert::identity);

/// Appends the tensor's elements as a flat JSON list. `f16`, `bf16` and `f32` are widened to the same number in `f64`.
pub fn write_json_data(tensor: &Tensor, out: &mut Vec<u8>) -> serde_json::Result<()> {
    match tensor {
        Tensor::Bool(array) => write(out, array.iter()),
        Tensor::Int8(array) => write(out, array.iter()),
        Tensor::Int16(array) => write(out, array.iter()),
        Tensor::Int32(array) => write(out, array.iter()),
        Tensor::Int64(array) => write(out, array.iter()),
        Tensor::UInt8(array) => write(out, array.iter()),
        Tensor::UInt16(array) => write(out, array.iter()),
        Tensor::UInt32(array) => write(out, array.iter()),
        Tensor::UInt64(array) => write(out, array.iter()),
        Tensor::Float16(array) => write(out, array.iter().map(|number| Number(number.to_f64()))),
        Tensor::BFloat16(array) => write(out, array.iter().map(|number| Number(number.to_f64()))),
        Tensor::Float32(array) => write(out, array.iter().map(|number| Number(f64::from(*number)))),
        Tensor::Float64(array) => write(out, array.iter().map(|number| Number(*number))),
        Tensor::String(array) => write(out, array.iter()),
    }
}

fn write<T: Serialize>(
    out: &mut Vec<u8>,
    elements: impl Iterator<Item = T>,
) -> serde_json::Result<()> {
    serde_json::Serializer::new(out).collect_seq(elements)
}

struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_f64(self.0, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dtype: DType, shape: &[i64], data: &str) -> Result<String, String> {
        let shape = Shape::new("x", shape).unwrap();
        let tensor = json_data("x", dtype, &shape, data).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        write_json_data(&tensor, &mut out).unwrap();
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn flat_and_nested_data_mean_the_same() {
        for data in [
            "[1, 2, 3, 4]",
            "[[1, 2], [3, 4]]",
            "[[[1], [2]], [[3], [4]]]",
        ] {
            assert_eq!(read(DType::Int32, &[2, 2], data).unwrap(), "[1,2,3,4]");
        }
        assert_eq!(read(DType::Float32, &[], "[0.5]").unwrap(), "[0.5]");
        assert_eq!(read(DType::Int8, &[0, 3], "[]").unwrap(), "[]");
    }

    #[test]
    fn trap_14_64_bit_integers_are_exact() {
        let data = "[9007199254740993,9223372036854775807,-9223372036854775808]";
        assert_eq!(read(DType::Int64, &[3], data).unwrap(), data);
        let data = "[18446744073709551615]";
        assert_eq!(read(DType::UInt64, &[1], data).unwrap(), data);
        assert!(
            read(DType::Int64, &[1], data)
                .unwrap_err()
                .contains("does not fit INT64")
        );
    }

    #[test]
    fn numbers_that_json_has_not_are_texts_and_null_is_nan() {
        let data = r#"["NaN",null,"Infinity","-Infinity",2]"#;
        let wanted = r#"["NaN","NaN","Infinity","-Infinity",2.0]"#;
        for dtype in [
            DType::Float16,
            DType::BFloat16,
            DType::Float32,
            DType::Float64,
        ] {
            assert_eq!(read(dtype, &[5], data).unwrap(), wanted);
        }
    }

    #[test]
    fn an_element_of_another_type_is_refused_by_its_place() {
        for (dtype, data, part) in [
            (DType::Int64, "[1, 1.5]", "element 1: 1.5 is no INT64"),
            (
                DType::Int64,
                r#"[1, "NaN"]"#,
                "element 1: a text is no INT64",
            ),
            (DType::Int8, "[1, 128]", "element 1: 128 does not fit INT8"),
            (DType::UInt8, "[1, -1]", "element 1: -1 does not fit UINT8"),
            (DType::Bool, "[true, 1]", "element 1: 1 is no BOOL"),
            (DType::Float32, "[1, true]", "element 1: true is no FP32"),
            (DType::Float32, "[1, 1e39]", "does not fit FP32"),
            (DType::Float16, "[1, 65536]", "does not fit FP16"),
            (DType::BFloat16, "[1, 3.4e38]", "does not fit BF16"),
            (DType::String, "[\"a\", 1]", "element 1: 1 is no BYTES"),
            (DType::Int32, "[1, {}]", "element 1: "),
            (DType::Int32, "1", "`data` is not a list"),
            (
                DType::Int32,
                "[1]",
                "1 elements where its shape [2] and datatype INT32 make 2 elements",
            ),
            (DType::Int32, "[1, 2, 3]", "more than 2 elements"),
        ] {
            let error = read(dtype, &[2], data).unwrap_err();
            assert!(error.contains(part), "{data}: {error}");
        }
    }

    #[test]
    fn lists_nested_too_deep_are_refused() {
        let data = format!("{}1{}", "[".repeat(101), "]".repeat(101));
        assert!(
            read(DType::Int32, &[1], &data)
                .unwrap_err()
                .contains("too deep")
        );
    }
}
