//! The thread on which versions are opened and closed, one piece of work after another.
//!
//! An allocator with arenas per thread, such as glibc's, keeps what a thread freed for that thread. Sessions that are opened
//! on whichever thread is free leave such a remainder on each of them: after 200 swaps that was 1.4 times the memory.
//! On Linux the thread stands back from others (`NICE`), so that what a load computes takes little from the answers given
//! meanwhile. Not here: what is done on it (`watcher`).

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::{mpsc, oneshot};

use crate::shutdown::run_blocking;

/// Where cores are scarce it gets about a tenth of what a thread that answers requests gets.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

type Piece = Box<dyn FnOnce() + Send>;

/// A thread that lives for as long as this does.
pub(super) struct Thread {
    /// One piece waits at most; who hands in another waits for its turn.
    pieces: mpsc::Sender<Piece>,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The work panicked.
    Panicked,
    /// There is no thread: the system gave none.
    NoThread,
}

impl Thread {
    pub(super) fn start(name: &str) -> Self {
        let (pieces, mut waiting) = mpsc::channel::<Piece>(1);
        let run = move || {
            stand_back();
            while let Some(piece) = waiting.blocking_recv() {
                piece();
            }
        };
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
            tracing::error!(%error, "the thread {name} does not start, so no model version can be loaded");
        }
        Self { pieces }
    }

    /// Runs the work and waits for its result.
    ///
    /// Cancel safety: work that was handed in runs to its end even if the caller leaves; its result is then dropped.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, result) = oneshot::channel();
        let piece = move || {
            // Without a result the caller learns that there was a panic; the hook has logged it.
            if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
                // Nobody may be waiting any more.
                let _ = sender.send(done);
            }
        };
        let handed_in = self.pieces.send(Box::new(piece)).await;
        handed_in.map_err(|_| Lost::NoThread)?;
        // Waited for as for other blocking work, so that a paused clock stands still meanwhile.
        let result = run_blocking(move || result.blocking_recv()).await;
        result
            .map_err(|_| Lost::Panicked)?
            .map_err(|_| Lost::Panicked)
    }
}

#[cfg(target_os = "linux")]
fn stand_back() {
    // To Linux a thread is a process with an id of its own.
    let own = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(own), NICE) {
        tracing::debug!(%error, "loads run at the priority of everything else");
    }
}

#[cfg(not(target_os = "linux"))]
fn stand_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_work_is_done_on_one_thread_in_the_order_it_came() {
        let thread = Thread::start("test");
        let here = || std::thread::current().id();
        let (first, second) = tokio::join!(thread.run(here), thread.run(here));
        assert_eq!(first, second);
        assert_ne!(first, Ok(here()));
    }

    #[tokio::test]
    async fn a_panic_is_told_and_the_thread_goes_on() {
        let thread = Thread::start("test");
        let lost = thread.run(|| panic!("as wanted")).await;
        assert_eq!(lost, Err::<(), _>(Lost::Panicked));
        assert_eq!(thread.run(|| 7).await, Ok(7));
    }
}
