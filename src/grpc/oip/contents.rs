//! The inputs of an infer message: raw, or typed; never both in one message.

use std::sync::Arc;

use bytes::Bytes;

use super::messages::{InferParameter, InferTensor, InferTensorContents, ParameterChoice};
use crate::types::dtype::DType;
use crate::types::oip::{self, Error, Shape};
use crate::types::tensor::{NamedTensor, Tensor};

/// The tensors of a message.
pub(super) fn tensors(inputs: Vec<InferTensor>, raw: &[Bytes]) -> Result<Vec<NamedTensor>, Error> {
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(Error::malformed(format!(
            "{} entries of `raw_input_contents` for {} inputs",
            raw.len(),
            inputs.len()
        )));
    }
    oip::check_inputs(inputs.iter().map(|input| &*input.name))?;
    let mut tensors: Vec<NamedTensor> = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.into_iter().enumerate() {
        let name = input.name;
        if input.parameters.contains_key("shared_memory_region") {
            return Err(shared_memory(&name));
        }
        let dtype = oip::dtype(&name, &input.datatype)?;
        let shape = Shape::new(&name, &input.shape)?;
        let tensor = match (raw.get(place), input.contents) {
            (Some(bytes), None) => oip::decode_raw(&name, dtype, &shape, bytes)?,
            (Some(_), Some(_)) => {
                let reason = format!("input `{name}` has `contents` beside `raw_input_contents`");
                return Err(Error::malformed(reason));
            }
            (None, contents) => typed(&name, dtype, &shape, contents.unwrap_or_default())?,
        };
        let tensor = Arc::new(tensor);
        tensors.push(NamedTensor { name, tensor });
    }
    Ok(tensors)
}

pub(super) fn shared_memory(tensor: &str) -> Error {
    Error::Unsupported {
        what: format!("shared memory of tensor `{tensor}`"),
        hint: "send and take tensors in the message",
    }
}

/// One field has the elements; any other must be empty.
fn typed(
    name: &str,
    dtype: DType,
    shape: &Shape,
    contents: InferTensorContents,
) -> Result<Tensor, Error> {
    let n_all = contents.n_elements();
    let check = |n: usize, field: &str| match n_all - n {
        0 if n == shape.n_elements() => Ok(()),
        0 => Err(Error::Length {
            tensor: name.to_owned(),
            shape: shape.dimensions().to_vec(),
            datatype: dtype.oip_name(),
            wanted: format!("{} elements", shape.n_elements()),
            actual: format!("{n} elements in `{field}`"),
        }),
        _ => Err(Error::Data {
            tensor: name.to_owned(),
            reason: format!("the elements of {} belong into `{field}`", dtype.oip_name()),
        }),
    };
    macro_rules! as_it_is {
        ($variant:ident, $field:ident) => {{
            check(contents.$field.len(), stringify!($field))?;
            Tensor::$variant(shape.array(name, contents.$field)?)
        }};
    }
    macro_rules! narrow {
        ($variant:ident, $type:ty, $field:ident) => {{
            check(contents.$field.len(), stringify!($field))?;
            let narrow = contents.$field.iter().enumerate().map(|(place, wide)| {
                <$type>::try_from(*wide).map_err(|_| Error::Data {
                    tensor: name.to_owned(),
                    reason: format!("element {place}: {wide} does not fit {}", dtype.oip_name()),
                })
            });
            Tensor::$variant(shape.array(name, narrow.collect::<Result<_, _>>()?)?)
        }};
    }
    Ok(match dtype {
        DType::Bool => as_it_is!(Bool, bool_contents),
        DType::Int8 => narrow!(Int8, i8, int_contents),
        DType::Int16 => narrow!(Int16, i16, int_contents),
        DType::Int32 => as_it_is!(Int32, int_contents),
        DType::Int64 | DType::Datetime => as_it_is!(Int64, int64_contents),
        DType::UInt8 => narrow!(UInt8, u8, uint_contents),
        DType::UInt16 => narrow!(UInt16, u16, uint_contents),
        DType::UInt32 => as_it_is!(UInt32, uint_contents),
        DType::UInt64 => as_it_is!(UInt64, uint64_contents),
        DType::Float16 | DType::BFloat16 => {
            return Err(Error::Data {
                tensor: name.to_owned(),
                reason: format!(
                    "{} has no typed contents; send `raw_input_contents`",
                    dtype.oip_name()
                ),
            });
        }
        DType::Float32 => as_it_is!(Float32, fp32_contents),
        DType::Float64 => as_it_is!(Float64, fp64_contents),
        DType::String | DType::Binary => {
            check(contents.bytes_contents.len(), "bytes_contents")?;
            let texts = contents.bytes_contents.iter().enumerate();
            let texts = texts.map(|(place, bytes)| oip::text(name, place, bytes));
            Tensor::String(shape.array(name, texts.collect::<Result<_, _>>()?)?)
        }
    })
}

impl InferTensorContents {
    fn n_elements(&self) -> usize {
        self.bool_contents.len()
            + self.int_contents.len()
            + self.int64_contents.len()
            + self.uint_contents.len()
            + self.uint64_contents.len()
            + self.fp32_contents.len()
            + self.fp64_contents.len()
            + self.bytes_contents.len()
    }
}

impl InferParameter {
    /// A number that is not negative, whichever member it came in.
    pub(super) fn as_u64(&self) -> Option<u64> {
        match self.parameter_choice.as_ref()? {
            ParameterChoice::Int64(number) => u64::try_from(*number).ok(),
            ParameterChoice::Uint64(number) => Some(*number),
            ParameterChoice::String(text) => text.parse().ok(),
            ParameterChoice::Double(number) => {
                let is_whole = *number >= 0.0 && *number < 9e15 && number.fract() == 0.0;
                is_whole.then_some(*number as u64)
            }
            ParameterChoice::Bool(_) => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self.parameter_choice.as_ref()? {
            ParameterChoice::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.parameter_choice {
            None => serde_json::Value::Null,
            Some(ParameterChoice::Bool(value)) => (*value).into(),
            Some(ParameterChoice::Int64(value)) => (*value).into(),
            Some(ParameterChoice::String(value)) => value.as_str().into(),
            Some(ParameterChoice::Double(value)) => (*value).into(),
            Some(ParameterChoice::Uint64(value)) => (*value).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferTensor {
        InferTensor {
            name: "x".to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
            contents,
            ..Default::default()
        }
    }

    fn ints(values: &[i32]) -> Option<InferTensorContents> {
        Some(InferTensorContents {
            int_contents: values.to_vec(),
            ..Default::default()
        })
    }

    #[test]
    fn typed_contents_are_narrowed_and_counted() {
        let tensor = tensors(vec![input("INT8", &[2], ints(&[1, -128]))], &[]).unwrap();
        assert_eq!(tensor[0].tensor.dtype(), DType::Int8);
        for (input, part) in [
            (input("INT8", &[1], ints(&[128])), "128 does not fit INT8"),
            (
                input("INT32", &[2], ints(&[1])),
                "1 elements in `int_contents`",
            ),
            (
                input("INT64", &[1], ints(&[1])),
                "belong into `int64_contents`",
            ),
            (input("FP16", &[1], ints(&[1])), "no typed contents"),
            (input("BF16", &[1], ints(&[1])), "no typed contents"),
            (input("FP8", &[1], ints(&[1])), "`FP8`"),
            (input("INT32", &[-1], ints(&[1])), "negative"),
            (input("INT32", &[1], None), "0 elements"),
        ] {
            let error = tensors(vec![input], &[]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn raw_and_typed_contents_never_stand_in_one_message() {
        let raw = [Bytes::from_static(&[1, 0, 0, 0])];
        assert!(tensors(vec![input("INT32", &[1], None)], &raw).is_ok());
        // Present though empty.
        let beside = input("INT32", &[1], Some(InferTensorContents::default()));
        let error = tensors(vec![beside], &raw).unwrap_err().to_string();
        assert!(error.contains("beside"), "{error}");
        let two = vec![input("INT32", &[1], None), input("INT32", &[1], None)];
        assert!(tensors(two, &raw).is_err());
    }

    #[test]
    fn trap_13_a_number_comes_in_any_member() {
        let number = |choice| {
            InferParameter {
                parameter_choice: Some(choice),
            }
            .as_u64()
        };
        assert_eq!(number(ParameterChoice::Int64(5)), Some(5));
        assert_eq!(number(ParameterChoice::Uint64(5)), Some(5));
        assert_eq!(number(ParameterChoice::Double(5.0)), Some(5));
        assert_eq!(number(ParameterChoice::String("5".to_owned())), Some(5));
        assert_eq!(number(ParameterChoice::Int64(-5)), None);
        assert_eq!(number(ParameterChoice::Double(0.5)), None);
        assert_eq!(number(ParameterChoice::Bool(true)), None);
    }
}
