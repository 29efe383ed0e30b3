//! What a caller who speaks of tensors gives to a model and gets from it: the description that protocols hand out.
//!
//! A model without features takes its graph's inputs. One with features takes its entity columns, the columns that the
//! request must give and what its on-demand features are computed from, one item per row; the features themselves are
//! looked up.
//! All give the graph's outputs; a classifier's row maps are a matrix with a column for each class.

use super::on_demand;
use super::plan::{PlannedColumn, ServingPlan, Source, Width};
use crate::features::key::KeyType;
use crate::models::ServedVersion;
use crate::types::dtype::DType;
use crate::types::signature::{Graph, OutputKind, TensorSpec};

/// A tensor by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorDescription {
    pub name: String,
    pub dtype: DType,
    /// -1 is any size.
    pub shape: Vec<i64>,
    /// An input that a call may leave out.
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub inputs: Vec<TensorDescription>,
    pub outputs: Vec<TensorDescription>,
}

impl Interface {
    pub fn of(version: &ServedVersion<ServingPlan>) -> Self {
        let graph = version.model.graph();
        Self {
            inputs: version.plan.described_inputs(graph),
            outputs: outputs(graph),
        }
    }

    /// The most rows in one call, `limit` or none: zero where the first dimension of some tensor is not free.
    pub fn max_batch_size(&self, limit: usize) -> i32 {
        match self.has_free_rows() {
            true => i32::try_from(limit).unwrap_or(i32::MAX),
            false => 0,
        }
    }

    /// A shape as Triton's model configuration has it: without the rows, where they are free.
    pub fn config_dims<'a>(&self, tensor: &'a TensorDescription) -> &'a [i64] {
        match &tensor.shape[..] {
            [_, row @ ..] if self.has_free_rows() => row,
            shape => shape,
        }
    }

    fn has_free_rows(&self) -> bool {
        let mut all = self.inputs.iter().chain(&self.outputs);
        all.all(|tensor| tensor.shape.first() == Some(&-1))
    }
}

impl ServingPlan {
    fn described_inputs(&self, graph: &Graph) -> Vec<TensorDescription> {
        let Some(online) = &self.online else {
            let describe = |input: &TensorSpec, optional| TensorDescription {
                name: input.name.clone().unwrap_or_default(),
                dtype: input.dtype,
                shape: input.shape.clone(),
                optional,
            };
            let required = graph.inputs.iter().zip(&self.tensors);
            let required =
                required.map(|(input, planned)| describe(input, self.may_be_left_out(planned)));
            let optional = graph.optional.iter().map(|input| describe(input, true));
            return required.chain(optional).collect();
        };
        let mut inputs: Vec<TensorDescription> = Vec::new();
        let mut add = |name: &str, dtype, shape: &[i64], optional| {
            // One name may be wanted as two types.
            if inputs.iter().all(|input| input.name != name) {
                inputs.push(TensorDescription {
                    name: name.to_owned(),
                    dtype,
                    shape: shape.to_vec(),
                    optional,
                });
            }
        };
        for key in &online.join_keys {
            add(&key.name, key_dtype(key.key_type), &[-1], false);
        }
        for (place, column) in self.columns.iter().enumerate() {
            if column.source == Source::Request {
                add(
                    &column.name,
                    column.declared,
                    &self.column_shape(place, column),
                    column.optional,
                );
            }
        }
        for field in &online.request_data {
            add(&field.name, on_demand::dtype(field), &[-1], false);
        }
        inputs
    }

    fn column_shape(&self, place: usize, column: &PlannedColumn) -> Vec<i64> {
        match column.width {
            Width::One => vec![-1],
            Width::List(width) => vec![-1, i64::try_from(width).unwrap_or(-1)],
            Width::AnyList => vec![-1, -1],
            Width::Rows => {
                let tensor = self.graph_inputs().find(|t| t.columns.contains(&place));
                let row = tensor.map_or(&[][..], |tensor| &tensor.row_shape);
                [&[-1][..], row].concat()
            }
        }
    }
}

fn key_dtype(key: KeyType) -> DType {
    match key {
        KeyType::Bytes | KeyType::String => DType::String,
        KeyType::Int32 => DType::Int32,
        KeyType::Int64 | KeyType::UnixTimestamp => DType::Int64,
    }
}

fn outputs(graph: &Graph) -> Vec<TensorDescription> {
    let outputs = graph.outputs.iter().map(|output| {
        let (dtype, shape) = match &output.kind {
            OutputKind::Tensor { dtype, shape } => (*dtype, shape.clone()),
            OutputKind::Maps => (DType::Float32, vec![-1, -1]),
        };
        TensorDescription {
            name: output.name.clone(),
            dtype,
            shape,
            optional: false,
        }
    });
    outputs.collect()
}
