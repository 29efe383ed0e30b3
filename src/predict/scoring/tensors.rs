//! A tensor signature: everything becomes arrays of the declared types, whose shapes are then checked.

use super::nested::{self, Nested, tuple};
use super::number::Dialect;
use super::{Error, dialect, missing, quoted, unnamed_signature};
use crate::inference::Inputs;
use crate::predict::given::Values;
use crate::predict::plan::ServingPlan;
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::request::{Cells, RequestColumn};
use crate::types::scoring::{Frame, FrameSource, Payload, Scoring};
use crate::types::signature::{Graph, TensorSpec};
use crate::types::tensor::Tensor;

#[derive(Debug)]
pub(super) struct TensorSignature {
    /// In the order of the signature. Each has a name, or there is only one.
    inputs: Vec<Input>,
    named: bool,
    /// Which of them feeds each graph input that every run takes.
    of_graph: Vec<usize>,
    /// Which of them feeds each graph input that may be left out, if one does.
    of_optional: Vec<Option<usize>>,
}

#[derive(Debug)]
struct Input {
    name: String,
    /// As declared; single precision where that is what the graph takes instead of double.
    dtype: DType,
    shape: Vec<i64>,
    /// The graph does without.
    optional: bool,
}

impl TensorSignature {
    pub(super) fn new(specs: &[TensorSpec], graph: &Graph) -> Self {
        let place = |input: &TensorSpec| {
            let named = specs.iter().position(|spec| spec.name == input.name);
            // Only one stands for the only input, whatever its name.
            named.unwrap_or(0)
        };
        let of_graph: Vec<usize> = graph.inputs.iter().map(place).collect();
        let stated = |input: &TensorSpec| specs.iter().position(|spec| spec.name == input.name);
        let of_optional: Vec<Option<usize>> = graph.optional.iter().map(stated).collect();
        let optional_at = |index| of_optional.iter().position(|place| *place == Some(index));
        let taken_as = |index: usize| match optional_at(index) {
            Some(fed) => Some(graph.optional[fed].dtype),
            None => {
                let fed = of_graph.iter().position(|place| *place == index)?;
                Some(graph.inputs[fed].dtype)
            }
        };
        let inputs = specs.iter().enumerate().map(|(index, spec)| Input {
            name: spec.name.clone().unwrap_or_default(),
            dtype: match (spec.dtype, taken_as(index)) {
                (DType::Float64, Some(DType::Float32)) => DType::Float32,
                (declared, _) => declared,
            },
            shape: spec.shape.clone(),
            optional: optional_at(index).is_some(),
        });
        Self {
            inputs: inputs.collect(),
            named: specs.iter().all(|spec| spec.name.is_some()),
            of_graph,
            of_optional,
        }
    }

    /// The graph's inputs.
    pub(super) fn tensors(
        &self,
        plan: &ServingPlan,
        scoring: &Scoring,
    ) -> Result<Values<'static>, Error> {
        let how = dialect(scoring);
        let tensors = match &scoring.payload {
            Payload::Frame(frame) => self.of_frame(frame, how)?,
            Payload::Named { columns, instances } => self.of_named(columns, *instances)?,
            Payload::Array(array) => vec![Some(self.of_array(array)?)],
            Payload::Other(keys) => return Err(self.missing(keys.iter().map(|key| quoted(key)))),
        };
        for (input, tensor) in self.inputs.iter().zip(&tensors) {
            if let Some(tensor) = tensor {
                input.check_shape(tensor.shape())?;
            }
        }
        debug_assert_eq!(plan.tensors.len(), self.of_graph.len());
        let inputs = self.in_graph_order(tensors);
        let first = inputs.required().first();
        let n_rows = first.and_then(|tensor| tensor.shape().first().copied());
        Ok(Values::Tensors {
            n_rows: n_rows.unwrap_or(1),
            inputs,
        })
    }

    /// `tensors` are aligned with the signature.
    fn in_graph_order(&self, mut tensors: Vec<Option<Tensor>>) -> Inputs {
        let mut take = |place: usize| tensors.get_mut(place)?.take();
        let required = self.of_graph.iter().filter_map(|place| take(*place));
        let mut inputs = Inputs::from(required.collect::<Vec<_>>());
        for (place, stated) in self.of_optional.iter().enumerate() {
            if let Some(tensor) = stated.and_then(&mut take) {
                inputs.give(place, tensor);
            }
        }
        inputs
    }

    fn missing(&self, extra: impl Iterator<Item = String>) -> Error {
        let required = self.inputs.iter().filter(|input| !input.optional);
        let names: Vec<&str> = required.map(|input| &*input.name).collect();
        missing(&names, &extra.collect::<Vec<_>>())
    }

    // Frames.

    fn of_frame(&self, frame: &Frame, how: Dialect) -> Result<Vec<Option<Tensor>>, Error> {
        match frame.source {
            FrameSource::Csv => Err(Error::Csv {
                reason: "TensorSpec only supports numpy types, use numpy_types() instead"
                    .to_owned(),
            }),
            FrameSource::Objects if self.named => Err(self.missing(std::iter::empty())),
            FrameSource::Objects => Err(not_an_array("list")),
            FrameSource::Json if self.named => self.of_named_frame(frame, how),
            FrameSource::Json => Ok(vec![Some(self.of_unnamed_frame(frame, how)?)]),
        }
    }

    fn of_named_frame(&self, frame: &Frame, how: Dialect) -> Result<Vec<Option<Tensor>>, Error> {
        let column = |input: &Input| {
            let found = frame
                .columns
                .iter()
                .find(|column| column.name == input.name);
            found.filter(|_| frame.named)
        };
        let is_missing = |input: &&Input| column(input).is_none() && !input.optional;
        if self.inputs.iter().any(|input| is_missing(&input)) {
            let missing_names = self.inputs.iter().filter(is_missing);
            let names: Vec<&str> = missing_names.map(|input| &*input.name).collect();
            let is_extra = |given: &&RequestColumn| {
                !frame.named || self.inputs.iter().all(|input| input.name != given.name)
            };
            let extra = frame.columns.iter().filter(is_extra);
            let extra = extra.map(|given| match frame.named {
                true => quoted(&given.name),
                false => given.name.clone(),
            });
            return Err(missing(&names, &extra.collect::<Vec<_>>()));
        }
        let inputs = self.inputs.iter();
        inputs
            .map(|input| {
                let column = column(input);
                column
                    .map(|column| input.of_column(&column.name, &column.cells, frame.n_rows, how))
                    .transpose()
            })
            .collect()
    }

    fn of_unnamed_frame(&self, frame: &Frame, how: Dialect) -> Result<Tensor, Error> {
        let schema = |reason: String| Error::Schema { reason };
        let input = self.only()?;
        if frame.n_rows == 0 || frame.columns.is_empty() {
            return Err(no_rows());
        }
        if let [column] = &frame.columns[..] {
            return input.of_column(&column.name, &column.cells, frame.n_rows, how);
        }
        let n_columns = frame.columns.len();
        if input.shape[..] != [-1, i64::try_from(n_columns).unwrap_or(-1)] {
            return Err(schema(format!(
                "This model contains a model signature with an unnamed input. Since the input data is a pandas DataFrame containing multiple columns, the input shape must be of the structure (-1, number_of_dataframe_columns). Instead, the input DataFrame passed had {n_columns} columns and an input shape of {} with all values within the DataFrame of scalar type. Please adjust the passed in DataFrame to match the expected structure",
                tuple(&input.shape)
            )));
        }
        let mut leaves = Vec::with_capacity(frame.n_rows * n_columns);
        for row in 0..frame.n_rows {
            leaves.extend(frame.columns.iter().map(|column| column.cells.get(row)));
        }
        let tensor = nested::tensor(&leaves, &[frame.n_rows, n_columns], input.dtype, how);
        tensor.map_err(|reason| Error::Column {
            column: input.name.clone(),
            wanted: input.dtype,
            reason,
        })
    }

    // Arrays.

    fn of_named(
        &self,
        columns: &[RequestColumn],
        instances: bool,
    ) -> Result<Vec<Option<Tensor>>, Error> {
        if !self.named {
            return Err(match instances {
                true => not_an_array("dict"),
                false => unnamed_signature(),
            });
        }
        let find = |input: &Input| columns.iter().find(|column| column.name == input.name);
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let tensor = find(input).map(|column| {
                let nested = Nested::of_cells(&column.cells);
                nested.and_then(|nested| nested.tensor(input.dtype, Dialect::Numpy))
            });
            let tensor = tensor.transpose();
            tensors.push(tensor.map_err(|reason| Error::Value { reason })?);
        }
        let missing_names = self.inputs.iter();
        let missing_names = missing_names.filter(|input| find(input).is_none() && !input.optional);
        let names: Vec<&str> = missing_names.map(|input| &*input.name).collect();
        if !names.is_empty() {
            let is_extra =
                |given: &&RequestColumn| self.inputs.iter().all(|input| input.name != given.name);
            let extra = columns.iter().filter(is_extra);
            let extra: Vec<String> = extra.map(|given| quoted(&given.name)).collect();
            return Err(missing(&names, &extra));
        }
        let mut lengths = tensors
            .iter()
            .flatten()
            .map(|tensor| tensor.shape().first());
        let first = lengths.next();
        if instances && !lengths.all(|length| Some(length) == first) {
            return Err(Error::Value {
                reason: "The length of values for each input/column name are not the same"
                    .to_owned(),
            });
        }
        Ok(tensors)
    }

    fn of_array(&self, array: &Cell) -> Result<Tensor, Error> {
        if matches!(array, Cell::List(cells) if cells.is_empty()) && !self.named {
            return Err(not_an_array("list"));
        }
        let Some(first) = self.inputs.first() else {
            return Err(self.missing(std::iter::empty()));
        };
        let nested = Nested::of_cell(array);
        let tensor = nested.and_then(|nested| nested.tensor(first.dtype, Dialect::Numpy));
        let tensor = tensor.map_err(|reason| Error::Value { reason })?;
        match self.inputs.len() {
            1 => Ok(tensor),
            _ => Err(self.missing(std::iter::empty())),
        }
    }

    fn only(&self) -> Result<&Input, Error> {
        self.inputs
            .first()
            .ok_or_else(|| self.missing(std::iter::empty()))
    }
}

/// MLflow stumbles over the first row of such a frame.
fn no_rows() -> Error {
    Error::Value {
        reason: "The data frame has no rows.".to_owned(),
    }
}

fn not_an_array(class: &str) -> Error {
    Error::Schema {
        reason: format!(
            "This model contains a tensor-based model signature with no input names, which suggests a numpy array input or a pandas dataframe input with proper column values, but an input of type <class '{class}'> was found."
        ),
    }
}

impl Input {
    fn check_shape(&self, actual: &[usize]) -> Result<(), Error> {
        let fits = |(actual, wanted): (&usize, &i64)| {
            *wanted == -1 || usize::try_from(*wanted) == Ok(*actual)
        };
        if actual.len() == self.shape.len() && actual.iter().zip(&self.shape).all(fits) {
            return Ok(());
        }
        Err(Error::Schema {
            reason: format!(
                "Shape of input {} does not match expected shape {}.",
                tuple(actual),
                tuple(&self.shape)
            ),
        })
    }

    /// One column of a frame: a value per row, or a flat list per row that takes the shape of the signature.
    fn of_column(
        &self,
        name: &str,
        cells: &Cells,
        n_rows: usize,
        how: Dialect,
    ) -> Result<Tensor, Error> {
        let schema = |reason: String| Error::Schema { reason };
        let place = match self.name.as_str() {
            "" => "the unnamed input".to_owned(),
            name => format!("input {name}"),
        };
        let mut inner = Vec::new();
        for size in self.shape.iter().skip(1) {
            inner.extend(usize::try_from(*size).ok());
        }
        if self.shape.first() != Some(&-1) || inner.len() + 1 != self.shape.len() {
            return Err(schema(format!(
                "For pandas dataframe input, the first dimension of shape must be a variable dimension and other dimensions must be fixed, but in model signature the shape of {place} is {}.",
                tuple(&self.shape)
            )));
        }
        if n_rows == 0 {
            return Err(no_rows());
        }
        let shape: Vec<usize> = std::iter::once(n_rows)
            .chain(inner.iter().copied())
            .collect();
        let rows = (0..n_rows).map(|row| cells.get(row));
        match cells.get(0) {
            Cell::List(first) if first.first().is_some_and(is_scalar) => {
                self.of_lists(name, rows, &shape, how)
            }
            Cell::List(_) => Err(schema("Because the model signature requires tensor spec input, the input pandas dataframe values should be either scalar value, python list containing scalar values or numpy array containing scalar values, other types are not supported.".to_owned())),
            _ if !matches!(self.shape[..], [-1] | [-1, 1]) => Err(schema(format!(
                "The input pandas dataframe column '{name}' contains scalar values, which requires the shape to be (-1,) or (-1, 1), but got tensor spec shape of {}.",
                tuple(&self.shape)
            ))),
            _ => {
                let leaves: Vec<&Cell> = rows.collect();
                nested::tensor(&leaves, &shape, self.dtype, how).map_err(|reason| Error::Column {
                    column: name.to_owned(),
                    wanted: self.dtype,
                    reason,
                })
            }
        }
    }

    fn of_lists<'a>(
        &self,
        name: &str,
        rows: impl Iterator<Item = &'a Cell>,
        shape: &[usize],
        how: Dialect,
    ) -> Result<Tensor, Error> {
        let width: usize = shape.iter().skip(1).product();
        let mut leaves = Vec::with_capacity(shape[0] * width);
        let mut is_uniform = true;
        for row in rows {
            match row {
                Cell::List(cells) if cells.len() == width => leaves.extend(cells),
                _ => is_uniform = false,
            }
        }
        let tensor = match is_uniform {
            true => nested::tensor(&leaves, shape, self.dtype, how),
            false => Err(String::new()),
        };
        tensor.map_err(|_| Error::Schema {
            reason: format!(
                "The value in the Input DataFrame column '{name}' could not be converted to the expected shape of: '{}'. Ensure that each of the input list elements are of uniform length and that the data can be coerced to the tensor type '{}'",
                tuple(&self.shape),
                self.dtype
            ),
        })
    }
}

fn is_scalar(cell: &Cell) -> bool {
    !matches!(cell, Cell::List(_))
}
