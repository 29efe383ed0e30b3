//! Where audit events go.

pub mod file;

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use self::file::FileSink;

/// Takes encoded events, one after the other, in the order of their sequence.
///
/// Contract:
/// - `append` returns when the line survives the death of the process, or fails and leaves nothing of it that a
///   reader counts as an event: the next `append` may carry the same sequence.
/// - After a failure every call tries anew; nothing has to be reset from outside.
/// - Neither call waits for a network: it is made on the request path.
pub(super) trait AuditSink: Send {
    /// `line` is one JSON object with its line feed.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;

    /// Finds out whether `append` would work, without leaving an event.
    fn probe(&mut self) -> io::Result<()>;
}

/// The sink of a writer that starts now. Errors when nothing can be written to it.
pub(super) fn open(config: &file::Config, writer: Uuid) -> io::Result<Box<dyn AuditSink>> {
    Ok(Box::new(FileSink::open(config.clone(), writer)?))
}

/// All files of a directory, oldest first.
pub(super) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    file::list(directory)
}
