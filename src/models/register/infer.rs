//! The signature of a graph that came without one.
//!
//! MLflow knows two kinds, and a wrong choice makes a model that `mlflow.pyfunc` loads and cannot run (3.17):
//!
//! | graph | signature | because |
//! |---|---|---|
//! | one matrix, and the input example is a data frame of its width | columns, named as in the frame | MLflow lines the columns up in this order |
//! | several inputs of rank 1, each output one value per row | a column per input | each column of a frame becomes one input; CSV works too |
//! | one matrix | one tensor without a name | a frame is taken by position, a plain array as it is |
//! | any other | tensors, named as in the graph | columns would arrive with the wrong rank |
//!
//! Columns of floating-point inputs are `double`: MLflow narrows those for the graph, while it refuses a `double` frame
//! where the signature says `float`. Outputs are stated where they are tensors; MLflow does not check them.

use crate::types::dtype::DType;
use crate::types::signature::{
    ColumnSpec, ColumnType, Graph, OutputKind, Schema, Signature, TensorSpec,
};

/// `frame` has the columns of an input example that is a data frame.
pub(super) fn infer(graph: &Graph, frame: Option<&[String]>) -> Signature {
    let inputs = match &graph.inputs[..] {
        [matrix] => match frame.and_then(|names| columns_of_matrix(matrix, names)) {
            Some(columns) => Schema::Columns(columns),
            None => Schema::Tensors(vec![only_tensor(matrix)]),
        },
        inputs => match column_per_input(graph) {
            Some(columns) => Schema::Columns(columns),
            None => Schema::Tensors(inputs.to_vec()),
        },
    };
    Signature {
        inputs: Some(inputs),
        outputs: outputs(graph),
        params: None,
    }
}

fn columns_of_matrix(matrix: &TensorSpec, names: &[String]) -> Option<Vec<ColumnSpec>> {
    let [_, width] = matrix.shape[..] else {
        return None;
    };
    let fits = usize::try_from(width).map_or(!names.is_empty(), |width| width == names.len());
    let dtype = column_type(matrix.dtype).filter(|_| fits)?;
    let column = |name: &String| column(name.clone(), dtype);
    Some(names.iter().map(column).collect())
}

fn column_per_input(graph: &Graph) -> Option<Vec<ColumnSpec>> {
    let is_value_per_row = |shape: &[i64]| matches!(shape, [_] | [_, 1]);
    let outputs_fit = graph.outputs.iter().all(|output| match &output.kind {
        OutputKind::Tensor { shape, .. } => is_value_per_row(shape),
        OutputKind::Maps => true,
    });
    if !outputs_fit {
        return None;
    }
    let mut columns = Vec::with_capacity(graph.inputs.len());
    for input in &graph.inputs {
        if input.shape.len() != 1 {
            return None;
        }
        columns.push(column(input.name.clone()?, column_type(input.dtype)?));
    }
    Some(columns)
}

/// The column type whose values MLflow gives to a graph input of this type; `None` where it has no such column.
fn column_type(graph: DType) -> Option<DType> {
    match graph {
        DType::Float32 | DType::Float64 => Some(DType::Float64),
        DType::Bool | DType::Int32 | DType::Int64 | DType::String => Some(graph),
        _ => None,
    }
}

fn column(name: String, dtype: DType) -> ColumnSpec {
    ColumnSpec {
        name: Some(name),
        dtype: ColumnType::Scalar(dtype),
        required: true,
    }
}

/// Only a matrix without a name takes a frame by position.
fn only_tensor(input: &TensorSpec) -> TensorSpec {
    let mut tensor = input.clone();
    if tensor.shape.len() == 2 {
        tensor.name = None;
    }
    tensor
}

/// `None` if an output is no tensor, or the graph does not say its shape.
fn outputs(graph: &Graph) -> Option<Schema> {
    let mut tensors = Vec::with_capacity(graph.outputs.len());
    for output in &graph.outputs {
        match &output.kind {
            OutputKind::Tensor { dtype, shape } if !shape.is_empty() => tensors.push(TensorSpec {
                name: Some(output.name.clone()),
                dtype: *dtype,
                shape: shape.clone(),
            }),
            OutputKind::Tensor { .. } | OutputKind::Maps => return None,
        }
    }
    Some(Schema::Tensors(tensors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::signature::OutputSpec;

    fn graph(inputs: &[(&str, DType, &[i64])], outputs: &[&[i64]]) -> Graph {
        let inputs = inputs.iter().map(|(name, dtype, shape)| TensorSpec {
            name: Some((*name).to_owned()),
            dtype: *dtype,
            shape: shape.to_vec(),
        });
        let outputs = outputs.iter().enumerate().map(|(i, shape)| OutputSpec {
            name: format!("out{i}"),
            kind: OutputKind::Tensor {
                dtype: DType::Float32,
                shape: shape.to_vec(),
            },
        });
        Graph {
            optional: Vec::new(),
            inputs: inputs.collect(),
            outputs: outputs.collect(),
        }
    }

    /// `name:type` of columns, `name[shape]` of tensors.
    fn inputs(graph: &Graph, frame: Option<&[String]>) -> Vec<String> {
        match infer(graph, frame).inputs.unwrap() {
            Schema::Columns(columns) => columns
                .iter()
                .map(|column| match &column.dtype {
                    ColumnType::Scalar(dtype) => {
                        format!(
                            "{}:{}",
                            column.name.as_ref().unwrap(),
                            dtype.mlflow_name().unwrap()
                        )
                    }
                    ColumnType::Nested(word) => word.clone(),
                })
                .collect(),
            Schema::Tensors(tensors) => tensors
                .iter()
                .map(|tensor| {
                    format!(
                        "{}{:?} {}",
                        tensor.name.as_deref().unwrap_or("-"),
                        tensor.shape,
                        tensor.dtype
                    )
                })
                .collect(),
        }
    }

    #[test]
    fn a_matrix_is_a_tensor_without_a_name() {
        let graph = graph(&[("X", DType::Float32, &[-1, 4])], &[&[-1, 1]]);
        assert_eq!(inputs(&graph, None), ["-[-1, 4] float32"]);
    }

    #[test]
    fn a_frame_of_the_matrix_s_width_names_its_columns() {
        let names = ["a".to_owned(), "b".to_owned()];
        let fits = graph(&[("X", DType::Float32, &[-1, 2])], &[&[-1, 1]]);
        assert_eq!(inputs(&fits, Some(&names)), ["a:double", "b:double"]);
        let any = graph(&[("X", DType::Int64, &[-1, -1])], &[&[-1, 1]]);
        assert_eq!(inputs(&any, Some(&names)), ["a:long", "b:long"]);
        let wider = graph(&[("X", DType::Float32, &[-1, 3])], &[&[-1, 1]]);
        assert_eq!(inputs(&wider, Some(&names)), ["-[-1, 3] float32"]);
        let bytes = graph(&[("X", DType::UInt8, &[-1, 2])], &[&[-1, 1]]);
        assert_eq!(inputs(&bytes, Some(&names)), ["-[-1, 2] uint8"]);
    }

    #[test]
    fn inputs_of_rank_one_are_columns_if_a_table_can_hold_the_outputs() {
        let two: [(&str, DType, &[i64]); 2] =
            [("a", DType::Float32, &[-1]), ("s", DType::String, &[-1])];
        assert_eq!(
            inputs(&graph(&two, &[&[-1], &[-1, 1]]), None),
            ["a:double", "s:string"]
        );
        assert_eq!(
            inputs(&graph(&two, &[&[-1, 3]]), None),
            ["a[-1] float32", "s[-1] str"]
        );
    }

    #[test]
    fn other_ranks_stay_tensors_with_their_names() {
        let columns: [(&str, DType, &[i64]); 2] = [
            ("a", DType::Float32, &[-1, 1]),
            ("i", DType::Int64, &[-1, 1]),
        ];
        assert_eq!(
            inputs(&graph(&columns, &[&[-1]]), None),
            ["a[-1, 1] float32", "i[-1, 1] int64"]
        );
        let image = graph(&[("img", DType::Float32, &[-1, 2, 3])], &[&[-1]]);
        assert_eq!(inputs(&image, None), ["img[-1, 2, 3] float32"]);
        let single = graph(&[("x", DType::Float32, &[-1])], &[&[-1]]);
        assert_eq!(inputs(&single, None), ["x[-1] float32"]);
    }

    #[test]
    fn outputs_that_are_no_tensors_are_not_stated() {
        let mut graph = graph(&[("X", DType::Float32, &[-1, 4])], &[&[-1]]);
        assert!(infer(&graph, None).outputs.is_some());
        graph.outputs[0].kind = OutputKind::Maps;
        assert_eq!(infer(&graph, None).outputs, None);
    }
}
