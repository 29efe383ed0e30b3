//! The nodes that a pickle has made, each charged to the memory limit.

use super::super::accept::Budget;
use super::super::{Accept, DecodeError};
use super::node::{Id, Node};

pub(super) struct Memory<'a> {
    nodes: Vec<Node<'a>>,
    budget: Budget,
    limit: usize,
}

impl<'a> Memory<'a> {
    pub(super) fn new(accept: &Accept) -> Self {
        Self {
            nodes: Vec::new(),
            budget: Budget::new(accept),
            limit: accept.max_memory,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn add(&mut self, node: Node<'a>) -> Result<Id, DecodeError> {
        self.charge::<Node<'a>>(1)?;
        let too_many = || DecodeError::TooMuchMemory { limit: self.limit };
        let id = u32::try_from(self.nodes.len()).map_err(|_| too_many())?;
        self.nodes.push(node);
        Ok(Id(id))
    }

    /// Counts what is about to be copied or kept besides the nodes.
    pub(super) fn charge<T>(&mut self, n_items: usize) -> Result<(), DecodeError> {
        self.budget.take_values::<T>(n_items)
    }

    /// The node of an id that `add` gave.
    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::None)
    }

    pub(super) fn node_mut(&mut self, id: Id) -> Option<&mut Node<'a>> {
        self.nodes.get_mut(id.0 as usize)
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn bytes(&self, id: Id) -> Option<&[u8]> {
        match self.node(id) {
            Node::Bytes(bytes) | Node::ByteArray(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }
}
