//! Brings what was appended to the disk, for `fsync`: one sync for all events that came while the last one ran.
//!
//! A sync takes milliseconds, so a thread of its own does it, and a request waits for it without holding up its worker.
//! After a failed sync nobody can tell what is on the disk, so none is tried again: everything fails until a restart.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use fs_err::File;
use tokio::sync::watch;

use super::Safe;

/// How far the disk is.
#[derive(Debug, Clone, Default)]
struct Synced {
    sequence: u64,
    failure: Option<Arc<io::Error>>,
}

/// What waits for the thread that syncs.
#[derive(Debug)]
pub struct Syncing {
    sequence: u64,
    synced: watch::Receiver<Synced>,
}

impl Syncing {
    /// Errors: the disk could not be synced. Cancel safe: the event is synced all the same.
    pub async fn wait(mut self) -> io::Result<()> {
        let sequence = self.sequence;
        let is_decided = |synced: &Synced| synced.sequence >= sequence || synced.failure.is_some();
        let synced = self.synced.wait_for(is_decided).await;
        let synced = synced.map_err(|_| io::Error::other("the thread that syncs is gone"))?;
        match &synced.failure {
            Some(failure) if synced.sequence < sequence => Err(copy(failure)),
            _ => Ok(()),
        }
    }
}

/// The thread, and what it is to do. It ends when this is dropped, after a last sync.
#[derive(Debug)]
pub(super) struct Syncer {
    work: Arc<Work>,
    synced: watch::Receiver<Synced>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Work {
    todo: Mutex<Todo>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Todo {
    /// With something in them that may not be on the disk; the last is the one being written.
    files: Vec<Arc<File>>,
    /// Directories with entries that may not be on the disk.
    directories: Vec<PathBuf>,
    sequence: u64,
    is_over: bool,
}

impl Syncer {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, synced) = watch::channel(Synced::default());
        let work = Arc::new(Work::default());
        let working = Arc::clone(&work);
        let run = move || working.run(&sender);
        let thread = thread::Builder::new()
            .name("audit-sync".into())
            .spawn(run)?;
        Ok(Self {
            work,
            synced,
            thread: Some(thread),
        })
    }

    /// A new segment is written from now on.
    pub(super) fn begin(&self, file: Arc<File>, directories: [PathBuf; 2]) {
        let mut todo = self.work.lock();
        todo.files.push(file);
        todo.directories.extend(directories);
    }

    /// An event stands in the segment.
    pub(super) fn appended(&self, sequence: u64) -> Safe {
        self.work.lock().sequence = sequence;
        self.work.more.notify_one();
        Safe::Synced(Syncing {
            sequence,
            synced: self.synced.clone(),
        })
    }

    /// Errors once a sync has failed.
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.synced.borrow().failure {
            Some(failure) => Err(copy(failure)),
            None => Ok(()),
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.work.lock().is_over = true;
        self.work.more.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&self, sender: &watch::Sender<Synced>) {
        let mut synced = 0;
        while let Some((sequence, files, directories)) = self.next(synced) {
            let done = sync(&files, &directories);
            synced = sequence;
            sender.send_modify(|synced| match done {
                Ok(()) => synced.sequence = sequence,
                Err(error) => synced.failure = Some(Arc::new(error)),
            });
            if sender.borrow().failure.is_some() {
                return;
            }
        }
    }

    /// What is not on the disk yet; waits until there is something. `None` at the end.
    fn next(&self, synced: u64) -> Option<(u64, Vec<Arc<File>>, Vec<PathBuf>)> {
        let mut todo = self.lock();
        while todo.sequence <= synced {
            if todo.is_over {
                return None;
            }
            let waited = self.more.wait(todo);
            todo = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let files = todo.files.clone();
        // The last one goes on being written.
        let n_finished = todo.files.len().saturating_sub(1);
        todo.files.drain(..n_finished);
        let directories = std::mem::take(&mut todo.directories);
        Some((todo.sequence, files, directories))
    }

    fn lock(&self) -> MutexGuard<'_, Todo> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sync(files: &[Arc<File>], directories: &[PathBuf]) -> io::Result<()> {
    for file in files {
        file.sync_data()?;
    }
    for directory in directories {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("the disk could not be synced, and what it holds is not known any more: {error}"),
    )
}
