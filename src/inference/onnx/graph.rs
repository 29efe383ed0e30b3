//! What a session says about its graph, in our words; kinds of values that cannot be served are refused here.

use std::path::Path;

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use crate::inference::Error;
use crate::types::dtype::DType;
use crate::types::signature::{Graph, OutputKind, OutputSpec, TensorSpec};

pub(super) fn describe(session: &Session, path: &Path) -> Result<Graph, Error> {
    let mut inputs = Vec::new();
    let mut optional = Vec::new();
    for outlet in session.inputs() {
        if let ValueType::Optional(inner) = outlet.dtype() {
            optional.extend(spec(outlet.name(), inner));
            continue;
        }
        let input = spec(outlet.name(), outlet.dtype());
        inputs.push(input.ok_or_else(|| unsupported(path, "input", outlet))?);
    }
    // Of a kind that nobody can give, they are left out always.
    for initializer in session.overridable_initializers() {
        optional.extend(spec(initializer.name(), initializer.dtype()));
    }
    let mut outputs = Vec::new();
    for outlet in session.outputs() {
        let kind =
            output_kind(outlet.dtype()).ok_or_else(|| unsupported(path, "output", outlet))?;
        outputs.push(OutputSpec {
            name: outlet.name().to_owned(),
            kind,
        });
    }
    Ok(Graph {
        inputs,
        optional,
        outputs,
    })
}

fn spec(name: &str, value_type: &ValueType) -> Option<TensorSpec> {
    let (dtype, shape) = tensor(value_type)?;
    Some(TensorSpec {
        name: Some(name.to_owned()),
        dtype,
        shape,
    })
}

fn unsupported(path: &Path, side: &str, outlet: &Outlet) -> Error {
    Error::Unsupported {
        path: path.to_owned(),
        place: format!("{side} `{}`", outlet.name()),
        actual: outlet.dtype().to_string(),
    }
}

fn output_kind(value_type: &ValueType) -> Option<OutputKind> {
    if let ValueType::Sequence(element) = value_type {
        return is_row_map(element).then_some(OutputKind::Maps);
    }
    let (dtype, shape) = tensor(value_type)?;
    Some(OutputKind::Tensor { dtype, shape })
}

/// ZipMap's row: class to probability.
fn is_row_map(element: &ValueType) -> bool {
    matches!(
        element,
        ValueType::Map {
            key: TensorElementType::Int64 | TensorElementType::String,
            value: TensorElementType::Float32,
        }
    )
}

fn tensor(value_type: &ValueType) -> Option<(DType, Vec<i64>)> {
    match value_type {
        ValueType::Tensor { ty, shape, .. } => Some((dtype(*ty)?, shape.to_vec())),
        ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Optional(_) => None,
    }
}

/// `None` for types without a counterpart in `types::tensor`: complex numbers, and those of less than eight bits or of
/// eight-bit floating point.
fn dtype(element: TensorElementType) -> Option<DType> {
    match element {
        TensorElementType::Bool => Some(DType::Bool),
        TensorElementType::Int8 => Some(DType::Int8),
        TensorElementType::Int16 => Some(DType::Int16),
        TensorElementType::Int32 => Some(DType::Int32),
        TensorElementType::Int64 => Some(DType::Int64),
        TensorElementType::Uint8 => Some(DType::UInt8),
        TensorElementType::Uint16 => Some(DType::UInt16),
        TensorElementType::Uint32 => Some(DType::UInt32),
        TensorElementType::Uint64 => Some(DType::UInt64),
        TensorElementType::Float16 => Some(DType::Float16),
        TensorElementType::Bfloat16 => Some(DType::BFloat16),
        TensorElementType::Float32 => Some(DType::Float32),
        TensorElementType::Float64 => Some(DType::Float64),
        TensorElementType::String => Some(DType::String),
        _ => None,
    }
}
