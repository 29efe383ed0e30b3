//! What was read is written and read again the same: a promise that fuzzing holds every tensor to.

use serde::de::IgnoredAny;

use super::{Shape, decode_raw, encode_raw, json_data, write_json_data};
use crate::types::tensor::Tensor;

/// Panics if bytes or JSON of the tensor do not give it back, or if it cannot be written at all.
pub fn check_round_trip(tensor: &Tensor) {
    let dimensions: Vec<i64> = tensor.shape().iter().map(|n| *n as i64).collect();
    let shape = Shape::new("x", &dimensions);
    assert!(shape.is_ok(), "the shape of a tensor is refused: {shape:?}");
    let Ok(shape) = shape else { return };

    let bytes = raw(tensor);
    let again = decode_raw("x", tensor.dtype(), &shape, &bytes);
    assert_eq!(again.map(|again| raw(&again)), Ok(bytes));

    let text = json(tensor);
    let again = json_data("x", tensor.dtype(), &shape, &text);
    assert_eq!(again.map(|again| json(&again)), Ok(text));

    // As the audit event has it.
    let nested = serde_json::to_vec(tensor).unwrap_or_default();
    let parsed = serde_json::from_slice::<IgnoredAny>(&nested);
    assert!(parsed.is_ok(), "a tensor is no JSON: {parsed:?}");
}

fn raw(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_raw(tensor, &mut bytes);
    bytes
}

fn json(tensor: &Tensor) -> String {
    let mut out = Vec::new();
    let written = write_json_data(tensor, &mut out);
    assert!(written.is_ok(), "a tensor is no JSON: {written:?}");
    String::from_utf8_lossy(&out).into_owned()
}
