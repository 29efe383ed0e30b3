//! No signature: the values say their type, as they do to pandas and NumPy, and the graph must take exactly that; only
//! double precision becomes single where the graph wants it.

use super::nested::{self, Nested};
use super::number::{self, Dialect};
use super::{Error, dialect};
use crate::inference::Inputs;
use crate::predict::given::Values;
use crate::predict::plan::{PlannedTensor, ServingPlan};
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::request::{Cells, RequestColumn};
use crate::types::scoring::{Frame, FrameSource, Payload, Scoring};
use crate::types::tensor::Tensor;

/// The graph's inputs.
pub(super) fn tensors(plan: &ServingPlan, scoring: &Scoring) -> Result<Values<'static>, Error> {
    let inputs: Inputs = match &scoring.payload {
        Payload::Frame(frame) if frame.source == FrameSource::Objects => {
            return Err(refused(
                "Input should be a dictionary or a numpy array or a pandas.DataFrame, got '<class 'list'>'",
            ));
        }
        Payload::Frame(frame) => of_frame(plan, frame, dialect(scoring))?.into(),
        Payload::Named { columns, instances } => of_named(plan, columns, *instances)?,
        Payload::Array(Cell::List(cells)) if cells.is_empty() => {
            return Err(refused(
                "Input should be a dictionary or a numpy array or a pandas.DataFrame, got '<class 'list'>'",
            ));
        }
        Payload::Array(array) => vec![of_array(plan, array)?].into(),
        Payload::Other(_) => {
            return Err(refused(
                "the model takes arrays; its body has none of `dataframe_split`, `dataframe_records`, `instances` and `inputs`",
            ));
        }
    };
    let first = inputs.required().first();
    let n_rows = first.and_then(|tensor| tensor.shape().first().copied());
    Ok(Values::Tensors {
        n_rows: n_rows.unwrap_or(1),
        inputs,
    })
}

fn refused(reason: &str) -> Error {
    Error::Model {
        reason: reason.to_owned(),
    }
}

/// One graph input takes the table as a matrix, several take a column each.
fn of_frame(plan: &ServingPlan, frame: &Frame, how: Dialect) -> Result<Vec<Tensor>, Error> {
    let typed: Vec<RequestColumn>;
    let columns = match how {
        Dialect::Csv => {
            typed = frame.columns.iter().map(from_text).collect();
            &typed
        }
        Dialect::Pandas { .. } | Dialect::Numpy => &frame.columns,
    };
    if let [input] = &plan.tensors[..] {
        let mut leaves = Vec::with_capacity(frame.n_rows * columns.len());
        for row in 0..frame.n_rows {
            leaves.extend(columns.iter().map(|column| column.cells.get(row)));
        }
        let kinds = columns.iter().map(|column| Kind::of_column(&column.cells));
        let kind = kinds.reduce(Kind::beside).unwrap_or(Kind::Nothing);
        let shape = [frame.n_rows, columns.len()];
        return Ok(vec![convert(input, kind, &leaves, &shape)?]);
    }
    let mut tensors = Vec::with_capacity(plan.tensors.len());
    for input in &plan.tensors {
        let column = columns.iter().find(|column| column.name == input.name);
        let Some(column) = column.filter(|_| frame.named) else {
            return Err(refused(&format!("there is no column `{}`", input.name)));
        };
        let leaves: Vec<&Cell> = (0..frame.n_rows).map(|row| column.cells.get(row)).collect();
        let kind = Kind::of_column(&column.cells);
        tensors.push(convert(input, kind, &leaves, &[frame.n_rows])?);
    }
    Ok(tensors)
}

fn of_named(
    plan: &ServingPlan,
    columns: &[RequestColumn],
    instances: bool,
) -> Result<Inputs, Error> {
    let mut arrays = Vec::with_capacity(columns.len());
    for column in columns {
        let nested = Nested::of_cells(&column.cells).map_err(|reason| Error::Value { reason })?;
        arrays.push((column.name.as_str(), nested));
    }
    let mut lengths = arrays.iter().map(|(_, nested)| nested.shape.first());
    let first = lengths.next();
    if instances && !lengths.all(|length| Some(length) == first) {
        return Err(Error::Value {
            reason: "The length of values for each input/column name are not the same".to_owned(),
        });
    }
    let is_known = |name: &str| {
        let optional = plan.optional.iter().map(|optional| &optional.tensor);
        let mut inputs = plan.tensors.iter().chain(optional);
        inputs.any(|input| input.name == name)
    };
    if let Some((name, _)) = arrays.iter().find(|(name, _)| !is_known(name)) {
        return Err(refused(&format!("the graph has no input `{name}`")));
    }
    let mut tensors = Vec::with_capacity(plan.tensors.len());
    for input in &plan.tensors {
        let Some((_, nested)) = arrays.iter().find(|(name, _)| *name == input.name) else {
            return Err(refused(&format!(
                "input `{}` of the graph is missing",
                input.name
            )));
        };
        tensors.push(convert_nested(input, nested)?);
    }
    let mut inputs = Inputs::from(tensors);
    for (place, optional) in plan.optional.iter().enumerate() {
        let input = &optional.tensor;
        if let Some((_, nested)) = arrays.iter().find(|(name, _)| *name == input.name) {
            inputs.give(place, convert_nested(input, nested)?);
        }
    }
    Ok(inputs)
}

fn of_array(plan: &ServingPlan, array: &Cell) -> Result<Tensor, Error> {
    let nested = Nested::of_cell(array).map_err(|reason| Error::Value { reason })?;
    match &plan.tensors[..] {
        [input] => convert_nested(input, &nested),
        inputs => Err(Error::SeveralInputs {
            inputs: inputs.iter().map(|input| input.name.clone()).collect(),
        }),
    }
}

fn convert_nested(input: &PlannedTensor, nested: &Nested<'_>) -> Result<Tensor, Error> {
    let kinds = nested.leaves.iter().map(|cell| Kind::of(cell));
    let kind = kinds.reduce(Kind::among).unwrap_or(Kind::Nothing);
    convert(input, kind, &nested.leaves, &nested.shape)
}

fn convert(
    input: &PlannedTensor,
    kind: Kind,
    leaves: &[&Cell],
    shape: &[usize],
) -> Result<Tensor, Error> {
    let wanted = input.dtype;
    let fits = match kind {
        Kind::Bool => wanted == DType::Bool,
        Kind::Int => wanted == DType::Int64,
        Kind::UInt => wanted == DType::UInt64,
        Kind::Float => matches!(wanted, DType::Float64 | DType::Float32),
        Kind::Text | Kind::Object => wanted == DType::String,
        Kind::Nothing => true,
    };
    if !fits {
        return Err(refused(&format!(
            "Unexpected input data type for input `{}`. Actual: {}, expected: {wanted}",
            input.name,
            kind.name()
        )));
    }
    let tensor = nested::tensor(leaves, shape, wanted, Dialect::Numpy);
    tensor.map_err(|reason| Error::Model { reason })
}

/// What type values without a declared one have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No values at all.
    Nothing,
    Bool,
    Int,
    UInt,
    Float,
    Text,
    /// A mixture, which only a text input takes.
    Object,
}

impl Kind {
    fn of(cell: &Cell) -> Self {
        match cell {
            Cell::Bool(_) => Self::Bool,
            Cell::Int(_) => Self::Int,
            Cell::UInt(_) => Self::UInt,
            Cell::Float(_) => Self::Float,
            Cell::Text(_) => Self::Text,
            Cell::Null | Cell::List(_) => Self::Object,
        }
    }

    /// NumPy's common type.
    fn among(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Nothing, kind) | (kind, Self::Nothing) => kind,
            (Self::Object, _) | (_, Self::Object) => Self::Object,
            (Self::Text, _) | (_, Self::Text) => Self::Text,
            (Self::Float, _) | (_, Self::Float) => Self::Float,
            // NumPy finds no integer type for both.
            (Self::UInt, Self::Int) | (Self::Int, Self::UInt) => Self::Float,
            (Self::UInt, _) | (_, Self::UInt) => Self::UInt,
            _ => Self::Int,
        }
    }

    /// The type of a pandas column: null counts as a number among numbers, and nothing else mixes.
    fn of_column(cells: &Cells) -> Self {
        let of_list = |cells: &[Cell]| {
            let mut kind = Self::Nothing;
            let mut has_null = false;
            for cell in cells {
                match cell {
                    Cell::Null => has_null = true,
                    cell => kind = kind.in_column(Self::of(cell)),
                }
            }
            match (kind, has_null) {
                (Self::Int | Self::UInt | Self::Float, true) => Self::Float,
                (Self::Bool | Self::Nothing, true) => Self::Object,
                (kind, _) => kind,
            }
        };
        match cells {
            Cells::Scalar(cell) => of_list(std::slice::from_ref(cell)),
            Cells::List(cells) => of_list(cells),
        }
    }

    fn in_column(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Nothing, kind) | (kind, Self::Nothing) => kind,
            (Self::UInt, Self::Int) | (Self::Int, Self::UInt) => Self::UInt,
            (Self::Float, Self::Int | Self::UInt) | (Self::Int | Self::UInt, Self::Float) => {
                Self::Float
            }
            _ => Self::Object,
        }
    }

    /// The type of a matrix of columns.
    fn beside(self, other: Self) -> Self {
        match (self, other) {
            (Self::UInt, Self::Int) | (Self::Int, Self::UInt) => Self::Float,
            (a, b) => a.in_column(b),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nothing | Self::Object => "object",
            Self::Bool => "bool",
            Self::Int => "int64",
            Self::UInt => "uint64",
            Self::Float => "float64",
            Self::Text => "str",
        }
    }
}

/// A column of CSV in the narrowest type that takes all its text, as pandas reads it.
fn from_text(column: &RequestColumn) -> RequestColumn {
    let Cells::List(cells) = &column.cells else {
        return column.clone();
    };
    let all = |convert: &dyn Fn(&str) -> Option<Cell>| -> Option<Vec<Cell>> {
        let cells = cells.iter().map(|cell| match cell {
            Cell::Text(text) => convert(text),
            other => Some(other.clone()),
        });
        cells.collect()
    };
    let integer = |text: &str| Some(Cell::Int(number::python_integer(text)?.try_into().ok()?));
    let float = |text: &str| number::python_float(text).map(Cell::Float);
    if cells.iter().all(|cell| *cell == Cell::Null) {
        // A column of nothing is one of NaN.
        return RequestColumn {
            cells: Cells::List(vec![Cell::Float(f64::NAN); cells.len()]),
            ..column.clone()
        };
    }
    let boolean = |text: &str| {
        let cell = Cell::Text(text.to_owned());
        number::boolean(&cell, Dialect::Csv).ok().map(Cell::Bool)
    };
    let typed = all(&integer)
        .or_else(|| all(&float))
        .or_else(|| all(&boolean));
    RequestColumn {
        cells: Cells::List(typed.unwrap_or_else(|| cells.clone())),
        ..column.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(json: &str) -> Vec<Cell> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn arrays_have_numpys_common_type() {
        for (json, wanted) in [
            ("[1, 2]", Kind::Int),
            ("[1, 2.5]", Kind::Float),
            ("[true, 2]", Kind::Int),
            ("[true, false]", Kind::Bool),
            (r#"["a", 1]"#, Kind::Text),
            ("[null, 1.0]", Kind::Object),
            ("[18446744073709551615]", Kind::UInt),
            ("[18446744073709551615, -1]", Kind::Float),
        ] {
            let kinds = cells(json);
            let kind = kinds.iter().map(Kind::of).reduce(Kind::among).unwrap();
            assert_eq!(kind, wanted, "{json}");
        }
    }

    #[test]
    fn columns_have_pandas_type() {
        for (json, wanted) in [
            ("[1, null]", Kind::Float),
            ("[true, null]", Kind::Object),
            ("[true, 1]", Kind::Object),
            (r#"["a", null]"#, Kind::Text),
            (r#"["a", 1]"#, Kind::Object),
            ("[null]", Kind::Object),
            ("[]", Kind::Nothing),
        ] {
            assert_eq!(Kind::of_column(&Cells::List(cells(json))), wanted, "{json}");
        }
    }

    #[test]
    fn csv_columns_take_the_narrowest_type() {
        for (json, wanted) in [
            (r#"["1", "2"]"#, Kind::Int),
            (r#"["1", null]"#, Kind::Float),
            ("[null, null]", Kind::Float),
            (r#"["1", "2.5"]"#, Kind::Float),
            (r#"["True", "false"]"#, Kind::Bool),
            (r#"["1", "x"]"#, Kind::Text),
        ] {
            let column = RequestColumn {
                place: crate::types::request::ColumnPlace::Rows,
                name: "a".to_owned(),
                cells: Cells::List(cells(json)),
            };
            assert_eq!(Kind::of_column(&from_text(&column).cells), wanted, "{json}");
        }
    }
}
