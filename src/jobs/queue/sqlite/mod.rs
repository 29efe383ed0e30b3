//! A queue in a SQLite file: durable, without a server, shared by the processes of one machine.
//!
//! Times are Unix milliseconds of this machine. Each call is one transaction. What a caller was promised (jobs, results,
//! retries) is on the disk before the call returns; of claims and leases only the process's death is survived, as losing
//! one costs no more than another attempt.
//!
//! Who waits in this process is woken at once. What other processes do is found by looking, every `jobs.poll` at the latest.
//!
//! ```text
//! mod      the calls, and the connections
//!   database   opening the file, its tables, one writer at a time
//!   claim      taking jobs, leases, requests to abort
//!   settle     adding and ending
//!   read       jobs as they are: get, list
//! ```

mod claim;
mod config;
mod database;
mod read;
mod settle;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

pub use self::config::Config;
use self::database::Database;
use super::bell::Bell;
use super::limits::{self, Pace};
use crate::jobs::{
    Aborted, Claimed, Config as JobsConfig, Cursor, Enqueued, Error, Health, Job, JobId, JobQueue,
    JobStatus, Lease, LeaseState, NewJob, Page, Settlement,
};

/// Between two looks at what other processes ask or finish.
const LONGEST_PAUSE_OF_WAITERS: Duration = Duration::from_millis(250);
const SHORTEST_PAUSE_OF_WAITERS: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct SqliteQueue {
    config: JobsConfig,
    database: Database,
    bell: Bell,
    pace: Pace,
}

pub(super) async fn open(config: &Config, jobs: &JobsConfig) -> Result<SqliteQueue, Error> {
    Ok(SqliteQueue {
        config: jobs.clone(),
        database: Database::open(&config.path).await?,
        bell: Bell::default(),
        pace: Pace::new(jobs.poll),
    })
}

#[async_trait]
impl JobQueue for SqliteQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
        limits::check_bodies(jobs, &self.config)?;
        let answers = settle::enqueue(&self.database, jobs).await?;
        if answers.contains(&Enqueued::New) {
            self.bell.work();
        }
        Ok(answers)
    }

    async fn claim(&self, n: NonZeroUsize, wait: Duration) -> Result<Vec<Claimed>, Error> {
        let started = Instant::now();
        let mut work = self.bell.listen_for_work();
        loop {
            work.mark_unchanged();
            let next_due = claim::next_due(&self.database).await?;
            if next_due.is_some_and(|next| next.is_zero()) {
                let jobs = claim::claim(&self.database, n.get(), self.config.lease).await?;
                if !jobs.is_empty() {
                    self.pace.found();
                    return Ok(jobs);
                }
            }
            let left = wait.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let pause = self.pace.pause();
            let pause = pause.min(next_due.unwrap_or(pause)).min(left);
            tokio::select! {
                // The queue, which rings, cannot go away.
                _ = work.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn lease_time(&self) -> Duration {
        self.config.lease
    }

    async fn extend(&self, leases: &[Lease]) -> Result<Vec<LeaseState>, Error> {
        claim::extend(&self.database, leases, self.config.lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<LeaseState>, Error> {
        limits::check_results(settlements, &self.config)?;
        let states = settle::settle(&self.database, settlements, &self.config).await?;
        for settlement in settlements {
            self.bell.ended(&settlement.lease.id);
        }
        self.bell.work();
        Ok(states)
    }

    async fn abort(&self, id: &JobId) -> Result<Aborted, Error> {
        let outcome = claim::abort(&self.database, id).await?;
        self.bell.abort();
        // It may wait, and then is next.
        self.bell.work();
        Ok(outcome)
    }

    async fn aborted(&self, running: &[JobId], wait: Duration) -> Result<Vec<JobId>, Error> {
        let started = Instant::now();
        let mut aborts = self.bell.listen_for_aborts();
        loop {
            aborts.mark_unchanged();
            let requested = claim::aborted(&self.database, running).await?;
            let left = wait.saturating_sub(started.elapsed());
            if !requested.is_empty() || left.is_zero() {
                return Ok(requested);
            }
            tokio::select! {
                // The queue, which rings, cannot go away.
                _ = aborts.changed() => {}
                () = tokio::time::sleep(LONGEST_PAUSE_OF_WAITERS.min(left)) => {}
            }
        }
    }

    async fn get(&self, id: &JobId) -> Result<Option<Job>, Error> {
        read::get(&self.database, id).await
    }

    async fn wait(&self, id: &JobId, wait: Duration) -> Result<Option<Job>, Error> {
        let started = Instant::now();
        let ending = self.bell.listen_for_end(id);
        while read::is_pending(&self.database, id).await? {
            let left = wait.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            let pause = started.elapsed() / 8;
            let pause = pause.clamp(SHORTEST_PAUSE_OF_WAITERS, LONGEST_PAUSE_OF_WAITERS);
            tokio::select! {
                () = ending.heard() => {}
                () = tokio::time::sleep(pause.min(left)) => {}
            }
        }
        self.get(id).await
    }

    async fn list(
        &self,
        status: JobStatus,
        cursor: Option<&Cursor>,
        limit: NonZeroUsize,
    ) -> Result<Page, Error> {
        read::list(&self.database, status, cursor, limit).await
    }

    async fn revive(&self, id: &JobId) -> Result<(), Error> {
        settle::revive(&self.database, id).await?;
        self.bell.work();
        Ok(())
    }

    async fn report(&self, line: &str, lasts: Duration) -> Result<(), Error> {
        settle::report(&self.database, line, lasts).await
    }

    async fn health(&self) -> Result<Health, Error> {
        read::health(&self.database).await
    }

    fn describe(&self) -> &str {
        self.database.describe()
    }
}
