//! A thread for a future that computes for long between its awaits, again and again: it need not hand that over.

use std::cell::Cell;
use std::future::{Future, pending};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinError;

use crate::shutdown::run_blocking;

thread_local! {
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is there for what runs on it now, so that computing on it holds up nobody else.
pub fn is_own_thread() -> bool {
    IS_OWN.get()
}

/// Runs a future on a blocking thread of this runtime.
///
/// Cancel safety: a caller that goes away drops the future at its next await.
/// Errors: when it panicked.
pub async fn on_own_thread<T, F>(future: F) -> Result<T, JoinError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let runtime = Handle::current();
    let (here, left) = oneshot::channel::<()>();
    let work = run_blocking(move || {
        let _own = Own::begin();
        runtime.block_on(async move {
            tokio::select! {
                biased;
                _ = left => None,
                done = future => Some(done),
            }
        })
    });
    let done = work.await?;
    drop(here);
    match done {
        Some(done) => Ok(done),
        // Only where nobody waits for this.
        None => pending().await,
    }
}

/// The thread goes back to the others afterwards.
struct Own;

impl Own {
    fn begin() -> Self {
        IS_OWN.set(true);
        Self
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        IS_OWN.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_is_own_as_long_as_the_future_runs() {
        let inside = on_own_thread(async {
            tokio::task::yield_now().await;
            is_own_thread()
        });
        assert!(inside.await.unwrap());
        assert!(!is_own_thread());
        assert!(!run_blocking(is_own_thread).await.unwrap());
        let panicked = on_own_thread(async { panic!("on purpose") }).await;
        assert!(panicked.unwrap_err().is_panic());
        assert!(!run_blocking(is_own_thread).await.unwrap());
    }

    #[tokio::test]
    async fn the_future_goes_with_its_caller() {
        let (begun, has_begun) = oneshot::channel();
        let (kept, dropped) = oneshot::channel::<()>();
        let work = on_own_thread(async move {
            let _kept = kept;
            begun.send(()).unwrap();
            pending::<()>().await;
        });
        tokio::select! {
            _ = work => unreachable!("it waits for ever"),
            begun = has_begun => begun.unwrap(),
        }
        assert!(dropped.await.is_err());
    }
}
