//! Taking jobs, and hearing of requests to end them.

use std::num::NonZeroUsize;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::link::Resend;
use super::listen::Hears;
use super::{MOST_PER_CALL, RedisQueue, Terms, reply, script};
use crate::jobs::queue::limits::millis;
use crate::jobs::{Claimed, Error, JobId, Lease};

/// Between two looks where everything is told: messages may be lost.
const PAUSE_OF_THE_TOLD: Duration = Duration::from_secs(1);
/// Between two looks at the requests to abort, as arq's workers have it.
const PAUSE_OF_ABORTS: Duration = Duration::from_millis(500);
/// Claims without an answer that are remembered.
const MOST_LOST_CLAIMS: usize = 64;
const NOT_UTF8: &str = "the job's id is not UTF-8";

/// What one script took.
struct Taken {
    jobs: Vec<Claimed>,
    /// How long until something else is due, as far as is known.
    next_due: Option<Duration>,
}

pub(super) async fn claim(
    queue: &RedisQueue,
    n: NonZeroUsize,
    wait: Duration,
) -> Result<Vec<Claimed>, Error> {
    queue.listen();
    let started = Instant::now();
    let mut work = queue.bell.listen_for_work();
    loop {
        work.mark_unchanged();
        let taken = take(queue, n.get().min(MOST_PER_CALL)).await?;
        if !taken.jobs.is_empty() {
            queue.pace.found();
            return Ok(taken.jobs);
        }
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(Vec::new());
        }
        let pause = match queue.ear.hears() {
            Hears::Everything => PAUSE_OF_THE_TOLD,
            Hears::Ours | Hears::Nothing => queue.pace.pause(),
        };
        let pause = pause.min(taken.next_due.unwrap_or(pause)).min(left);
        tokio::select! {
            // The queue, which rings, cannot go away.
            _ = work.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes what is due just now.
async fn take(queue: &RedisQueue, n: usize) -> Result<Taken, Error> {
    let mut claim = UnderWay::begin(queue);
    let keys = &queue.keys;
    let names = [keys.queue.as_str(), &keys.abort, &keys.leases];
    let reply = queue
        .link
        .eval(&script::CLAIM, &names, Resend::Yes, &|command, again| {
            command
                .arg(&keys.prefix)
                .arg(n)
                .arg(millis(queue.config.lease))
                .arg(&*claim.token)
                .arg(claim.lost.as_deref().unwrap_or_default())
                .arg(u8::from(again));
        })
        .await?;
    claim.has_arrived = true;
    let [now, next_due, jobs] = reply::array_of(reply).ok_or_else(|| queue.link.unexpected())?;
    let now = reply::int(&now).ok_or_else(|| queue.link.unexpected())?;
    let next_due = reply::optional_score(&next_due).ok_or_else(|| queue.link.unexpected())?;
    let mut taken = Taken {
        jobs: Vec::new(),
        next_due: next_due.map(|next| {
            let ms = (next - now as f64).ceil().clamp(1.0, 1e9);
            // In range by the clamp.
            Duration::from_millis(ms as u64)
        }),
    };
    for job in reply::array(jobs).ok_or_else(|| queue.link.unexpected())? {
        let job = Entry::read(job).ok_or_else(|| queue.link.unexpected())?;
        match std::str::from_utf8(&job.id) {
            Ok(id) => {
                let id = JobId::stored(id);
                taken.jobs.push(job.claimed(id, &claim.token));
            }
            Err(_) => bury(queue, job, &claim.token).await?,
        }
    }
    Ok(taken)
}

/// A claim whose answer has not arrived yet. If it does not, be it that the caller leaves, the next claim asks for what this
/// one took, so that a job does not lose an attempt to a connection that dropped.
struct UnderWay<'a> {
    queue: &'a RedisQueue,
    token: Arc<str>,
    /// Of an earlier claim.
    lost: Option<Arc<str>>,
    has_arrived: bool,
}

impl<'a> UnderWay<'a> {
    fn begin(queue: &'a RedisQueue) -> Self {
        Self {
            queue,
            token: Uuid::now_v7().simple().to_string().into(),
            lost: queue.lost_claims().pop(),
            has_arrived: false,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.has_arrived {
            return;
        }
        let mut lost = self.queue.lost_claims();
        lost.extend(self.lost.take());
        lost.push(self.token.clone());
        // What is forgotten runs again when its lease is over.
        let n_forgotten = lost.len().saturating_sub(MOST_LOST_CLAIMS);
        lost.drain(..n_forgotten);
    }
}

/// A job as the script tells it.
struct Entry {
    id: Vec<u8>,
    place: f64,
    body: Option<bytes::Bytes>,
    attempt: u32,
    abort_requested: Option<f64>,
}

impl Entry {
    fn read(value: Value) -> Option<Self> {
        let [id, place, body, attempt, abort_requested] = reply::array_of(value)?;
        Some(Self {
            id: reply::bytes(id)?,
            place: reply::score(&place)?,
            body: reply::optional_bytes(body)?,
            attempt: u32::try_from(reply::int(&attempt)?).unwrap_or(1).max(1),
            abort_requested: reply::optional_score(&abort_requested)?,
        })
    }

    fn claimed(self, id: JobId, token: &Arc<str>) -> Claimed {
        Claimed {
            lease: self.lease(id, token),
            body: self.body,
            abort_requested: self.abort_requested.map(reply::moment),
        }
    }

    fn lease(&self, id: JobId, token: &Arc<str>) -> Lease {
        Lease {
            id,
            attempt: self.attempt,
            token: token.clone(),
            place: self.place,
        }
    }
}

/// Moves a job whose id nobody can use to the dead letters, so that it is reported once and no worker of arq's dies of it.
async fn bury(queue: &RedisQueue, job: Entry, token: &Arc<str>) -> Result<(), Error> {
    let usable = usable_id(&job.id);
    tracing::warn!(
        id = usable,
        "a job's id is not UTF-8; it is among the dead jobs now"
    );
    let terms = Terms::bury(&usable, NOT_UTF8);
    queue
        .bury(&job.id, token, job.attempt, &terms)
        .await
        .map(|_| ())
}

impl RedisQueue {
    fn lost_claims(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        // Each change is one call, so a poisoned list is still whole.
        self.lost_claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn bury(
        &self,
        id: &[u8],
        token: &str,
        attempt: u32,
        terms: &Terms<'_>,
    ) -> Result<Value, Error> {
        let keys = &self.keys;
        let names = [
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
                .arg(self.config.max_dead.get())
                .arg(id)
                .arg(token)
                .arg(attempt);
            terms.append_to(command);
        };
        self.link
            .eval(&script::SETTLE, &names, Resend::Yes, &arguments)
            .await
    }
}

/// The id with the bytes that are no text written as `\xff`.
fn usable_id(id: &[u8]) -> String {
    let mut text = String::new();
    for chunk in id.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

pub(super) async fn aborted(
    queue: &RedisQueue,
    running: &[JobId],
    wait: Duration,
) -> Result<Vec<JobId>, Error> {
    queue.listen();
    let started = Instant::now();
    let mut aborts = queue.bell.listen_for_aborts();
    loop {
        aborts.mark_unchanged();
        let requested = requested(queue, running).await?;
        let left = wait.saturating_sub(started.elapsed());
        if !requested.is_empty() || left.is_zero() {
            return Ok(requested);
        }
        let pause = match queue.ear.hears() {
            Hears::Everything => PAUSE_OF_THE_TOLD,
            Hears::Ours | Hears::Nothing => PAUSE_OF_ABORTS,
        };
        tokio::select! {
            // The queue, which rings, cannot go away.
            _ = aborts.changed() => {}
            () = tokio::time::sleep(pause.min(left)) => {}
        }
    }
}

async fn requested(queue: &RedisQueue, running: &[JobId]) -> Result<Vec<JobId>, Error> {
    let names = [queue.keys.abort.as_str()];
    let reply = queue
        .link
        .eval(&script::ABORTED, &names, Resend::Yes, &|command, _| {
            command.arg(&queue.keys.prefix);
            for id in running {
                command.arg(id.as_str());
            }
        })
        .await?;
    let ids = reply::array(reply).ok_or_else(|| queue.link.unexpected())?;
    let ids = ids.into_iter().map(|id| {
        let id = reply::text(id).ok_or_else(|| queue.link.unexpected())?;
        Ok(JobId::stored(&id))
    });
    ids.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usable_id_tells_what_the_unusable_one_was() {
        assert_eq!(usable_id(b"a\xff\xfeb"), "a\\xff\\xfeb");
        assert_eq!(usable_id("ключ".as_bytes()), "ключ");
    }
}
