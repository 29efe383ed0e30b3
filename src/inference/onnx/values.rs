//! Tensors lent to ONNX Runtime and outputs taken from it.

use ndarray::{ArrayD, Dimension, IxDyn};
use ort::session::SessionInputValue;
use ort::value::{
    DynSequenceValueType, DynValue, IntoTensorElementType, MapValueType,
    PrimitiveTensorElementType, Shape, TensorElementType, TensorRef, ValueType,
};

use crate::types::tensor::{Output, Tensor};

/// A view of the tensor for a run. Text is copied, because ONNX Runtime keeps its own; so is an array that is not row-major.
pub(super) fn lend(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    match tensor {
        Tensor::Bool(array) => lend_array(array),
        Tensor::Int8(array) => lend_array(array),
        Tensor::Int16(array) => lend_array(array),
        Tensor::Int32(array) => lend_array(array),
        Tensor::Int64(array) => lend_array(array),
        Tensor::UInt8(array) => lend_array(array),
        Tensor::UInt16(array) => lend_array(array),
        Tensor::UInt32(array) => lend_array(array),
        Tensor::UInt64(array) => lend_array(array),
        Tensor::Float16(array) => lend_array(array),
        Tensor::BFloat16(array) => lend_array(array),
        Tensor::Float32(array) => lend_array(array),
        Tensor::Float64(array) => lend_array(array),
        Tensor::String(array) => {
            let array = array.as_standard_layout();
            Ok(ort::value::Tensor::from_string_array(&array)?.into())
        }
    }
}

fn lend_array<T>(array: &ArrayD<T>) -> ort::Result<SessionInputValue<'_>>
where
    T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
{
    if array.is_standard_layout() {
        Ok(TensorRef::from_array_view(array)?.into())
    } else {
        Ok(ort::value::Tensor::from_array(array.clone())?.into())
    }
}

/// Copies an output out of ONNX Runtime's memory.
pub(super) fn take(value: &DynValue) -> ort::Result<Output> {
    let element = match value.dtype() {
        ValueType::Tensor { ty, .. } => *ty,
        ValueType::Sequence(element) => return take_maps(value, element).map(Output::Maps),
        other @ (ValueType::Map { .. } | ValueType::Optional(_)) => return Err(unknown(other)),
    };
    let tensor = match element {
        TensorElementType::Bool => Tensor::Bool(take_array(value)?),
        TensorElementType::Int8 => Tensor::Int8(take_array(value)?),
        TensorElementType::Int16 => Tensor::Int16(take_array(value)?),
        TensorElementType::Int32 => Tensor::Int32(take_array(value)?),
        TensorElementType::Int64 => Tensor::Int64(take_array(value)?),
        TensorElementType::Uint8 => Tensor::UInt8(take_array(value)?),
        TensorElementType::Uint16 => Tensor::UInt16(take_array(value)?),
        TensorElementType::Uint32 => Tensor::UInt32(take_array(value)?),
        TensorElementType::Uint64 => Tensor::UInt64(take_array(value)?),
        TensorElementType::Float16 => Tensor::Float16(take_array(value)?),
        TensorElementType::Bfloat16 => Tensor::BFloat16(take_array(value)?),
        TensorElementType::Float32 => Tensor::Float32(take_array(value)?),
        TensorElementType::Float64 => Tensor::Float64(take_array(value)?),
        TensorElementType::String => {
            let (shape, elements) = value.try_extract_strings()?;
            Tensor::String(shaped(shape, elements)?)
        }
        _ => return Err(unknown(value.dtype())),
    };
    Ok(Output::Tensor(tensor))
}

/// Cannot happen with a graph that `graph::describe` let pass.
fn unknown(value_type: &ValueType) -> ort::Error {
    ort::Error::new(format!("output of type {value_type}"))
}

fn take_array<T>(value: &DynValue) -> ort::Result<ArrayD<T>>
where
    T: PrimitiveTensorElementType + Clone,
{
    let (shape, elements) = value.try_extract_tensor::<T>()?;
    shaped(shape, elements.to_vec())
}

fn shaped<T>(shape: &Shape, elements: Vec<T>) -> ort::Result<ArrayD<T>> {
    // Up to four dimensions this allocates nothing.
    let mut dimensions = IxDyn::zeros(shape.len());
    for (to, from) in dimensions.slice_mut().iter_mut().zip(shape.iter()) {
        *to = usize::try_from(*from).map_err(ort::Error::wrap)?;
    }
    ArrayD::from_shape_vec(dimensions, elements).map_err(ort::Error::wrap)
}

fn take_maps(value: &DynValue, element: &ValueType) -> ort::Result<Vec<Vec<(String, f64)>>> {
    match element {
        ValueType::Map {
            key: TensorElementType::Int64,
            ..
        } => take_maps_of(value, |key: i64| key.to_string()),
        ValueType::Map {
            key: TensorElementType::String,
            ..
        } => take_maps_of(value, |key: String| key),
        other => Err(unknown(other)),
    }
}

fn take_maps_of<K>(
    value: &DynValue,
    as_text: fn(K) -> String,
) -> ort::Result<Vec<Vec<(String, f64)>>>
where
    K: IntoTensorElementType + Clone + std::fmt::Debug + std::hash::Hash + Eq,
{
    let sequence = value.view().downcast::<DynSequenceValueType>()?;
    let mut rows = Vec::new();
    for map in sequence.try_extract_sequence::<MapValueType<K, f32>>()? {
        let mut row = Vec::new();
        for (key, probability) in map.try_extract_key_values::<K, f32>()? {
            row.push((as_text(key), f64::from(probability)));
        }
        rows.push(row);
    }
    Ok(rows)
}
