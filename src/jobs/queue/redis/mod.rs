//! A queue in Redis, in arq's layout: its clients and workers share it with ours.
//!
//! ```text
//! mod        the calls; each is one script (many jobs in one), so one round trip
//!   claim    taking jobs: scripts, waiting in between
//!   read     jobs as they are: get, list
//!   script   the scripts, `scripts/*.lua`, and how they are sent
//!   link     the connection to the node that has the queue;  dial: how it is made
//!   listen   what happened elsewhere, heard over a connection of its own
//! keys, config
//! ```
//!
//! Where this differs from arq, on purpose:
//! - a running job's score is the end of its lease, so it hides nothing that waits, and is due by itself once its worker is
//!   gone; arq's workers pass it by until then, as its in-progress key is there;
//! - the in-progress key holds who has the job, and lasts for a lease of seconds that is renewed;
//! - the life of a job's bytes counts from its last attempt;
//! - a request to abort what has ended is not left behind; those that arq's clients leave are swept up;
//! - an id that is not UTF-8, at which arq's workers die, is moved to the dead letters.
//!
//! Keys of jobs are made inside the scripts. In a cluster all of a queue's keys therefore need one hash tag (`config`), so a
//! queue is on one node; several queues spread over a cluster by their tags. While its slot moves, calls wait.

mod claim;
mod config;
mod dial;
mod keys;
mod link;
mod listen;
mod read;
mod reply;
mod script;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

pub use self::config::Config;
use self::dial::Dialer;
use self::keys::Keys;
use self::link::{Link, Resend};
use self::listen::Ear;
use super::bell::Bell;
use super::limits::{self, Pace, millis};
use crate::jobs::{
    Aborted, Claimed, Config as JobsConfig, Cursor, Due, Enqueued, Error, Health, Job, JobId,
    JobOutcome, JobQueue, JobStatus, Keep, Lease, LeaseState, NewJob, Page, Settlement,
};
use crate::shutdown::Shutdown;

/// What one script call takes at most, so that it does not hold up the server for others.
const MOST_PER_CALL: usize = 256;
const MOST_BYTES_PER_CALL: usize = 8 << 20;

pub(super) struct RedisQueue {
    config: JobsConfig,
    keys: Keys,
    link: Arc<Link>,
    bell: Arc<Bell>,
    ear: Arc<Ear>,
    /// Whether somebody listens already: only who waits needs it.
    is_listening: AtomicBool,
    shutdown: Shutdown,
    pace: Pace,
    /// The tokens of claims whose answers did not arrive.
    lost_claims: Mutex<Vec<Arc<str>>>,
    description: Arc<str>,
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisQueue")
            .field(&self.description)
            .finish()
    }
}

pub(super) fn open(
    redis: &Config,
    config: &JobsConfig,
    shutdown: &Shutdown,
) -> Result<RedisQueue, Error> {
    let keys = Keys::new(redis)?;
    let dialer = Dialer::new(redis)?;
    let description: Arc<str> = dialer.describe(&keys.queue).into();
    let link = Arc::new(Link::new(description.clone(), dialer, redis.timeout));
    let bell = Arc::new(Bell::default());
    let ear = Ear::new(
        link.clone(),
        keys.clone(),
        bell.clone(),
        redis.keyspace_events,
    );
    Ok(RedisQueue {
        config: config.clone(),
        keys,
        link,
        bell,
        ear: Arc::new(ear),
        is_listening: AtomicBool::new(false),
        shutdown: shutdown.clone(),
        pace: Pace::new(config.poll),
        lost_claims: Mutex::default(),
        description,
    })
}

#[async_trait]
impl JobQueue for RedisQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
        limits::check_bodies(jobs, &self.config)?;
        for job in jobs {
            check_expiry(job)?;
        }
        let mut answers = Vec::with_capacity(jobs.len());
        for chunk in chunks(jobs, |job| job.body.len()) {
            answers.extend(self.enqueue_some(chunk).await?);
        }
        Ok(answers)
    }

    async fn claim(&self, n: NonZeroUsize, wait: Duration) -> Result<Vec<Claimed>, Error> {
        claim::claim(self, n, wait).await
    }

    fn lease_time(&self) -> Duration {
        self.config.lease
    }

    async fn extend(&self, leases: &[Lease]) -> Result<Vec<LeaseState>, Error> {
        let mut states = Vec::with_capacity(leases.len());
        for chunk in leases.chunks(MOST_PER_CALL) {
            let keys = [self.keys.queue.as_str(), &self.keys.leases];
            let reply = self
                .link
                .eval(&script::EXTEND, &keys, Resend::Yes, &|command, _| {
                    command
                        .arg(&self.keys.prefix)
                        .arg(millis(self.config.lease));
                    for lease in chunk {
                        let id = lease.id.as_str();
                        command.arg(id).arg(&*lease.token).arg(lease.attempt);
                    }
                })
                .await?;
            states.extend(self.states(reply, chunk.len())?);
        }
        Ok(states)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<LeaseState>, Error> {
        limits::check_results(settlements, &self.config)?;
        let mut states = Vec::with_capacity(settlements.len());
        let size = |settlement: &Settlement| Terms::of(settlement).result.len();
        for chunk in chunks(settlements, size) {
            let terms: Vec<(&Lease, Terms<'_>)> = chunk
                .iter()
                .map(|settlement| (&settlement.lease, Terms::of(settlement)))
                .collect();
            let reply = self.settle_some(&terms).await?;
            states.extend(self.states(reply, chunk.len())?);
        }
        Ok(states)
    }

    async fn abort(&self, id: &JobId) -> Result<Aborted, Error> {
        let keys = [self.keys.queue.as_str(), &self.keys.abort, &self.keys.dead];
        let reply = self
            .link
            .eval(&script::ABORT, &keys, Resend::Yes, &|command, _| {
                self.with_names(command).arg(id.as_str());
            })
            .await?;
        match reply {
            Value::Int(1) => Ok(Aborted::Requested),
            Value::Int(0) => Ok(Aborted::TooLate),
            Value::Int(-1) => Ok(Aborted::NotFound),
            _ => Err(self.link.unexpected()),
        }
    }

    async fn aborted(&self, running: &[JobId], wait: Duration) -> Result<Vec<JobId>, Error> {
        claim::aborted(self, running, wait).await
    }

    async fn get(&self, id: &JobId) -> Result<Option<Job>, Error> {
        read::get(self, id).await
    }

    async fn wait(&self, id: &JobId, wait: Duration) -> Result<Option<Job>, Error> {
        read::wait(self, id, wait).await
    }

    async fn list(
        &self,
        status: JobStatus,
        cursor: Option<&Cursor>,
        limit: NonZeroUsize,
    ) -> Result<Page, Error> {
        read::list(self, status, cursor, limit).await
    }

    async fn revive(&self, id: &JobId) -> Result<(), Error> {
        let keys = &self.keys;
        let keys = [keys.queue.as_str(), &keys.abort, &keys.dead, &keys.complete];
        let reply = self
            .link
            .eval(&script::REVIVE, &keys, Resend::No, &|command, _| {
                self.with_names(command).arg(id.as_str());
            })
            .await?;
        match reply {
            Value::Int(1) => Ok(()),
            Value::Int(0) => Err(Error::NotDead { id: id.clone() }),
            Value::Int(-1) => Err(Error::Hollow { id: id.clone() }),
            _ => Err(self.link.unexpected()),
        }
    }

    async fn report(&self, line: &str, lasts: Duration) -> Result<(), Error> {
        let mut command = redis::cmd("PSETEX");
        command
            .arg(&self.keys.report)
            .arg(millis(lasts).max(1))
            .arg(line);
        self.link.run(&command).await.map(|_| ())
    }

    async fn health(&self) -> Result<Health, Error> {
        read::health(self).await
    }

    fn describe(&self) -> &str {
        &self.description
    }
}

impl RedisQueue {
    async fn enqueue_some(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
        let keys = [self.keys.queue.as_str(), &self.keys.abort, &self.keys.dead];
        let reply = self
            .link
            .eval(&script::ENQUEUE, &keys, Resend::Yes, &|command, again| {
                self.with_names(command).arg(u8::from(again));
                for job in jobs {
                    let due = match job.due {
                        Due::Now => "+0".to_owned(),
                        Due::After(delay) => format!("+{}", millis(delay)),
                        Due::At(moment) => moment.as_micros().div_euclid(1_000).to_string(),
                    };
                    let life = job.expires.map(|life| millis(life).to_string());
                    command.arg(job.id.as_str()).arg(&job.body[..]).arg(due);
                    command.arg(life.unwrap_or_default());
                }
            })
            .await?;
        let answers = reply::ints(reply).filter(|answers| answers.len() == jobs.len());
        let answers = answers.ok_or_else(|| self.link.unexpected())?;
        let answer = |(answer, job): (i64, &NewJob)| match answer {
            1 => Ok(Enqueued::New),
            0 => Ok(Enqueued::Duplicate),
            _ => Err(Error::ExpiresBeforeDue { id: job.id.clone() }),
        };
        answers.into_iter().zip(jobs).map(answer).collect()
    }

    async fn settle_some(&self, settlements: &[(&Lease, Terms<'_>)]) -> Result<Value, Error> {
        let keys = &self.keys;
        let keys = [
            keys.queue.as_str(),
            &keys.abort,
            &keys.leases,
            &keys.dead,
            &keys.complete,
        ];
        let arguments = |command: &mut redis::Cmd, again: bool| {
            self.with_names(command)
                .arg(u8::from(again))
                .arg(millis(self.config.keep_dead).max(1))
                .arg(self.config.max_dead.get());
            for (lease, terms) in settlements {
                command
                    .arg(lease.id.as_str())
                    .arg(&*lease.token)
                    .arg(lease.attempt);
                terms.append_to(command);
            }
        };
        self.link
            .eval(&script::SETTLE, &keys, Resend::Yes, &arguments)
            .await
    }

    /// The first arguments of scripts that tell others.
    fn with_names<'c>(&self, command: &'c mut redis::Cmd) -> &'c mut redis::Cmd {
        command.arg(&self.keys.prefix).arg(&self.keys.channel)
    }

    fn states(&self, reply: Value, n: usize) -> Result<Vec<LeaseState>, Error> {
        let answers = reply::ints(reply).filter(|answers| answers.len() == n);
        let answers = answers.ok_or_else(|| self.link.unexpected())?;
        let state = |answer: &i64| match answer {
            0 => LeaseState::Lost,
            _ => LeaseState::Held,
        };
        Ok(answers.iter().map(state).collect())
    }

    /// Has somebody listen from now on.
    fn listen(&self) {
        if !self.is_listening.swap(true, Ordering::Relaxed) {
            let ear = self.ear.clone();
            self.shutdown
                .spawn("job queue notifications", ear.run(self.shutdown.clone()));
        }
    }
}

/// How an attempt ends, as the script takes it.
struct Terms<'a> {
    kind: &'static str,
    result: &'a [u8],
    keep: i64,
    reason: &'a str,
    ms: String,
}

impl<'a> Terms<'a> {
    fn of(settlement: &'a Settlement) -> Self {
        let plain = Self {
            kind: "",
            result: b"",
            keep: 0,
            reason: "",
            ms: "0".to_owned(),
        };
        match &settlement.outcome {
            JobOutcome::Complete { result, keep } => Self {
                kind: "complete",
                result,
                keep: keep_ms(*keep),
                ..plain
            },
            JobOutcome::Dead {
                result,
                keep,
                reason,
            } => Self {
                kind: "dead",
                result,
                keep: keep_ms(*keep),
                reason,
                ..plain
            },
            JobOutcome::Retry { after } => Self {
                kind: "retry",
                ms: millis(*after).to_string(),
                ..plain
            },
            JobOutcome::Released => Self {
                kind: "release",
                ms: settlement.lease.place.to_string(),
                ..plain
            },
        }
    }

    /// An id that nobody can use becomes a dead letter under another one.
    fn bury(usable_id: &'a str, reason: &'a str) -> Self {
        Self {
            kind: "bury",
            result: usable_id.as_bytes(),
            keep: 0,
            reason,
            ms: "0".to_owned(),
        }
    }

    fn append_to(&self, command: &mut redis::Cmd) {
        command
            .arg(self.kind)
            .arg(self.result)
            .arg(self.keep)
            .arg(self.reason)
            .arg(&self.ms);
    }
}

fn keep_ms(keep: Keep) -> i64 {
    match keep {
        Keep::No => 0,
        Keep::For(duration) => millis(duration),
        Keep::Forever => -1,
    }
}

/// What can be told without the server's clock; the script looks at the rest.
fn check_expiry(job: &NewJob) -> Result<(), Error> {
    let is_dead = match (job.expires, job.due) {
        (Some(life), Due::After(delay)) => life <= delay,
        (Some(life), Due::Now | Due::At(_)) => life.is_zero(),
        (None, _) => false,
    };
    if is_dead {
        return Err(Error::ExpiresBeforeDue { id: job.id.clone() });
    }
    Ok(())
}

/// Parts of a few hundred, or of some megabytes.
fn chunks<T>(items: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut chunks = Vec::new();
    let (mut start, mut n_bytes) = (0, 0);
    for (i, item) in items.iter().enumerate() {
        if i > start && (i - start >= MOST_PER_CALL || n_bytes + size(item) > MOST_BYTES_PER_CALL) {
            chunks.push(&items[start..i]);
            (start, n_bytes) = (i, 0);
        }
        n_bytes += size(item);
    }
    if start < items.len() {
        chunks.push(&items[start..]);
    }
    chunks
}
