//! What a model is run on before it goes live: its input example, else made-up values.
//!
//! An example that fits the graph's types and shapes must also run: a model that fails on what it was logged with is
//! broken, and does not go live. Made-up values (zeros, empty text; one row) may be values that the model never meets,
//! so a failure on them is only logged, and the model counts as slow (`inference::served_model`).

use std::collections::HashMap;

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};

use super::artifact::InputExample;
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::signature::{Graph, Schema, Signature, TensorSpec};
use crate::types::tensor::Tensor;

/// Made-up inputs beyond this are not worth their memory.
const MAX_ELEMENTS: usize = 1 << 24;

/// Inputs in graph order.
#[derive(Debug, PartialEq)]
pub(super) enum WarmUp {
    Example(Vec<Tensor>),
    MadeUp(Vec<Tensor>),
    /// The graph takes more than one would want to make up.
    Nothing,
}

pub(super) fn choose(
    graph: &Graph,
    signature: &Signature,
    example: Option<&InputExample>,
) -> WarmUp {
    if let Some(example) = example {
        if let Some(inputs) = from_example(graph, signature, example) {
            return WarmUp::Example(inputs);
        }
        tracing::debug!("input example does not fit the graph; made-up values take its place");
    }
    match graph.inputs.iter().map(made_up).collect() {
        Some(inputs) => WarmUp::MadeUp(inputs),
        None => WarmUp::Nothing,
    }
}

fn made_up(spec: &TensorSpec) -> Option<Tensor> {
    let mut shape = Vec::new();
    let mut n_elements: usize = 1;
    for size in &spec.shape {
        let size = usize::try_from(*size).unwrap_or(1);
        n_elements = n_elements.checked_mul(size)?;
        shape.push(size);
    }
    if n_elements > MAX_ELEMENTS {
        return None;
    }
    let cells = match spec.dtype {
        DType::String => vec![Cell::Text(String::new()); n_elements],
        DType::Bool => vec![Cell::Bool(false); n_elements],
        _ => vec![Cell::Int(0); n_elements],
    };
    tensor(spec.dtype, &shape, &cells.iter().collect::<Vec<_>>())
}

/// `None` if the example does not fit.
fn from_example(
    graph: &Graph,
    signature: &Signature,
    example: &InputExample,
) -> Option<Vec<Tensor>> {
    match (example, graph.inputs.as_slice()) {
        (InputExample::Frame { columns, rows }, [spec]) => {
            let order = column_order(graph, signature, columns)?;
            let rows = rows.iter().map(|row| {
                let cells = order.iter().map(|column| row[*column].clone());
                Cell::List(cells.collect())
            });
            Some(vec![fit(spec, &Cell::List(rows.collect()))?])
        }
        (InputExample::Frame { columns, rows }, specs) => {
            let mut inputs = Vec::new();
            for spec in specs {
                let column = columns
                    .iter()
                    .position(|name| Some(name) == spec.name.as_ref())?;
                let cells = rows.iter().map(|row| row[column].clone());
                inputs.push(fit(spec, &Cell::List(cells.collect()))?);
            }
            Some(inputs)
        }
        (InputExample::Array(array), [spec]) => Some(vec![fit(spec, array)?]),
        (InputExample::Array(_), _) => None,
        (InputExample::Arrays(arrays), specs) => {
            let mut inputs = Vec::new();
            for spec in specs {
                inputs.push(fit(spec, arrays.get(spec.name.as_ref()?)?)?);
            }
            Some(inputs)
        }
    }
}

/// Places in the example of the signature's columns that make up the only required input, else the example's own order.
fn column_order(graph: &Graph, signature: &Signature, columns: &[String]) -> Option<Vec<usize>> {
    let Some(Schema::Columns(specs)) = &signature.inputs else {
        return Some((0..columns.len()).collect());
    };
    let places: HashMap<&str, usize> = columns
        .iter()
        .enumerate()
        .map(|(place, name)| (name.as_str(), place))
        .collect();
    let mut order = Vec::new();
    for (place, spec) in specs.iter().enumerate() {
        let mut optional = graph.optional.iter();
        if spec.name.is_some() && optional.any(|input| input.name == spec.name) {
            continue;
        }
        let place = match &spec.name {
            Some(name) => *places.get(name.as_str())?,
            None if place < columns.len() => place,
            None => return None,
        };
        order.push(place);
    }
    Some(order)
}

/// Nested lists as the tensor that the graph takes; `[N]` and `[N, 1]` stand for each other.
fn fit(spec: &TensorSpec, nested: &Cell) -> Option<Tensor> {
    let mut shape = Vec::new();
    let mut cells = Vec::new();
    flatten(nested, 0, &mut shape, &mut cells)?;
    if shape.len() + 1 == spec.shape.len() && spec.shape.last() == Some(&1) {
        shape.push(1);
    } else if shape.len() == spec.shape.len() + 1 && shape.last() == Some(&1) {
        shape.pop();
    }
    let fits =
        |(size, wanted): (&usize, &i64)| *wanted < 0 || usize::try_from(*wanted) == Ok(*size);
    let same_rank = shape.len() == spec.shape.len();
    if !same_rank || cells.is_empty() || !shape.iter().zip(&spec.shape).all(fits) {
        return None;
    }
    tensor(spec.dtype, &shape, &cells)
}

/// Row-major leaves and the shape; `None` for ragged lists.
fn flatten<'a>(
    cell: &'a Cell,
    depth: usize,
    shape: &mut Vec<usize>,
    leaves: &mut Vec<&'a Cell>,
) -> Option<()> {
    let Cell::List(items) = cell else {
        leaves.push(cell);
        return (depth == shape.len()).then_some(());
    };
    match shape.get(depth) {
        Some(size) if *size != items.len() => return None,
        Some(_) => {}
        // A list where the first path down had none.
        None if !leaves.is_empty() => return None,
        None => shape.push(items.len()),
    }
    for item in items {
        flatten(item, depth + 1, shape, leaves)?;
    }
    Some(())
}

/// `None` if a cell is not of the type.
fn tensor(dtype: DType, shape: &[usize], cells: &[&Cell]) -> Option<Tensor> {
    match dtype {
        DType::Bool => array(shape, cells, boolean).map(Tensor::Bool),
        DType::Int8 => array(shape, cells, integer).map(Tensor::Int8),
        DType::Int16 => array(shape, cells, integer).map(Tensor::Int16),
        DType::Int32 => array(shape, cells, integer).map(Tensor::Int32),
        DType::Int64 => array(shape, cells, integer).map(Tensor::Int64),
        DType::UInt8 => array(shape, cells, integer).map(Tensor::UInt8),
        DType::UInt16 => array(shape, cells, integer).map(Tensor::UInt16),
        DType::UInt32 => array(shape, cells, integer).map(Tensor::UInt32),
        DType::UInt64 => array(shape, cells, integer).map(Tensor::UInt64),
        DType::Float32 => {
            array(shape, cells, |cell| Some(float(cell)? as f32)).map(Tensor::Float32)
        }
        DType::Float16 => {
            array(shape, cells, |cell| Some(f16::from_f64(float(cell)?))).map(Tensor::Float16)
        }
        DType::BFloat16 => {
            array(shape, cells, |cell| Some(bf16::from_f64(float(cell)?))).map(Tensor::BFloat16)
        }
        DType::Float64 => array(shape, cells, float).map(Tensor::Float64),
        DType::String => array(shape, cells, text).map(Tensor::String),
        DType::Binary | DType::Datetime => None,
    }
}

fn array<T>(
    shape: &[usize],
    cells: &[&Cell],
    convert: impl Fn(&Cell) -> Option<T>,
) -> Option<ArrayD<T>> {
    let elements: Option<Vec<T>> = cells.iter().map(|cell| convert(cell)).collect();
    ArrayD::from_shape_vec(IxDyn(shape), elements?).ok()
}

fn boolean(cell: &Cell) -> Option<bool> {
    match cell {
        Cell::Bool(value) => Some(*value),
        _ => None,
    }
}

fn integer<T: TryFrom<i64> + TryFrom<u64>>(cell: &Cell) -> Option<T> {
    match cell {
        Cell::Int(value) => T::try_from(*value).ok(),
        Cell::UInt(value) => T::try_from(*value).ok(),
        _ => None,
    }
}

fn float(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Null => Some(f64::NAN),
        Cell::Int(value) => Some(*value as f64),
        Cell::UInt(value) => Some(*value as f64),
        Cell::Float(value) => Some(*value),
        Cell::Bool(_) | Cell::Text(_) | Cell::List(_) => None,
    }
}

fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::SessionOptions;
    use crate::inference::test_models::{fixture, runtime};
    use crate::models::artifact::Artifact;

    fn graph(inputs: &[(&str, DType, &[i64])]) -> Graph {
        let inputs = inputs.iter().map(|(name, dtype, shape)| TensorSpec {
            name: Some((*name).to_owned()),
            dtype: *dtype,
            shape: shape.to_vec(),
        });
        Graph {
            optional: Vec::new(),
            inputs: inputs.collect(),
            outputs: Vec::new(),
        }
    }

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::Float32(ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap())
    }

    fn frame(columns: &[&str], rows: &str) -> InputExample {
        InputExample::Frame {
            columns: columns.iter().map(ToString::to_string).collect(),
            rows: serde_json::from_str(rows).unwrap(),
        }
    }

    fn array(json: &str) -> InputExample {
        InputExample::Array(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn every_recorded_example_fits_and_runs() {
        for name in ["linreg_col", "linreg_tensor", "multi_tensor"] {
            let artifact = Artifact::read(&fixture("models").join(name)).unwrap();
            let mut model = runtime()
                .load_model(&artifact.onnx_file, &SessionOptions::default())
                .unwrap();
            let example = artifact.input_example.as_ref();
            let chosen = choose(model.graph(), &artifact.signature, example);
            let WarmUp::Example(inputs) = chosen else {
                panic!("{name}: {chosen:?}");
            };
            model.warm_up(&inputs).unwrap();
        }
    }

    /// Why calls of a recorded model are not merged.
    fn obstacle(place: &str) -> Option<String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let artifact = Artifact::read(&root.join(place)).unwrap();
        let mut model = runtime()
            .load_model(&artifact.onnx_file, &SessionOptions::default())
            .unwrap();
        let example = artifact.input_example.as_ref();
        let chosen = choose(model.graph(), &artifact.signature, example);
        let (WarmUp::Example(inputs) | WarmUp::MadeUp(inputs)) = chosen else {
            panic!("{place}");
        };
        model.warm_up(&inputs).unwrap();
        model.not_merged()
    }

    #[test]
    fn models_without_matrix_products_give_the_same_bits_in_a_merged_run_as_alone() {
        for place in [
            "models/driver_ranking/1",
            "models/trip_eta/1",
            "tests/fixtures/mlflow/models/mixed_cols",
            "tests/fixtures/mlflow/models/multi_tensor",
            "tests/fixtures/mlflow/models/strings_col",
        ] {
            assert_eq!(obstacle(place), None, "{place}");
        }
    }

    #[test]
    fn models_with_matrix_products_are_at_most_rounded_otherwise_in_a_merged_run() {
        for place in [
            "models/trip_acceptance/1",
            "tests/fixtures/mlflow/models/clf_on_col",
            "tests/fixtures/mlflow/models/clf_off_tensor",
            "tests/fixtures/mlflow/models/clf_strlabel_on_col",
            "tests/fixtures/mlflow/models/linreg_col",
            "tests/fixtures/mlflow/models/rank3",
        ] {
            // It depends on the processor's kernels.
            if let Some(reason) = obstacle(place) {
                assert!(reason.contains("rounded otherwise"), "{place}: {reason}");
            }
        }
    }

    #[test]
    fn a_frame_becomes_a_matrix_in_the_order_of_the_signature() {
        use crate::types::signature::{ColumnSpec, ColumnType};
        let column = |name: &str| ColumnSpec {
            name: Some(name.to_owned()),
            dtype: ColumnType::Scalar(DType::Float64),
            required: true,
        };
        let signature = Signature {
            inputs: Some(Schema::Columns(vec![column("a"), column("b")])),
            ..Signature::default()
        };
        let example = frame(&["b", "unused", "a"], "[[2, 9, 1], [4, 9, 3]]");
        let graph = graph(&[("x", DType::Float32, &[-1, 2])]);
        let wanted = WarmUp::Example(vec![floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])]);
        assert_eq!(choose(&graph, &signature, Some(&example)), wanted);
    }

    #[test]
    fn a_frame_feeds_several_inputs_by_name() {
        let graph = graph(&[("b", DType::String, &[-1]), ("a", DType::Int64, &[-1, 1])]);
        let example = frame(&["a", "b"], r#"[[1, "x"], [2, "y"]]"#);
        let text = ["x".to_owned(), "y".to_owned()].to_vec();
        let wanted = WarmUp::Example(vec![
            Tensor::String(ArrayD::from_shape_vec(IxDyn(&[2]), text).unwrap()),
            Tensor::Int64(ArrayD::from_shape_vec(IxDyn(&[2, 1]), vec![1, 2]).unwrap()),
        ]);
        assert_eq!(
            choose(&graph, &Signature::default(), Some(&example)),
            wanted
        );
    }

    #[test]
    fn an_example_that_does_not_fit_gives_way_to_made_up_values() {
        let graph = graph(&[("x", DType::Float32, &[-1, 2])]);
        let wanted = WarmUp::MadeUp(vec![floats(&[1, 2], &[0.0, 0.0])]);
        for example in [
            array("[[1, 2, 3]]"),
            array("[[1, 2], [3]]"),
            array("[[1, 2], 3]"),
            array("[3, [1, 2]]"),
            array("[1, 2]"),
            array("[]"),
            array("7"),
            array(r#"[["a", "b"]]"#),
            frame(&["a"], "[[1]]"),
            InputExample::Arrays(Default::default()),
        ] {
            let chosen = choose(&graph, &Signature::default(), Some(&example));
            assert_eq!(chosen, wanted, "{example:?}");
        }
        assert_eq!(choose(&graph, &Signature::default(), None), wanted);
    }

    #[test]
    fn null_is_nan_and_integers_must_fit() {
        let graph = |dtype| graph(&[("x", dtype, &[-1])]);
        let chosen = choose(
            &graph(DType::Float32),
            &Signature::default(),
            Some(&array("[null]")),
        );
        let WarmUp::Example(inputs) = chosen else {
            panic!("{chosen:?}");
        };
        assert!(matches!(&inputs[0], Tensor::Float32(array) if array[0].is_nan()));
        for json in ["[300]", "[-1]", "[1.5]", "[null]"] {
            let chosen = choose(
                &graph(DType::UInt8),
                &Signature::default(),
                Some(&array(json)),
            );
            assert!(matches!(chosen, WarmUp::MadeUp(_)), "{json}");
        }
    }

    #[test]
    fn enormous_inputs_are_not_made_up() {
        for shape in [&[1 << 20, 1 << 20][..], &[i64::MAX, i64::MAX]] {
            let graph = graph(&[("x", DType::Float32, shape)]);
            assert_eq!(choose(&graph, &Signature::default(), None), WarmUp::Nothing);
        }
    }
}
