//! Jobs as they are: one, a page of them, the end of one; and how much waits.

use std::num::NonZeroUsize;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::Value;
use tokio::time::Instant;

use super::link::Resend;
use super::listen::Hears;
use super::{RedisQueue, reply, script};
use crate::jobs::{Cursor, DeadLetter, Error, Health, Job, JobId, JobStatus, Page};

/// Most jobs of a page.
const LARGEST_PAGE: usize = 500;
/// How many of the longest due are looked at for those that arq's workers run: what runs is at the head of their queue.
const HEAD: usize = 1_000;
/// Between two looks whether a job has ended that may be run by arq's workers, of which nobody tells.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn get(queue: &RedisQueue, id: &JobId) -> Result<Option<Job>, Error> {
    let mut jobs = jobs(queue, std::slice::from_ref(id)).await?;
    Ok(jobs.pop())
}

/// The jobs that exist, in the order of their ids.
async fn jobs(queue: &RedisQueue, ids: &[JobId]) -> Result<Vec<Job>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let names = [queue.keys.queue.as_str(), &queue.keys.dead];
    let reply = queue
        .link
        .eval(&script::GET, &names, Resend::Yes, &|command, _| {
            command.arg(&queue.keys.prefix);
            for id in ids {
                command.arg(id.as_str());
            }
        })
        .await?;
    let read = |reply| {
        let [now, jobs] = reply::array_of(reply)?;
        let now = reply::score(&now)?;
        let mut found = Vec::new();
        for job in reply::array(jobs)? {
            found.extend(read_job(job, now)?);
        }
        Some(found)
    };
    read(reply).ok_or_else(|| queue.link.unexpected())
}

/// `Some(None)` if there is no such job.
fn read_job(value: Value, now: f64) -> Option<Option<Job>> {
    let [id, score, is_running, attempts, body, result, letter] = reply::array_of(value)?;
    let id = JobId::stored(&reply::text(id)?);
    let score = reply::optional_score(&score)?;
    let is_running = reply::int(&is_running)? != 0;
    let result = reply::optional_bytes(result)?;
    let (dead, dead_body) = match letter {
        Value::Nil => (None, None),
        letter => read_letter(letter)?,
    };
    let status = match (&result, score, &dead) {
        (Some(_), _, None) => JobStatus::Complete,
        (Some(_), _, Some(_)) => JobStatus::Dead,
        (None, Some(_), _) if is_running => JobStatus::Running,
        // By arq's rules that is in no queue.
        (None, Some(0.0) | None, None) => return Some(None),
        (None, Some(0.0) | None, Some(_)) => JobStatus::Dead,
        (None, Some(score), _) if score > now => JobStatus::Deferred,
        (None, Some(_), _) => JobStatus::Queued,
    };
    let attempts = match reply::int(&attempts) {
        Some(attempts) if !status.is_final() => u32::try_from(attempts).unwrap_or(0),
        _ => 0,
    };
    let is_final = status.is_final();
    Some(Some(Job {
        id,
        status,
        due: score.filter(|_| !is_final).map(reply::moment),
        attempts,
        body: match status {
            JobStatus::Dead => dead_body,
            JobStatus::Complete => None,
            _ => reply::optional_bytes(body)?,
        },
        result,
        dead: dead.filter(|_| status == JobStatus::Dead),
    }))
}

type Letter = (Option<DeadLetter>, Option<bytes::Bytes>);

fn read_letter(value: Value) -> Option<Letter> {
    let [reason, died_at, attempts, body] = reply::array_of(value)?;
    if reason == Value::Nil {
        return Some((None, None));
    }
    let letter = DeadLetter {
        reason: String::from_utf8_lossy(&reply::bytes(reason)?).into_owned(),
        died_at: reply::moment(reply::score(&died_at)?),
        attempts: u32::try_from(reply::int(&attempts)?).unwrap_or(0),
    };
    Some((Some(letter), reply::optional_bytes(body)?))
}

pub(super) async fn wait(
    queue: &RedisQueue,
    id: &JobId,
    wait: Duration,
) -> Result<Option<Job>, Error> {
    queue.listen();
    let started = Instant::now();
    let ending = queue.bell.listen_for_end(id);
    let mut has_ended = has_ended(queue, id).await?;
    while !has_ended {
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            break;
        }
        let shortest = match queue.ear.hears() {
            Hears::Nothing => SHORTEST_PAUSE / 4,
            Hears::Ours | Hears::Everything => SHORTEST_PAUSE,
        };
        let pause = (started.elapsed() / 8).clamp(shortest, LONGEST_PAUSE);
        tokio::select! {
            () = ending.heard() => {}
            () = tokio::time::sleep(pause.min(left)) => {}
        }
        has_ended = self::has_ended(queue, id).await?;
    }
    get(queue, id).await
}

/// Whether nothing will happen to the job any more, or there is none.
async fn has_ended(queue: &RedisQueue, id: &JobId) -> Result<bool, Error> {
    // A job leaves the queue in the step that writes its result.
    let mut command = redis::cmd("ZSCORE");
    command.arg(&queue.keys.queue).arg(id.as_str());
    Ok(queue.link.run(&command).await? == Value::Nil)
}

/// A sorted set that is listed.
struct Shelf<'a> {
    /// What a cursor calls it.
    name: &'static str,
    set: &'a str,
    order: &'static str,
    low: &'static str,
    high: &'static str,
    /// Most entries that are looked at from its beginning.
    most: usize,
}

fn shelves(queue: &RedisQueue, status: JobStatus) -> Vec<Shelf<'_>> {
    let waiting = Shelf {
        name: "q",
        set: &queue.keys.queue,
        order: "up",
        low: "-inf",
        high: "now",
        most: usize::MAX,
    };
    let newest_first = |name, set| Shelf {
        name,
        set,
        order: "down",
        low: "-inf",
        high: "+inf",
        ..waiting
    };
    match status {
        JobStatus::Queued => vec![waiting],
        JobStatus::Deferred => vec![Shelf {
            name: "d",
            low: "(now",
            high: "+inf",
            ..waiting
        }],
        // First what our workers run, then what arq's do.
        JobStatus::Running => vec![
            Shelf {
                name: "l",
                set: &queue.keys.leases,
                low: "now",
                high: "+inf",
                ..waiting
            },
            Shelf {
                name: "h",
                most: HEAD,
                ..waiting
            },
        ],
        JobStatus::Dead => vec![newest_first("x", &queue.keys.dead)],
        JobStatus::Complete => vec![newest_first("c", &queue.keys.complete)],
    }
}

/// Where a page begins: behind this entry of this shelf, so many entries of it seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    shelf: String,
    n_seen: usize,
    score: String,
    id: String,
}

impl Mark {
    fn read(cursor: &Cursor) -> Result<Self, Error> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(cursor.as_str()).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let mut parts = text.splitn(4, ' ').map(str::to_owned);
            Some(Self {
                shelf: parts.next()?,
                n_seen: parts.next()?.parse().ok()?,
                score: parts.next()?,
                id: parts.next()?,
            })
        };
        let is_score = |mark: &Self| mark.score.is_empty() || mark.score.parse::<f64>().is_ok();
        read().filter(is_score).ok_or_else(|| Error::CursorInvalid {
            cursor: cursor.as_str().to_owned(),
        })
    }

    fn cursor(&self) -> Cursor {
        let text = format!("{} {} {} {}", self.shelf, self.n_seen, self.score, self.id);
        Cursor(URL_SAFE_NO_PAD.encode(text))
    }
}

pub(super) async fn list(
    queue: &RedisQueue,
    status: JobStatus,
    cursor: Option<&Cursor>,
    limit: NonZeroUsize,
) -> Result<Page, Error> {
    let shelves = shelves(queue, status);
    let mut mark = match cursor {
        Some(cursor) => Mark::read(cursor)?,
        None => Mark::beginning(&shelves[0]),
    };
    let Some(place) = shelves.iter().position(|shelf| shelf.name == mark.shelf) else {
        let cursor = cursor.map(Cursor::as_str).unwrap_or_default().to_owned();
        return Err(Error::CursorInvalid { cursor });
    };
    let shelf = &shelves[place];
    let n = limit
        .get()
        .min(LARGEST_PAGE)
        .min(shelf.most.saturating_sub(mark.n_seen));
    let entries = entries(queue, shelf, &mark, n).await?;
    let is_last = entries.len() < n || n == 0;
    let mut ids = Vec::new();
    for (id, score) in entries {
        mark.n_seen += 1;
        // An id that is no text is none of a job.
        if let Ok(id) = String::from_utf8(id) {
            ids.push(JobId::stored(&id));
            (mark.score, mark.id) = (score, id);
        }
    }
    let mut jobs = jobs(queue, &ids).await?;
    jobs.retain(|job| job.status == status);
    let next = if !is_last {
        Some(mark.cursor())
    } else {
        shelves
            .get(place + 1)
            .map(|next| Mark::beginning(next).cursor())
    };
    Ok(Page { jobs, next })
}

impl Mark {
    fn beginning(shelf: &Shelf<'_>) -> Self {
        Self {
            shelf: shelf.name.to_owned(),
            n_seen: 0,
            score: String::new(),
            id: String::new(),
        }
    }
}

/// Ids with their scores, from behind the mark on.
async fn entries(
    queue: &RedisQueue,
    shelf: &Shelf<'_>,
    mark: &Mark,
    n: usize,
) -> Result<Vec<(Vec<u8>, String)>, Error> {
    if n == 0 {
        return Ok(Vec::new());
    }
    let reply = queue
        .link
        .eval(&script::LIST, &[shelf.set], Resend::Yes, &|command, _| {
            command
                .arg(shelf.order)
                .arg(shelf.low)
                .arg(shelf.high)
                .arg(&mark.score)
                .arg(&mark.id)
                .arg(n);
        })
        .await?;
    let read = |reply| {
        let mut values = reply::array(reply)?.into_iter().skip(1);
        let mut entries = Vec::new();
        while let Some(id) = values.next() {
            entries.push((reply::bytes(id)?, reply::text(values.next()?)?));
        }
        Some(entries)
    };
    read(reply).ok_or_else(|| queue.link.unexpected())
}

pub(super) async fn health(queue: &RedisQueue) -> Result<Health, Error> {
    let keys = &queue.keys;
    let names = [keys.queue.as_str(), &keys.leases, &keys.dead, &keys.report];
    let reply = queue
        .link
        .eval(&script::HEALTH, &names, Resend::Yes, &|_, _| {})
        .await?;
    let read = |reply| {
        let [due, all, running, dead, oldest, report] = reply::array_of(reply)?;
        let count = |value: &Value| u64::try_from(reply::int(value)?).ok();
        let (due, all, running) = (count(&due)?, count(&all)?, count(&running)?);
        Some(Health {
            n_queued: due,
            n_deferred: all.saturating_sub(due).saturating_sub(running),
            n_running: running,
            n_dead: count(&dead)?,
            oldest_due: match &oldest {
                Value::Nil => None,
                value => Some(Duration::from_millis(count(value)?)),
            },
            report: match report {
                Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                _ => None,
            },
        })
    };
    read(reply).ok_or_else(|| queue.link.unexpected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let mark = Mark {
            shelf: "q".to_owned(),
            n_seen: 12,
            score: "1795360141123".to_owned(),
            id: "an id with spaces: ключ".to_owned(),
        };
        assert_eq!(Mark::read(&mark.cursor()).unwrap(), mark);
        for text in ["", "x", "cSAx", "cSB4IDEgaWQ"] {
            let error = Mark::read(&Cursor::new(text)).unwrap_err();
            assert!(matches!(error, Error::CursorInvalid { .. }), "{text}");
        }
    }
}
