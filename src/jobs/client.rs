//! A queue with the words that jobs are written in: what enqueues calls and shows what became of them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::arq::ArqJob;
use super::value::Value;
use super::view::View;
use super::wire::Wire;
use super::{Aborted, Cursor, Due, Enqueued, Error, Health, JobId, JobQueue, JobStatus, NewJob};
use crate::types::timestamp::Timestamp;

/// A call to be queued.
#[derive(Debug, Clone)]
pub struct NewCall {
    pub id: JobId,
    pub function: String,
    pub args: Vec<Value>,
    pub kwargs: Vec<(String, Value)>,
    pub due: Due,
    /// As of `NewJob`.
    pub expires: Option<Duration>,
}

/// Jobs of a list, and where the next page begins.
#[derive(Debug, Clone)]
pub struct Listing {
    pub jobs: Vec<View>,
    pub next: Option<String>,
}

/// Enqueues and shows jobs of one queue. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    queue: Arc<dyn JobQueue>,
    wire: Wire,
}

impl Client {
    pub fn new(queue: Arc<dyn JobQueue>, wire: Wire) -> Self {
        Self { queue, wire }
    }

    pub(super) fn queue(&self) -> &dyn JobQueue {
        &*self.queue
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What and where the queue is, without secrets.
    pub fn describe(&self) -> &str {
        self.queue.describe()
    }

    /// Queues a call, unless there is a job of its id.
    pub async fn enqueue(&self, call: NewCall) -> Result<Enqueued, Error> {
        let job = ArqJob {
            job_try: None,
            function: call.function,
            args: call.args,
            kwargs: call.kwargs,
            enqueued_at: Timestamp::now(),
        };
        let body = self.wire.encode(&job).map_err(|error| Error::Unencodable {
            id: call.id.clone(),
            problem: error.to_string(),
        })?;
        let job = NewJob {
            id: call.id,
            body,
            due: call.due,
            expires: call.expires,
        };
        let enqueued = self.queue.enqueue(std::slice::from_ref(&job)).await?;
        Ok(enqueued.first().copied().unwrap_or(Enqueued::Duplicate))
    }

    /// A job as it is now; `None` if there is none.
    pub async fn get(&self, id: &JobId) -> Result<Option<View>, Error> {
        let job = self.queue.get(id).await?;
        Ok(job.map(|job| View::new(job, &self.wire)))
    }

    /// A job once it has ended, or as it is when `wait` is over. Cancel safe.
    pub async fn wait(&self, id: &JobId, wait: Duration) -> Result<Option<View>, Error> {
        let job = self.queue.wait(id, wait).await?;
        Ok(job.map(|job| View::new(job, &self.wire)))
    }

    /// Jobs of one status, and where the next page begins.
    pub async fn list(
        &self,
        status: JobStatus,
        cursor: Option<&Cursor>,
        limit: NonZeroUsize,
    ) -> Result<(Vec<View>, Option<Cursor>), Error> {
        let page = self.queue.list(status, cursor, limit).await?;
        let views = page.jobs.into_iter();
        let views = views.map(|job| View::new(job, &self.wire)).collect();
        Ok((views, page.next))
    }

    /// Jobs of one status, or of all, status by status. `cursor` is the `next` of the page before.
    pub async fn listing(
        &self,
        status: Option<JobStatus>,
        cursor: Option<&str>,
        limit: NonZeroUsize,
    ) -> Result<Listing, Error> {
        let (current, below) = match (status, cursor) {
            (None, None) => (JobStatus::ALL[0], None),
            (Some(status), None) => (status, None),
            (wanted, Some(cursor)) => {
                let invalid = || Error::CursorInvalid {
                    cursor: cursor.to_owned(),
                };
                let (status, below) = cursor.split_once('~').ok_or_else(invalid)?;
                let status: JobStatus = status.parse().map_err(|_| invalid())?;
                if wanted.is_some_and(|wanted| wanted != status) {
                    return Err(invalid());
                }
                (status, (!below.is_empty()).then(|| Cursor::new(below)))
            }
        };
        let (jobs, next) = self.list(current, below.as_ref(), limit).await?;
        let next = match (next, status) {
            (Some(next), _) => Some(format!("{current}~{}", next.as_str())),
            (None, Some(_)) => None,
            (None, None) => following(current).map(|status| format!("{status}~")),
        };
        Ok(Listing { jobs, next })
    }

    /// Asks for the end of a job.
    pub async fn abort(&self, id: &JobId) -> Result<Aborted, Error> {
        self.queue.abort(id).await
    }

    /// Queues a dead job again.
    pub async fn retry(&self, id: &JobId) -> Result<(), Error> {
        self.queue.revive(id).await
    }

    pub async fn health(&self) -> Result<Health, Error> {
        self.queue.health().await
    }
}

/// The status that is listed after this one.
fn following(status: JobStatus) -> Option<JobStatus> {
    let mut all = JobStatus::ALL.into_iter();
    all.find(|other| *other == status)?;
    all.next()
}
