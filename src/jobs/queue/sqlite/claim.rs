//! Taking jobs, keeping them, and hearing of requests to end them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::database::{Database, Durability, now};
use crate::jobs::queue::limits::millis;
use crate::jobs::{Aborted, Claimed, Error, JobId, Lease, LeaseState};
use crate::types::timestamp::Timestamp;

/// How long until something is due: a job, or one whose worker is gone. Zero if something is.
pub(super) async fn next_due(database: &Database) -> Result<Option<Duration>, Error> {
    let next: Option<i64> = sqlx::query_scalar(
        "SELECT min(at) FROM (
            SELECT (SELECT min(due) FROM jobs WHERE token IS NULL) AS at
            UNION ALL SELECT (SELECT min(lease_until) FROM jobs WHERE token IS NOT NULL))",
    )
    .fetch_one(database.readers())
    .await
    .map_err(|error| database.failed(error))?;
    Ok(next.map(|next| {
        let ms = next.saturating_sub(now());
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }))
}

/// Takes up to `n` due jobs, those of workers that are gone first.
pub(super) async fn claim(
    database: &Database,
    n: usize,
    lease: Duration,
) -> Result<Vec<Claimed>, Error> {
    let token: Arc<str> = Uuid::now_v7().simple().to_string().into();
    let mut write = database.write(Durability::Process).await?;
    let until = write.now.saturating_add(millis(lease));
    let mut rows = Vec::new();
    // `abort_at` of the row as it was: RETURNING tells what is.
    for statement in [
        "UPDATE jobs SET token = ?1, lease_until = ?2, attempt = attempt + 1 WHERE seq IN
            (SELECT seq FROM jobs WHERE token IS NOT NULL AND lease_until <= ?3 ORDER BY lease_until, seq LIMIT ?4)
         RETURNING seq, id, body, due, expires, attempt, abort_at",
        "UPDATE jobs SET token = ?1, lease_until = ?2, attempt = attempt + 1 WHERE seq IN
            (SELECT seq FROM jobs WHERE token IS NULL AND due <= ?3 ORDER BY due, seq LIMIT ?4)
         RETURNING seq, id, body, due, expires, attempt, abort_at",
    ] {
        let left = i64::try_from(n - rows.len()).unwrap_or(i64::MAX);
        let taken = sqlx::query(statement)
            .bind(&*token)
            .bind(until)
            .bind(write.now)
            .bind(left)
            .fetch_all(&mut *write.sql)
            .await
            .map_err(|error| database.failed(error))?;
        let mut taken = taken
            .iter()
            .map(|row| Taken::read(database, row))
            .collect::<Result<Vec<_>, _>>()?;
        taken.sort_unstable_by_key(|job| (job.due, job.seq));
        rows.extend(taken);
    }
    for job in &rows {
        if job.abort_at.is_some() || job.expires.is_some() {
            let is_expired = job.is_expired(write.now);
            sqlx::query(
                "UPDATE jobs SET abort_at = NULL, expires = NULL, body = iif(?2, NULL, body) WHERE seq = ?1",
            )
            .bind(job.seq)
            .bind(is_expired)
            .execute(&mut *write.sql)
            .await
            .map_err(|error| database.failed(error))?;
        }
    }
    let now = write.now;
    write.commit().await?;
    let jobs = rows.into_iter();
    Ok(jobs.map(|job| job.claimed(&token, now)).collect())
}

/// A row of a claim.
struct Taken {
    seq: i64,
    id: String,
    body: Option<Vec<u8>>,
    due: i64,
    /// Until the first attempt.
    expires: Option<i64>,
    attempt: i64,
    abort_at: Option<i64>,
}

impl Taken {
    fn read(database: &Database, row: &SqliteRow) -> Result<Self, Error> {
        Ok(Self {
            seq: database.column(row, "seq")?,
            id: database.column(row, "id")?,
            body: database.column(row, "body")?,
            due: database.column(row, "due")?,
            expires: database.column(row, "expires")?,
            attempt: database.column(row, "attempt")?,
            abort_at: database.column(row, "abort_at")?,
        })
    }

    fn is_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn claimed(self, token: &Arc<str>, now: i64) -> Claimed {
        let is_expired = self.is_expired(now);
        Claimed {
            lease: Lease {
                id: JobId::stored(&self.id),
                attempt: u32::try_from(self.attempt).unwrap_or(u32::MAX),
                token: token.clone(),
                // Milliseconds of any calendar are exact in a double.
                place: self.due as f64,
            },
            body: self.body.filter(|_| !is_expired).map(Bytes::from),
            abort_requested: self.abort_at.map(moment),
        }
    }
}

pub(super) async fn extend(
    database: &Database,
    leases: &[Lease],
    lease_time: Duration,
) -> Result<Vec<LeaseState>, Error> {
    let mut write = database.write(Durability::Process).await?;
    let until = write.now.saturating_add(millis(lease_time));
    let mut states = Vec::with_capacity(leases.len());
    for lease in leases {
        let updated = sqlx::query(
            "UPDATE jobs SET lease_until = ?3, attempt = ?4 WHERE id = ?1 AND token = ?2",
        )
        .bind(lease.id.as_str())
        .bind(&*lease.token)
        .bind(until)
        .bind(i64::from(lease.attempt))
        .execute(&mut *write.sql)
        .await
        .map_err(|error| database.failed(error))?;
        states.push(state(updated.rows_affected()));
    }
    write.commit().await?;
    Ok(states)
}

pub(super) fn state(n_rows: u64) -> LeaseState {
    match n_rows {
        0 => LeaseState::Lost,
        _ => LeaseState::Held,
    }
}

pub(super) async fn abort(database: &Database, id: &JobId) -> Result<Aborted, Error> {
    let mut write = database.write(Durability::Machine).await?;
    // One that waits is the next to be picked up, however many wait.
    let updated = sqlx::query(
        "UPDATE jobs SET abort_at = ?2, due = iif(token IS NULL, 1, due) WHERE id = ?1",
    )
    .bind(id.as_str())
    .bind(write.now)
    .execute(&mut *write.sql)
    .await
    .map_err(|error| database.failed(error))?;
    if updated.rows_affected() > 0 {
        write.commit().await?;
        return Ok(Aborted::Requested);
    }
    let has_ended: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM results WHERE id = ?1 AND (expires IS NULL OR expires > ?2))
             OR EXISTS (SELECT 1 FROM dead WHERE id = ?1)",
    )
    .bind(id.as_str())
    .bind(write.now)
    .fetch_one(&mut *write.sql)
    .await
    .map_err(|error| database.failed(error))?;
    Ok(if has_ended {
        Aborted::TooLate
    } else {
        Aborted::NotFound
    })
}

pub(super) async fn aborted(database: &Database, running: &[JobId]) -> Result<Vec<JobId>, Error> {
    let requested: Vec<String> =
        sqlx::query_scalar("SELECT id FROM jobs WHERE abort_at IS NOT NULL AND token IS NOT NULL")
            .fetch_all(database.readers())
            .await
            .map_err(|error| database.failed(error))?;
    let is_requested = |id: &&JobId| requested.iter().any(|other| other == id.as_str());
    Ok(running.iter().filter(is_requested).cloned().collect())
}

pub(super) fn moment(ms: i64) -> Timestamp {
    Timestamp::from_micros(ms.saturating_mul(1_000))
}
