//! A registry in a local file.
//!
//! Written as a whole: a temporary file beside it, synchronized, renamed over it; readers see the old one or the new one.
//! Our own writers take turns by a lock on `<registry>.lock`. Feast takes no lock, empties the file and fills it: one that was
//! written to just now is waited for, and one that it replaced in between is read again, never overwritten with what was read
//! before.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
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
/// A file that was written to within this time may be in the middle of being rewritten.
const SETTLED_AFTER: Duration = Duration::from_millis(20);

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
        inode: metadata.ino(),
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
        if before.as_ref().is_some_and(Mark::is_fresh) && started.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
            continue;
        }
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

impl Mark {
    /// A time in the future tells nothing: then the file counts as settled.
    fn is_fresh(&self) -> bool {
        let age = self.modified.elapsed();
        age.is_ok_and(|age| age < SETTLED_AFTER)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::definitions::ViewState;
    use crate::features::testing::fixture;

    fn registry_in(directory: &Path) -> PathBuf {
        let path = directory.join("registry.db");
        fs_err::copy(fixture("repo/registry.db"), &path).unwrap();
        path
    }

    fn materialized(start: i64, end: i64) -> ViewChange {
        ViewChange::Materialized {
            start: Timestamp::from_seconds(start),
            end: Timestamp::from_seconds(end),
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writers_that_meet_lose_nothing_of_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = registry_in(directory.path());
        let n_before = intervals(&path, "driver_lists");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for turn in 0..5 {
                        let change = materialized(writer * 100 + turn, 1_000);
                        record(path, "ride_ops", "driver_lists", change).unwrap();
                    }
                });
            }
        });
        assert_eq!(intervals(&path, "driver_lists"), n_before + 20);
        let registry = Registry::load(&path, "ride_ops").unwrap();
        assert_eq!(registry.feature_views.len(), 12);
        assert_eq!(names(directory.path()), ["registry.db", "registry.db.lock"]);
    }

    fn intervals(path: &Path, view: &str) -> usize {
        let registry = Registry::load(path, "ride_ops").unwrap();
        registry.feature_view(view).unwrap().materialized.len()
    }

    #[test]
    fn a_writer_that_takes_no_lock_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = registry_in(directory.path());
        let n_before = intervals(&path, "driver_lists");
        let full = fs_err::read(&path).unwrap();
        std::thread::scope(|scope| {
            // Feast empties the file and fills it, again and again.
            let rewriting = scope.spawn(|| {
                for turn in 0..200 {
                    let mut other = full.clone();
                    // A field that nobody knows, of another length each time.
                    crate::features::codec::wire::put_bytes(&mut other, 999, &vec![7; turn]);
                    fs_err::write(&path, other).unwrap();
                }
            });
            let change = ViewChange::State(ViewState::Materializing);
            record(&path, "ride_ops", "driver_lists", change).unwrap();
            rewriting.join().unwrap();
        });
        record(&path, "ride_ops", "driver_lists", materialized(1, 2)).unwrap();
        assert_eq!(intervals(&path, "driver_lists"), n_before + 1);
        let registry = Registry::load(&path, "ride_ops").unwrap();
        assert_eq!(registry.feature_views.len(), 12);
    }

    #[test]
    fn a_link_stays_a_link_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real");
        fs_err::create_dir_all(&real).unwrap();
        let path = registry_in(&real);
        let permissions = std::fs::Permissions::from_mode(0o640);
        fs_err::set_permissions(&path, permissions).unwrap();
        let link = directory.path().join("registry.db");
        fs_err::os::unix::fs::symlink(&path, &link).unwrap();
        record(&link, "ride_ops", "driver_lists", materialized(1, 2)).unwrap();
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        let mode = fs_err::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(names(directory.path()), ["real", "registry.db"]);
    }

    #[test]
    fn what_cannot_be_recorded_leaves_the_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = registry_in(directory.path());
        let before = fs_err::read(&path).unwrap();
        for view in ["nope", "fare_py"] {
            assert!(record(&path, "ride_ops", view, materialized(1, 2)).is_err());
        }
        assert_eq!(fs_err::read(&path).unwrap(), before);
    }
}
