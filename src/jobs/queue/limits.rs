//! What every queue refuses, and how long it waits between two looks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::jobs::{Config, Error, JobOutcome, NewJob, Settlement};

const SHORTEST_LEASE: Duration = Duration::from_millis(100);
/// The first pause of a queue that was busy just now.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

pub(super) fn check(config: &Config) -> Result<(), Error> {
    let what = if config.lease < SHORTEST_LEASE {
        format!(
            "`jobs.lease` is {:?}, and must be at least {SHORTEST_LEASE:?}",
            config.lease
        )
    } else if config.poll < SHORTEST_PAUSE {
        format!(
            "`jobs.poll` is {:?}, and must be at least {SHORTEST_PAUSE:?}",
            config.poll
        )
    } else {
        return Ok(());
    };
    Err(Error::Settings { what })
}

pub(super) fn check_bodies(jobs: &[NewJob], config: &Config) -> Result<(), Error> {
    let limit = config.max_body_size.as_usize();
    match jobs.iter().find(|job| job.body.len() > limit) {
        None => Ok(()),
        Some(job) => Err(Error::TooLarge {
            id: job.id.clone(),
            what: "body",
            n_bytes: job.body.len(),
            limit,
        }),
    }
}

pub(super) fn check_results(settlements: &[Settlement], config: &Config) -> Result<(), Error> {
    let limit = config.max_result_size.as_usize();
    for settlement in settlements {
        let (JobOutcome::Complete { result, .. } | JobOutcome::Dead { result, .. }) =
            &settlement.outcome
        else {
            continue;
        };
        if result.len() > limit {
            return Err(Error::TooLarge {
                id: settlement.lease.id.clone(),
                what: "result",
                n_bytes: result.len(),
                limit,
            });
        }
    }
    Ok(())
}

/// Whole milliseconds, as queues count; at least one where there is any time at all.
pub(super) fn millis(duration: Duration) -> i64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    // More than 100,000 years are as good as that.
    i64::try_from(millis).unwrap_or(i64::MAX).min(1 << 51)
}

/// How long to wait before the next look: the longer nothing was found, the longer.
#[derive(Debug)]
pub(super) struct Pace {
    longest: Duration,
    last_found: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            last_found: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn found(&self) {
        *self
            .last_found
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn pause(&self) -> Duration {
        let last_found = *self
            .last_found
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (last_found.elapsed() / 16).clamp(SHORTEST_PAUSE, self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_while_nothing_is_found() {
        let pace = Pace::new(Duration::from_millis(100));
        assert_eq!(pace.pause(), SHORTEST_PAUSE);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.pause(), Duration::from_micros(62_500));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(pace.pause(), Duration::from_millis(100));
        pace.found();
        assert_eq!(pace.pause(), SHORTEST_PAUSE);
    }

    #[test]
    fn a_part_of_a_millisecond_is_one() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_micros(1_001)), 2);
        assert_eq!(millis(Duration::MAX), 1 << 51);
    }

    #[test]
    fn a_lease_that_cannot_be_renewed_in_time_is_refused() {
        let config = Config {
            lease: Duration::from_millis(1),
            ..Config::default()
        };
        assert!(
            check(&config)
                .unwrap_err()
                .to_string()
                .contains("`jobs.lease`")
        );
        assert!(check(&Config::default()).is_ok());
    }
}
