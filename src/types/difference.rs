//! How far the outputs of two versions are apart on the same rows.

use std::sync::Arc;

use super::prediction::NamedOutput;
use super::tensor::{Element, Output, Tensor};

/// One output of the version that answered, held against the same output of another version.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputDifference {
    pub name: Arc<str>,
    /// `None` where the other version has no output of that name, or one with other counts of values.
    pub difference: Option<Difference>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The largest distance between two numbers; `None` where none were to be compared (texts, booleans, NaN).
    pub max_abs: Option<f64>,
    /// Rows with any value that is not equal. NaN is equal to NaN.
    pub n_rows: usize,
}

/// Compares each of the answered outputs with the other's output of its name.
pub fn differences(answered: &[NamedOutput], other: &[NamedOutput]) -> Vec<OutputDifference> {
    let compared = answered.iter().map(|named| {
        let theirs = other.iter().find(|theirs| theirs.name == named.name);
        OutputDifference {
            name: Arc::clone(&named.name),
            difference: theirs.and_then(|theirs| difference(&named.output, &theirs.output)),
        }
    });
    compared.collect()
}

fn difference(answered: &Output, other: &Output) -> Option<Difference> {
    match (answered, other) {
        (Output::Tensor(a), Output::Tensor(b)) => of_tensors(a, b),
        (Output::Maps(a), Output::Maps(b)) if a.len() == b.len() => Some(of_maps(a, b)),
        (Output::Maps(_), _) | (_, Output::Maps(_)) => None,
    }
}

impl Difference {
    const NONE: Self = Self {
        max_abs: None,
        n_rows: 0,
    };

    /// Takes one row into account: what each pair of its values came to.
    fn row(&mut self, pairs: impl Iterator<Item = Pair>) {
        let mut differs = false;
        for pair in pairs {
            differs |= !pair.equal;
            if let Some(distance) = pair.distance {
                self.max_abs = Some(self.max_abs.map_or(distance, |max| max.max(distance)));
            }
        }
        self.n_rows += usize::from(differs);
    }
}

fn of_tensors(a: &Tensor, b: &Tensor) -> Option<Difference> {
    let n_rows = *a.shape().first()?;
    let (a, b) = (a.elements(), b.elements());
    if a.len() != b.len() || n_rows == 0 {
        return None;
    }
    let width = a.len() / n_rows;
    let mut difference = Difference::NONE;
    for row in 0..n_rows {
        let row = row * width..(row + 1) * width;
        difference.row(
            a[row.clone()]
                .iter()
                .zip(&b[row])
                .map(|(a, b)| Pair::of(a, b)),
        );
    }
    Some(difference)
}

/// A key that only one of the maps has makes the row different.
fn of_maps(a: &[Vec<(String, f64)>], b: &[Vec<(String, f64)>]) -> Difference {
    let mut difference = Difference::NONE;
    for (a, b) in a.iter().zip(b) {
        let of_key = |key: &String| b.iter().find(|(theirs, _)| theirs == key);
        let pairs = a.iter().map(|(key, value)| match of_key(key) {
            Some((_, theirs)) => Pair::of(&Element::Float(*value), &Element::Float(*theirs)),
            None => Pair::UNLIKE,
        });
        let more = (b.len() > a.len()).then_some(Pair::UNLIKE);
        difference.row(pairs.chain(more));
    }
    difference
}

/// Two values side by side.
#[derive(Debug, Clone, Copy)]
struct Pair {
    equal: bool,
    distance: Option<f64>,
}

impl Pair {
    const UNLIKE: Self = Self {
        equal: false,
        distance: None,
    };

    fn of(a: &Element<'_>, b: &Element<'_>) -> Self {
        match (a, b) {
            (Element::Int(a), Element::Int(b)) => Self {
                equal: a == b,
                distance: Some(a.abs_diff(*b) as f64),
            },
            (Element::Float(a), Element::Float(b)) => Self::of_floats(*a, *b),
            (Element::Int(a), Element::Float(b)) => Self::of_floats(*a as f64, *b),
            (Element::Float(a), Element::Int(b)) => Self::of_floats(*a, *b as f64),
            (a, b) => Self {
                equal: a == b,
                distance: None,
            },
        }
    }

    fn of_floats(a: f64, b: f64) -> Self {
        let equal = a == b || (a.is_nan() && b.is_nan());
        let distance = if equal { 0.0 } else { (a - b).abs() };
        Self {
            equal,
            distance: Some(distance).filter(|distance| !distance.is_nan()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;

    fn named(name: &str, output: Output) -> NamedOutput {
        NamedOutput {
            name: name.into(),
            output,
        }
    }

    fn floats(shape: &[usize], values: &[f32]) -> Output {
        let array = ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap();
        Output::Tensor(Tensor::Float32(array))
    }

    fn between(a: Output, b: Output) -> Option<(Option<f64>, usize)> {
        let difference = differences(
            &[named("y", a)],
            &[named("x", floats(&[1], &[0.0])), named("y", b)],
        );
        let [only] = &difference[..] else {
            panic!("{difference:?}")
        };
        only.difference.map(|d| (d.max_abs, d.n_rows))
    }

    #[test]
    fn numbers_have_a_distance_and_rows_differ_once() {
        let a = floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = floats(&[3, 2], &[1.0, 2.5, 3.0, 4.0, 5.25, 5.0]);
        assert_eq!(between(a.clone(), b), Some((Some(1.0), 2)));
        assert_eq!(between(a.clone(), a), Some((Some(0.0), 0)));
    }

    #[test]
    fn integers_compare_with_floating_point_and_beyond_its_precision() {
        let ints = |values: Vec<i64>| {
            Output::Tensor(Tensor::Int64(
                ArrayD::from_shape_vec(IxDyn(&[values.len()]), values).unwrap(),
            ))
        };
        assert_eq!(
            between(ints(vec![1, 2]), floats(&[2, 1], &[1.0, 2.5])),
            Some((Some(0.5), 1))
        );
        let (big, bigger) = (ints(vec![i64::MAX - 1]), ints(vec![i64::MAX]));
        assert_eq!(between(big, bigger), Some((Some(1.0), 1)));
    }

    #[test]
    fn nan_equals_nan_and_is_at_no_distance_from_a_number() {
        let nan = floats(&[2], &[f32::NAN, f32::INFINITY]);
        assert_eq!(between(nan.clone(), nan.clone()), Some((Some(0.0), 0)));
        let numbers = floats(&[2], &[1.0, f32::INFINITY]);
        assert_eq!(between(nan, numbers.clone()), Some((Some(0.0), 1)));
        let finite = floats(&[2], &[1.0, 1.0]);
        assert_eq!(between(numbers, finite), Some((Some(f64::INFINITY), 1)));
    }

    #[test]
    fn texts_and_maps_differ_by_row() {
        let texts = |values: [&str; 2]| {
            let values = values.map(str::to_owned).to_vec();
            Output::Tensor(Tensor::String(
                ArrayD::from_shape_vec(IxDyn(&[2]), values).unwrap(),
            ))
        };
        assert_eq!(
            between(texts(["a", "b"]), texts(["a", "c"])),
            Some((None, 1))
        );
        let map =
            |pairs: &[(&str, f64)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let a = Output::Maps(vec![map(&[("0", 0.25), ("1", 0.75)]), map(&[("0", 1.0)])]);
        let b = Output::Maps(vec![
            map(&[("1", 0.5), ("0", 0.5)]),
            map(&[("0", 1.0), ("2", 0.0)]),
        ]);
        assert_eq!(between(a, b), Some((Some(0.25), 2)));
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        assert_eq!(
            between(floats(&[2], &[1.0, 2.0]), floats(&[2, 2], &[1.0; 4])),
            None
        );
        assert_eq!(
            between(floats(&[1], &[1.0]), Output::Maps(vec![Vec::new()])),
            None
        );
        let alone = differences(&[named("y", floats(&[1], &[1.0]))], &[]);
        assert_eq!(alone[0].difference, None);
    }
}
