//! Events that go to the segment with one write, and what became of it.

use std::io;
use std::sync::{Arc, OnceLock};

/// The events that one write takes. Clones are the same group.
#[derive(Debug, Clone, Default)]
pub struct Group(Arc<OnceLock<Result<(), Failure>>>);

/// Why none of them was written. Each of them is told, so it can be copied.
#[derive(Debug, Clone)]
struct Failure {
    kind: io::ErrorKind,
    message: Arc<str>,
}

impl Group {
    /// What became of the write; `None` before it.
    pub(crate) fn outcome(&self) -> Option<io::Result<()>> {
        let outcome = self.0.get()?;
        Some(match outcome {
            Ok(()) => Ok(()),
            Err(Failure { kind, message }) => Err(io::Error::new(*kind, message.to_string())),
        })
    }

    /// Tells everybody who waits. Only the first call counts.
    pub(super) fn decide(&self, written: &io::Result<()>) {
        let _ = self.0.set(match written {
            Ok(()) => Ok(()),
            Err(error) => Err(Failure {
                kind: error.kind(),
                message: error.to_string().into(),
            }),
        });
    }
}
