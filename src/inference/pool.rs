//! The engines of one model.
//!
//! Engines rest in a lock-free queue; a semaphore counts them, so nobody spins for one.
//! A claimed engine goes back when its lease is dropped: after a run, a failure, a panic, or a caller that went away.
//! Not here: how many may wait for one, and what an engine runs next (`batcher`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Engine, Error, Inputs};
use crate::types::deadline::Deadline;
use crate::types::tensor::Output;

/// Invariant: at least as many engines rest in `engines` as `free` has permits.
pub(super) struct Pool {
    engines: ArrayQueue<Box<dyn Engine>>,
    free: Semaphore,
}

impl Pool {
    /// `engines` must not be empty.
    pub(super) fn new(engines: Vec<Box<dyn Engine>>) -> Arc<Self> {
        let queue = ArrayQueue::new(engines.len().max(1));
        let free = Semaphore::new(engines.len());
        for engine in engines {
            // Cannot fail: the queue has room for all of them.
            let _ = queue.push(engine);
        }
        Arc::new(Self {
            engines: queue,
            free,
        })
    }

    pub(super) fn n_engines(&self) -> usize {
        self.engines.capacity()
    }

    /// A free engine, if there is one now and nobody waits for it.
    pub(super) fn try_claim(self: &Arc<Self>) -> Option<Lease> {
        let permit = self.free.try_acquire().ok()?;
        let engine = self.engines.pop()?;
        // The lease's drop gives the permit back, after the engine.
        permit.forget();
        Some(self.lease(engine))
    }

    /// A free engine, in order of arrival.
    ///
    /// Cancel safety: a caller that goes away leaves its place in the order.
    pub(super) async fn claim(self: &Arc<Self>) -> Result<Lease, Error> {
        // The semaphore is never closed.
        let permit = self.free.acquire().await.map_err(|_| Error::Stopping)?;
        let engine = self.engines.pop().ok_or(Error::Stopping)?;
        permit.forget();
        Ok(self.lease(engine))
    }

    fn lease(self: &Arc<Self>, engine: Box<dyn Engine>) -> Lease {
        Lease {
            pool: Arc::clone(self),
            engine: Some(engine),
        }
    }
}

/// A claimed engine.
pub(super) struct Lease {
    pool: Arc<Pool>,
    /// Present until the lease is dropped.
    engine: Option<Box<dyn Engine>>,
}

/// A finished run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) outputs: Vec<Output>,
    pub(super) started: Instant,
    pub(super) took: Duration,
}

impl Lease {
    /// Runs the engine, unless the deadline has passed. A panic becomes an error.
    pub(super) fn run(
        &mut self,
        inputs: impl Into<Inputs>,
        deadline: Deadline,
    ) -> Result<Run, Error> {
        let inputs = inputs.into();
        let started = Instant::now();
        if deadline.instant() <= started {
            return Err(Error::DeadlineExceeded);
        }
        let engine = self.engine.as_mut().ok_or(Error::Stopping)?;
        // An engine keeps no state of its own between runs, so one that panicked may run again.
        let outcome = catch_unwind(AssertUnwindSafe(|| engine.run(inputs)));
        let outputs = outcome.map_err(|_| Error::Panicked)??;
        Ok(Run {
            outputs,
            started,
            took: started.elapsed(),
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            // Cannot fail: this engine's place in the queue is free.
            let _ = self.pool.engines.push(engine);
            self.pool.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures::poll;

    use super::*;

    /// Runs whatever it is told to.
    struct Fake<F>(F);

    impl<F: FnMut() -> Result<Vec<Output>, Error> + Send> Engine for Fake<F> {
        fn run(&mut self, _: Inputs) -> Result<Vec<Output>, Error> {
            (self.0)()
        }
    }

    fn pool_of_one(run: impl FnMut() -> Result<Vec<Output>, Error> + Send + 'static) -> Arc<Pool> {
        Pool::new(vec![Box::new(Fake(run))])
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(1))
    }

    #[tokio::test]
    async fn waiting_callers_are_served_in_order() {
        let pool = pool_of_one(|| Ok(Vec::new()));
        let busy = pool.claim().await.unwrap();
        let mut first = std::pin::pin!(pool.claim());
        let mut second = std::pin::pin!(pool.claim());
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending());
        drop(busy);
        assert!(
            pool.try_claim().is_none(),
            "nobody overtakes those who wait"
        );
        let lease = first.await.unwrap();
        assert!(poll!(&mut second).is_pending());
        drop(lease);
        assert!(second.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn expired_request_never_reaches_the_engine() {
        let (sender, runs) = mpsc::channel();
        let pool = pool_of_one(move || {
            sender.send(()).unwrap();
            Ok(Vec::new())
        });
        let deadline = soon();
        let mut lease = pool.claim().await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        let error = lease.run(Vec::new(), deadline).err().unwrap();
        assert!(matches!(error, Error::DeadlineExceeded), "{error}");
        assert!(runs.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_engine_that_fails_or_panics_goes_back() {
        let mut n_runs = 0;
        let pool = pool_of_one(move || {
            n_runs += 1;
            match n_runs {
                1 => panic!("on purpose"),
                2 => Err(Error::Rejected {
                    reason: "on purpose".to_owned(),
                }),
                _ => Ok(Vec::new()),
            }
        });
        let mut outcomes = Vec::new();
        for _ in 0..3 {
            let mut lease = pool.claim().await.unwrap();
            outcomes.push(lease.run(Vec::new(), soon()).err());
        }
        assert!(matches!(outcomes[0], Some(Error::Panicked)));
        assert!(matches!(outcomes[1], Some(Error::Rejected { .. })));
        assert!(outcomes[2].is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_engine_is_lost_and_none_runs_twice_at_once_under_contention() {
        let engines = (0..3).map(|_| {
            let running = AtomicUsize::new(0);
            let run = move || {
                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(Vec::new())
            };
            Box::new(Fake(run)) as Box<dyn Engine>
        });
        let pool = Pool::new(engines.collect());
        let calls = (0..16).map(|_| {
            let pool = Arc::clone(&pool);
            crate::shutdown::run_blocking(move || {
                let handle = tokio::runtime::Handle::current();
                for _ in 0..200 {
                    let mut lease = handle.block_on(pool.claim()).unwrap();
                    lease.run(Vec::new(), soon()).map(|_| ()).unwrap();
                }
            })
        });
        for call in futures::future::join_all(calls).await {
            call.unwrap();
        }
        let leases: Vec<_> = std::iter::from_fn(|| pool.try_claim()).collect();
        assert_eq!(leases.len(), 3);
    }
}
