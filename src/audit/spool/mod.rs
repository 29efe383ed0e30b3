//! The spool: where events wait on this machine's disk until the sink has them.
//!
//! Each writer (one start of a process) appends to segments in a directory of its own; `appender` writes them, `reader`
//! hands them to the shipper. A writer that died leaves its directory behind; the next process takes it over and ships what
//! is left first. Nobody ever appends to another writer's segment, so recovery only reads, whatever the size of the spool.
//!
//! Invariants, each with a test of that name in `tests.rs`:
//! - what was appended is read once and in order, and across segments;
//! - sequences of a writer begin at 1 and have no gap;
//! - an append that fails leaves no event and takes no sequence;
//! - a torn tail is no event, and what stands before it is not lost;
//! - what is not acknowledged comes again, what is acknowledged does not, also after a crash;
//! - a damaged segment costs only its damaged events: it is put aside, counted and named, and the rest is read;
//! - the spool does not grow beyond its limit: `append` fails until something was shipped;
//! - segments that are shipped are deleted, and so is the directory of a writer that ended;
//! - a writer that lives is not taken over;
//! - with `written` an event survives the death of the process, with `fsync` it is on the disk before `Syncing::wait`
//!   returns, with `memory` it is in a segment after `flush`;
//! - events that are appended to a group stand in a segment after one write, in their order; a write that fails leaves none of
//!   them, takes none of their sequences, and each of them is told.
//!
//! Full: `append` fails with `Error::Full`; whether that refuses the prediction or drops the event is decided above. Each
//! writer keeps a little room for the process that comes after it, which could not start, and ship, on a disk that is full.
//! Not here: what an event says (`event`), where it goes (`sink`), when (`shipper`).

mod appender;
mod directory;
mod group;
mod progress;
mod reader;
mod scan;
mod segment;
mod shipped;
mod sync;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::appender::{Appender, Safe};
pub use self::group::Group;
pub(crate) use self::progress::Progress;
pub use self::reader::Reader;
pub(crate) use self::scan::{Scan, Scanned};
pub use self::segment::RECORD_HEADER;
pub use self::sync::Syncing;
use crate::types::byte_size::ByteSize;

/// Where events wait until the sink has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the spool is; made when it is missing. Without it `spool` in `audit.file.directory`.
    pub directory: Option<PathBuf>,
    /// How safe an event is before the answer leaves.
    pub durability: Durability,
    /// All segments together. When they are so large, events cannot be written: `audit.on_failure`.
    pub max_size: ByteSize,
    /// A new segment is begun before this one grows larger; a segment is deleted once all of it is shipped.
    pub segment_size: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: None,
            durability: Durability::default(),
            max_size: ByteSize::from_mebibytes(1024),
            segment_size: ByteSize::from_mebibytes(16),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On the disk: it survives the loss of power. The answer waits for the disk.
    Fsync,
    /// With the operating system: it survives the death of the process.
    #[default]
    Written,
    /// In memory for some milliseconds: a process that is killed loses it.
    Memory,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the audit spool {} is full: {used} bytes of {limit} wait for the sink", spool.display())]
    Full {
        spool: PathBuf,
        used: u64,
        limit: u64,
    },
    #[error("an audit event of {actual} bytes does not fit into a record")]
    Size { actual: usize },
    #[error("the audit spool cannot be written: {source}")]
    Io {
        #[from]
        source: io::Error,
    },
}

/// Every writer of a spool, oldest first, to be read from its first event on.
pub(crate) fn scans(spool: &Path) -> io::Result<Vec<Scan>> {
    let writers = directory::writers(spool)?.into_iter();
    let scan = |writer: Uuid| Scan::behind(writer, &spool.join(writer.to_string()), 0);
    Ok(writers.map(scan).collect())
}

/// Every writer of a spool, oldest first, to be read from the first event on that no sink has.
#[cfg_attr(
    not(feature = "datafusion"),
    expect(dead_code, reason = "nothing asks")
)]
pub(crate) fn unshipped(spool: &Path) -> io::Result<Vec<Scan>> {
    let mut scans = Vec::new();
    for writer in directory::writers(spool)? {
        let path = spool.join(writer.to_string());
        match shipped::Shipped::furthest(&path) {
            Ok(sequence) => scans.push(Scan::behind(writer, &path, sequence)),
            // All of it was shipped just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(scans)
}

/// Begins to write, and gets ready to read what this writer appends and what dead ones left behind.
///
/// `sink` names the offset that is kept. Errors: the directory cannot be made or read.
/// The audit trail opens its own; beside that it is for benches.
pub fn open(
    config: &Config,
    spool: &Path,
    writer: Uuid,
    sink: &'static str,
) -> io::Result<(Appender, Reader)> {
    match begin(config, spool, writer, sink) {
        // What waits must be shipped to make room, and that takes a process that starts.
        Err(error) if is_full(&error) && directory::free_reserve(spool)? => {
            begin(config, spool, writer, sink)
        }
        begun => begun,
    }
}

fn begin(
    config: &Config,
    spool: &Path,
    writer: Uuid,
    sink: &'static str,
) -> io::Result<(Appender, Reader)> {
    let appender = Appender::start(config, spool, writer)?;
    let reader = Reader::open(spool, sink, &appender)?;
    appender.keep_reserve();
    Ok((appender, reader))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
