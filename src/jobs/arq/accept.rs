//! What is accepted from a queue that anybody may have written to.

use super::{Codec, DecodeError};

/// The bounds within which bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// The only codec to read; all three where there is none.
    pub codec: Option<Codec>,
    /// Largest job or result, in bytes.
    pub max_bytes: usize,
    /// Deepest nesting of lists and dicts. A job may hold a JSON body of 128 levels, and has levels of its own.
    pub max_depth: usize,
    /// Most memory that one job or result may unfold into, in bytes.
    pub max_memory: usize,
}

impl Default for Accept {
    fn default() -> Self {
        Self {
            codec: None,
            max_bytes: 32 << 20,
            max_depth: 160,
            max_memory: 256 << 20,
        }
    }
}

/// Memory still to be had, counted before it is taken.
pub(super) struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    pub(super) fn new(accept: &Accept) -> Self {
        Self {
            left: accept.max_memory,
            limit: accept.max_memory,
        }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(DecodeError::TooMuchMemory { limit: self.limit }),
        }
    }

    pub(super) fn take_values<T>(&mut self, n_values: usize) -> Result<(), DecodeError> {
        self.take(n_values.saturating_mul(size_of::<T>()))
    }
}

/// The level below `depth`, where there may be one.
pub(super) fn deeper(depth: usize, accept: &Accept) -> Result<usize, DecodeError> {
    if depth < accept.max_depth {
        Ok(depth + 1)
    } else {
        Err(DecodeError::TooDeep {
            limit: accept.max_depth,
        })
    }
}
