//! What a request gives to a plan: values by name, or whole graph inputs that need no assembling.

use std::borrow::Cow;

use ndarray::ArrayD;

use super::error::{Error, WrongShape};
use super::plan::{PlannedTensor, ServingPlan};
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
    /// In graph order.
    Tensors { tensors: Vec<Tensor>, n_rows: usize },
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
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for input in &self.tensors {
            let mut named = given.iter().filter(|named| named.name == input.name);
            let tensor = named.next().ok_or_else(|| Error::InputMissing {
                name: input.name.clone(),
            })?;
            if named.next().is_some() {
                return Err(Error::GivenTwice {
                    place: ColumnPlace::Inputs.as_str(),
                    name: input.name.clone(),
                });
            }
            if tensor.tensor.dtype() != input.dtype {
                return Err(Error::TensorType {
                    name: input.name.clone(),
                    wanted: input.dtype,
                    actual: tensor.tensor.dtype(),
                });
            }
            check_shape(input, &tensor.tensor)?;
            tensors.push(tensor.tensor.clone());
        }
        if let Some(unknown) = given.iter().find(|named| self.is_unknown(&named.name)) {
            let known = self.tensors.iter().map(|input| input.name.as_str());
            return Err(Error::UnknownColumn {
                place: ColumnPlace::Inputs.as_str(),
                name: unknown.name.clone(),
                known: known.collect::<Vec<_>>().join(", "),
            });
        }
        let values = Values::Tensors {
            tensors,
            n_rows: rows_of_tensors(given),
        };
        Ok(Given { values, layout })
    }

    fn is_unknown(&self, input: &str) -> bool {
        self.tensors.iter().all(|tensor| tensor.name != input)
    }
}

/// The shape of a row; what the graph would refuse too, said before other calls are run with this one. How many rows a
/// graph takes is its own to say.
fn check_shape(input: &PlannedTensor, tensor: &Tensor) -> Result<(), Error> {
    let fits = |(wanted, actual): (&i64, &usize)| *wanted < 0 || *wanted == *actual as i64;
    if let [_, row @ ..] = tensor.shape()
        && row.len() == input.row_shape.len()
        && input.row_shape.iter().zip(row).all(fits)
    {
        return Ok(());
    }
    Err(Error::TensorShape(Box::new(WrongShape {
        name: input.name.clone(),
        wanted: [&[-1][..], &input.row_shape].concat(),
        actual: tensor.shape().to_vec(),
    })))
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
    use ndarray::IxDyn;

    use super::*;

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
