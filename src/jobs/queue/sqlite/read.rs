//! Jobs as they are: one, a page of them; and how much waits.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;

use super::claim::moment;
use super::database::{Database, now};
use crate::jobs::{Cursor, DeadLetter, Error, Health, Job, JobId, JobStatus, Page};

/// Most jobs of a page.
const LARGEST_PAGE: usize = 500;

pub(super) async fn get(database: &Database, id: &JobId) -> Result<Option<Job>, Error> {
    // One statement, so that a job that ends meanwhile is not missed.
    let row = sqlx::query(
        "SELECT ?1 AS id, j.seq, j.body, j.due, j.attempt, j.token IS NOT NULL AS is_running, j.lease_until,
                r.result, d.body AS dead_body, d.reason, d.died_at, d.attempts
         FROM (SELECT 1) LEFT JOIN jobs j ON j.id = ?1
             LEFT JOIN results r ON r.id = ?1 AND (r.expires IS NULL OR r.expires > ?2)
             LEFT JOIN dead d ON d.id = ?1",
    )
    .bind(id.as_str())
    .bind(now())
    .fetch_one(database.readers())
    .await
    .map_err(|error| database.failed(error))?;
    if let Some(job) = waiting(database, &row)? {
        return Ok(Some(job));
    }
    ended(database, &row)
}

/// Whether the job has not ended.
pub(super) async fn is_pending(database: &Database, id: &JobId) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1)")
        .bind(id.as_str())
        .fetch_one(database.readers())
        .await
        .map_err(|error| database.failed(error))
}

fn waiting(database: &Database, row: &SqliteRow) -> Result<Option<Job>, Error> {
    if database.column::<Option<i64>>(row, "seq")?.is_none() {
        return Ok(None);
    }
    let id: String = database.column(row, "id")?;
    let due: i64 = database.column(row, "due")?;
    let is_running: bool = database.column(row, "is_running")?;
    let lease_until: Option<i64> = database.column(row, "lease_until")?;
    let attempts: i64 = database.column(row, "attempt")?;
    let status = match lease_until {
        Some(until) if is_running && until > now() => JobStatus::Running,
        _ if due > now() => JobStatus::Deferred,
        _ => JobStatus::Queued,
    };
    let due = match status {
        JobStatus::Running => lease_until,
        _ => Some(due),
    };
    let body: Option<Vec<u8>> = database.column(row, "body")?;
    Ok(Some(Job {
        id: JobId::stored(&id),
        status,
        due: due.map(moment),
        attempts: u32::try_from(attempts).unwrap_or(0),
        body: body.map(Bytes::from),
        result: None,
        dead: None,
    }))
}

fn ended(database: &Database, row: &SqliteRow) -> Result<Option<Job>, Error> {
    let id: String = database.column(row, "id")?;
    let result: Option<Vec<u8>> = database.column(row, "result")?;
    let reason: Option<String> = database.column(row, "reason")?;
    let body: Option<Vec<u8>> = database.column(row, "dead_body")?;
    let dead = match reason {
        None => None,
        Some(reason) => {
            let attempts: i64 = database.column(row, "attempts")?;
            Some(DeadLetter {
                reason,
                died_at: moment(database.column(row, "died_at")?),
                attempts: u32::try_from(attempts).unwrap_or(0),
            })
        }
    };
    let status = match (&result, &dead) {
        (None, None) => return Ok(None),
        (Some(_), None) => JobStatus::Complete,
        (_, Some(_)) => JobStatus::Dead,
    };
    Ok(Some(Job {
        id: JobId::stored(&id),
        status,
        due: None,
        attempts: 0,
        body: body.map(Bytes::from),
        result: result.map(Bytes::from),
        dead,
    }))
}

/// The statements of lists. `?1` is now, `?2` and `?3` where the page begins, `?4` how many.
const QUEUED: &str = "
    SELECT *, token IS NOT NULL AS is_running, due AS place FROM jobs
    WHERE token IS NULL AND due <= ?1 AND (due, seq) > (?2, ?3) ORDER BY due, seq LIMIT ?4";
const DEFERRED: &str = "
    SELECT *, token IS NOT NULL AS is_running, due AS place FROM jobs
    WHERE token IS NULL AND due > ?1 AND (due, seq) > (?2, ?3) ORDER BY due, seq LIMIT ?4";
const RUNNING: &str = "
    SELECT *, token IS NOT NULL AS is_running, lease_until AS place FROM jobs
    WHERE token IS NOT NULL AND lease_until > ?1 AND (lease_until, seq) > (?2, ?3) ORDER BY lease_until, seq LIMIT ?4";
const DEAD: &str = "
    SELECT d.seq, d.id, d.body AS dead_body, d.reason, d.died_at, d.attempts, r.result, 0 AS place
    FROM dead d LEFT JOIN results r ON r.id = d.id AND (r.expires IS NULL OR r.expires > ?1)
    WHERE d.seq < ?3 AND ?2 IS NOT NULL ORDER BY d.seq DESC LIMIT ?4";
const COMPLETE: &str = "
    SELECT r.seq, r.id, r.result, NULL AS dead_body, NULL AS reason, 0 AS place
    FROM results r WHERE (r.expires IS NULL OR r.expires > ?1) AND r.seq < ?3 AND ?2 IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.id = r.id)
    ORDER BY r.seq DESC LIMIT ?4";

pub(super) async fn list(
    database: &Database,
    status: JobStatus,
    cursor: Option<&Cursor>,
    limit: NonZeroUsize,
) -> Result<Page, Error> {
    let statement = match status {
        JobStatus::Queued => QUEUED,
        JobStatus::Deferred => DEFERRED,
        JobStatus::Running => RUNNING,
        JobStatus::Dead => DEAD,
        JobStatus::Complete => COMPLETE,
    };
    let (place, seq) = match cursor {
        Some(cursor) => read_cursor(cursor)?,
        None if status.is_final() => (i64::MAX, i64::MAX),
        None => (i64::MIN, i64::MIN),
    };
    let limit = limit.get().min(LARGEST_PAGE);
    let rows = sqlx::query(statement)
        .bind(now())
        .bind(place)
        .bind(seq)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(database.readers())
        .await
        .map_err(|error| database.failed(error))?;
    let mut page = Page::default();
    for row in &rows {
        let job = match status.is_final() {
            true => ended(database, row)?,
            false => waiting(database, row)?,
        };
        // It may have moved on between the look and now.
        page.jobs.extend(job.filter(|job| job.status == status));
    }
    if let Some(last) = rows.last().filter(|_| rows.len() == limit) {
        let place: i64 = database.column(last, "place")?;
        let seq: i64 = database.column(last, "seq")?;
        page.next = Some(Cursor(format!("{place}.{seq}")));
    }
    Ok(page)
}

fn read_cursor(cursor: &Cursor) -> Result<(i64, i64), Error> {
    let parts = cursor.as_str().split_once('.');
    let parts = parts.and_then(|(place, seq)| Some((place.parse().ok()?, seq.parse().ok()?)));
    parts.ok_or_else(|| Error::CursorInvalid {
        cursor: cursor.as_str().to_owned(),
    })
}

pub(super) async fn health(database: &Database) -> Result<Health, Error> {
    let row = sqlx::query(
        "SELECT
            (SELECT count(*) FROM jobs WHERE token IS NULL AND due <= ?1) AS n_queued,
            (SELECT count(*) FROM jobs WHERE token IS NULL AND due > ?1) AS n_deferred,
            (SELECT count(*) FROM jobs WHERE token IS NOT NULL AND lease_until > ?1) AS n_running,
            (SELECT count(*) FROM jobs WHERE token IS NOT NULL AND lease_until <= ?1) AS n_left,
            (SELECT count(*) FROM dead) AS n_dead,
            (SELECT min(due) FROM jobs WHERE token IS NULL AND due <= ?1) AS oldest,
            (SELECT line FROM report WHERE expires > ?1) AS line",
    )
    .bind(now())
    .fetch_one(database.readers())
    .await
    .map_err(|error| database.failed(error))?;
    let count = |name| {
        let count: i64 = database.column(&row, name)?;
        Ok::<_, Error>(u64::try_from(count).unwrap_or(0))
    };
    let oldest: Option<i64> = database.column(&row, "oldest")?;
    let age = |due: i64| {
        let ms = now().saturating_sub(due);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    };
    Ok(Health {
        n_queued: count("n_queued")? + count("n_left")?,
        n_deferred: count("n_deferred")?,
        n_running: count("n_running")?,
        n_dead: count("n_dead")?,
        oldest_due: oldest.map(age),
        report: database.column(&row, "line")?,
    })
}
