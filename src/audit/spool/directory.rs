//! Where the files of a spool are.
//!
//! ```text
//! <spool>/<writer>/lock                              held by the process that writes, then by the one that ships the rest
//! <spool>/<writer>/<first sequence>.segment          20 digits, so that names sort like sequences
//! <spool>/<writer>/shipped.<sink>                    the last sequence that the sink has
//! <spool>/quarantine/<writer>-<first sequence>.segment
//! ```

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fs_err::{self as fs, File, OpenOptions};
use uuid::Uuid;

const QUARANTINE: &str = "quarantine";
const LOCK: &str = "lock";
const SEGMENT_SUFFIX: &str = ".segment";

/// The directory of one writer, which this process owns as long as it has this.
#[derive(Debug)]
pub(super) struct WriterDirectory {
    pub(super) writer: Uuid,
    pub(super) path: PathBuf,
    /// More than one where the directory was deleted meanwhile.
    locks: Mutex<Vec<File>>,
}

impl WriterDirectory {
    /// Makes the directory of a new writer.
    pub(super) fn create(spool: &Path, writer: Uuid) -> io::Result<Self> {
        let directory = Self {
            writer,
            path: spool.join(writer.to_string()),
            locks: Mutex::default(),
        };
        directory.make()?;
        Ok(directory)
    }

    /// Makes the directory, also if it was deleted, and locks it.
    pub(super) fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let lock = open_lock(&self.path)?;
        // A file system without locks is no reason to write no audit trail; what is left there is not taken over.
        let _ = lock.try_lock();
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.push(lock);
        Ok(())
    }

    /// Takes over what a writer left behind; `None` while it lives.
    pub(super) fn take_over(spool: &Path, writer: Uuid) -> io::Result<Option<Self>> {
        let path = spool.join(writer.to_string());
        let lock = open_lock(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Some(Self {
            writer,
            path,
            locks: Mutex::new(vec![lock]),
        }))
    }

    pub(super) fn segments(&self) -> io::Result<Vec<SegmentFile>> {
        segments(&self.path)
    }

    /// Where the segment that begins with this sequence is.
    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}{SEGMENT_SUFFIX}"))
    }

    /// Deletes the directory with whatever is left in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

fn open_lock(writer: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.open(writer.join(LOCK))
}

/// A segment, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    /// The sequence of its first record.
    pub(crate) first: u64,
}

/// The segments of a writer, in order.
pub(super) fn segments(writer: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(writer)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let digits = name.and_then(|name| name.strip_suffix(SEGMENT_SUFFIX));
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            segments.push(SegmentFile { path, first });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// The writers of a spool, oldest first: their ids sort by time. None if there is no spool.
pub(super) fn writers(spool: &Path) -> io::Result<Vec<Uuid>> {
    let entries = match fs::read_dir(spool) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut writers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        writers.extend(name.to_str().and_then(|name| Uuid::try_parse(name).ok()));
    }
    writers.sort();
    Ok(writers)
}

/// Puts a damaged segment aside and tells where it is now.
pub(super) fn quarantine(spool: &Path, writer: Uuid, segment: &SegmentFile) -> io::Result<PathBuf> {
    let directory = spool.join(QUARANTINE);
    fs::create_dir_all(&directory)?;
    let name = format!("{writer}-{:020}{SEGMENT_SUFFIX}", segment.first);
    let path = directory.join(name);
    fs::rename(&segment.path, &path)?;
    Ok(path)
}

/// The segments that were put aside.
#[cfg(test)]
pub(super) fn quarantined(spool: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(spool.join(QUARANTINE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
