//! A predict request, as every protocol hands it to the predictor.

use std::sync::Arc;

use super::cell::Cell;
use super::deadline::Deadline;
use super::names::{ModelRef, repeated};
use super::scoring::Scoring;
use super::tensor::NamedTensor;
use super::urgency::{Priority, Urgency};

/// Which door a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Surface {
    Http,
    /// MLflow's scoring protocol.
    Mlflow,
    /// The Open Inference Protocol, over HTTP and over gRPC.
    Oip,
    /// A job of the queue.
    Job,
    Cli,
}

impl Surface {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Mlflow => "mlflow",
            Self::Oip => "oip",
            Self::Job => "job",
            Self::Cli => "cli",
        }
    }
}

/// One prediction asked for.
#[derive(Debug, Clone)]
pub struct PredictRequest {
    pub model: ModelRef,
    pub inputs: RequestInputs,
    /// Scoring parameters as they came; ONNX models never see them, the audit record does.
    pub params: Option<Arc<serde_json::value::RawValue>>,
    pub deadline: Deadline,
    pub context: RequestContext,
}

/// What a request gives to the model, in the form in which its protocol says it.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestInputs {
    /// Values by column; converted strictly.
    Columns(RequestColumns),
    /// Whole graph inputs, by the graph's own names and of its own types. Of a model that reads features also its
    /// entity columns and the columns that it takes beside them, one item per row.
    Tensors(Vec<NamedTensor>),
    /// A call of MLflow's scoring protocol, typed by the model's signature as MLflow types it.
    Scoring(Scoring),
}

impl RequestInputs {
    /// Rows of the request; of tensors the first one's.
    pub fn n_rows(&self) -> usize {
        match self {
            Self::Columns(columns) => columns.n_rows(),
            Self::Tensors(tensors) => rows_of_tensors(tensors),
            Self::Scoring(scoring) => scoring.n_rows(),
        }
    }

    /// The columns that have a name, in the order of the request. Empty where whole arrays are given.
    pub fn columns(&self) -> &[RequestColumn] {
        match self {
            Self::Columns(columns) => columns.columns(),
            Self::Tensors(_) => &[],
            Self::Scoring(scoring) => scoring.columns(),
        }
    }

    fn n_values(&self) -> usize {
        match self {
            Self::Columns(columns) => columns.n_rows() * columns.columns().len().max(1),
            Self::Tensors(tensors) => tensors.iter().map(|named| named.tensor.len()).sum(),
            Self::Scoring(scoring) => scoring.n_values(),
        }
    }
}

/// The first axis of the first tensor; one row if there is none.
pub fn rows_of_tensors(tensors: &[NamedTensor]) -> usize {
    let first = tensors
        .first()
        .and_then(|named| named.tensor.shape().first());
    first.copied().unwrap_or(1)
}

/// So many cells take about half a millisecond of work in every step that looks at each of them.
const LARGE: usize = 4_096;

impl PredictRequest {
    pub fn urgency(&self) -> Urgency {
        Urgency {
            deadline: self.deadline,
            priority: self.context.priority,
        }
    }

    /// Whether working through all cells takes so long that other requests should not wait for it.
    pub fn is_large(&self) -> bool {
        self.inputs.n_values() > LARGE
    }
}

/// Where a request came from, for the audit record and for error bodies.
#[derive(Debug, Clone)]
pub struct RequestContext {
    pub surface: Surface,
    pub request_id: Arc<str>,
    /// The W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// Who called, once authentication tells.
    pub principal: Option<String>,
    /// Whom the call may overtake where calls wait.
    pub priority: Priority,
}

impl RequestContext {
    /// The id that a caller gave if it is a sensible one, 1 to 128 visible ASCII characters, else a UUIDv7.
    pub fn request_id_of(given: Option<&str>) -> Arc<str> {
        let sensible = |id: &&str| {
            (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match given.filter(sensible) {
            Some(id) => Arc::from(id),
            None => Arc::from(
                &*uuid::Uuid::now_v7()
                    .hyphenated()
                    .encode_lower(&mut uuid::Uuid::encode_buffer()),
            ),
        }
    }

    /// The trace id of a W3C `traceparent`: the second field of `version-trace id-parent id-flags`.
    pub fn trace_id_of(traceparent: &str) -> Option<String> {
        let mut fields = traceparent.split('-');
        let (version, trace) = (fields.next()?, fields.next()?);
        let is_hex = |text: &str| {
            text.bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let valid = version.len() == 2 && trace.len() == 32 && is_hex(version) && is_hex(trace);
        (valid && trace.bytes().any(|byte| byte != b'0')).then(|| trace.to_owned())
    }
}

/// Where a request column stood in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnPlace {
    /// Under `entities`: a join key.
    Entities,
    /// Under `inputs`: a model input or an override of a feature.
    Inputs,
    /// In `rows`, where keys and inputs stand together.
    Rows,
}

impl ColumnPlace {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entities => "entities",
            Self::Inputs => "inputs",
            Self::Rows => "rows",
        }
    }
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// One value that counts for every row.
    Scalar(Cell),
    /// One value per row.
    List(Vec<Cell>),
}

impl Cells {
    /// The cell of `row`; the caller stays within the request's row count.
    pub fn get(&self, row: usize) -> &Cell {
        match self {
            Self::Scalar(cell) => cell,
            Self::List(cells) => &cells[row],
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct RequestColumn {
    pub place: ColumnPlace,
    pub name: String,
    pub cells: Cells,
}

/// Columns of one request: every list has exactly `n_rows` cells, no name stands twice in one place.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestColumns {
    columns: Vec<RequestColumn>,
    n_rows: usize,
}

/// Why columns do not make a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnsError {
    #[error("`{place}.{name}` has {actual} values where `{first_place}.{first}` has {expected}")]
    UnequalLengths {
        place: &'static str,
        name: String,
        actual: usize,
        first_place: &'static str,
        first: String,
        expected: usize,
    },
    #[error("`{place}.{name}` is given twice")]
    Duplicate { place: &'static str, name: String },
    #[error("the request has no rows")]
    NoRows,
    #[error("the request has {actual} rows, more than the limit of {limit}")]
    TooManyRows { actual: usize, limit: usize },
}

impl RequestColumns {
    /// Checks the columns against each other. Without any list there is one row.
    pub fn new(columns: Vec<RequestColumn>, max_rows: usize) -> Result<Self, ColumnsError> {
        let names = columns.iter();
        let names = names.map(|column| (column.place, column.name.as_str()));
        if let Some((place, name)) = repeated(names) {
            return Err(ColumnsError::Duplicate {
                place: place.as_str(),
                name: name.to_owned(),
            });
        }
        let mut first: Option<(&RequestColumn, usize)> = None;
        for column in &columns {
            let Cells::List(cells) = &column.cells else {
                continue;
            };
            match first {
                None => first = Some((column, cells.len())),
                Some((other, expected)) if expected != cells.len() => {
                    return Err(ColumnsError::UnequalLengths {
                        place: column.place.as_str(),
                        name: column.name.clone(),
                        actual: cells.len(),
                        first_place: other.place.as_str(),
                        first: other.name.clone(),
                        expected,
                    });
                }
                Some(_) => {}
            }
        }
        let n_rows = first.map_or(1, |(_, n_rows)| n_rows);
        Self::with_rows(columns, n_rows, max_rows)
    }

    /// Columns that were transposed from `n_rows` row objects and so are equally long already.
    pub fn with_rows(
        columns: Vec<RequestColumn>,
        n_rows: usize,
        max_rows: usize,
    ) -> Result<Self, ColumnsError> {
        if n_rows == 0 {
            return Err(ColumnsError::NoRows);
        }
        if n_rows > max_rows {
            return Err(ColumnsError::TooManyRows {
                actual: n_rows,
                limit: max_rows,
            });
        }
        Ok(Self { columns, n_rows })
    }

    /// The given rows alone, in the given order; there must be at least one, and each within the request.
    pub fn select(&self, rows: &[usize]) -> Self {
        let columns = self.columns.iter().map(|column| RequestColumn {
            place: column.place,
            name: column.name.clone(),
            cells: match &column.cells {
                Cells::Scalar(cell) => Cells::Scalar(cell.clone()),
                Cells::List(cells) => {
                    Cells::List(rows.iter().map(|row| cells[*row].clone()).collect())
                }
            },
        });
        Self {
            columns: columns.collect(),
            n_rows: rows.len(),
        }
    }

    /// Columns that are equally long already, each name once; there may be no rows.
    pub fn of_rows(columns: Vec<RequestColumn>, n_rows: usize) -> Self {
        Self { columns, n_rows }
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub fn columns(&self) -> &[RequestColumn] {
        &self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, cells: Cells) -> RequestColumn {
        RequestColumn {
            place: ColumnPlace::Inputs,
            name: name.into(),
            cells,
        }
    }

    fn list(n: usize) -> Cells {
        Cells::List(vec![Cell::Int(1); n])
    }

    #[test]
    fn a_scalar_counts_for_every_row() {
        let columns = vec![
            column("a", Cells::Scalar(Cell::Int(7))),
            column("b", list(3)),
        ];
        let columns = RequestColumns::new(columns, 10).unwrap();
        assert_eq!(columns.n_rows(), 3);
        assert_eq!(columns.columns()[0].cells.get(2), &Cell::Int(7));
    }

    #[test]
    fn selected_rows_keep_scalars_and_their_order() {
        let cells = Cells::List((0..4).map(Cell::Int).collect());
        let columns = vec![column("a", Cells::Scalar(Cell::Int(7))), column("b", cells)];
        let selected = RequestColumns::new(columns, 10).unwrap().select(&[3, 1]);
        assert_eq!(selected.n_rows(), 2);
        assert_eq!(selected.columns()[0].cells, Cells::Scalar(Cell::Int(7)));
        let rows = Cells::List(vec![Cell::Int(3), Cell::Int(1)]);
        assert_eq!(selected.columns()[1].cells, rows);
    }

    #[test]
    fn only_scalars_make_one_row() {
        let columns =
            RequestColumns::new(vec![column("a", Cells::Scalar(Cell::Null))], 10).unwrap();
        assert_eq!(columns.n_rows(), 1);
    }

    #[test]
    fn unequal_lengths_name_both_columns() {
        let error =
            RequestColumns::new(vec![column("a", list(2)), column("b", list(3))], 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`inputs.b` has 3 values where `inputs.a` has 2"
        );
    }

    #[test]
    fn no_rows_too_many_rows_and_duplicates_are_errors() {
        assert_eq!(
            RequestColumns::new(vec![column("a", list(0))], 10),
            Err(ColumnsError::NoRows)
        );
        let error = RequestColumns::new(vec![column("a", list(11))], 10).unwrap_err();
        assert_eq!(
            error,
            ColumnsError::TooManyRows {
                actual: 11,
                limit: 10
            }
        );
        let error =
            RequestColumns::new(vec![column("a", list(1)), column("a", list(1))], 10).unwrap_err();
        assert_eq!(error.to_string(), "`inputs.a` is given twice");
    }
}
