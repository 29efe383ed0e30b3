//! A model's outputs as columns, in the types that its graph states.
//!
//! `[N]` and `[N, 1]` are scalars, `[N, k]` lists, further axes lists of lists, maps of ZipMap maps from text to numbers: what
//! an answer of `/v1` has, in Arrow. Half precision is widened to the same number in single precision. An output whose shape
//! the graph does not state is taken to be one scalar per row.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Float64Builder, ListArray, MapBuilder,
    PrimitiveArray, StringArray, StringBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use half::{bf16, f16};
use ndarray::ArrayD;

use super::Error;
use crate::types::dtype::DType;
use crate::types::prediction::NamedOutput;
use crate::types::signature::OutputKind;
use crate::types::tensor::{Output, Tensor, with_array};

/// One output's column.
#[derive(Debug, Clone)]
pub(super) struct OutputColumn {
    pub(super) name: Arc<str>,
    pub(super) kind: DataType,
    /// How many lists are around a scalar.
    depth: usize,
}

impl OutputColumn {
    pub(super) fn of(name: &Arc<str>, kind: &OutputKind) -> Self {
        let (kind, depth) = match kind {
            OutputKind::Maps => (MAP.clone(), 0),
            OutputKind::Tensor { dtype, shape } => {
                let depth = match shape.get(1..).unwrap_or_default() {
                    [] | [1] => 0,
                    axes => axes.len(),
                };
                let lists = 0..depth;
                (lists.fold(scalar(*dtype), |item, _| list(item)), depth)
            }
        };
        Self {
            name: Arc::clone(name),
            kind,
            depth,
        }
    }

    pub(super) fn field(&self) -> Field {
        // A row that was not scored has none.
        Field::new(&*self.name, self.kind.clone(), true)
    }

    /// One item for each row. Errors for an output that is not of the shape that the graph states.
    pub(super) fn array(&self, named: &NamedOutput) -> Result<ArrayRef, Error> {
        match &named.output {
            Output::Maps(rows) if self.kind == *MAP => maps(rows).map_err(Error::Arrow),
            Output::Tensor(tensor) if self.kind != *MAP => self.lists(tensor),
            Output::Maps(_) | Output::Tensor(_) => Err(self.unlike(&[])),
        }
    }

    fn lists(&self, tensor: &Tensor) -> Result<ArrayRef, Error> {
        let axes = tensor.shape().get(1..).unwrap_or_default();
        let is_scalar = self.depth == 0 && axes.iter().product::<usize>() == 1;
        if !is_scalar && axes.len() != self.depth {
            return Err(self.unlike(tensor.shape()));
        }
        let n_rows = tensor.shape().first().copied().unwrap_or(0);
        let mut array = with_array!(tensor, array => elements(array));
        for inner in (0..self.depth).rev() {
            let n_lists = n_rows * axes[..inner].iter().product::<usize>();
            let lengths = std::iter::repeat_n(axes[inner], n_lists);
            let item = Arc::new(Field::new_list_field(array.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths(lengths);
            let lists = ListArray::try_new(item, offsets, array, None);
            array = Arc::new(lists.map_err(Error::Arrow)?);
        }
        match *array.data_type() == self.kind {
            true => Ok(array),
            false => Err(self.unlike(tensor.shape())),
        }
    }

    fn unlike(&self, shape: &[usize]) -> Error {
        Error::OutputShape {
            output: self.name.to_string(),
            shape: shape.to_vec(),
        }
    }
}

/// As the builder of maps makes them.
static MAP: LazyLock<DataType> = LazyLock::new(|| {
    let empty = maps(&[]);
    empty.map_or(DataType::Null, |array| array.data_type().clone())
});

fn maps(rows: &[Vec<(String, f64)>]) -> Result<ArrayRef, ArrowError> {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    for row in rows {
        for (key, value) in row {
            builder.keys().append_value(key);
            builder.values().append_value(*value);
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn scalar(dtype: DType) -> DataType {
    match dtype {
        DType::Bool => DataType::Boolean,
        DType::Int8 => DataType::Int8,
        DType::Int16 => DataType::Int16,
        DType::Int32 => DataType::Int32,
        DType::Int64 => DataType::Int64,
        DType::UInt8 => DataType::UInt8,
        DType::UInt16 => DataType::UInt16,
        DType::UInt32 => DataType::UInt32,
        DType::UInt64 => DataType::UInt64,
        DType::Float64 => DataType::Float64,
        DType::Float16 | DType::BFloat16 | DType::Float32 => DataType::Float32,
        // No graph has tensors of the last two.
        DType::String | DType::Binary | DType::Datetime => DataType::Utf8,
    }
}

/// All elements in row-major order.
fn elements<T: IntoArray + Clone>(array: &ArrayD<T>) -> ArrayRef {
    T::array(array.iter().cloned())
}

trait IntoArray: Sized {
    fn array(elements: impl Iterator<Item = Self>) -> ArrayRef;
}

fn numbers<T: ArrowPrimitiveType>(elements: impl Iterator<Item = T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(elements))
}

macro_rules! into_array {
    ($($type:ty => $arrow:ty),*) => {
        $(impl IntoArray for $type {
            fn array(elements: impl Iterator<Item = Self>) -> ArrayRef {
                numbers::<$arrow>(elements)
            }
        })*
    };
}

into_array!(
    i8 => Int8Type, i16 => Int16Type, i32 => Int32Type, i64 => Int64Type,
    u8 => UInt8Type, u16 => UInt16Type, u32 => UInt32Type, u64 => UInt64Type,
    f32 => Float32Type, f64 => Float64Type
);

impl IntoArray for f16 {
    fn array(elements: impl Iterator<Item = Self>) -> ArrayRef {
        numbers::<Float32Type>(elements.map(Self::to_f32))
    }
}

impl IntoArray for bf16 {
    fn array(elements: impl Iterator<Item = Self>) -> ArrayRef {
        numbers::<Float32Type>(elements.map(Self::to_f32))
    }
}

impl IntoArray for bool {
    fn array(elements: impl Iterator<Item = Self>) -> ArrayRef {
        Arc::new(elements.map(Some).collect::<BooleanArray>())
    }
}

impl IntoArray for String {
    fn array(elements: impl Iterator<Item = Self>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(elements))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use ndarray::IxDyn;

    use super::*;

    fn tensor(shape: &[usize], elements: Vec<f32>) -> Output {
        Output::Tensor(Tensor::Float32(
            ArrayD::from_shape_vec(IxDyn(shape), elements).unwrap(),
        ))
    }

    fn column(shape: &[i64]) -> OutputColumn {
        let shape = shape.to_vec();
        let dtype = DType::Float32;
        OutputColumn::of(&"score".into(), &OutputKind::Tensor { dtype, shape })
    }

    fn named(output: Output) -> NamedOutput {
        let name = "score".into();
        NamedOutput { name, output }
    }

    fn shown(array: &ArrayRef) -> Vec<String> {
        let formatter = ArrayFormatter::try_new(array, &FormatOptions::default()).unwrap();
        let rows = 0..array.len();
        rows.map(|row| formatter.value(row).to_string()).collect()
    }

    #[test]
    fn one_item_per_row_as_in_an_answer() {
        for (declared, shape, wanted) in [
            (&[-1][..], &[2][..], ["1.0", "2.0"]),
            (&[-1, 1], &[2, 1], ["1.0", "2.0"]),
            (&[], &[2, 1], ["1.0", "2.0"]),
            (&[-1, -1], &[2, 1], ["[1.0]", "[2.0]"]),
            (&[-1, 1, 1], &[2, 1, 1], ["[[1.0]]", "[[2.0]]"]),
        ] {
            let column = column(declared);
            let array = column.array(&named(tensor(shape, vec![1.0, 2.0]))).unwrap();
            assert_eq!(*array.data_type(), column.kind);
            assert_eq!(shown(&array), wanted, "{declared:?}");
        }
        let four = named(tensor(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        let lists = column(&[-1, 2]).array(&four).unwrap();
        assert_eq!(shown(&lists), ["[1.0, 2.0]", "[3.0, 4.0]"]);
    }

    #[test]
    fn no_row_is_a_column_all_the_same() {
        let none = named(tensor(&[0, 2], Vec::new()));
        assert_eq!(column(&[-1, 2]).array(&none).unwrap().len(), 0);
    }

    #[test]
    fn an_output_of_another_shape_than_the_graph_states_is_refused() {
        let wide = named(tensor(&[1, 2], vec![1.0, 2.0]));
        for declared in [&[][..], &[-1], &[-1, 2, 3]] {
            let error = column(declared).array(&wide).unwrap_err();
            assert!(matches!(error, Error::OutputShape { .. }), "{error}");
        }
        let maps = named(Output::Maps(vec![Vec::new()]));
        assert!(column(&[-1]).array(&maps).is_err());
    }

    #[test]
    fn maps_are_maps_and_half_precision_keeps_its_number() {
        let column = OutputColumn::of(&"p".into(), &OutputKind::Maps);
        let rows = vec![vec![("0".to_owned(), 0.25), ("1".to_owned(), 0.75)]];
        let array = column.array(&named(Output::Maps(rows))).unwrap();
        assert_eq!(*array.data_type(), column.kind);
        assert_eq!(shown(&array), ["{0: 0.25, 1: 0.75}"]);
        let half = ArrayD::from_shape_vec(IxDyn(&[1]), vec![f16::from_f32(0.1)]).unwrap();
        let array = elements(&half);
        let widened = f16::from_f32(0.1).to_f32();
        assert_eq!(array.as_primitive::<Float32Type>().value(0), widened);
    }
}
