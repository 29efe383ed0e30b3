//! What a call of MLflow's scoring protocol gives, before the model's signature types it.
//!
//! The same body means a table to one model and arrays to another: the signature decides, and with it the types.

use super::cell::Cell;
use super::request::{Cells, RequestColumn};

/// A scoring call.
#[derive(Debug, Clone, PartialEq)]
pub struct Scoring {
    pub payload: Payload,
    /// Integers out of range become what MLflow's platform makes of them instead of an error.
    pub strict: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    Frame(Frame),
    /// Values by name: `inputs` that are an object, or `instances` that are objects, column by column. Lists may
    /// differ in length.
    Named {
        columns: Vec<RequestColumn>,
        /// They were `instances`, whose required columns are equally long.
        instances: bool,
    },
    /// `inputs` or `instances` that are a list, or one value.
    Array(Cell),
    /// The fields of a body that is meant for a language model; MLflow gives it to the model as it is.
    Other(Vec<String>),
}

/// A data frame: every column has `n_rows` cells, each name stands once.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub columns: Vec<RequestColumn>,
    pub n_rows: usize,
    /// Without names the columns are called `0`, `1`, and so on.
    pub named: bool,
    pub source: FrameSource,
}

/// What a frame was written as; the types of its values are found differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameSource {
    /// `dataframe_split` or `dataframe_records`.
    Json,
    /// `inputs` that are a list of objects.
    Objects,
    /// CSV: every cell is text, or null where it is empty.
    Csv,
}

impl Scoring {
    /// Rows of a frame; of arrays the length of the first.
    pub fn n_rows(&self) -> usize {
        let length = |cell: &Cell| match cell {
            Cell::List(cells) => cells.len(),
            _ => 1,
        };
        match &self.payload {
            Payload::Frame(frame) => frame.n_rows,
            Payload::Named { columns, .. } => {
                let lists = columns.iter().find_map(|column| match &column.cells {
                    Cells::List(cells) => Some(cells.len()),
                    Cells::Scalar(_) => None,
                });
                lists.unwrap_or(1)
            }
            Payload::Array(cell) => length(cell),
            Payload::Other(_) => 1,
        }
    }

    /// The columns that have a name.
    pub fn columns(&self) -> &[RequestColumn] {
        match &self.payload {
            Payload::Frame(Frame { columns, .. }) | Payload::Named { columns, .. } => columns,
            Payload::Array(_) | Payload::Other(_) => &[],
        }
    }

    /// How many values there are, nested ones as far as the second axis.
    pub fn n_values(&self) -> usize {
        let width = |cell: &Cell| match cell {
            Cell::List(cells) => cells.len().max(1),
            _ => 1,
        };
        let of_list = |cells: &[Cell]| cells.len() * cells.first().map_or(1, width);
        match &self.payload {
            Payload::Frame(frame) => frame.n_rows * frame.columns.len().max(1),
            Payload::Named { columns, .. } => {
                let sizes = columns.iter().map(|column| match &column.cells {
                    Cells::List(cells) => of_list(cells),
                    Cells::Scalar(_) => 1,
                });
                sizes.sum()
            }
            Payload::Array(Cell::List(cells)) => of_list(cells),
            Payload::Array(_) | Payload::Other(_) => 1,
        }
    }
}
