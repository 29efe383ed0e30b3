//! Shapes as requests give them, checked before anything is made by them.

use ndarray::{ArrayD, IxDyn};

use super::error::Error;

/// More than any model has; each is a list around lists wherever tensors are written down.
const MAX_DIMENSIONS: usize = 16;

/// Dimensions in front of an empty one cost nothing to send, and a list each to write down.
const MAX_EMPTY_LISTS: usize = 1_000;

/// A shape without negative dimensions, whose product is a number of elements that this machine can count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    dimensions: Vec<usize>,
    n_elements: usize,
}

impl Shape {
    pub fn new(tensor: &str, shape: &[i64]) -> Result<Self, Error> {
        if shape.len() > MAX_DIMENSIONS {
            return Err(Error::Dimensions {
                tensor: tensor.to_owned(),
                limit: MAX_DIMENSIONS,
                actual: shape.len(),
            });
        }
        let invalid = |reason| Error::Shape {
            tensor: tensor.to_owned(),
            shape: shape.to_vec(),
            reason,
        };
        let mut dimensions = Vec::with_capacity(shape.len());
        // Without the empty ones: strides are made of the others, too.
        let mut product: usize = 1;
        let mut n_lists: Option<usize> = None;
        for &dimension in shape {
            if dimension < 0 {
                return Err(invalid("has a negative dimension"));
            }
            let dimension = usize::try_from(dimension)
                .map_err(|_| invalid("has a dimension that is too large"))?;
            dimensions.push(dimension);
            if dimension == 0 {
                n_lists = n_lists.or(Some(product));
                continue;
            }
            // Sixteen bytes for the largest element that there is, a text.
            product = product
                .checked_mul(dimension)
                .filter(|product| *product <= isize::MAX as usize / 32)
                .ok_or_else(|| invalid("has more elements than can be counted"))?;
        }
        if n_lists.is_some_and(|n_lists| n_lists > MAX_EMPTY_LISTS) {
            return Err(invalid("has no elements and too many rows"));
        }
        Ok(Self {
            dimensions,
            n_elements: if n_lists.is_some() { 0 } else { product },
        })
    }

    pub fn dimensions(&self) -> &[usize] {
        &self.dimensions
    }

    pub fn n_elements(&self) -> usize {
        self.n_elements
    }

    /// The array of as many elements as the shape has; with another number of them an error.
    pub fn array<T>(&self, tensor: &str, elements: Vec<T>) -> Result<ArrayD<T>, Error> {
        ArrayD::from_shape_vec(IxDyn(&self.dimensions), elements)
            .map_err(|error| Error::data(tensor, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_8_a_shape_is_checked_before_anything_is_allocated() {
        for (shape, part) in [
            (vec![-1, 2], "negative"),
            (vec![i64::MIN], "negative"),
            (vec![i64::MAX, 2], "counted"),
            (vec![1 << 32, 1 << 32], "counted"),
            (vec![0, i64::MAX, i64::MAX], "counted"),
            (vec![1 << 40, 0], "no elements"),
        ] {
            let error = Shape::new("x", &shape).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("`x`"), "{error}");
        }
    }

    #[test]
    fn a_shape_of_very_many_dimensions_is_refused() {
        assert!(Shape::new("x", &[1; 16]).is_ok());
        let error = Shape::new("x", &[1; 100_000]).unwrap_err().to_string();
        assert_eq!(
            error,
            "tensor `x` has 100000 dimensions, more than the limit of 16"
        );
    }

    #[test]
    fn the_product_counts_and_an_empty_product_is_one() {
        let n = |shape: &[i64]| Shape::new("x", shape).unwrap().n_elements();
        assert_eq!((n(&[2, 3]), n(&[]), n(&[0, 4]), n(&[3, 0])), (6, 1, 0, 0));
    }
}
