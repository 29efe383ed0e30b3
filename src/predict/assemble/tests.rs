//! Settling and filling over hand-made plans, and against a naive oracle.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;

use super::*;
use crate::features::EntityRows;
use crate::predict::config::{OnMissing, OnStale};
use crate::predict::plan::{PlannedColumn, PlannedTensor, Source, Width};
use crate::predict::scoring::Scorer;
use crate::telemetry::metrics::Metrics;
use crate::types::dtype::DType;
use crate::types::feature::FeatureCell;
use crate::types::names::ModelVersion;
use crate::types::request::Cells;
use crate::types::timestamp::Timestamp;
use crate::types::value::List;

fn column(name: &str, declared: DType, source: Source, width: Width) -> PlannedColumn {
    PlannedColumn {
        name: name.to_owned(),
        declared,
        source,
        optional: false,
        width,
    }
}

/// A plan whose columns all fill one tensor; the features have no online plan and are handed in by the test.
fn plan(dtype: DType, row_shape: &[i64], columns: Vec<PlannedColumn>) -> ServingPlan {
    let tensor = PlannedTensor {
        name: "input".to_owned(),
        dtype,
        columns: 0..columns.len(),
        row_shape: row_shape.to_vec(),
    };
    ServingPlan {
        optional: Vec::new(),
        online: None,
        selection: None,
        defaults: Vec::new(),
        on_missing: OnMissing::Null,
        on_stale: OnStale::Serve,
        columns,
        tensors: vec![tensor],
        slots: HashMap::new(),
        outputs: Vec::new(),
        graph_outputs: Vec::new(),
        scoring: Scorer::default(),
        fixed_rows: None,
        metrics: Metrics::new().model("m", ModelVersion(1)),
    }
}

fn call<'a>(
    n_rows: usize,
    columns: Vec<Option<&'a Cells>>,
    overrides: Vec<Option<&'a Cells>>,
) -> Call<'a> {
    Call {
        keys: EntityRows {
            n_rows,
            columns: Vec::new(),
        },
        columns,
        overrides,
        request_data: None,
        n_rows,
    }
}

fn present(value: Value) -> FeatureCell {
    FeatureCell {
        value,
        status: FeatureStatus::Present,
        event_timestamp: Some(Timestamp::EPOCH),
    }
}

/// Rows of features named `f0`, `f1`, ...
fn features(n_rows: usize, cells: Vec<FeatureCell>) -> FeatureRows {
    let n_features = cells.len() / n_rows;
    let names: Vec<String> = (0..n_features).map(|i| format!("v:f{i}")).collect();
    FeatureRows {
        names: Arc::from(names),
        n_rows,
        cells,
        read_at: Timestamp::EPOCH,
    }
}

fn floats(tensor: &Tensor) -> (Vec<usize>, Vec<f32>) {
    let Tensor::Float32(array) = tensor else {
        panic!("{tensor:?}")
    };
    (array.shape().to_vec(), array.iter().copied().collect())
}

fn list(cells: &[Cell]) -> Cells {
    Cells::List(cells.to_vec())
}

#[test]
fn features_and_inputs_stand_side_by_side_in_column_order() {
    let plan = plan(
        DType::Float32,
        &[2],
        vec![
            column("km", DType::Float64, Source::Request, Width::One),
            column("f0", DType::Float64, Source::Feature(0), Width::One),
        ],
    );
    let km = list(&[Cell::Float(1.5), Cell::Int(2)]);
    let mut rows = features(
        2,
        vec![present(Value::Float(0.25)), present(Value::Int64(7))],
    );
    let inputs = model_inputs(
        &plan,
        &call(2, vec![Some(&km), None], vec![None]),
        &mut rows,
    )
    .unwrap();
    assert_eq!(
        floats(&inputs.required()[0]),
        (vec![2, 2], vec![1.5, 0.25, 2.0, 7.0])
    );
}

#[test]
fn an_override_goes_before_the_feature_and_is_told() {
    let plan = plan(
        DType::Float32,
        &[1],
        vec![column("f0", DType::Float64, Source::Feature(0), Width::One)],
    );
    let given = Cells::Scalar(Cell::Float(9.0));
    let mut rows = features(1, vec![present(Value::Float(0.25))]);
    let inputs = model_inputs(&plan, &call(1, vec![None], vec![Some(&given)]), &mut rows).unwrap();
    assert_eq!(floats(&inputs.required()[0]).1, [9.0]);
    let cell = rows.cell(0, 0);
    assert_eq!(
        (cell.status, cell.event_timestamp),
        (FeatureStatus::Overridden, None)
    );
    assert_eq!(cell.value, Value::Double(9.0));
}

#[test]
fn an_override_with_null_is_null() {
    let plan = plan(
        DType::Float32,
        &[1],
        vec![column("f0", DType::Float64, Source::Feature(0), Width::One)],
    );
    let given = Cells::Scalar(Cell::Null);
    let mut rows = features(1, vec![present(Value::Float(0.25))]);
    let inputs = model_inputs(&plan, &call(1, vec![None], vec![Some(&given)]), &mut rows).unwrap();
    assert!(floats(&inputs.required()[0]).1[0].is_nan());
}

#[test]
fn a_feature_that_is_missing_where_an_integer_is_wanted_is_an_error_of_that_row() {
    let plan = plan(
        DType::Int64,
        &[],
        vec![column("f0", DType::Int64, Source::Feature(0), Width::One)],
    );
    let mut rows = features(2, vec![present(Value::Int64(1)), FeatureCell::not_found()]);
    let error = model_inputs(&plan, &call(2, vec![None], vec![None]), &mut rows).unwrap_err();
    assert_eq!(error.to_string(), "row 1: feature `v:f0` is not_found");
}

#[test]
fn a_list_fills_its_places_and_a_null_list_fills_them_with_nan() {
    let plan = plan(
        DType::Float32,
        &[3],
        vec![column(
            "f0",
            DType::Float32,
            Source::Feature(0),
            Width::List(3),
        )],
    );
    let mut rows = features(
        2,
        vec![
            present(Value::List(List::Float(vec![1.0, 2.0, 3.0]))),
            FeatureCell::not_found(),
        ],
    );
    let inputs = model_inputs(&plan, &call(2, vec![None], vec![None]), &mut rows).unwrap();
    let (shape, elements) = floats(&inputs.required()[0]);
    assert_eq!((shape, &elements[..3]), (vec![2, 3], &[1.0, 2.0, 3.0][..]));
    assert!(elements[3..].iter().all(|element| element.is_nan()));
    let mut short = features(1, vec![present(Value::List(List::Float(vec![1.0])))]);
    let error = model_inputs(&plan, &call(1, vec![None], vec![None]), &mut short).unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 0 of column `f0`: 1 values where 3 are wanted"
    );
}

#[test]
fn nested_lists_take_the_graphs_shape_and_ragged_ones_are_refused() {
    let plan = plan(
        DType::Float32,
        &[2, -1],
        vec![column("x", DType::Float32, Source::Request, Width::Rows)],
    );
    let row = |n: usize| {
        let inner = |_| Cell::List(vec![Cell::Int(1); n]);
        Cell::List((0..2).map(inner).collect())
    };
    let even = list(&[row(3), row(3)]);
    let inputs = model_inputs(
        &plan,
        &call(2, vec![Some(&even)], vec![]),
        &mut FeatureRows::none(2),
    )
    .unwrap();
    assert_eq!(floats(&inputs.required()[0]).0, [2, 2, 3]);
    let ragged = list(&[row(3), row(2)]);
    let error = model_inputs(
        &plan,
        &call(2, vec![Some(&ragged)], vec![]),
        &mut FeatureRows::none(2),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 1 of input `input` has 4 values, and row 0 has 6"
    );
}

#[test]
fn rows_of_another_width_than_the_graphs_are_refused() {
    let plan = plan(
        DType::Float32,
        &[2, 2],
        vec![column("x", DType::Float32, Source::Request, Width::Rows)],
    );
    let flat = list(&[Cell::List(vec![Cell::Int(1); 3])]);
    let error = model_inputs(
        &plan,
        &call(1, vec![Some(&flat)], vec![]),
        &mut FeatureRows::none(1),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 0 of column `input`: 3 values where 4 are wanted"
    );
}

#[test]
fn an_optional_column_that_is_not_given_is_null() {
    let mut km = column("km", DType::Float64, Source::Request, Width::One);
    km.optional = true;
    let plan = plan(DType::Float32, &[1], vec![km]);
    let inputs = model_inputs(
        &plan,
        &call(1, vec![None], vec![]),
        &mut FeatureRows::none(1),
    )
    .unwrap();
    assert!(floats(&inputs.required()[0]).1[0].is_nan());
}

fn scalar() -> impl Strategy<Value = (Cell, f32)> {
    prop_oneof![
        any::<f32>().prop_map(|x| (Cell::Float(f64::from(x)), x)),
        (-1_000_000_i32..1_000_000).prop_map(|x| (Cell::Int(i64::from(x)), f64::from(x) as f32)),
        any::<bool>().prop_map(|x| (Cell::Bool(x), f32::from(u8::from(x)))),
        Just((Cell::Null, f32::NAN)),
    ]
}

proptest! {
    /// The oracle: element `[row, column]` is that cell as a number, whatever mixture of lists and scalars it came in.
    #[test]
    fn a_matrix_holds_each_cell_in_its_place(
        n_rows in 1_usize..6,
        columns in proptest::collection::vec((any::<bool>(), proptest::collection::vec(scalar(), 6)), 1..5),
    ) {
        let k = columns.len();
        let planned = (0..k).map(|i| column(&format!("c{i}"), DType::Float64, Source::Request, Width::One)).collect();
        let plan = plan(DType::Float32, &[i64::try_from(k).unwrap()], planned);
        let cells: Vec<Cells> = columns
            .iter()
            .map(|(is_scalar, values)| match is_scalar {
                true => Cells::Scalar(values[0].0.clone()),
                false => Cells::List(values[..n_rows].iter().map(|(cell, _)| cell.clone()).collect()),
            })
            .collect();
        let call = call(n_rows, cells.iter().map(Some).collect(), vec![]);
        let inputs = model_inputs(&plan, &call, &mut FeatureRows::none(n_rows)).unwrap();
        let wanted = ArrayD::from_shape_fn(IxDyn(&[n_rows, k]), |at| {
            let (is_scalar, values) = &columns[at[1]];
            values[if *is_scalar { 0 } else { at[0] }].1
        });
        let (shape, elements) = floats(&inputs.required()[0]);
        prop_assert_eq!(shape, vec![n_rows, k]);
        for (actual, wanted) in elements.iter().zip(&wanted) {
            prop_assert_eq!(actual.is_nan(), wanted.is_nan());
            prop_assert!(wanted.is_nan() || actual == wanted);
        }
    }
}
