//! Where the files of a spool are.
//!
//! ```text
//! <spool>/<writer>/lock                              held by the process that writes, then by the one that ships the rest
//! <spool>/<writer>/<first sequence>.segment          20 digits, so that names sort like sequences
//! <spool>/<writer>/shipped.<sink>                    the last sequence that the sink has
//! <spool>/<writer>/reserve                           room for the next process to start on a disk that is full
//! <spool>/quarantine/<writer>-<first sequence>.segment
//! ```

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use fs_err::{self as fs, File, OpenOptions};
use uuid::Uuid;

const QUARANTINE: &str = "quarantine";
const LOCK: &str = "lock";
const SEGMENT_SUFFIX: &str = ".segment";
const RESERVE: &str = "reserve";

/// The size of a reserve where there is room for it, and the least that a directory with a first segment needs.
const RESERVE_BYTES: (usize, usize) = (256 * 1024, 32 * 1024);

/// The directory of one writer, which this process owns as long as it has this.
#[derive(Debug)]
pub(super) struct WriterDirectory {
    pub(super) writer: Uuid,
    pub(super) path: PathBuf,
    /// More than one where the directory was deleted meanwhile.
    locks: Mutex<Vec<File>>,
    has_reserve: AtomicBool,
}

impl WriterDirectory {
    /// Makes the directory of a new writer.
    pub(super) fn create(spool: &Path, writer: Uuid) -> io::Result<Self> {
        let directory = Self {
            writer,
            path: spool.join(writer.to_string()),
            locks: Mutex::default(),
            has_reserve: AtomicBool::new(false),
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
            has_reserve: AtomicBool::new(false),
        }))
    }

    /// Keeps room for the next process, as far as there is any: less of it, or none, on a disk that is full.
    pub(super) fn keep_reserve(&self) {
        if self.has_reserve.load(Ordering::Relaxed) {
            return;
        }
        let path = self.path.join(RESERVE);
        let (all, least) = RESERVE_BYTES;
        let mut n_bytes = all;
        while n_bytes >= least {
            if fs::write(&path, vec![0; n_bytes]).is_ok() {
                self.has_reserve.store(n_bytes == all, Ordering::Relaxed);
                return;
            }
            n_bytes /= 2;
        }
        // Without one the next start may have to be helped.
        let _ = fs::remove_file(&path);
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

/// Frees the room that one of the dead writers has kept; `false` if none has.
pub(super) fn free_reserve(spool: &Path) -> io::Result<bool> {
    for writer in writers(spool)? {
        if let Some(dead) = WriterDirectory::take_over(spool, writer)?
            && fs::remove_file(dead.path.join(RESERVE)).is_ok()
        {
            return Ok(true);
        }
    }
    Ok(false)
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_room_that_a_dead_writer_kept_is_freed_once_and_that_of_a_living_one_is_not() {
        let spool = TempDir::new().unwrap();
        let [dead, living] = [Uuid::from_u128(1), Uuid::from_u128(2)]
            .map(|writer| WriterDirectory::create(spool.path(), writer).unwrap());
        for directory in [&dead, &living] {
            directory.keep_reserve();
            let reserve = fs::metadata(directory.path.join(RESERVE)).unwrap();
            assert_eq!(reserve.len(), RESERVE_BYTES.0 as u64);
        }
        assert!(!free_reserve(spool.path()).unwrap(), "both live");
        let path = dead.path.join(RESERVE);
        drop(dead);
        // A process that another test is just starting may hold the lock for a moment.
        let n_tries = (1..1_000).find(|_| free_reserve(spool.path()).unwrap());
        assert!(n_tries.is_some() && !path.exists());
        assert!(!free_reserve(spool.path()).unwrap());
        assert!(living.path.join(RESERVE).exists());
    }
}
