//! Stopping in order: one stop token, tracked tasks, a drain with a time limit.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument;

/// Hands out the stop token and keeps track of everything that was spawned. Clones share both.
///
/// Tasks run on the runtime that it was made on, the shared one, wherever they are spawned from.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    /// Absent if it was made outside of a runtime; then tasks run where they are spawned.
    runtime: Option<Handle>,
}

impl Shutdown {
    pub fn new() -> Self {
        Self {
            runtime: Handle::try_current().ok(),
            ..Self::default()
        }
    }

    /// Its tasks run on `runtime`, wherever it is made.
    pub fn on(runtime: Handle) -> Self {
        Self {
            runtime: Some(runtime),
            ..Self::default()
        }
    }

    /// Tells everybody to stop.
    pub fn stop(&self) {
        self.token.cancel();
    }

    pub fn is_stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves once `stop` was called. Cancel safe.
    pub async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// Runs a task that `drain` waits for.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let future = future.instrument(tracing::debug_span!("task", name));
        match &self.runtime {
            Some(runtime) => self.tasks.spawn_on(future, runtime),
            None => self.tasks.spawn(future),
        };
    }

    /// Runs a future on the shared runtime, where it holds up no connection, for as long as the handle is kept.
    pub fn elsewhere<T, F>(&self, future: F) -> AbortOnDropHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        AbortOnDropHandle::new(match &self.runtime {
            Some(runtime) => self.tasks.spawn_on(future, runtime),
            None => self.tasks.spawn(future),
        })
    }

    /// Runs a task that `drain` waits for and waits for its result; `None` if it panicked.
    ///
    /// Cancel safety: the task goes on to its end even if the caller leaves; its result is then dropped.
    pub async fn finish<T, F>(&self, name: &'static str, future: F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.spawn(name, async move {
            // Nobody may be waiting any more.
            let _ = sender.send(future.await);
        });
        receiver.await.ok()
    }

    /// Runs a task that nobody waits for: it ends with the process.
    pub fn spawn_untracked<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place for what outlives the drain"
        )]
        tokio::spawn(future.instrument(tracing::debug_span!("task", name)));
    }

    /// Waits until every spawned task has ended; `false` if some had not within `limit`.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }
}

/// Runs CPU work of over half a millisecond off the async workers and waits for its result.
///
/// Cancel safety: the work runs to its end even if the caller leaves; its result is then dropped.
/// Errors: when the work panicked.
pub async fn run_blocking<T, F>(work: F) -> Result<T, tokio::task::JoinError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that hands work to the blocking pool"
    )]
    tokio::task::spawn_blocking(work).await
}

/// Runs CPU work of over half a millisecond off the async workers. Nobody waits for it: the work itself tells its outcome.
pub fn detach_blocking<F>(work: F)
where
    F: FnOnce() + Send + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "the other place that hands work to the blocking pool"
    )]
    drop(tokio::task::spawn_blocking(work));
}

/// Runs CPU work on this thread; while `is_long`, other tasks of this async worker go on elsewhere.
///
/// For work that borrows what it needs, such as decoding a large body. Long is what takes over half a millisecond.
pub fn run_here<T>(is_long: bool, work: impl FnOnce() -> T) -> T {
    let hands_over = || {
        let handle = Handle::try_current();
        handle.is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
    };
    if is_long && hands_over() {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn long_work_lets_other_tasks_of_its_worker_go_on() {
        let shutdown = Shutdown::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        shutdown.spawn("other", async move { sender.send(()).unwrap() });
        let work = async move {
            run_here(true, || {
                receiver.recv_timeout(Duration::from_secs(30)).is_ok()
            })
        };
        let (answer, answered) = tokio::sync::oneshot::channel();
        shutdown.spawn("long", async move { answer.send(work.await).unwrap() });
        assert!(answered.await.unwrap());
    }

    #[tokio::test]
    async fn drain_waits_for_tracked_tasks() {
        let shutdown = Shutdown::new();
        let task = shutdown.clone();
        shutdown.spawn("waits", async move { task.stopped().await });
        assert!(!shutdown.drain(Duration::from_millis(1)).await);
        shutdown.stop();
        assert!(shutdown.drain(Duration::from_secs(5)).await);
    }
}
