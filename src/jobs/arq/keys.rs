//! The names and numbers that arq keeps in Redis: keys, scores, times to live.
//!
//! Job ids share one namespace across queues; only the queue itself and its health key carry the queue's name.

use std::time::Duration;

use crate::types::timestamp::Timestamp;

/// The queue that arq uses when nothing else is said.
pub const DEFAULT_QUEUE: &str = "arq:queue";

/// Sorted set of the ids to abort, by the time of the request.
pub const ABORT: &str = "arq:abort";

pub const JOB_PREFIX: &str = "arq:job:";
pub const IN_PROGRESS_PREFIX: &str = "arq:in-progress:";
pub const RETRY_PREFIX: &str = "arq:retry:";
pub const RESULT_PREFIX: &str = "arq:result:";

/// How long a retry counter is kept after a pick-up.
pub const RETRY_COUNTER_TTL: Duration = Duration::from_secs(88_400);

/// How long a job is kept from the time that it is due, where its client does not say.
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(86_400);

/// The serialized job.
pub fn job(id: &str) -> String {
    format!("{JOB_PREFIX}{id}")
}

/// The lease of the worker that runs the job.
pub fn in_progress(id: &str) -> String {
    format!("{IN_PROGRESS_PREFIX}{id}")
}

/// The counter of tries.
pub fn retry(id: &str) -> String {
    format!("{RETRY_PREFIX}{id}")
}

/// The serialized result.
pub fn result(id: &str) -> String {
    format!("{RESULT_PREFIX}{id}")
}

/// The health text of the workers of a queue.
pub fn health_check(queue: &str) -> String {
    format!("{queue}:health-check")
}

/// Milliseconds since the epoch, rounded as arq rounds: how arq writes times, and the score of a job due then.
pub fn millis(time: Timestamp) -> i64 {
    let (millis, micros) = (
        time.as_micros().div_euclid(1_000),
        time.as_micros().rem_euclid(1_000),
    );
    millis + i64::from(micros >= 500)
}

/// The moment of such milliseconds; saturates far outside any calendar.
pub fn time(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis.saturating_mul(1_000))
}

/// How long the job key lives: from the time of enqueuing, by what the client says, else a day from when it is due.
/// `None` where that is no time at all: such a job would be on the queue and have no key.
pub fn expiry(
    enqueued_at: Timestamp,
    due_at: Timestamp,
    expires: Option<Duration>,
) -> Option<Duration> {
    let millis = match expires {
        Some(expires) if !expires.is_zero() => i64::try_from(expires.as_millis()).ok()?,
        _ => {
            let wait = millis(due_at).saturating_sub(millis(enqueued_at));
            wait.saturating_add(i64::try_from(DEFAULT_EXPIRY.as_millis()).ok()?)
        }
    };
    u64::try_from(millis)
        .ok()
        .filter(|millis| *millis > 0)
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_360_131_740;

    #[test]
    fn a_job_lives_a_day_from_when_it_is_due() {
        let expiry_after =
            |wait: i64| expiry(time(NOW), time(NOW + wait), None).map(|ttl| ttl.as_millis());
        assert_eq!(expiry_after(0), Some(86_400_000));
        assert_eq!(expiry_after(3_600_000), Some(90_000_000));
        assert_eq!(expiry_after(-86_400_000), None);
    }

    #[test]
    fn an_expiry_counts_from_enqueuing_and_zero_means_the_default() {
        let expiry_of = |expires| expiry(time(NOW), time(NOW + 10_000), Some(expires));
        assert_eq!(
            expiry_of(Duration::from_secs(3)),
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            expiry_of(Duration::ZERO),
            Some(Duration::from_millis(86_410_000))
        );
        assert_eq!(expiry_of(Duration::from_micros(1)), None);
    }

    #[test]
    fn times_are_rounded_to_milliseconds() {
        assert_eq!(millis(Timestamp::from_micros(1_499)), 1);
        assert_eq!(millis(Timestamp::from_micros(1_500)), 2);
        assert_eq!(millis(Timestamp::from_micros(-1_400)), -1);
        assert_eq!(millis(time(NOW)), NOW);
    }
}
