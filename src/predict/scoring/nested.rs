//! Nested lists into tensors, as `numpy.array` makes them.

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};

use super::number::{self, Dialect};
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::request::Cells;
use crate::types::tensor::Tensor;

/// A value seen as an array: its leaves in row-major order. A single value has no axes.
#[derive(Debug, PartialEq)]
pub(super) struct Nested<'a> {
    pub(super) shape: Vec<usize>,
    pub(super) leaves: Vec<&'a Cell>,
}

impl<'a> Nested<'a> {
    /// Errors: lists of unequal length, in NumPy's words.
    pub(super) fn of_cell(cell: &'a Cell) -> Result<Self, String> {
        match cell {
            Cell::List(cells) => Self::of_list(cells.iter().collect()),
            scalar => Ok(Self {
                shape: Vec::new(),
                leaves: vec![scalar],
            }),
        }
    }

    pub(super) fn of_cells(cells: &'a Cells) -> Result<Self, String> {
        match cells {
            Cells::Scalar(cell) => Self::of_cell(cell),
            Cells::List(cells) => Self::of_list(cells.iter().collect()),
        }
    }

    /// Goes down one axis at a time.
    fn of_list(items: Vec<&'a Cell>) -> Result<Self, String> {
        let mut shape = vec![items.len()];
        let mut level = items;
        while let Some(Cell::List(first)) = level.first() {
            let width = first.len();
            let mut below = Vec::with_capacity(level.len() * width);
            for item in &level {
                match item {
                    Cell::List(cells) if cells.len() == width => below.extend(cells),
                    _ => return Err(inhomogeneous(&shape)),
                }
            }
            shape.push(width);
            level = below;
        }
        if level.iter().any(|cell| matches!(cell, Cell::List(_))) {
            return Err(inhomogeneous(&shape));
        }
        Ok(Self {
            shape,
            leaves: level,
        })
    }

    /// The array in an element type, each leaf converted as the dialect does.
    pub(super) fn tensor(&self, dtype: DType, dialect: Dialect) -> Result<Tensor, String> {
        tensor(&self.leaves, &self.shape, dtype, dialect)
    }
}

fn inhomogeneous(shape: &[usize]) -> String {
    format!(
        "{} The requested array has an inhomogeneous shape after {} dimensions. The detected shape was {} + inhomogeneous part.",
        number::SEQUENCE,
        shape.len(),
        tuple(shape)
    )
}

/// A shape as Python prints it: `()`, `(4,)`, `(1, 2)`.
pub(super) fn tuple(shape: &[impl ToString]) -> String {
    match shape {
        [only] => format!("({},)", only.to_string()),
        shape => {
            let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
            format!("({})", sizes.join(", "))
        }
    }
}

/// Row-major leaves as a tensor; there are as many as the shape says.
pub(super) fn tensor(
    leaves: &[&Cell],
    shape: &[usize],
    dtype: DType,
    dialect: Dialect,
) -> Result<Tensor, String> {
    macro_rules! array {
        ($variant:ident, $convert:expr) => {
            array(leaves, shape, $convert).map(Tensor::$variant)
        };
    }
    macro_rules! integers {
        ($variant:ident, $type:ty) => {
            array!($variant, |cell| {
                let value = number::integer(cell, dtype, dialect)?;
                <$type>::try_from(value).map_err(|error| error.to_string())
            })
        };
    }
    match dtype {
        DType::Bool => array!(Bool, |cell| number::boolean(cell, dialect)),
        DType::Int8 => integers!(Int8, i8),
        DType::Int16 => integers!(Int16, i16),
        DType::Int32 => integers!(Int32, i32),
        DType::Int64 => integers!(Int64, i64),
        DType::UInt8 => integers!(UInt8, u8),
        DType::UInt16 => integers!(UInt16, u16),
        DType::UInt32 => integers!(UInt32, u32),
        DType::UInt64 => integers!(UInt64, u64),
        DType::Float16 => array!(Float16, |cell| number::float(cell).map(f16::from_f64)),
        DType::BFloat16 => array!(BFloat16, |cell| number::float(cell).map(bf16::from_f64)),
        DType::Float32 => array!(Float32, |cell| number::float(cell).map(narrow)),
        DType::Float64 => array!(Float64, number::float),
        DType::String => array!(String, |cell| number::text(cell, dialect)),
        DType::Binary | DType::Datetime => Err(format!("no tensor is of type {dtype}")),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "to the nearest, and to infinity beyond"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

fn array<T>(
    leaves: &[&Cell],
    shape: &[usize],
    convert: impl Fn(&Cell) -> Result<T, String>,
) -> Result<ArrayD<T>, String> {
    let mut elements = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        elements.push(convert(leaf)?);
    }
    ArrayD::from_shape_vec(IxDyn(shape), elements).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(json: &str) -> Result<Vec<usize>, String> {
        let cell: Cell = serde_json::from_str(json).unwrap();
        Nested::of_cell(&cell).map(|nested| nested.shape)
    }

    #[test]
    fn lists_are_axes() {
        for (json, wanted) in [
            ("1.5", &[][..]),
            ("[]", &[0]),
            ("[1, 2]", &[2]),
            ("[[1, 2], [3, 4], [5, 6]]", &[3, 2]),
            ("[[[1], [2]]]", &[1, 2, 1]),
            ("[[], []]", &[2, 0]),
        ] {
            assert_eq!(shape(json).unwrap(), wanted, "{json}");
        }
    }

    #[test]
    fn unequal_lists_are_refused_with_the_part_that_is_equal() {
        for (json, part) in [
            (
                "[[1, 2], [3]]",
                "after 1 dimensions. The detected shape was (2,) +",
            ),
            (
                "[[[1], [2]], [[3], [4, 5]]]",
                "after 2 dimensions. The detected shape was (2, 2) +",
            ),
            ("[1, [2]]", "after 1 dimensions"),
            ("[[1], 2]", "after 1 dimensions"),
        ] {
            let reason = shape(json).unwrap_err();
            assert!(reason.contains(part), "{json}: {reason}");
        }
    }

    #[test]
    fn leaves_convert_to_every_element_type() {
        let cell: Cell = serde_json::from_str("[1, 0.5, true]").unwrap();
        let nested = Nested::of_cell(&cell).unwrap();
        for dtype in [
            DType::Bool,
            DType::UInt8,
            DType::Float16,
            DType::BFloat16,
            DType::Float32,
            DType::String,
        ] {
            let tensor = nested.tensor(dtype, Dialect::Numpy).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[3][..]));
        }
        assert!(nested.tensor(DType::Datetime, Dialect::Numpy).is_err());
    }
}
