//! How work is queued: jobs wait here, workers claim them under a lease, and every job ends in exactly one way.
//!
//! A queue moves bytes. What a job says (its function and arguments) and what its result says is in arq's wire format, which
//! whoever runs or shows jobs encodes and decodes; a queue looks at none of it, so bytes that nobody can decode do no harm
//! here.
//!
//! ```text
//! enqueue -> deferred -> queued -> running -> complete   (a result, kept for a while)
//!                          ^         |  \---> dead       (after the last attempt: a result, and a dead letter with the reason)
//!                          \---------/        retried, released, or its worker is gone and the lease has run out
//! ```
//!
//! Invariants:
//! - a job is accepted once per id, until its result is gone;
//! - at most one lease of a job is valid; who lost it can neither settle the job nor extend the lease;
//! - a job whose worker is gone runs again once the lease has run out, ahead of those that wait;
//! - a claim costs the same however many jobs wait or run;
//! - settling a job and writing its result are one step.
//!
//! Not here: what jobs do, models, HTTP.

pub mod arq;
pub mod client;
mod config;
mod error;
mod id;
mod job;
pub mod queue;
pub mod value;
mod view;
mod wire;
pub mod worker;

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;

use self::wire::Wire;
use crate::shutdown::Shutdown;

pub use self::client::Client;
pub use self::config::{Config, WebhookConfig};
pub use self::error::Error;
pub use self::id::JobId;
pub use self::job::{
    Aborted, Claimed, Cursor, DeadLetter, Due, Enqueued, Health, Job, JobOutcome, JobStatus, Keep,
    Lease, LeaseState, NewJob, Page, Settlement,
};
pub use self::view::View;
pub use self::wire::{CodecName, FailureName};

/// Opens the queue of the configuration, as those who enqueue and show jobs use it.
///
/// `shutdown` runs what listens for notifications.
pub async fn open(config: &Config, shutdown: &Shutdown) -> Result<Client, Error> {
    let queue = queue::open(config, shutdown).await?;
    let max_bytes = config.max_body_size.max(config.max_result_size).as_usize();
    let wire = match &config.redis {
        Some(redis) => Wire::new(redis.codec, redis.failures, &redis.queue, max_bytes),
        None => Wire::new(
            CodecName::default(),
            FailureName::default(),
            EMBEDDED,
            max_bytes,
        ),
    };
    Ok(Client::new(queue, wire))
}

/// What results say that their queue is, where it has no name.
const EMBEDDED: &str = "embedded";

/// A queue of jobs with its results and dead letters.
#[async_trait]
pub trait JobQueue: fmt::Debug + Send + Sync {
    /// Adds jobs; one answer per job, in their order. A job whose id is taken is left out.
    ///
    /// All jobs are checked before the first is added. After any other error the same call may be repeated: what was added
    /// already then counts as a duplicate.
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error>;

    /// Takes up to `n` due jobs, those of dead workers first, then the longest due. Waits up to `wait` for the first one;
    /// none then means that nothing came.
    ///
    /// Cancel safety: a caller that leaves while jobs are on their way to it leaves them to their leases' end.
    async fn claim(&self, n: NonZeroUsize, wait: Duration) -> Result<Vec<Claimed>, Error>;

    /// How long a lease lasts. Extend it well before, such as three times as often.
    fn lease_time(&self) -> Duration;

    /// Renews leases; one answer per lease. `attempt`s are stored as the leases have them.
    async fn extend(&self, leases: &[Lease]) -> Result<Vec<LeaseState>, Error>;

    /// Ends attempts, each in one step; one answer per settlement. A lost lease changes nothing.
    ///
    /// May be repeated after an error; `Lost` then may mean that the first try did it.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<LeaseState>, Error>;

    /// Asks for the end of a job, be it queued or running. Its worker settles it.
    async fn abort(&self, id: &JobId) -> Result<Aborted, Error>;

    /// Which of these running jobs somebody asked to end; waits up to `wait` for the first one. Cancel safe: settling the
    /// job takes the request away, not this.
    async fn aborted(&self, running: &[JobId], wait: Duration) -> Result<Vec<JobId>, Error>;

    /// A job as it is now, or `None` if there is none.
    async fn get(&self, id: &JobId) -> Result<Option<Job>, Error>;

    /// A job once it is complete or dead, or as it is when `wait` is over. Cancel safe.
    async fn wait(&self, id: &JobId, wait: Duration) -> Result<Option<Job>, Error>;

    /// Jobs of one status, from a cursor of the same status on. A page may have fewer than `limit` jobs, or none, and yet
    /// have a next one. Jobs that move while somebody pages may be missed or come twice.
    async fn list(
        &self,
        status: JobStatus,
        cursor: Option<&Cursor>,
        limit: NonZeroUsize,
    ) -> Result<Page, Error>;

    /// Queues a dead job again, as if it were new: due now, with no attempts behind it. Fails with `NotDead` if there is
    /// no dead letter of that id, and with `Hollow` if the job had expired.
    async fn revive(&self, id: &JobId) -> Result<(), Error>;

    /// Leaves a line that says how workers of this queue are, for `lasts`; what `arq --check` looks for.
    async fn report(&self, line: &str, lasts: Duration) -> Result<(), Error>;

    /// How much waits. Fails if the queue does not answer.
    async fn health(&self) -> Result<Health, Error>;

    /// What and where it is, without secrets.
    fn describe(&self) -> &str;
}
