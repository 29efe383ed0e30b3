//! A registry in a local file.
//!
//! Written as a whole: a temporary file beside it, synchronized, renamed over it; readers see the old one or the new one.
//! Our own writers take turns by a lock on `<registry>.lock`. Feast takes no lock: a file that it replaced in between is read
//! again, never overwritten with what was read before.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use uuid::Uuid;

use super::{Mark, Store, ViewChange};
use crate::features::registry::{Error, Registry, change};
use crate::shutdown::run_blocking;
use crate::types::timestamp::Timestamp;

/// Longest wait for the lock, and for a file that Feast is rewriting.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct FileStore {
    path: PathBuf,
    description: String,
}

pub(super) fn open(path: &Path) -> FileStore {
    FileStore {
        path: path.to_owned(),
        description: path.display().to_string(),
    }
}

#[async_trait]
impl Store for FileStore {
    async fn load(&self, project: &str) -> Result<Registry, Error> {
        let (path, project) = (self.path.clone(), project.to_owned());
        run_blocking(move || Registry::load(&path, &project))
            .await
            .map_err(Error::Panicked)?
    }

    async fn record(&self, project: &str, view: &str, change: ViewChange) -> Result<(), Error> {
        let path = self.path.clone();
        let (project, view) = (project.to_owned(), view.to_owned());
        run_blocking(move || record(&path, &project, &view, change))
            .await
            .map_err(Error::Panicked)?
    }

    async fn mark(&self) -> Option<Mark> {
        let path = self.path.clone();
        run_blocking(move || mark(&path)).await.ok().flatten()
    }

    fn describe(&self) -> &str {
        &self.description
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let metadata = fs_err::metadata(path).ok()?;
    Some(Mark {
        modified: metadata.modified().ok()?,
        length: metadata.len(),
    })
}

fn record(path: &Path, project: &str, view: &str, change: ViewChange) -> Result<(), Error> {
    let writing = |source| Error::Write {
        origin: path.display().to_string(),
        source,
    };
    // A link is followed, or the rename would replace it.
    let path = match fs_err::canonicalize(path) {
        Ok(path) => path,
        Err(_) => path.to_owned(),
    };
    let origin = path.display().to_string();
    let _lock = lock(&path)?;
    let started = Instant::now();
    loop {
        let before = mark(&path);
        let outcome = Registry::read_file(&path).and_then(|bytes| {
            change::in_registry(&bytes, project, view, change, Timestamp::now(), &origin)
        });
        let is_undisturbed = || before.is_some() && mark(&path) == before;
        match outcome {
            Ok(bytes) => {
                let temporary = write_beside(&path, &bytes).map_err(writing)?;
                if is_undisturbed() {
                    return rename(&temporary, &path).map_err(writing);
                }
                fs_err::remove_file(&temporary).map_err(writing)?;
            }
            // Feast empties the file before it writes it.
            Err(error) if is_undisturbed() && before.is_some_and(|mark| mark.length > 0) => {
                return Err(error);
            }
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => {}
        }
        if started.elapsed() > PATIENCE {
            let waited = PATIENCE;
            return Err(Error::Contended { origin, waited });
        }
        std::thread::sleep(PAUSE);
    }
}

/// Holds the lock file's lock until it is dropped.
fn lock(path: &Path) -> Result<fs_err::File, Error> {
    let place = beside(path, ".lock");
    let writing = |source| Error::Write {
        origin: path.display().to_string(),
        source,
    };
    let mut options = fs_err::OpenOptions::new();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(&place);
    let file = file.map_err(writing)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if started.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::Contended {
                    origin: path.display().to_string(),
                    waited: PATIENCE,
                });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(writing(source)),
        }
    }
}

/// A new file with these bytes in the registry's directory, on disk when this returns.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let temporary = beside(path, &format!(".{}.tmp", Uuid::now_v7().simple()));
    let written = (|| {
        let mut file = fs_err::File::create_new(&temporary)?;
        file.set_permissions(fs_err::metadata(path)?.permissions())?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    match written {
        Ok(()) => Ok(temporary),
        Err(error) => {
            let _ = fs_err::remove_file(&temporary);
            Err(error)
        }
    }
}

fn rename(temporary: &Path, path: &Path) -> io::Result<()> {
    if let Err(error) = fs_err::rename(temporary, path) {
        let _ = fs_err::remove_file(temporary);
        return Err(error);
    }
    match path.parent() {
        Some(directory) => fs_err::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// The registry's path with something behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
