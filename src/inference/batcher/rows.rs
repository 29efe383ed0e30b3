//! Rows of several calls in one array, and apart again. Pure.

use std::borrow::Borrow;

use ndarray::{ArrayD, Axis, IxDyn, Slice};

use crate::types::tensor::{Output, Tensor, with_array};

/// Rows of a call that may stand in one run with others: every input has them on its first axis.
pub(super) fn n_rows(inputs: &[impl Borrow<Tensor>]) -> Option<usize> {
    let n_rows = *inputs.first()?.borrow().shape().first()?;
    let same = inputs
        .iter()
        .all(|input| input.borrow().shape().first() == Some(&n_rows));
    (same && n_rows > 0).then_some(n_rows)
}

/// Whether the rows of both calls fit into the same arrays.
pub(super) fn go_together<T: Borrow<Tensor>>(one: &[T], other: &[T]) -> bool {
    let same = |(one, other): (&T, &T)| {
        let (one, other) = (one.borrow(), other.borrow());
        one.dtype() == other.dtype() && one.shape().get(1..) == other.shape().get(1..)
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The calls' rows, one call behind the other; `None` unless all of them go together.
pub(in crate::inference) fn join<T: Borrow<Tensor>>(calls: &[&[T]]) -> Option<Vec<Tensor>> {
    let n_inputs = calls.first()?.len();
    let mut joined = Vec::with_capacity(n_inputs);
    for input in 0..n_inputs {
        let parts: Option<Vec<&Tensor>> = calls
            .iter()
            .map(|call| call.get(input).map(Borrow::borrow))
            .collect();
        joined.push(join_tensors(&parts?)?);
    }
    Some(joined)
}

/// Each call's rows; `lengths` must add up to the rows of every output, else `None`.
pub(in crate::inference) fn split(
    outputs: Vec<Output>,
    lengths: &[usize],
) -> Option<Vec<Vec<Output>>> {
    let total: usize = lengths.iter().sum();
    if outputs.iter().any(|output| output.n_rows() != Some(total)) {
        return None;
    }
    let n_outputs = outputs.len();
    let mut calls: Vec<Vec<Output>> = lengths
        .iter()
        .map(|_| Vec::with_capacity(n_outputs))
        .collect();
    for output in outputs {
        match output {
            Output::Maps(rows) => {
                let mut rows = rows.into_iter();
                for (call, length) in calls.iter_mut().zip(lengths) {
                    call.push(Output::Maps(rows.by_ref().take(*length).collect()));
                }
            }
            Output::Tensor(tensor) => {
                let mut start = 0;
                for (call, length) in calls.iter_mut().zip(lengths) {
                    call.push(Output::Tensor(part(&tensor, start, *length)));
                    start += length;
                }
            }
        }
    }
    Some(calls)
}

macro_rules! join_as {
    ($parts:expr, $($variant:ident),*) => {
        match $parts.first()? {
            $(Tensor::$variant(_) => {
                let mut arrays = Vec::with_capacity($parts.len());
                for part in $parts {
                    match part {
                        Tensor::$variant(array) => arrays.push(array),
                        _ => return None,
                    }
                }
                join_arrays(&arrays).map(Tensor::$variant)
            })*
        }
    };
}

fn join_tensors(parts: &[&Tensor]) -> Option<Tensor> {
    join_as!(
        parts, Bool, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float16, BFloat16,
        Float32, Float64, String
    )
}

fn join_arrays<T: Clone>(parts: &[&ArrayD<T>]) -> Option<ArrayD<T>> {
    let first = parts.first()?;
    let row_shape = first.shape().get(1..)?;
    let mut n_rows = 0;
    let mut elements = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        if part.shape().get(1..) != Some(row_shape) {
            return None;
        }
        n_rows += part.shape()[0];
        match part.as_slice() {
            Some(slice) => elements.extend_from_slice(slice),
            // Another layout; the iterator goes in row-major order all the same.
            None => elements.extend(part.iter().cloned()),
        }
    }
    let mut shape = IxDyn(first.shape());
    shape[0] = n_rows;
    ArrayD::from_shape_vec(shape, elements).ok()
}

/// A copy of some rows; they must exist.
pub(in crate::inference) fn part(tensor: &Tensor, start: usize, length: usize) -> Tensor {
    let rows = Slice::from(start..start + length);
    with_array!(tensor, array => Tensor::from(array.slice_axis(Axis(0), rows).to_owned()))
}

#[cfg(test)]
mod tests {
    use ndarray::ShapeBuilder;

    use super::*;

    fn floats(shape: &[usize], elements: &[f32]) -> Tensor {
        Tensor::Float32(ArrayD::from_shape_vec(IxDyn(shape), elements.to_vec()).unwrap())
    }

    fn texts(elements: &[&str]) -> Tensor {
        let elements = elements.iter().map(|text| (*text).to_owned()).collect();
        Tensor::String(ArrayD::from_shape_vec(IxDyn(&[2]), elements).unwrap())
    }

    #[test]
    fn joined_rows_come_apart_as_they_were_whatever_their_type() {
        let one = [floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), texts(&["a", "b"])];
        let other = [floats(&[2, 2], &[5.0, 6.0, 7.0, 8.0]), texts(&["c", "d"])];
        let joined = join(&[&one, &other]).unwrap();
        assert_eq!(joined[0].shape(), [4, 2]);
        let maps = (0..4).map(|row| vec![(row.to_string(), f64::from(row))]);
        let mut outputs: Vec<Output> = joined.into_iter().map(Output::Tensor).collect();
        outputs.push(Output::Maps(maps.collect()));
        let apart = split(outputs, &[2, 2]).unwrap();
        assert_eq!(apart[0][0], Output::Tensor(one[0].clone()));
        assert_eq!(apart[0][1], Output::Tensor(one[1].clone()));
        assert_eq!(apart[1][0], Output::Tensor(other[0].clone()));
        assert_eq!(apart[1][1], Output::Tensor(other[1].clone()));
        let maps = vec![vec![("2".to_owned(), 2.0)], vec![("3".to_owned(), 3.0)]];
        assert_eq!(apart[1][2], Output::Maps(maps));
    }

    #[test]
    fn a_column_major_array_joins_in_row_order() {
        let columns = ArrayD::from_shape_vec(IxDyn(&[2, 2]).f(), vec![1.0, 3.0, 2.0, 4.0]).unwrap();
        let joined = join(&[&[Tensor::Float32(columns)], &[floats(&[1, 2], &[5.0, 6.0])]]);
        let wanted = floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(joined.unwrap(), [wanted]);
    }

    #[test]
    fn other_types_and_row_shapes_do_not_go_together() {
        let wide = [floats(&[1, 3], &[0.0; 3])];
        let narrow = [floats(&[1, 2], &[0.0; 2])];
        let double = [Tensor::Float64(ArrayD::zeros(IxDyn(&[1, 2])))];
        for (one, other) in [(&wide, &narrow), (&narrow, &double)] {
            assert!(!go_together(one, other));
            assert!(join(&[one, other]).is_none());
        }
        assert!(go_together(&narrow, &[floats(&[2, 2], &[0.0; 4])]));
    }

    #[test]
    fn calls_without_a_common_number_of_rows_stand_alone() {
        assert_eq!(n_rows(&[floats(&[2, 1], &[0.0; 2])]), Some(2));
        assert_eq!(n_rows(&[] as &[Tensor]), None);
        assert_eq!(n_rows(&[floats(&[], &[0.0])]), None);
        assert_eq!(n_rows(&[floats(&[0, 1], &[])]), None);
        let uneven = [floats(&[2], &[0.0; 2]), floats(&[3], &[0.0; 3])];
        assert_eq!(n_rows(&uneven), None);
    }

    #[test]
    fn outputs_without_a_row_per_input_row_do_not_come_apart() {
        let output = || Output::Tensor(floats(&[3], &[0.0; 3]));
        assert!(split(vec![output()], &[2, 2]).is_none());
        assert!(split(vec![Output::Tensor(floats(&[], &[0.0]))], &[1]).is_none());
        assert!(split(vec![output()], &[1, 2]).is_some());
    }
}
