//! Rows that are tensors already: plain columns of numbers, for a model that takes nothing else.
//!
//! A cell for each value would come to the same (`cells`, `assemble`) and costs more than many a model. What is not plain in
//! every way (a null, a number that does not fit, a feature, a default) is left to them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, Schema};
use ndarray::{ArrayD, IxDyn};

use crate::predict::ServingPlan;
use crate::predict::convert::{Element, Scalar};
use crate::predict::plan::{PlannedTensor, Source, Width};
use crate::types::dtype::DType;
use crate::types::tensor::{NamedTensor, Tensor};

/// What fills the inputs of a graph, each of which has the shape `[n_rows]` or `[n_rows, n_columns]`.
#[derive(Debug)]
pub(super) struct Plain {
    inputs: Vec<Input>,
}

#[derive(Debug)]
struct Input {
    name: String,
    dtype: DType,
    is_flat: bool,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    /// Among the columns of the rows.
    place: usize,
    declared: DType,
}

impl Plain {
    /// `columns` are those of `rows` that the model has a use for, with their names. `None` where anything else than plain numbers
    /// is asked for.
    pub(super) fn of(
        plan: &ServingPlan,
        columns: &[(usize, String)],
        rows: &Schema,
    ) -> Option<Self> {
        let has_more = plan.online.is_some() || !plan.optional.is_empty();
        if has_more || plan.fixed_rows.is_some() {
            return None;
        }
        let mut fed = vec![None; plan.columns.len()];
        for (place, name) in columns {
            let kind = rows.field(*place).data_type();
            if !matches!(
                kind,
                DataType::Float32 | DataType::Float64 | DataType::Int32 | DataType::Int64
            ) {
                return None;
            }
            for &column in &plan.slots.get(name)?.columns {
                // Given twice.
                if fed[column].replace(*place).is_some() {
                    return None;
                }
            }
        }
        let inputs = plan.tensors.iter();
        let inputs = inputs.map(|tensor| Input::of(plan, tensor, &fed));
        let inputs = inputs.collect::<Option<_>>()?;
        Some(Self { inputs })
    }

    /// The rows as the graph takes them; `None` if some value of them is not plain.
    pub(super) fn tensors(&self, rows: &RecordBatch) -> Option<Vec<NamedTensor>> {
        let tensors = self.inputs.iter().map(|input| {
            Some(NamedTensor {
                name: input.name.clone(),
                tensor: Arc::new(input.tensor(rows)?),
            })
        });
        tensors.collect()
    }
}

impl Input {
    fn of(plan: &ServingPlan, tensor: &PlannedTensor, fed: &[Option<usize>]) -> Option<Self> {
        let mut columns = Vec::new();
        for index in tensor.columns.clone() {
            let planned = &plan.columns[index];
            if planned.width != Width::One || planned.source != Source::Request {
                return None;
            }
            columns.push(Column {
                place: fed[index]?,
                declared: planned.declared,
            });
        }
        let is_flat = match tensor.row_shape[..] {
            [] => true,
            [n] => {
                if n >= 0 && usize::try_from(n) != Ok(columns.len()) {
                    return None;
                }
                false
            }
            _ => return None,
        };
        let has_width = !is_flat || columns.len() == 1;
        has_width.then(|| Self {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            is_flat,
            columns,
        })
    }

    fn tensor(&self, rows: &RecordBatch) -> Option<Tensor> {
        match self.dtype {
            DType::Float32 => self.array(rows, 0.0).map(Tensor::Float32),
            DType::Float64 => self.array(rows, 0.0).map(Tensor::Float64),
            DType::Int32 => self.array(rows, 0).map(Tensor::Int32),
            DType::Int64 => self.array(rows, 0).map(Tensor::Int64),
            _ => None,
        }
    }

    fn array<T: Element + Copy>(&self, rows: &RecordBatch, zero: T) -> Option<ArrayD<T>> {
        let (n_rows, width) = (rows.num_rows(), self.columns.len());
        let mut elements = vec![zero; n_rows * width];
        for (first, column) in self.columns.iter().enumerate() {
            let places = elements.iter_mut().skip(first).step_by(width);
            column.fill(rows.column(column.place), places)?;
        }
        let shape = match self.is_flat {
            true => vec![n_rows],
            false => vec![n_rows, width],
        };
        ArrayD::from_shape_vec(IxDyn(&shape), elements).ok()
    }
}

impl Column {
    /// As `cells` and `Scalar::of_cell` read the values, one after the other.
    fn fill<'a, T: Element + 'a>(
        &self,
        array: &ArrayRef,
        places: impl Iterator<Item = &'a mut T>,
    ) -> Option<()> {
        if array.null_count() > 0 {
            return None;
        }
        macro_rules! fill {
            ($kind:ty, $scalar:ident as $wide:ty) => {
                self.fill_with(array.as_primitive::<$kind>().values(), places, |value| {
                    Scalar::$scalar(value as $wide)
                })
            };
        }
        match array.data_type() {
            DataType::Float32 => fill!(Float32Type, Float as f64),
            DataType::Float64 => fill!(Float64Type, Float as f64),
            DataType::Int32 => fill!(Int32Type, Int as i128),
            DataType::Int64 => fill!(Int64Type, Int as i128),
            _ => None,
        }
    }

    fn fill_with<'a, S: Copy, T: Element + 'a>(
        &self,
        values: &[S],
        places: impl Iterator<Item = &'a mut T>,
        scalar: impl Fn(S) -> Scalar<'static>,
    ) -> Option<()> {
        for (place, value) in places.zip(values) {
            *place = T::from_scalar(scalar(*value), self.declared).ok()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Float32Array, Float64Array, Int32Array, Int64Array};
    use proptest::prelude::*;

    use super::super::cells::cells;
    use super::*;
    use crate::models::{Binder, Candidate};
    use crate::predict::{PlanBinder, assemble};
    use crate::telemetry::metrics::Metrics;
    use crate::types::feature::FeatureRows;
    use crate::types::names::ModelVersion;
    use crate::types::request::{Cells, ColumnPlace, RequestColumn, RequestColumns};
    use crate::types::signature::{
        ColumnSpec, ColumnType, Graph, OutputKind, OutputSpec, Schema as Inputs, Signature,
        TensorSpec,
    };

    const NUMBERS: [DType; 4] = [DType::Float32, DType::Float64, DType::Int32, DType::Int64];

    /// A plan whose only input is a matrix of columns of these types; `None` if there is none.
    fn plan(graph: DType, declared: &[DType]) -> Option<ServingPlan> {
        let columns = declared.iter().enumerate().map(|(i, dtype)| ColumnSpec {
            name: Some(format!("c{i}")),
            dtype: ColumnType::Scalar(*dtype),
            required: true,
        });
        let width = i64::try_from(declared.len()).unwrap();
        let shape = vec![-1, width];
        let kind = OutputKind::Tensor {
            dtype: graph,
            shape: shape.clone(),
        };
        let binder = PlanBinder::new(None, BTreeMap::new(), Arc::new(Metrics::new()));
        let bound = binder.bind(&Candidate {
            name: "m",
            version: ModelVersion(1),
            tags: &BTreeMap::new(),
            signature: &Signature {
                inputs: Some(Inputs::Columns(columns.collect())),
                ..Signature::default()
            },
            graph: &Graph {
                inputs: vec![TensorSpec {
                    name: Some("x".to_owned()),
                    dtype: graph,
                    shape,
                }],
                optional: Vec::new(),
                outputs: vec![OutputSpec {
                    name: "y".to_owned(),
                    kind,
                }],
            },
        });
        bound.ok()
    }

    fn batch(arrays: Vec<ArrayRef>) -> RecordBatch {
        let named = arrays.into_iter().enumerate();
        RecordBatch::try_from_iter(named.map(|(i, array)| (format!("c{i}"), array))).unwrap()
    }

    fn plain(plan: &ServingPlan, rows: &RecordBatch) -> Option<Tensor> {
        let columns: Vec<(usize, String)> = (0..rows.num_columns())
            .map(|i| (i, format!("c{i}")))
            .collect();
        let plain = Plain::of(plan, &columns, &rows.schema())?;
        let mut tensors = plain.tensors(rows)?;
        assert_eq!((tensors.len(), &*tensors[0].name), (1, "x"));
        Arc::into_inner(tensors.remove(0).tensor)
    }

    /// What a request of the same values comes to.
    fn assembled(plan: &ServingPlan, rows: &RecordBatch) -> Option<Tensor> {
        let columns = rows.columns().iter().enumerate();
        let columns = columns.map(|(i, array)| RequestColumn {
            place: ColumnPlace::Rows,
            name: format!("c{i}"),
            cells: Cells::List(cells(array).unwrap().unwrap()),
        });
        let columns = RequestColumns::of_rows(columns.collect(), rows.num_rows());
        let call = plan.fit(&columns).unwrap();
        let mut features = FeatureRows::none(rows.num_rows());
        let inputs = assemble::model_inputs(plan, &call, &mut features).ok()?;
        Some(inputs.into_tensors().remove(0))
    }

    /// Shape and bits.
    fn bits(tensor: &Tensor) -> (Vec<usize>, Vec<u64>) {
        let bits = match tensor {
            Tensor::Float32(array) => array.iter().map(|x| u64::from(x.to_bits())).collect(),
            Tensor::Float64(array) => array.iter().map(|x| x.to_bits()).collect(),
            Tensor::Int32(array) => array
                .iter()
                .map(|x| i64::from(*x).cast_unsigned())
                .collect(),
            Tensor::Int64(array) => array.iter().map(|x| x.cast_unsigned()).collect(),
            other => panic!("{other:?}"),
        };
        (tensor.shape().to_vec(), bits)
    }

    fn values(kind: DType, n_rows: usize) -> BoxedStrategy<ArrayRef> {
        fn some<T: std::fmt::Debug + Clone + 'static, A: From<Vec<Option<T>>> + Array + 'static>(
            value: impl Strategy<Value = T> + 'static,
            n_rows: usize,
        ) -> BoxedStrategy<ArrayRef> {
            let value = prop_oneof![60 => value.prop_map(Some), 1 => Just(None)];
            let values = prop::collection::vec(value, n_rows);
            values
                .prop_map(|values| Arc::new(A::from(values)) as ArrayRef)
                .boxed()
        }
        match kind {
            DType::Float32 => some::<_, Float32Array>(any::<f32>(), n_rows),
            DType::Float64 => some::<_, Float64Array>(any::<f64>(), n_rows),
            DType::Int32 => some::<_, Int32Array>(any::<i32>(), n_rows),
            _ => some::<_, Int64Array>(prop_oneof![-9..9i64, any::<i64>()], n_rows),
        }
    }

    fn rows() -> impl Strategy<Value = (Vec<DType>, RecordBatch)> {
        let kind = || prop::sample::select(&NUMBERS[..]);
        let kinds = prop::collection::vec((kind(), kind()), 1..4);
        (kinds, 1..9usize).prop_flat_map(|(kinds, n_rows)| {
            let declared: Vec<DType> = kinds.iter().map(|(declared, _)| *declared).collect();
            let arrays: Vec<_> = kinds
                .iter()
                .map(|(_, kind)| values(*kind, n_rows))
                .collect();
            arrays.prop_map(move |arrays| (declared.clone(), batch(arrays)))
        })
    }

    proptest! {
        #[test]
        fn what_is_plain_is_what_cells_come_to(
            graph in prop::sample::select(&NUMBERS[..]),
            (declared, rows) in rows(),
        ) {
            if let Some(plan) = plan(graph, &declared) {
                let (plain, assembled) = (plain(&plan, &rows), assembled(&plan, &rows));
                let has_null = rows.columns().iter().any(|column| column.null_count() > 0);
                match plain {
                    Some(tensor) => {
                        prop_assert_eq!(Some(bits(&tensor)), assembled.as_ref().map(bits));
                    }
                    None => prop_assert!(has_null || assembled.is_none()),
                }
            }
        }
    }

    #[test]
    fn columns_become_a_matrix() {
        let plan = plan(DType::Float32, &[DType::Float64, DType::Int64]).unwrap();
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.1]));
        let integers: ArrayRef = Arc::new(Int64Array::from(vec![1, 16_777_217]));
        let tensor = plain(&plan, &batch(vec![floats, Arc::clone(&integers)])).unwrap();
        let wanted = [0.5_f32, 1.0, 0.1, 16_777_216.0].map(|x| u64::from(x.to_bits()));
        assert_eq!(bits(&tensor), (vec![2, 2], wanted.to_vec()));
        // A floating point number is no integer, whatever its value.
        let rows = batch(vec![
            Arc::clone(&integers),
            Arc::new(Float64Array::from(vec![1.0, 2.0])),
        ]);
        assert!(plain(&plan, &rows).is_none());
        let rows = batch(vec![
            Arc::new(Float64Array::from(vec![Some(1.0), None])),
            integers,
        ]);
        assert!(plain(&plan, &rows).is_none());
    }

    #[test]
    fn a_column_that_is_no_number_or_is_not_there_is_not_plain() {
        let plan = plan(DType::Float32, &[DType::Float64, DType::Float64]).unwrap();
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
        let flags: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
        assert!(plain(&plan, &batch(vec![Arc::clone(&floats), flags])).is_none());
        assert!(plain(&plan, &batch(vec![floats])).is_none());
    }
}
