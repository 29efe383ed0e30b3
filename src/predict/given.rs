//! What a request gives to a plan: values by name, or whole graph inputs that need no assembling.

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::ArrayD;

use super::assemble;
use super::error::{Error, WrongShape};
use super::plan::{PlannedTensor, ServingPlan, Source};
use crate::inference::{Input, Inputs};
use crate::types::cell::Cell;
use crate::types::prediction::Layout;
use crate::types::request::{
    Cells, ColumnPlace, PredictRequest, RequestColumn, RequestColumns, RequestInputs,
    rows_of_tensors,
};
use crate::types::tensor::{NamedTensor, Tensor, with_array};

/// A request's inputs as far as they can be told without features.
pub(super) struct Given<'a> {
    pub(super) values: Values<'a>,
    pub(super) layout: Layout,
}

pub(super) enum Values<'a> {
    /// For the places of the plan.
    Columns(Cow<'a, RequestColumns>),
    Tensors {
        inputs: Inputs,
        n_rows: usize,
    },
}

impl ServingPlan {
    /// Types the request by the model's signature, where its protocol leaves that to the signature.
    pub(super) fn given<'a>(&self, request: &'a PredictRequest) -> Result<Given<'a>, Error> {
        match &request.inputs {
            RequestInputs::Columns(columns) => Ok(Given {
                values: Values::Columns(Cow::Borrowed(columns)),
                layout: Layout::Table,
            }),
            RequestInputs::Tensors(tensors) => self.given_tensors(tensors),
            RequestInputs::Scoring(scoring) => {
                self.scoring.check_params(request.params.as_deref())?;
                Ok(self.scoring.type_payload(self, scoring)?)
            }
        }
    }

    /// Whether a name that the request uses is a key by which features are looked up, or what one is computed from.
    pub(super) fn asks_for_features(
        &self,
        mut names: impl Iterator<Item = impl AsRef<str>>,
    ) -> bool {
        self.online.is_some()
            && names.any(|name| {
                let slot = self.slots.get(name.as_ref());
                slot.is_some_and(|slot| !slot.join_keys.is_empty() || slot.request_data.is_some())
            })
    }

    fn given_tensors(&self, given: &[NamedTensor]) -> Result<Given<'static>, Error> {
        let layout = Layout::Arrays;
        if self.asks_for_features(given.iter().map(|named| &named.name)) {
            let values = Values::Columns(Cow::Owned(columns_of(given)?));
            return Ok(Given { values, layout });
        }
        let n_rows = self.n_rows_of(given);
        let mut required = Vec::with_capacity(self.tensors.len());
        for input in &self.tensors {
            required.push(match only(given, &input.name)? {
                Some(tensor) => {
                    check_type(input, tensor)?;
                    check_row_shape(input, tensor)?;
                    Input::Shared(Arc::clone(tensor))
                }
                None => Input::Own(self.left_out(input, n_rows)?),
            });
        }
        let mut inputs = Inputs::new(required);
        for (place, optional) in self.optional.iter().enumerate() {
            if let Some(tensor) = only(given, &optional.tensor.name)? {
                check_type(&optional.tensor, tensor)?;
                check_shape(&optional.tensor.name, &optional.shape, tensor)?;
                inputs.give(place, Arc::clone(tensor));
            }
        }
        if let Some(unknown) = given.iter().find(|named| self.is_unknown(&named.name)) {
            let known = self.graph_inputs().map(|input| input.name.as_str());
            return Err(Error::UnknownColumn {
                place: ColumnPlace::Inputs.as_str(),
                name: unknown.name.clone(),
                known: known.collect::<Vec<_>>().join(", "),
            });
        }
        let values = Values::Tensors { inputs, n_rows };
        Ok(Given { values, layout })
    }

    /// The first axis of the first tensor that every call gives; what may be left out need not have rows.
    fn n_rows_of(&self, given: &[NamedTensor]) -> usize {
        let is_required = |named: &&NamedTensor| {
            let mut required = self.tensors.iter();
            required.any(|input| input.name == named.name)
        };
        let first = given.iter().find(is_required);
        rows_of_tensors(first.map(std::slice::from_ref).unwrap_or_default())
    }

    /// Nulls for an input that the signature calls optional beside others; the same that calls of rows get.
    fn left_out(&self, input: &PlannedTensor, n_rows: usize) -> Result<Tensor, Error> {
        match self.may_be_left_out(input) {
            true => assemble::nulls(self, input, n_rows),
            false => Err(Error::InputMissing {
                name: input.name.clone(),
            }),
        }
    }

    /// Whether a graph input that every run takes is one that a call may leave out.
    pub(super) fn may_be_left_out(&self, input: &PlannedTensor) -> bool {
        let mut columns = self.columns[input.columns.clone()].iter();
        self.tensors.len() > 1
            && columns.all(|column| column.optional && column.source == Source::Request)
    }

    pub(super) fn graph_inputs(&self) -> impl Iterator<Item = &PlannedTensor> {
        let optional = self.optional.iter().map(|optional| &optional.tensor);
        self.tensors.iter().chain(optional)
    }

    fn is_unknown(&self, input: &str) -> bool {
        self.graph_inputs().all(|tensor| tensor.name != input)
    }
}

/// The tensor of this name, which may be given once.
fn only<'a>(given: &'a [NamedTensor], name: &str) -> Result<Option<&'a Arc<Tensor>>, Error> {
    let mut named = given.iter().filter(|named| named.name == name);
    let first = named.next();
    if named.next().is_some() {
        return Err(Error::GivenTwice {
            place: ColumnPlace::Inputs.as_str(),
            name: name.to_owned(),
        });
    }
    Ok(first.map(|named| &named.tensor))
}

fn check_type(input: &PlannedTensor, tensor: &Tensor) -> Result<(), Error> {
    match tensor.dtype() == input.dtype {
        true => Ok(()),
        false => Err(Error::TensorType {
            name: input.name.clone(),
            wanted: input.dtype,
            actual: tensor.dtype(),
        }),
    }
}

/// The shape of a row; what the graph would refuse too, said before other calls are run with this one. How many rows a
/// graph takes is its own to say.
fn check_row_shape(input: &PlannedTensor, tensor: &Tensor) -> Result<(), Error> {
    match tensor.shape() {
        [_, row @ ..] if fits(&input.row_shape, row) => Ok(()),
        actual => Err(wrong_shape(
            &input.name,
            [&[-1][..], &input.row_shape].concat(),
            actual,
        )),
    }
}

/// A graph need not state the shape of what may be left out.
fn check_shape(name: &str, wanted: &[i64], tensor: &Tensor) -> Result<(), Error> {
    match wanted.is_empty() || fits(wanted, tensor.shape()) {
        true => Ok(()),
        false => Err(wrong_shape(name, wanted.to_vec(), tensor.shape())),
    }
}

fn fits(wanted: &[i64], actual: &[usize]) -> bool {
    let fits = |(wanted, actual): (&i64, &usize)| *wanted < 0 || *wanted == *actual as i64;
    wanted.len() == actual.len() && wanted.iter().zip(actual).all(fits)
}

fn wrong_shape(name: &str, wanted: Vec<i64>, actual: &[usize]) -> Error {
    Error::TensorShape(Box::new(WrongShape {
        name: name.to_owned(),
        wanted,
        actual: actual.to_vec(),
    }))
}

/// Tensors as columns, one item per row: for a model whose features are looked up by some of them.
fn columns_of(tensors: &[NamedTensor]) -> Result<RequestColumns, Error> {
    let n_rows = rows_of_tensors(tensors);
    let mut columns = Vec::with_capacity(tensors.len());
    for named in tensors {
        let actual = rows_of_tensors(std::slice::from_ref(named));
        if actual != n_rows {
            return Err(Error::TensorRows {
                name: named.name.clone(),
                wanted: n_rows,
                actual,
            });
        }
        let cells = cells_of(&named.tensor);
        columns.push(RequestColumn {
            place: ColumnPlace::Rows,
            name: named.name.clone(),
            cells: Cells::List(cells),
        });
    }
    Ok(RequestColumns::of_rows(columns, n_rows))
}

/// One cell per row; `[n, 1]` gives scalars, more places in a row a list.
fn cells_of(tensor: &Tensor) -> Vec<Cell> {
    with_array!(tensor, array => rows_of(array))
}

fn rows_of<T: IntoCell>(array: &ArrayD<T>) -> Vec<Cell> {
    let row = |row: ndarray::ArrayViewD<'_, T>| match row.first() {
        Some(only) if row.len() == 1 => only.cell(),
        _ => Cell::List(row.iter().map(IntoCell::cell).collect()),
    };
    match array.ndim() {
        0 => array.iter().map(IntoCell::cell).collect(),
        _ => array.outer_iter().map(row).collect(),
    }
}

trait IntoCell {
    fn cell(&self) -> Cell;
}

impl IntoCell for bool {
    fn cell(&self) -> Cell {
        Cell::Bool(*self)
    }
}

impl IntoCell for String {
    fn cell(&self) -> Cell {
        Cell::Text(self.clone())
    }
}

impl IntoCell for u64 {
    fn cell(&self) -> Cell {
        i64::try_from(*self).map_or(Cell::UInt(*self), Cell::Int)
    }
}

impl IntoCell for i64 {
    fn cell(&self) -> Cell {
        Cell::Int(*self)
    }
}

impl IntoCell for half::f16 {
    fn cell(&self) -> Cell {
        Cell::Float(self.to_f64())
    }
}

impl IntoCell for half::bf16 {
    fn cell(&self) -> Cell {
        Cell::Float(self.to_f64())
    }
}

macro_rules! into_cell {
    ($variant:ident($wide:ty): $($type:ty),*) => {
        $(impl IntoCell for $type {
            fn cell(&self) -> Cell {
                Cell::$variant(<$wide>::from(*self))
            }
        })*
    };
}

into_cell!(Int(i64): i8, i16, i32, u8, u16, u32);
into_cell!(Float(f64): f32, f64);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use ndarray::IxDyn;

    use super::*;
    use crate::models::{Binder, Candidate};
    use crate::predict::PlanBinder;
    use crate::telemetry::metrics::Metrics;
    use crate::types::deadline::Deadline;
    use crate::types::dtype::DType;
    use crate::types::names::ModelVersion;
    use crate::types::request::{RequestContext, Surface};
    use crate::types::signature::{Graph, Signature, TensorSpec};
    use crate::types::urgency::Priority;

    fn plan(inputs: &[&str]) -> ServingPlan {
        let inputs = inputs.iter().map(|name| TensorSpec {
            name: Some((*name).to_owned()),
            dtype: DType::Float32,
            shape: vec![-1, 2],
        });
        let graph = Graph {
            inputs: inputs.collect(),
            optional: Vec::new(),
            outputs: Vec::new(),
        };
        let binder = PlanBinder::new(None, BTreeMap::new(), Arc::new(Metrics::new()));
        let plan = binder.bind(&Candidate {
            name: "m",
            version: ModelVersion(1),
            tags: &BTreeMap::new(),
            signature: &Signature::default(),
            graph: &graph,
        });
        plan.unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_run_shares_the_tensors_of_its_request_and_copies_none() {
        let tensor = Arc::new(Tensor::Float32(ArrayD::zeros(IxDyn(&[3, 2]))));
        let named = |name: &str| NamedTensor {
            name: name.to_owned(),
            tensor: Arc::clone(&tensor),
        };
        let request = PredictRequest {
            model: "m".parse().unwrap(),
            inputs: RequestInputs::Tensors(vec![named("b"), named("a")]),
            params: None,
            deadline: Deadline::after(Duration::from_secs(1)),
            context: RequestContext {
                surface: Surface::Oip,
                request_id: Arc::from("r"),
                trace_id: None,
                principal: None,
                priority: Priority::default(),
            },
        };
        let given = plan(&["a", "b"]).given(&request).unwrap();
        let Values::Tensors { inputs, n_rows } = given.values else {
            panic!("columns");
        };
        assert_eq!((n_rows, inputs.required().len()), (3, 2));
        for input in inputs.required() {
            assert!(matches!(input, Input::Shared(shared) if Arc::ptr_eq(shared, &tensor)));
        }
    }

    #[test]
    fn a_tensor_is_one_cell_per_row() {
        let of = |shape: &[usize], values: Vec<i32>| {
            cells_of(&Tensor::Int32(
                ArrayD::from_shape_vec(IxDyn(shape), values).unwrap(),
            ))
        };
        let two = [Cell::Int(1), Cell::Int(2)];
        assert_eq!(of(&[2], vec![1, 2]), two);
        assert_eq!(of(&[2, 1], vec![1, 2]), two);
        assert_eq!(of(&[1, 2], vec![1, 2]), [Cell::List(two.to_vec())]);
        assert_eq!(of(&[], vec![1]), [Cell::Int(1)]);
        assert!(of(&[0, 3], vec![]).is_empty());
    }
}
