//! Payloads under each kind of signature, case by case. Whole recorded calls are replayed in `tests/it`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::models::{Binder, Candidate};
use crate::predict::bind::PlanBinder;
use crate::telemetry::metrics::Metrics;
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::names::ModelVersion;
use crate::types::request::Cells;
use crate::types::scoring::Frame;
use crate::types::signature::{ColumnSpec, ColumnType, TensorSpec};
use crate::types::tensor::Tensor;

fn tensor(name: Option<&str>, dtype: DType, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.map(str::to_owned),
        dtype,
        shape: shape.to_vec(),
    }
}

fn column(name: Option<&str>, dtype: DType) -> ColumnSpec {
    ColumnSpec {
        name: name.map(str::to_owned),
        dtype: ColumnType::Scalar(dtype),
        required: true,
    }
}

fn plan(inputs: Option<Schema>, graph: Vec<TensorSpec>) -> ServingPlan {
    plan_with(inputs, graph, Vec::new())
}

fn plan_with(
    inputs: Option<Schema>,
    graph: Vec<TensorSpec>,
    optional: Vec<TensorSpec>,
) -> ServingPlan {
    let signature = Signature {
        inputs,
        ..Signature::default()
    };
    let graph = Graph {
        optional,
        inputs: graph,
        outputs: Vec::new(),
    };
    let binder = PlanBinder::new(None, BTreeMap::new(), Arc::new(Metrics::new()));
    let plan = binder.bind(&Candidate {
        name: "m",
        version: ModelVersion(1),
        tags: &BTreeMap::new(),
        signature: &signature,
        graph: &graph,
    });
    plan.unwrap_or_else(|error| panic!("{error}"))
}

fn cells(json: &str) -> Vec<Cell> {
    serde_json::from_str(json).unwrap()
}

fn lists(columns: &[(&str, &str)]) -> Vec<RequestColumn> {
    let columns = columns.iter().map(|(name, json)| RequestColumn {
        place: ColumnPlace::Rows,
        name: (*name).to_owned(),
        cells: Cells::List(cells(json)),
    });
    columns.collect()
}

fn frame(columns: &[(&str, &str)], named: bool) -> Payload {
    let columns = lists(columns);
    let n_rows = match columns.first().map(|column| &column.cells) {
        Some(Cells::List(cells)) => cells.len(),
        _ => 0,
    };
    Payload::Frame(Frame {
        columns,
        n_rows,
        named,
        source: FrameSource::Json,
    })
}

fn inputs(columns: &[(&str, &str)]) -> Payload {
    Payload::Named {
        columns: lists(columns),
        instances: false,
    }
}

fn instances(columns: &[(&str, &str)]) -> Payload {
    Payload::Named {
        columns: lists(columns),
        instances: true,
    }
}

fn array(json: &str) -> Payload {
    Payload::Array(serde_json::from_str(json).unwrap())
}

/// The values as JSON and the layout of the answer, or the error.
fn typed(plan: &ServingPlan, payload: Payload) -> Result<(String, Layout), String> {
    let scoring = Scoring {
        payload,
        strict: false,
    };
    let given = plan.scoring.type_payload(plan, &scoring);
    let given = given.map_err(|error| error.to_string())?;
    let json = match given.values {
        Values::Tensors { inputs, .. } => {
            let required = inputs.required().iter().map(|input| &**input);
            let optional = inputs.optional().iter().map(|(_, input)| &**input);
            let tensors: Vec<&Tensor> = required.chain(optional).collect();
            serde_json::to_string(&tensors).unwrap()
        }
        Values::Columns(columns) => {
            let texts = columns.columns().iter().map(|column| {
                let cells = match &column.cells {
                    Cells::List(cells) => serde_json::to_string(cells).unwrap(),
                    Cells::Scalar(cell) => serde_json::to_string(cell).unwrap(),
                };
                format!("{}={cells}", column.name)
            });
            texts.collect::<Vec<_>>().join(" ")
        }
    };
    Ok((json, given.layout))
}

fn check(plan: &ServingPlan, cases: Vec<(Payload, Result<&str, &str>)>, layout: Layout) {
    for (payload, wanted) in cases {
        let described = format!("{payload:?}");
        match (typed(plan, payload), wanted) {
            (Ok(actual), Ok(wanted)) => {
                assert_eq!(actual, (wanted.to_owned(), layout), "{described}");
            }
            (Err(actual), Err(part)) => assert!(actual.contains(part), "{described}: {actual}"),
            (actual, _) => panic!("{described}: {actual:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn a_named_column_signature_makes_a_table_of_everything() {
    let signature = vec![
        column(Some("n"), DType::Int64),
        column(Some("b"), DType::Bool),
    ];
    let graph = vec![
        tensor(Some("n"), DType::Int64, &[-1]),
        tensor(Some("b"), DType::Bool, &[-1]),
    ];
    let plan = plan(Some(Schema::Columns(signature)), graph);
    let cases = vec![
        (
            frame(&[("b", "[1]"), ("x", "[9]"), ("n", "[2.9]")], true),
            Ok("b=[true] n=[2]"),
        ),
        (
            inputs(&[("n", "[\"3\"]"), ("b", "[\"false\"]")]),
            Ok("n=[3] b=[true]"),
        ),
        (frame(&[("n", "[]"), ("b", "[]")], true), Ok("n=[] b=[]")),
        (
            frame(&[("n", "[1]")], true),
            Err("Model is missing inputs ['b']."),
        ),
        (
            frame(&[("0", "[1]"), ("1", "[1]")], false),
            Err("Model is missing inputs ['n', 'b']. Note that there were extra inputs: [0, 1]."),
        ),
        (array("[[1, 2]]"), Err("Model is missing inputs ['n', 'b']")),
        (array("[[1], [2, 3]]"), Err("inhomogeneous shape")),
        (
            frame(&[("n", "[null]"), ("b", "[1]")], true),
            Err("Failed to convert column n to type 'int64'"),
        ),
        (
            inputs(&[("n", "[[1]]"), ("b", "[1]")]),
            Err("setting an array element"),
        ),
        (
            inputs(&[("n", "[1, 2]"), ("b", "[1]")]),
            Err("All arrays must be of the same length"),
        ),
        (
            instances(&[("n", "[1, 2]"), ("b", "[1]")]),
            Err("The length of values for each input/column name are not the same"),
        ),
        (
            Payload::Other(vec!["messages".to_owned()]),
            Err(
                "Model is missing inputs ['n', 'b']. Note that there were extra inputs: ['messages'].",
            ),
        ),
    ];
    check(&plan, cases, Layout::Table);
}

#[test]
fn an_unnamed_column_signature_goes_by_place() {
    let signature = vec![column(None, DType::Float64), column(None, DType::Float64)];
    let graph = vec![tensor(Some("x"), DType::Float32, &[-1, 2])];
    let plan = plan(Some(Schema::Columns(signature)), graph);
    let cases = vec![
        (
            frame(&[("a", "[1]"), ("b", "[2]"), ("c", "[3]")], true),
            Ok("0=[1] 1=[2]"),
        ),
        (array("[[1, 2], [3, 4]]"), Ok("0=[1,3] 1=[2,4]")),
        (
            array("[1, 2]"),
            Err("declares 2 inputs  but the provided value only has 1"),
        ),
        (
            inputs(&[("a", "[1]"), ("b", "[2]")]),
            Err("un-named  model signature"),
        ),
    ];
    check(&plan, cases, Layout::Table);
}

#[test]
fn a_named_tensor_signature_makes_arrays_of_everything() {
    let specs = vec![
        tensor(Some("m"), DType::Float64, &[-1, 2]),
        tensor(Some("k"), DType::Int64, &[-1]),
    ];
    // The graph has its inputs in another order, and takes single precision.
    let graph = vec![
        tensor(Some("k"), DType::Int64, &[-1]),
        tensor(Some("m"), DType::Float32, &[-1, 2]),
    ];
    let plan = plan(Some(Schema::Tensors(specs)), graph);
    let cases = vec![
        (
            inputs(&[("m", "[[1, 2.5]]"), ("k", "[7.9]"), ("x", "[1]")]),
            Ok("[[7],[[1.0,2.5]]]"),
        ),
        (
            instances(&[("m", "[[1, 2]]"), ("k", "[7]")]),
            Ok("[[7],[[1.0,2.0]]]"),
        ),
        (
            frame(&[("k", "[7]"), ("m", "[[1, 2]]")], true),
            Ok("[[7],[[1.0,2.0]]]"),
        ),
        (
            inputs(&[("m", "[[1, 2]]")]),
            Err("Model is missing inputs ['k']."),
        ),
        (
            inputs(&[("m", "[[1]]"), ("k", "[7]")]),
            Err("Shape of input (1, 1) does not match expected shape (-1, 2)."),
        ),
        (
            inputs(&[("m", "[[1, 2]]"), ("k", "[\"a\"]")]),
            Err("invalid literal for int() with base 10: 'a'"),
        ),
        (
            array("[[1, 2]]"),
            Err("Model is missing inputs ['m', 'k']."),
        ),
        (
            frame(&[("k", "[7]"), ("m", "[[[1, 2]]]")], true),
            Err("other types are not supported"),
        ),
        (
            frame(&[("k", "[7]"), ("m", "[1]")], true),
            Err("contains scalar values"),
        ),
        (
            frame(&[("k", "[7]"), ("m", "[[1, 2, 3]]")], true),
            Err("could not be converted to the expected shape"),
        ),
    ];
    check(&plan, cases, Layout::Arrays);
}

#[test]
fn an_unnamed_tensor_signature_takes_one_array() {
    let specs = vec![tensor(None, DType::Float32, &[-1, 2])];
    let graph = vec![tensor(Some("x"), DType::Float32, &[-1, 2])];
    let plan = plan(Some(Schema::Tensors(specs)), graph);
    let cases = vec![
        (array("[[1, null]]"), Ok(r#"[[[1.0,"NaN"]]]"#)),
        (
            frame(&[("a", "[1, 3]"), ("b", "[2, 4]")], true),
            Ok("[[[1.0,2.0],[3.0,4.0]]]"),
        ),
        (frame(&[("a", "[[1, 2]]")], true), Ok("[[[1.0,2.0]]]")),
        (
            array("1.5"),
            Err("Shape of input () does not match expected shape (-1, 2)."),
        ),
        (
            array("[]"),
            Err("an input of type <class 'list'> was found"),
        ),
        (
            inputs(&[("x", "[[1, 2]]")]),
            Err("un-named  model signature"),
        ),
        (
            instances(&[("x", "[[1, 2]]")]),
            Err("an input of type <class 'dict'> was found"),
        ),
        (
            frame(&[("a", "[1]"), ("b", "[1]"), ("c", "[1]")], true),
            Err("had 3 columns"),
        ),
        (
            frame(&[("a", "[]"), ("b", "[]")], true),
            Err("The data frame has no rows."),
        ),
    ];
    check(&plan, cases, Layout::Arrays);
}

#[test]
fn without_a_signature_values_say_their_type() {
    let one = plan(None, vec![tensor(Some("x"), DType::Float32, &[-1, 2])]);
    let cases = vec![
        (array("[[1, 2.5]]"), Ok("[[[1.0,2.5]]]")),
        (inputs(&[("x", "[[1.5, 2.5]]")]), Ok("[[[1.5,2.5]]]")),
        (array("[[1, 2]]"), Err("Actual: int64, expected: float32")),
        (array("[]"), Err("got '<class 'list'>'")),
        (
            inputs(&[("y", "[[1.5, 2.5]]")]),
            Err("the graph has no input `y`"),
        ),
        (inputs(&[]), Err("input `x` of the graph is missing")),
    ];
    check(&one, cases, Layout::Arrays);
    let cases = vec![
        (
            frame(&[("a", "[1, 3]"), ("b", "[2.5, 4.5]")], true),
            Ok("[[[1.0,2.5],[3.0,4.5]]]"),
        ),
        (
            frame(&[("a", "[\"q\"]"), ("b", "[1.5]")], true),
            Err("Actual: object"),
        ),
    ];
    check(&one, cases, Layout::Table);
    let several = plan(
        None,
        vec![
            tensor(Some("x"), DType::Float64, &[-1]),
            tensor(Some("s"), DType::String, &[-1]),
        ],
    );
    let cases = vec![
        (
            frame(&[("s", "[\"q\"]"), ("x", "[1.5]")], true),
            Ok(r#"[[1.5],["q"]]"#),
        ),
        (
            frame(&[("x", "[1.5]")], true),
            Err("there is no column `s`"),
        ),
    ];
    check(&several, cases, Layout::Table);
    check(
        &several,
        vec![(array("[1.5]"), Err("This model requires 2 inputs"))],
        Layout::Arrays,
    );
}

#[test]
fn an_optional_input_of_the_graph_may_be_left_out_whatever_the_signature() {
    let x = || tensor(Some("x"), DType::Float32, &[-1, 2]);
    let scale = || tensor(Some("scale"), DType::Float32, &[1]);
    let stated = tensor(Some("scale"), DType::Float64, &[1]);
    for signature in [Some(Schema::Tensors(vec![stated, x()])), None] {
        let plan = plan_with(signature, vec![x()], vec![scale()]);
        let cases = vec![
            (inputs(&[("x", "[[1.0, 2.0]]")]), Ok("[[[1.0,2.0]]]")),
            (
                inputs(&[("scale", "[3.0]"), ("x", "[[1.0, 2.0]]")]),
                Ok("[[[1.0,2.0]],[3.0]]"),
            ),
            (inputs(&[("scale", "[3.0]")]), Err("x")),
        ];
        check(&plan, cases, Layout::Arrays);
    }
    let plan = plan_with(
        Some(Schema::Tensors(vec![x(), scale()])),
        vec![x()],
        vec![scale()],
    );
    let wide = inputs(&[("scale", "[3.0, 4.0]"), ("x", "[[1.0, 2.0]]")]);
    check(&plan, vec![(wide, Err("does not match"))], Layout::Arrays);
}
