//! Adding jobs, and ending them.

use std::time::Duration;

use super::claim::state;
use super::database::{Database, Durability, Write};
use crate::jobs::queue::limits::millis;
use crate::jobs::{
    Config, Due, Enqueued, Error, JobId, JobOutcome, Keep, Lease, LeaseState, NewJob, Settlement,
};

const DAY: i64 = 86_400_000;

pub(super) async fn enqueue(database: &Database, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
    let mut write = database.write(Durability::Machine).await?;
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let due = match job.due {
            Due::Now => write.now,
            Due::After(delay) => write.now.saturating_add(millis(delay)),
            Due::At(moment) => moment.as_micros().div_euclid(1_000),
        };
        let expires = match job.expires {
            Some(life) => write.now.saturating_add(millis(life)),
            None => due.max(write.now).saturating_add(DAY),
        };
        if expires <= due || expires <= write.now {
            return Err(Error::ExpiresBeforeDue { id: job.id.clone() });
        }
        sqlx::query("DELETE FROM results WHERE id = ?1 AND expires <= ?2")
            .bind(job.id.as_str())
            .bind(write.now)
            .execute(&mut *write.sql)
            .await
            .map_err(|error| database.failed(error))?;
        let added = sqlx::query(
            "INSERT INTO jobs (id, body, due, expires) SELECT ?1, ?2, ?3, ?4
             WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = ?1) AND NOT EXISTS (SELECT 1 FROM results WHERE id = ?1)",
        )
        .bind(job.id.as_str())
        .bind(&job.body[..])
        .bind(due)
        .bind(expires)
        .execute(&mut *write.sql)
        .await
        .map_err(|error| database.failed(error))?;
        if added.rows_affected() == 0 {
            answers.push(Enqueued::Duplicate);
            continue;
        }
        delete(
            database,
            &mut write,
            "DELETE FROM dead WHERE id = ?1",
            &job.id,
        )
        .await?;
        answers.push(Enqueued::New);
    }
    write.commit().await?;
    Ok(answers)
}

pub(super) async fn settle(
    database: &Database,
    settlements: &[Settlement],
    config: &Config,
) -> Result<Vec<LeaseState>, Error> {
    let mut write = database.write(Durability::Machine).await?;
    let mut states = Vec::with_capacity(settlements.len());
    for settlement in settlements {
        let lease = &settlement.lease;
        let state = match &settlement.outcome {
            JobOutcome::Retry { after } => {
                let due = write.now.saturating_add(millis(*after));
                give_back(database, &mut write, lease, due, lease.attempt).await?
            }
            JobOutcome::Released => {
                // A place is a whole number of milliseconds here.
                let place = lease.place as i64;
                let attempt = lease.attempt.saturating_sub(1);
                give_back(database, &mut write, lease, place, attempt).await?
            }
            JobOutcome::Complete { result, keep } => {
                end(database, &mut write, lease, None, result, *keep).await?
            }
            JobOutcome::Dead {
                result,
                keep,
                reason,
            } => end(database, &mut write, lease, Some(reason), result, *keep).await?,
        };
        states.push(state);
    }
    tidy(database, &mut write, config).await?;
    write.commit().await?;
    Ok(states)
}

async fn give_back(
    database: &Database,
    write: &mut Write<'_>,
    lease: &Lease,
    due: i64,
    attempt: u32,
) -> Result<LeaseState, Error> {
    let updated = sqlx::query(
        "UPDATE jobs SET token = NULL, lease_until = NULL, due = ?3, attempt = ?4 WHERE id = ?1 AND token = ?2",
    )
    .bind(lease.id.as_str())
    .bind(&*lease.token)
    .bind(due)
    .bind(i64::from(attempt))
    .execute(&mut *write.sql)
    .await
    .map_err(|error| database.failed(error))?;
    Ok(state(updated.rows_affected()))
}

async fn end(
    database: &Database,
    write: &mut Write<'_>,
    lease: &Lease,
    reason: Option<&String>,
    result: &[u8],
    keep: Keep,
) -> Result<LeaseState, Error> {
    let body: Option<Option<Vec<u8>>> =
        sqlx::query_scalar("DELETE FROM jobs WHERE id = ?1 AND token = ?2 RETURNING body")
            .bind(lease.id.as_str())
            .bind(&*lease.token)
            .fetch_optional(&mut *write.sql)
            .await
            .map_err(|error| database.failed(error))?;
    let Some(body) = body else {
        return Ok(LeaseState::Lost);
    };
    let expires = match keep {
        Keep::No => Some(0),
        Keep::For(duration) => Some(write.now.saturating_add(millis(duration))),
        Keep::Forever => None,
    };
    if expires.is_none_or(|expires| expires > write.now) {
        sqlx::query("INSERT OR REPLACE INTO results (id, result, expires) VALUES (?1, ?2, ?3)")
            .bind(lease.id.as_str())
            .bind(result)
            .bind(expires)
            .execute(&mut *write.sql)
            .await
            .map_err(|error| database.failed(error))?;
    }
    if let Some(reason) = reason {
        sqlx::query(
            "INSERT OR REPLACE INTO dead (id, body, reason, died_at, attempts) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(lease.id.as_str())
        .bind(body)
        .bind(reason)
        .bind(write.now)
        .bind(i64::from(lease.attempt))
        .execute(&mut *write.sql)
        .await
        .map_err(|error| database.failed(error))?;
    }
    Ok(LeaseState::Held)
}

/// Removes results and dead letters that are no longer kept.
async fn tidy(database: &Database, write: &mut Write<'_>, config: &Config) -> Result<(), Error> {
    sqlx::query("DELETE FROM results WHERE expires <= ?1")
        .bind(write.now)
        .execute(&mut *write.sql)
        .await
        .map_err(|error| database.failed(error))?;
    sqlx::query(
        "DELETE FROM dead WHERE died_at <= ?1
             OR seq <= (SELECT seq FROM dead ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
    )
    .bind(write.now.saturating_sub(millis(config.keep_dead)))
    .bind(i64::from(config.max_dead.get()))
    .execute(&mut *write.sql)
    .await
    .map_err(|error| database.failed(error))?;
    Ok(())
}

pub(super) async fn revive(database: &Database, id: &JobId) -> Result<(), Error> {
    let mut write = database.write(Durability::Machine).await?;
    let body: Option<Option<Vec<u8>>> = sqlx::query_scalar(
        "DELETE FROM dead WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = ?1) RETURNING body",
    )
    .bind(id.as_str())
    .fetch_optional(&mut *write.sql)
    .await
    .map_err(|error| database.failed(error))?;
    // Without a commit nothing was deleted.
    let body = body.ok_or_else(|| Error::NotDead { id: id.clone() })?;
    let body = body.ok_or_else(|| Error::Hollow { id: id.clone() })?;
    delete(
        database,
        &mut write,
        "DELETE FROM results WHERE id = ?1",
        id,
    )
    .await?;
    sqlx::query("INSERT INTO jobs (id, body, due, expires) VALUES (?1, ?2, ?3, ?4)")
        .bind(id.as_str())
        .bind(body)
        .bind(write.now)
        .bind(write.now.saturating_add(DAY))
        .execute(&mut *write.sql)
        .await
        .map_err(|error| database.failed(error))?;
    write.commit().await
}

async fn delete(
    database: &Database,
    write: &mut Write<'_>,
    statement: &'static str,
    id: &JobId,
) -> Result<(), Error> {
    sqlx::query(statement)
        .bind(id.as_str())
        .execute(&mut *write.sql)
        .await
        .map_err(|error| database.failed(error))?;
    Ok(())
}

pub(super) async fn report(database: &Database, line: &str, lasts: Duration) -> Result<(), Error> {
    let mut write = database.write(Durability::Process).await?;
    sqlx::query("INSERT OR REPLACE INTO report (one, line, expires) VALUES (1, ?1, ?2)")
        .bind(line)
        .bind(write.now.saturating_add(millis(lasts)))
        .execute(&mut *write.sql)
        .await
        .map_err(|error| database.failed(error))?;
    write.commit().await
}
