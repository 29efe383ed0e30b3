//! Dynamic batching and admission: calls on one model that find every engine busy wait here, and become one run.
//!
//! A call that finds an engine free runs at once, with nothing of this: no lock, no allocation, no other thread; unless
//! calls have lately come in company and a run has a price of its own: then all that are ready come in first (`company`).
//! Others take a place in a bounded queue (`queue`) and wait for two things, whichever comes first: their answer, or an
//! engine. Whoever gets an engine runs what waits next, be it the own call or not (`batch`): the calls' rows are joined
//! on axis 0 (`rows`), run once, and handed back. So what came in during one run is the next.
//! Overload: a full queue refuses at once. Expired calls are told so, abandoned ones are dropped, neither runs.
//! Fairness between models: a run that leaves its caller's thread holds one of as many `cores` as the process has, and
//! the models' runs take turns for them. Short runs stay on their callers' threads, which serve connections in turn.
//! Cancel safety: a caller that goes away is skipped; if it was to run others' calls, the next one does that.
//! Not here: whether a model's calls can be merged at all (`merging`), how long a run takes (`estimate`).

mod batch;
mod company;
mod config;
mod pace;
mod queue;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

pub use config::{Config, Mode};
pub(super) use queue::Limits;
pub(super) use rows::{join as join_rows, part, split as split_rows};

use self::batch::Batch;
use self::company::Company;
use self::pace::Pace;
use self::queue::{Answer, Queue};
use super::estimate::Estimate;
use super::pool::{Lease, Pool, Run};
use super::{Error, Inputs};
use crate::shutdown::{detach_blocking, run_blocking};
use crate::telemetry::metrics::QueueMetrics;
use crate::types::urgency::Urgency;
use crate::workers::{self, PerWorker};

/// As many permits as there are cores, for runs that leave their callers' threads; shared by all models, first come first
/// served. A model has at most as many runs in line as it has engines.
pub(super) type Cores = Arc<Semaphore>;

/// Where the calls of one model meet its engines.
pub(super) struct Batcher {
    pub(super) pool: Arc<Pool>,
    queue: Queue,
    company: PerWorker<Company>,
    cores: Cores,
    /// Set once a merged run gave outputs that do not come apart.
    uneven: Arc<AtomicBool>,
    pace: Arc<Pace>,
}

/// How calls of a model are run, as far as that is known only once it was tried out.
#[derive(Debug, Clone)]
pub(super) struct How {
    pub(super) config: Config,
    /// Whether calls are merged at all.
    pub(super) merges: bool,
    pub(super) estimate: Estimate,
    pub(super) metrics: QueueMetrics,
}

impl Batcher {
    pub(super) fn new(pool: Arc<Pool>, limits: Limits, cores: Cores) -> Arc<Self> {
        Arc::new(Self {
            pool,
            queue: Queue::new(limits),
            company: PerWorker::new(|| Company::new(limits)),
            cores,
            uneven: Arc::default(),
            pace: Arc::default(),
        })
    }

    /// Runs a call of `n_rows` rows, now or in its turn.
    ///
    /// Errors: `Overloaded` and `OverloadedRows` before any wait, `DeadlineExceeded`, and what the engine says.
    /// Cancel safety: a call abandoned while it waits is never run; a run in progress ends and is dropped.
    pub(super) async fn infer(
        &self,
        inputs: Inputs,
        n_rows: Option<usize>,
        urgency: Urgency,
        how: &How,
    ) -> Result<Run, Error> {
        let is_short = how.estimate.is_short(n_rows);
        if is_short && self.merges(how) && !self.collects(how) && how.estimate.favours_merging() {
            let company = self.company.here();
            if company.is_expected() {
                // On the heap, so that a call that runs at once is no larger for it.
                return Box::pin(self.in_company(inputs, urgency, how, company)).await;
            }
        }
        if !self.collects(how)
            && let Some(mut lease) = self.pool.try_claim()
        {
            if is_short {
                let outcome = lease.run(inputs, urgency.deadline);
                self.ended(&outcome, n_rows, how);
                return outcome;
            }
            if let Ok(core) = Arc::clone(&self.cores).try_acquire_owned() {
                let outcome = match workers::is_own_thread() {
                    true => run_at_once(lease, core, inputs, urgency),
                    false => run_elsewhere(lease, core, inputs, urgency).await,
                };
                self.ended(&outcome, n_rows, how);
                return outcome;
            }
        }
        // On the heap, so that a call that need not wait is no larger for it.
        Box::pin(self.wait(inputs, urgency, how)).await
    }

    /// A run of one call. Whoever did not wait for its end does not count it.
    fn ended(&self, outcome: &Answer, n_rows: Option<usize>, how: &How) {
        if let Ok(run) = outcome {
            self.pace.ran(run.took);
            how.metrics.ran(n_rows.unwrap_or(1), run.took);
        }
    }

    /// Lets all calls that are ready on this event loop come in, and runs them as one, unless one of them did.
    async fn in_company(
        &self,
        inputs: Inputs,
        urgency: Urgency,
        how: &How,
        company: &Company,
    ) -> Result<Run, Error> {
        let (called, queue) = (Instant::now(), &company.queue);
        let (sender, mut answer) = oneshot::channel();
        let place = queue
            .push(inputs, false, urgency, sender, &how.metrics)
            .map_err(|error| self.with_time(error, queue, how))?;
        tokio::task::yield_now().await;
        if answer.is_empty()
            && how
                .estimate
                .is_short(Some(queue.rows_at_hand(self.max_rows(how))))
            && let Some(lease) = self.pool.try_claim()
        {
            company.met(self.lead(queue, lease, None, how));
        }
        if let Ok(outcome) = answer.try_recv() {
            place.left();
            return outcome;
        }
        // No engine is free, or more came in than one short run can take.
        self.wait_for(answer, called, urgency, queue, how).await
    }

    /// No merged run came out uneven.
    pub(super) fn is_even(&self) -> bool {
        !self.uneven.load(Ordering::Relaxed)
    }

    fn merges(&self, how: &How) -> bool {
        how.merges && self.is_even()
    }

    /// Rows of a merged run; none where each call runs alone.
    fn max_rows(&self, how: &How) -> usize {
        match self.merges(how) {
            true => how.config.max_rows.get(),
            false => 0,
        }
    }

    /// Whether calls wait for others although an engine is free.
    fn collects(&self, how: &How) -> bool {
        !how.config.max_wait.is_zero() && self.merges(how)
    }

    async fn wait(&self, inputs: Inputs, urgency: Urgency, how: &How) -> Result<Run, Error> {
        let called = Instant::now();
        if urgency.deadline.instant() <= called {
            how.metrics.expired.inc();
            return Err(Error::DeadlineExceeded);
        }
        let (sender, answer) = oneshot::channel();
        let alone = !self.merges(how);
        let queue = &self.queue;
        let _place = queue
            .push(inputs, alone, urgency, sender, &how.metrics)
            .map_err(|error| self.with_time(error, queue, how))?;
        self.wait_for(answer, called, urgency, queue, how).await
    }

    /// Waits for the answer to a call that has its place in this queue, no longer than its deadline.
    async fn wait_for(
        &self,
        answer: oneshot::Receiver<Answer>,
        called: Instant,
        urgency: Urgency,
        queue: &Queue,
        how: &How,
    ) -> Result<Run, Error> {
        let _waiting = how.metrics.waiting();
        let answer = self.answer(answer, called, queue, how);
        let outcome = timeout_at(urgency.deadline.instant(), answer).await;
        outcome.unwrap_or_else(|_| {
            how.metrics.expired.inc();
            Err(Error::DeadlineExceeded)
        })
    }

    /// Says when what waits now should have run.
    fn with_time(&self, mut error: Error, queue: &Queue, how: &How) -> Error {
        if let Error::Overloaded { retry_after, .. } | Error::OverloadedRows { retry_after, .. } =
            &mut error
        {
            let n_runs = queue.n_runs(self.max_rows(how));
            *retry_after = self.pace.time_for(n_runs, self.pool.n_engines());
        }
        error
    }

    /// Waits for the answer, and for engines to run with what waits.
    async fn answer(
        &self,
        mut answer: oneshot::Receiver<Answer>,
        called: Instant,
        queue: &Queue,
        how: &How,
    ) -> Answer {
        if self.collects(how) && queue.rows_at_hand(usize::MAX) < how.config.enough_rows() {
            tokio::select! {
                biased;
                answer = &mut answer => return received(answer),
                () = sleep_until(called + how.config.max_wait) => {}
            }
        }
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return received(answer),
                claimed = self.claim(queue, how) => {
                    let (lease, core) = claimed?;
                    if self.lead(queue, lease, core, how) == 0 {
                        // Nothing waits, so this call is being run.
                        return received(answer.await);
                    }
                }
            }
        }
    }

    /// An engine, and a core if what waits takes long.
    async fn claim(
        &self,
        queue: &Queue,
        how: &How,
    ) -> Result<(Lease, Option<OwnedSemaphorePermit>), Error> {
        let lease = self.pool.claim().await?;
        let n_rows = queue.rows_at_hand(self.max_rows(how));
        if how.estimate.is_short(Some(n_rows)) {
            return Ok((lease, None));
        }
        // The semaphore is never closed.
        let core = Arc::clone(&self.cores).acquire_owned().await;
        Ok((lease, Some(core.map_err(|_| Error::Stopping)?)))
    }

    /// Runs what waits, here or elsewhere, and says how many calls that are.
    fn lead(
        &self,
        queue: &Queue,
        mut lease: Lease,
        core: Option<OwnedSemaphorePermit>,
        how: &How,
    ) -> usize {
        let calls = queue.take(self.max_rows(how), &how.metrics);
        let n_calls = calls.len();
        if n_calls == 0 {
            return 0;
        }
        let batch = Batch {
            calls,
            metrics: how.metrics.clone(),
            uneven: Arc::clone(&self.uneven),
            pace: Arc::clone(&self.pace),
        };
        if how.estimate.is_short(Some(batch.n_rows())) {
            batch.run(&mut lease);
        } else {
            // The engine goes back even if nobody waits for the end.
            detach_blocking(move || {
                let computing = workers::computing();
                batch.run(&mut lease);
                drop((lease, core, computing));
            });
        }
        n_calls
    }
}

/// A batch that is dropped without a run belongs to a runtime that shuts down.
fn received(answer: Result<Answer, oneshot::error::RecvError>) -> Answer {
    answer.unwrap_or(Err(Error::Stopping))
}

/// On a thread that nobody else waits for.
fn run_at_once(
    mut lease: Lease,
    core: OwnedSemaphorePermit,
    inputs: Inputs,
    urgency: Urgency,
) -> Result<Run, Error> {
    let computing = workers::computing();
    let outcome = lease.run(inputs, urgency.deadline);
    drop((lease, core, computing));
    outcome
}

async fn run_elsewhere(
    lease: Lease,
    core: OwnedSemaphorePermit,
    inputs: Inputs,
    urgency: Urgency,
) -> Result<Run, Error> {
    // The lease moves along, so the engine goes back even if nobody waits for the end.
    let run = run_blocking(move || run_at_once(lease, core, inputs, urgency));
    match timeout_at(urgency.deadline.instant(), run).await {
        Ok(Ok(outcome)) => outcome,
        // A panic is caught in the lease; what is left is a runtime that shuts down.
        Ok(Err(_)) => Err(Error::Stopping),
        Err(_) => Err(Error::DeadlineExceeded),
    }
}
