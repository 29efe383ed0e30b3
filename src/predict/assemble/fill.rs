//! Filling one tensor, row by row. Shapes: `[n_rows]` or `[n_rows, ..]`, row-major.

use ndarray::{ArrayD, IxDyn};

use crate::predict::call::Call;
use crate::predict::convert::{Element, Mismatch, Scalar};
use crate::predict::error::Error;
use crate::predict::plan::{PlannedColumn, PlannedTensor, ServingPlan, Source, Width};
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::feature::FeatureRows;
use crate::types::request::Cells;
use crate::types::tensor::Tensor;
use crate::types::value::{List, Value};

pub(super) fn tensor(
    plan: &ServingPlan,
    call: &Call<'_>,
    features: &FeatureRows,
    tensor: &PlannedTensor,
) -> Result<Tensor, Error> {
    fill(&Filling {
        plan,
        call,
        features,
        tensor,
    })
}

/// What filling one tensor needs to see.
struct Filling<'a> {
    plan: &'a ServingPlan,
    call: &'a Call<'a>,
    features: &'a FeatureRows,
    tensor: &'a PlannedTensor,
}

fn fill(filling: &Filling<'_>) -> Result<Tensor, Error> {
    Ok(match filling.tensor.dtype {
        DType::Bool => Tensor::Bool(filling.array()?),
        DType::Int8 => Tensor::Int8(filling.array()?),
        DType::Int16 => Tensor::Int16(filling.array()?),
        DType::Int32 => Tensor::Int32(filling.array()?),
        DType::Int64 => Tensor::Int64(filling.array()?),
        DType::UInt8 => Tensor::UInt8(filling.array()?),
        DType::UInt16 => Tensor::UInt16(filling.array()?),
        DType::UInt32 => Tensor::UInt32(filling.array()?),
        DType::UInt64 => Tensor::UInt64(filling.array()?),
        DType::Float16 => Tensor::Float16(filling.array()?),
        DType::BFloat16 => Tensor::BFloat16(filling.array()?),
        DType::Float64 => Tensor::Float64(filling.array()?),
        DType::String => Tensor::String(filling.array()?),
        // The plan refuses graphs with other element types.
        DType::Float32 | DType::Binary | DType::Datetime => Tensor::Float32(filling.array()?),
    })
}

impl Filling<'_> {
    fn array<T: Element>(&self) -> Result<ArrayD<T>, Error> {
        let n_rows = self.call.n_rows;
        let mut elements: Vec<T> = Vec::with_capacity(n_rows * self.tensor.columns.len());
        let mut width = 0;
        for row in 0..n_rows {
            let start = elements.len();
            for column in self.tensor.columns.clone() {
                self.push(row, column, &mut elements)?;
            }
            let actual = elements.len() - start;
            if row == 0 {
                width = actual;
                self.check_width(actual)?;
            } else if actual != width {
                return Err(Error::Ragged {
                    row,
                    first: 0,
                    input: self.tensor.name.clone(),
                    wanted: width,
                    actual,
                });
            }
        }
        let shape = self.shape(width);
        let input = || self.tensor.name.clone();
        ArrayD::from_shape_vec(IxDyn(&shape), elements).map_err(|_| Error::Ragged {
            row: 0,
            first: 0,
            input: input(),
            wanted: shape.iter().skip(1).product(),
            actual: width,
        })
    }

    /// The number of places in a row, where the graph states it.
    fn check_width(&self, actual: usize) -> Result<(), Error> {
        let mut wanted = 1;
        for &dimension in &self.tensor.row_shape {
            match usize::try_from(dimension) {
                Ok(size) => wanted *= size,
                Err(_) => return Ok(()),
            }
        }
        if actual != wanted {
            return Err(Error::Length {
                row: 0,
                column: self.tensor.name.clone(),
                wanted,
                actual,
            });
        }
        Ok(())
    }

    /// The tensor's shape, the one free inner dimension worked out from the number of places in a row.
    fn shape(&self, width: usize) -> Vec<usize> {
        let known: usize = self
            .tensor
            .row_shape
            .iter()
            .filter_map(|&d| usize::try_from(d).ok())
            .product();
        let mut rest = width / known.max(1);
        let mut shape = vec![self.call.n_rows];
        for &dimension in &self.tensor.row_shape {
            shape.push(
                usize::try_from(dimension).unwrap_or_else(|_| std::mem::replace(&mut rest, 1)),
            );
        }
        shape
    }

    /// Appends the places of one row that `column` fills.
    fn push<T: Element>(
        &self,
        row: usize,
        column: usize,
        elements: &mut Vec<T>,
    ) -> Result<(), Error> {
        let planned = &self.plan.columns[column];
        if let Some(cells) = self.given(planned, column) {
            return push_cell(planned, row, cells.get(row), elements);
        }
        match planned.source {
            Source::Feature(feature) => {
                let cell = self.features.cell(row, feature);
                push_value(planned, row, &cell.value, elements).map_err(|error| match error {
                    // The caller sent nothing wrong: the store has no value for a column that takes no null.
                    Error::Null { .. } => Error::FeatureMissing {
                        row,
                        feature: self.features.names[feature].clone(),
                        status: cell.status.as_str(),
                    },
                    error => error,
                })
            }
            // Optional, and not given.
            Source::Request | Source::JoinKey => push_null(planned, row, elements),
        }
    }

    /// The request's cells for this column: its input, or its override of a feature.
    fn given(&self, planned: &PlannedColumn, column: usize) -> Option<&Cells> {
        match planned.source {
            Source::Feature(feature) => self.call.overrides[feature],
            Source::Request | Source::JoinKey => self.call.columns[column],
        }
    }
}

fn push_cell<T: Element>(
    column: &PlannedColumn,
    row: usize,
    cell: &Cell,
    elements: &mut Vec<T>,
) -> Result<(), Error> {
    match (column.width, cell) {
        (Width::One, cell) => push_scalar(column, row, Scalar::of_cell(cell), elements),
        (_, Cell::Null) => push_null(column, row, elements),
        (Width::List(wanted), Cell::List(cells)) if cells.len() != wanted => Err(Error::Length {
            row,
            column: column.name.clone(),
            wanted,
            actual: cells.len(),
        }),
        (Width::List(_) | Width::AnyList, Cell::List(cells)) => cells
            .iter()
            .try_for_each(|cell| push_scalar(column, row, Scalar::of_cell(cell), elements)),
        (Width::Rows, cell) => push_nested(column, row, cell, elements),
        (_, cell) => {
            let actual = cell.type_name();
            Err(Error::NotAList {
                row,
                column: column.name.clone(),
                actual,
            })
        }
    }
}

/// Flattens nested lists in row-major order; their shape is checked by the number of places they fill.
fn push_nested<T: Element>(
    column: &PlannedColumn,
    row: usize,
    cell: &Cell,
    elements: &mut Vec<T>,
) -> Result<(), Error> {
    match cell {
        Cell::List(cells) => cells
            .iter()
            .try_for_each(|cell| push_nested(column, row, cell, elements)),
        cell => push_scalar(column, row, Scalar::of_cell(cell), elements),
    }
}

fn push_value<T: Element>(
    column: &PlannedColumn,
    row: usize,
    value: &Value,
    elements: &mut Vec<T>,
) -> Result<(), Error> {
    match (column.width, value) {
        (Width::One, value) => push_scalar(column, row, Scalar::of_value(value), elements),
        (_, Value::Null) => push_null(column, row, elements),
        (_, Value::List(list)) => {
            if let Width::List(wanted) = column.width
                && wanted != list.len()
            {
                return Err(Error::Length {
                    row,
                    column: column.name.clone(),
                    wanted,
                    actual: list.len(),
                });
            }
            push_list(column, row, list, elements)
        }
        (_, Value::Values(values)) => values
            .iter()
            .try_for_each(|value| push_scalar(column, row, Scalar::of_value(value), elements)),
        (_, value) => push_scalar(
            column,
            row,
            Err(Mismatch::Type(value.type_name())),
            elements,
        ),
    }
}

fn push_list<T: Element>(
    column: &PlannedColumn,
    row: usize,
    list: &List,
    elements: &mut Vec<T>,
) -> Result<(), Error> {
    let mut push = |scalar: Scalar<'_>| push_scalar(column, row, Ok(scalar), elements);
    match list {
        List::Bool(items) => items.iter().try_for_each(|item| push(Scalar::Bool(*item))),
        List::Int32(items) => items
            .iter()
            .try_for_each(|item| push(Scalar::Int(i128::from(*item)))),
        List::Int64(items) | List::UnixTimestamp(items) => items
            .iter()
            .try_for_each(|item| push(Scalar::Int(i128::from(*item)))),
        List::Float(items) => items
            .iter()
            .try_for_each(|item| push(Scalar::Float(f64::from(*item)))),
        List::Double(items) => items.iter().try_for_each(|item| push(Scalar::Float(*item))),
        List::String(items) => items.iter().try_for_each(|item| push(Scalar::Text(item))),
        List::Bytes(_) => push_scalar(column, row, Err(Mismatch::Type("BYTES")), elements),
    }
}

/// A null in every place of the column.
fn push_null<T: Element>(
    column: &PlannedColumn,
    row: usize,
    elements: &mut Vec<T>,
) -> Result<(), Error> {
    let n = match column.width {
        Width::One => 1,
        Width::List(n) => n,
        Width::AnyList | Width::Rows => {
            return Err(Error::Null {
                row,
                column: column.name.clone(),
                wanted: column.declared,
            });
        }
    };
    for _ in 0..n {
        push_scalar(column, row, Ok(Scalar::Null), elements)?;
    }
    Ok(())
}

fn push_scalar<T: Element>(
    column: &PlannedColumn,
    row: usize,
    scalar: Result<Scalar<'_>, Mismatch>,
    elements: &mut Vec<T>,
) -> Result<(), Error> {
    match scalar.and_then(|scalar| T::from_scalar(scalar, column.declared)) {
        Ok(element) => {
            elements.push(element);
            Ok(())
        }
        Err(mismatch) => Err(refusal(column, row, mismatch)),
    }
}

#[cold]
fn refusal(column: &PlannedColumn, row: usize, mismatch: Mismatch) -> Error {
    let (column, wanted) = (column.name.clone(), column.declared);
    match mismatch {
        Mismatch::Type(actual) => Error::Type {
            row,
            column,
            wanted,
            actual,
        },
        Mismatch::Range => Error::Range {
            row,
            column,
            wanted,
        },
        Mismatch::Null => Error::Null {
            row,
            column,
            wanted,
        },
    }
}
