//! A column signature: everything becomes a table, whose columns are cast to the declared types, then matched by name, or
//! by place where the signature has no names. Columns that the model has no use for are left out.

use super::number::{self, Dialect};
use super::{Error, dialect, missing, quoted, unnamed_signature};
use crate::predict::plan::{ServingPlan, Source};
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::request::{Cells, ColumnPlace, RequestColumn, RequestColumns};
use crate::types::scoring::{Frame, Payload, Scoring};
use crate::types::signature::ColumnSpec;

use super::nested::Nested;

#[derive(Debug)]
pub(super) struct ColumnSignature {
    /// By place where the signature has none.
    names: Vec<String>,
    named: bool,
}

impl ColumnSignature {
    pub(super) fn new(columns: &[ColumnSpec]) -> Self {
        let names = columns.iter().enumerate();
        let names = names.map(|(place, column)| match &column.name {
            Some(name) => name.clone(),
            None => place.to_string(),
        });
        Self {
            names: names.collect(),
            named: columns.iter().all(|column| column.name.is_some()),
        }
    }

    /// The rows of a call as typed columns of the plan.
    pub(super) fn rows(
        &self,
        plan: &ServingPlan,
        scoring: &Scoring,
    ) -> Result<RequestColumns, Error> {
        let how = dialect(scoring);
        match &scoring.payload {
            Payload::Frame(frame) if self.named => {
                self.by_name(plan, &frame.columns, frame.named, scoring)
            }
            Payload::Frame(Frame { columns, .. }) => self.by_place(plan, columns, scoring),
            Payload::Named { columns, .. } if self.named => {
                self.by_name(plan, columns, true, scoring)
            }
            Payload::Named { columns, instances } if *instances => {
                self.by_place(plan, columns, scoring)
            }
            Payload::Named { .. } => Err(unnamed_signature()),
            Payload::Array(array) => self.array(plan, array, how, scoring),
            Payload::Other(keys) => {
                let extra: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
                Err(self.missing(plan, |_| false, &extra))
            }
        }
    }

    fn by_name(
        &self,
        plan: &ServingPlan,
        given: &[RequestColumn],
        named: bool,
        scoring: &Scoring,
    ) -> Result<RequestColumns, Error> {
        let how = dialect(scoring);
        let mut columns = Vec::with_capacity(given.len());
        for column in given {
            let Some(slot) = plan.slots.get(&column.name).filter(|_| named) else {
                continue;
            };
            let cells = match slot.declared {
                Some(declared) => cast(&column.name, &column.cells, declared, how)?,
                None => column.cells.clone(),
            };
            columns.push(typed(&column.name, cells));
        }
        let is_given = |name: &str| columns.iter().any(|column| column.name == name);
        if columns.len() < self.names.len() && self.lacks(plan, &is_given) {
            let extra = given.iter().filter(|column| !is_given(&column.name));
            let extra = extra.map(|column| match named {
                true => quoted(&column.name),
                false => column.name.clone(),
            });
            return Err(self.missing(plan, is_given, &extra.collect::<Vec<_>>()));
        }
        equally_long(columns, scoring)
    }

    fn lacks(&self, plan: &ServingPlan, is_given: &impl Fn(&str) -> bool) -> bool {
        let mut names = self.names.iter();
        names.any(|name| is_required(plan, name) && !is_given(name))
    }

    fn missing(
        &self,
        plan: &ServingPlan,
        is_given: impl Fn(&str) -> bool,
        extra: &[String],
    ) -> Error {
        let names = self.names.iter().map(String::as_str);
        let names = names.filter(|name| is_required(plan, name) && !is_given(name));
        missing(&names.collect::<Vec<_>>(), extra)
    }

    fn by_place(
        &self,
        plan: &ServingPlan,
        given: &[RequestColumn],
        scoring: &Scoring,
    ) -> Result<RequestColumns, Error> {
        if given.len() < self.names.len() {
            return Err(Error::Schema {
                reason: format!(
                    "Model inference is missing inputs. The model signature declares {} inputs  but the provided value only has {} inputs. Note: the inputs were not named in the signature so we can only verify their count.",
                    self.names.len(),
                    given.len()
                ),
            });
        }
        let how = dialect(scoring);
        let mut columns = Vec::with_capacity(self.names.len());
        for (name, column) in self.names.iter().zip(given) {
            let declared = declared(plan, name);
            columns.push(typed(name, cast(name, &column.cells, declared, how)?));
        }
        equally_long(columns, scoring)
    }

    /// A list without names: one column, or a matrix of columns, all of the first column's type.
    fn array(
        &self,
        plan: &ServingPlan,
        array: &Cell,
        how: Dialect,
        scoring: &Scoring,
    ) -> Result<RequestColumns, Error> {
        let is_list = matches!(array, Cell::List(_));
        if let ([name], true, true) = (&self.names[..], self.named, is_list) {
            let cells = match array {
                Cell::List(cells) => Cells::List(cells.clone()),
                _ => Cells::Scalar(array.clone()),
            };
            let cells = cast(name, &cells, declared(plan, name), how)?;
            return equally_long(vec![typed(name, cells)], scoring);
        }
        let value = |reason| Error::Value { reason };
        let nested = Nested::of_cell(array).map_err(value)?;
        if let Some(first) = self.names.first() {
            let declared = declared(plan, first);
            for leaf in &nested.leaves {
                number::cell(leaf, declared, how).map_err(value)?;
            }
        }
        let width = match nested.shape[..] {
            [] | [_] => 1,
            [_, width] => width,
            _ => {
                return Err(Error::Schema {
                    reason: format!(
                        "Must pass 2-d input. shape={}",
                        super::nested::tuple(&nested.shape)
                    ),
                });
            }
        };
        let column = |place: usize| {
            let leaves = nested.leaves.iter().skip(place).step_by(width.max(1));
            let cells = leaves.map(|leaf| (*leaf).clone()).collect();
            typed(&place.to_string(), Cells::List(cells))
        };
        let columns: Vec<RequestColumn> = (0..width).map(column).collect();
        match self.named {
            true => self.by_name(plan, &columns, false, scoring),
            false => self.by_place(plan, &columns, scoring),
        }
    }
}

/// Whether the request must give the column: not where the feature store does, nor a key that features are looked up by.
fn is_required(plan: &ServingPlan, name: &str) -> bool {
    let slot = plan.slots.get(name);
    slot.is_some_and(|slot| {
        let mut columns = slot.columns.iter().map(|index| &plan.columns[*index]);
        columns.any(|column| !column.optional && column.source == Source::Request)
    })
}

fn declared(plan: &ServingPlan, name: &str) -> DType {
    let slot = plan.slots.get(name);
    // The plan is compiled from the same signature: every name of it has a slot.
    slot.and_then(|slot| slot.declared).unwrap_or(DType::String)
}

fn typed(name: &str, cells: Cells) -> RequestColumn {
    RequestColumn {
        place: ColumnPlace::Rows,
        name: name.to_owned(),
        cells,
    }
}

fn cast(name: &str, cells: &Cells, declared: DType, how: Dialect) -> Result<Cells, Error> {
    let convert = |cell: &Cell| number::cell(cell, declared, how);
    let converted = match cells {
        Cells::Scalar(cell) => convert(cell).map(Cells::Scalar),
        Cells::List(cells) => cells
            .iter()
            .map(convert)
            .collect::<Result<_, _>>()
            .map(Cells::List),
    };
    converted.map_err(|reason| match how {
        Dialect::Pandas { .. } => Error::Column {
            column: name.to_owned(),
            wanted: declared,
            reason,
        },
        Dialect::Numpy => Error::Value { reason },
        Dialect::Csv => Error::Csv { reason },
    })
}

/// A table needs lists of one length; a scalar counts for every row.
pub(super) fn equally_long(
    columns: Vec<RequestColumn>,
    scoring: &Scoring,
) -> Result<RequestColumns, Error> {
    if let Payload::Frame(frame) = &scoring.payload {
        return Ok(RequestColumns::of_rows(columns, frame.n_rows));
    }
    let lengths = columns.iter().filter_map(|column| match &column.cells {
        Cells::List(cells) => Some(cells.len()),
        Cells::Scalar(_) => None,
    });
    let mut n_rows = None;
    for length in lengths {
        match n_rows {
            None => n_rows = Some(length),
            Some(first) if first != length => {
                return Err(match &scoring.payload {
                    Payload::Named { instances: true, .. } => Error::Value {
                        reason: "The length of values for each input/column name are not the same".to_owned(),
                    },
                    _ => Error::Schema {
                        reason: "This model contains a column-based signature, which suggests a DataFrame input. There was an error casting the input data to a DataFrame: All arrays must be of the same length".to_owned(),
                    },
                });
            }
            Some(_) => {}
        }
    }
    Ok(RequestColumns::of_rows(columns, n_rows.unwrap_or(1)))
}
