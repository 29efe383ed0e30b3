//! Stopping in order: one stop token, tracked tasks, a drain with a time limit.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Hands out the stop token and keeps track of everything that was spawned. Clones share both.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
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
        self.tasks
            .spawn(future.instrument(tracing::debug_span!("task", name)));
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

#[cfg(test)]
mod tests {
    use super::*;

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
