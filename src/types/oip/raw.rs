//! Tensors as bytes, which REST's binary extension and gRPC's raw contents share.
//!
//! Little-endian, row-major, packed. BOOL is a byte, 0 or 1. A BYTES element is a 4-byte length and that many bytes, here
//! text in UTF-8; the tensor ends exactly at the end of its last element.

use half::{bf16, f16};

use super::error::Error;
use super::shape::Shape;
use crate::types::dtype::DType;
use crate::types::tensor::Tensor;

/// The tensor that the bytes are. Elements are allocated only once the bytes are known to be there.
pub fn decode(tensor: &str, dtype: DType, shape: &Shape, bytes: &[u8]) -> Result<Tensor, Error> {
    macro_rules! numbers {
        ($variant:ident, $type:ty) => {{
            const WIDTH: usize = size_of::<$type>();
            check_length(tensor, dtype, shape, WIDTH, bytes)?;
            let (elements, _) = bytes.as_chunks::<WIDTH>();
            let elements = elements.iter().map(|bytes| <$type>::from_le_bytes(*bytes));
            Tensor::$variant(shape.array(tensor, elements.collect())?)
        }};
    }
    Ok(match dtype {
        DType::Bool => Tensor::Bool(shape.array(tensor, bools(tensor, shape, bytes)?)?),
        DType::Int8 => numbers!(Int8, i8),
        DType::Int16 => numbers!(Int16, i16),
        DType::Int32 => numbers!(Int32, i32),
        DType::Int64 | DType::Datetime => numbers!(Int64, i64),
        DType::UInt8 => numbers!(UInt8, u8),
        DType::UInt16 => numbers!(UInt16, u16),
        DType::UInt32 => numbers!(UInt32, u32),
        DType::UInt64 => numbers!(UInt64, u64),
        DType::Float16 => numbers!(Float16, f16),
        DType::BFloat16 => numbers!(BFloat16, bf16),
        DType::Float32 => numbers!(Float32, f32),
        DType::Float64 => numbers!(Float64, f64),
        DType::String | DType::Binary => {
            Tensor::String(shape.array(tensor, texts(tensor, shape, bytes)?)?)
        }
    })
}

fn check_length(
    tensor: &str,
    dtype: DType,
    shape: &Shape,
    width: usize,
    bytes: &[u8],
) -> Result<(), Error> {
    // Below the largest number of bytes, as the shape was checked.
    let wanted = shape.n_elements() * width;
    if bytes.len() == wanted {
        return Ok(());
    }
    Err(Error::Length {
        tensor: tensor.to_owned(),
        shape: shape.dimensions().to_vec(),
        datatype: dtype.oip_name(),
        wanted: format!("{wanted} bytes"),
        actual: format!("{} bytes", bytes.len()),
    })
}

fn bools(tensor: &str, shape: &Shape, bytes: &[u8]) -> Result<Vec<bool>, Error> {
    check_length(tensor, DType::Bool, shape, 1, bytes)?;
    if let Some(place) = bytes.iter().position(|byte| *byte > 1) {
        let reason = format!(
            "element {place} is the byte {}, and a BOOL is 0 or 1",
            bytes[place]
        );
        return Err(Error::data(tensor, reason));
    }
    Ok(bytes.iter().map(|byte| *byte == 1).collect())
}

fn texts(tensor: &str, shape: &Shape, bytes: &[u8]) -> Result<Vec<String>, Error> {
    let wanted = shape.n_elements();
    // Each element has a length, so there are no more than that.
    let mut texts = Vec::with_capacity(wanted.min(bytes.len() / 4));
    let mut rest = bytes;
    while !rest.is_empty() {
        let place = texts.len();
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            let reason = format!(
                "the length of element {place} is cut short after {} bytes",
                rest.len()
            );
            return Err(Error::data(tensor, reason));
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((element, after)) = after.split_at_checked(length) else {
            let reason = format!(
                "element {place} should have {length} bytes, and {} are left",
                after.len()
            );
            return Err(Error::data(tensor, reason));
        };
        if place == wanted {
            break;
        }
        texts.push(text(tensor, place, element)?);
        rest = after;
    }
    if texts.len() == wanted && rest.is_empty() {
        return Ok(texts);
    }
    let actual = match rest.is_empty() {
        true => format!("{} elements", texts.len()),
        false => format!("more than {wanted} elements"),
    };
    Err(Error::Length {
        tensor: tensor.to_owned(),
        shape: shape.dimensions().to_vec(),
        datatype: DType::String.oip_name(),
        wanted: format!("{wanted} elements"),
        actual,
    })
}

/// Text of one BYTES element; ONNX models know text, and no other bytes.
pub fn text(tensor: &str, place: usize, bytes: &[u8]) -> Result<String, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::data(tensor, format!("element {place} is not UTF-8"))),
    }
}

/// Appends the tensor's bytes.
pub fn encode(tensor: &Tensor, out: &mut Vec<u8>) {
    macro_rules! numbers {
        ($array:expr, $type:ty) => {{
            const WIDTH: usize = size_of::<$type>();
            let array = $array.as_standard_layout();
            let elements = array.as_slice().unwrap_or_default();
            let start = out.len();
            out.resize(start + elements.len() * WIDTH, 0);
            let (places, _) = out[start..].as_chunks_mut::<WIDTH>();
            for (place, element) in places.iter_mut().zip(elements) {
                *place = element.to_le_bytes();
            }
        }};
    }
    match tensor {
        Tensor::Bool(array) => out.extend(array.iter().map(|element| u8::from(*element))),
        Tensor::Int8(array) => numbers!(array, i8),
        Tensor::Int16(array) => numbers!(array, i16),
        Tensor::Int32(array) => numbers!(array, i32),
        Tensor::Int64(array) => numbers!(array, i64),
        Tensor::UInt8(array) => numbers!(array, u8),
        Tensor::UInt16(array) => numbers!(array, u16),
        Tensor::UInt32(array) => numbers!(array, u32),
        Tensor::UInt64(array) => numbers!(array, u64),
        Tensor::Float16(array) => numbers!(array, f16),
        Tensor::BFloat16(array) => numbers!(array, bf16),
        Tensor::Float32(array) => numbers!(array, f32),
        Tensor::Float64(array) => numbers!(array, f64),
        Tensor::String(array) => {
            for text in array {
                // A text of the model's is far below four gigabytes; a longer one would be cut.
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&text.as_bytes()[..length as usize]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(shape: &[i64]) -> Shape {
        Shape::new("x", shape).unwrap()
    }

    fn refusal(dtype: DType, dimensions: &[i64], bytes: &[u8]) -> String {
        decode("x", dtype, &shape(dimensions), bytes)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn every_datatype_comes_back_as_the_same_bytes() {
        for (dtype, bytes) in [
            (DType::Bool, vec![1, 0]),
            (DType::Int8, vec![255, 1]),
            (DType::UInt8, vec![255, 1]),
            (DType::Int16, (1..5).collect()),
            (DType::UInt16, (1..5).collect()),
            (DType::Float16, (1..5).collect()),
            (DType::BFloat16, (1..5).collect()),
            (DType::Int32, (1..9).collect()),
            (DType::UInt32, (1..9).collect()),
            (DType::Float32, (1..9).collect()),
            (DType::Int64, (1..17).collect()),
            (DType::UInt64, (1..17).collect()),
            (DType::Float64, (1..17).collect()),
            (DType::String, b"\x02\0\0\0ab\0\0\0\0".to_vec()),
        ] {
            let tensor = decode("x", dtype, &shape(&[2, 1]), &bytes).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[2, 1][..]));
            let mut encoded = Vec::new();
            encode(&tensor, &mut encoded);
            assert_eq!(encoded, bytes, "{dtype}");
        }
    }

    #[test]
    fn a_length_that_does_not_fit_the_shape_names_both() {
        let error = refusal(DType::Float32, &[2, 2], &[0; 15]);
        assert_eq!(
            error,
            "tensor `x`: 15 bytes where its shape [2, 2] and datatype FP32 make 16 bytes"
        );
    }

    #[test]
    fn bytes_framing_that_is_cut_short_or_goes_on_is_refused() {
        for (bytes, part) in [
            (&b"\x02\0\0"[..], "cut short after 3"),
            (b"\x05\0\0\0ab", "should have 5 bytes, and 2 are left"),
            (b"\xff\xff\xff\xffab", "4294967295"),
            (b"\x01\0\0\0a", "1 elements"),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", "more than 2 elements"),
            (b"\x01\0\0\0\xff\0\0\0\0", "element 0 is not UTF-8"),
        ] {
            let error = refusal(DType::String, &[2], bytes);
            assert!(error.contains(part), "{error}");
        }
        assert!(decode("x", DType::String, &shape(&[0]), b"").is_ok());
    }

    #[test]
    fn a_bool_is_zero_or_one() {
        assert!(refusal(DType::Bool, &[2], &[1, 2]).contains("element 1 is the byte 2"));
    }
}
