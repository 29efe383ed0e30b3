//! What one run is given: tensors in graph order, owned or shared with the request that brought them.

use std::borrow::Borrow;
use std::ops::Deref;
use std::sync::Arc;

use crate::types::tensor::Tensor;

/// One tensor of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Own(Tensor),
    /// The request holds it as well, for its audit event.
    Shared(Arc<Tensor>),
}

impl Deref for Input {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        match self {
            Self::Own(tensor) => tensor,
            Self::Shared(tensor) => tensor,
        }
    }
}

impl Borrow<Tensor> for Input {
    fn borrow(&self) -> &Tensor {
        self
    }
}

impl From<Tensor> for Input {
    fn from(tensor: Tensor) -> Self {
        Self::Own(tensor)
    }
}

impl From<Arc<Tensor>> for Input {
    fn from(tensor: Arc<Tensor>) -> Self {
        Self::Shared(tensor)
    }
}

/// All tensors of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inputs {
    required: Vec<Input>,
    optional: Vec<(usize, Input)>,
}

impl Inputs {
    /// One for each of the graph's `inputs`, in their order.
    pub fn new(required: Vec<Input>) -> Self {
        Self {
            required,
            optional: Vec::new(),
        }
    }

    /// And one of the graph's `optional` inputs, by its place among them. Each at most once, in order.
    pub fn give(&mut self, place: usize, input: impl Into<Input>) {
        self.optional.push((place, input.into()));
    }

    pub fn required(&self) -> &[Input] {
        &self.required
    }

    /// What is given of what may be left out.
    pub fn optional(&self) -> &[(usize, Input)] {
        &self.optional
    }

    /// All of them, in no order of the graph's.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tensor> {
        let optional = self.optional.iter().map(|(_, input)| input);
        self.required.iter().chain(optional).map(Deref::deref)
    }

    /// For engines that tests write by hand: the required ones.
    #[cfg(test)]
    pub(crate) fn into_tensors(self) -> Vec<Tensor> {
        let own = |input| match input {
            Input::Own(tensor) => tensor,
            Input::Shared(tensor) => Arc::unwrap_or_clone(tensor),
        };
        self.required.into_iter().map(own).collect()
    }
}

impl From<Vec<Tensor>> for Inputs {
    fn from(tensors: Vec<Tensor>) -> Self {
        Self::new(tensors.into_iter().map(Input::Own).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_input_takes_no_more_room_than_an_own_one() {
        assert_eq!(size_of::<Input>(), size_of::<Tensor>());
    }
}
