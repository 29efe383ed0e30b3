//! What goes into a queue and comes out of it: plain data.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::JobId;
use crate::types::timestamp::Timestamp;

/// A job to be queued.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub id: JobId,
    /// In arq's wire format.
    pub body: Bytes,
    pub due: Due,
    /// How long from now on it may wait for its first attempt; `None` for a day past the moment that it is due.
    pub expires: Option<Duration>,
}

/// When a job may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Due {
    #[default]
    Now,
    After(Duration),
    At(Timestamp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    New,
    /// A job of that id waits or runs, or its result is still there.
    Duplicate,
}

/// A job that is ours to run for as long as the lease is extended.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub lease: Lease,
    /// `None` if it waited longer than it was allowed to.
    pub body: Option<Bytes>,
    /// When it was asked to end, if it was. A request from before the job was enqueued meant another job of the same id.
    pub abort_requested: Option<Timestamp>,
}

/// The right to settle a job.
#[derive(Debug, Clone)]
pub struct Lease {
    pub id: JobId,
    /// From 1. May be raised, as a job may say how many attempts it has behind it; extending and settling store it.
    pub attempt: u32,
    /// Whose it is.
    pub(super) token: Arc<str>,
    /// The job's place in the queue, in milliseconds, to go back to.
    pub(super) place: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    Held,
    /// It ran out and somebody else has the job, or the job is gone.
    Lost,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub lease: Lease,
    pub outcome: JobOutcome,
}

#[derive(Debug, Clone)]
pub enum JobOutcome {
    /// It has its result, good or bad, in arq's wire format.
    Complete { result: Bytes, keep: Keep },
    /// It failed for good: complete, and a dead letter as well.
    Dead {
        result: Bytes,
        keep: Keep,
        reason: String,
    },
    /// Another attempt, not before that long.
    Retry { after: Duration },
    /// It goes back to its place, and the attempt does not count: its worker stops.
    Released,
}

/// How long a result is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    No,
    For(Duration),
    Forever,
}

/// What became of a request to end a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborted {
    /// The job waits or runs, and its worker will end it.
    Requested,
    /// It had ended already.
    TooLate,
    NotFound,
}

/// A job as it is in the queue.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub status: JobStatus,
    /// While it waits: when it may run. While it runs, where the queue knows: when the lease ends.
    pub due: Option<Timestamp>,
    /// Attempts that began; 0 once it has ended, since the result tells.
    pub attempts: u32,
    /// While it waits or runs, and in a dead letter.
    pub body: Option<Bytes>,
    /// Once it has ended, for as long as it is kept.
    pub result: Option<Bytes>,
    /// If it is dead.
    pub dead: Option<DeadLetter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Due later.
    Deferred,
    /// Due, and waits for a worker.
    Queued,
    Running,
    /// It has a result.
    Complete,
    /// It failed for good; can be queued again.
    Dead,
}

impl JobStatus {
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Deferred,
        Self::Dead,
        Self::Complete,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Deferred => "deferred",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Dead => "dead",
        }
    }

    /// Whether nothing will happen to the job by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Dead)
    }
}

impl FromStr for JobStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|status| status.name() == text).ok_or(())
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a job is dead, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub reason: String,
    pub died_at: Timestamp,
    pub attempts: u32,
}

/// Jobs of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub jobs: Vec<Job>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// Where a page of a list begins. Opaque to callers; only letters, digits, `-`, `_`, `.` and `~`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub(super) String);

impl Cursor {
    /// A cursor that a caller sends back.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much waits in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Due and waiting. Where arq's own workers share the queue, what they run counts as well.
    pub n_queued: u64,
    pub n_deferred: u64,
    pub n_running: u64,
    pub n_dead: u64,
    /// How long the job at the head has been due.
    pub oldest_due: Option<Duration>,
    /// What a worker of this queue reported last.
    pub report: Option<String>,
}
