//! Models of every kind of signature, none of which reads features.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::models::{Binder, Candidate};
use crate::predict::{PlanBinder, ServingPlan};
use crate::telemetry::metrics::Metrics;
use crate::types::dtype::DType;
use crate::types::names::ModelVersion;
use crate::types::signature::{
    ColumnSpec, ColumnType, Graph, OutputKind, OutputSpec, Schema, Signature, TensorSpec,
};

/// Every type that a tensor may have.
const TYPES: [DType; 14] = [
    DType::Bool,
    DType::Int8,
    DType::Int16,
    DType::Int32,
    DType::Int64,
    DType::UInt8,
    DType::UInt16,
    DType::UInt32,
    DType::UInt64,
    DType::Float16,
    DType::BFloat16,
    DType::Float32,
    DType::Float64,
    DType::String,
];

/// Compiled once.
pub(super) fn plans() -> &'static [ServingPlan] {
    static PLANS: OnceLock<Vec<ServingPlan>> = OnceLock::new();
    PLANS.get_or_init(|| {
        let binder = PlanBinder::new(None, BTreeMap::new(), Arc::new(Metrics::new()));
        let plans: Vec<ServingPlan> = models()
            .iter()
            .filter_map(|(signature, inputs)| bind(&binder, signature, inputs))
            .collect();
        assert_eq!(plans.len(), models().len(), "a model does not bind");
        plans
    })
}

fn bind(binder: &PlanBinder, signature: &Signature, inputs: &[TensorSpec]) -> Option<ServingPlan> {
    let outputs = inputs.iter().map(|input| OutputSpec {
        name: input.name.clone().unwrap_or_default(),
        kind: OutputKind::Tensor {
            dtype: input.dtype,
            shape: input.shape.clone(),
        },
    });
    // Those names that no column has: a run may leave them out.
    let is_optional = |input: &TensorSpec| matches!(input.name.as_deref(), Some("scale" | "bias"));
    let (optional, inputs) = inputs.iter().cloned().partition(is_optional);
    let graph = Graph {
        optional,
        inputs,
        outputs: outputs.collect(),
    };
    let candidate = Candidate {
        name: "m",
        version: ModelVersion(1),
        tags: &BTreeMap::new(),
        signature,
        graph: &graph,
    };
    binder.bind(&candidate).ok()
}

/// Signatures and the inputs of their graphs, those that may be left out among them.
fn models() -> Vec<(Signature, Vec<TensorSpec>)> {
    let column = |name: &str, dtype| ColumnSpec {
        name: Some(name.to_owned()),
        dtype: ColumnType::Scalar(dtype),
        required: name != "e",
    };
    let tensor = |name: &str, dtype, shape: &[i64]| TensorSpec {
        name: Some(name.to_owned()),
        dtype,
        shape: shape.to_vec(),
    };
    let of = |inputs| Signature {
        inputs,
        ..Signature::default()
    };
    let typed = [
        ("a", DType::Int64),
        ("b", DType::Float64),
        ("c", DType::String),
        ("d", DType::Bool),
        ("e", DType::Float32),
    ];
    let columns = typed.map(|(name, dtype)| column(name, dtype)).to_vec();
    let column_inputs = typed.map(|(name, dtype)| tensor(name, dtype, &[-1, 1]));
    let numbers = ["a", "b"].map(|name| column(name, DType::Float64)).to_vec();
    let unnamed = ["a", "b"].map(|_| ColumnSpec {
        name: None,
        dtype: ColumnType::Scalar(DType::Int32),
        required: true,
    });
    let matrix = |width| vec![tensor("x", DType::Float32, &[-1, width])];
    let every = TYPES.map(|dtype| tensor(&dtype.to_string(), dtype, &[-1, 2]));
    let optional = vec![
        tensor("x", DType::Float32, &[-1, 2]),
        tensor("scale", DType::Float32, &[1]),
        tensor("bias", DType::Int64, &[-1]),
    ];
    let mut models = vec![
        (of(Some(Schema::Columns(columns))), column_inputs.to_vec()),
        (of(Some(Schema::Columns(numbers))), matrix(2)),
        (of(Some(Schema::Columns(unnamed.to_vec()))), matrix(2)),
        (of(Some(Schema::Tensors(matrix(3)))), matrix(3)),
        (of(Some(Schema::Tensors(every.to_vec()))), every.to_vec()),
        (of(None), matrix(-1)),
        (of(None), vec![tensor("x", DType::Int64, &[-1, 2, 2])]),
        (of(None), optional.clone()),
        (of(Some(Schema::Tensors(optional.clone()))), optional),
    ];
    // One of each type, so that a body needs only one input to come through.
    for dtype in TYPES {
        models.push((of(None), vec![tensor("x", dtype, &[-1])]));
    }
    models
}
