//! How long runs take of late, from which a refused call learns when to try again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A moving average of the last eight runs or so.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// Of runs that end at the same moment one may be left out.
    pub(super) fn ran(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let average = self.0.load(Relaxed);
        let next = match average {
            0 => took,
            _ => average - average / 8 + took / 8,
        };
        self.0.store(next.max(1), Relaxed);
    }

    /// How long so many runs should take on so many engines; before the first run nothing is known.
    pub(super) fn time_for(&self, n_runs: usize, n_engines: usize) -> Duration {
        let rounds = n_runs.div_ceil(n_engines.max(1)) as u64;
        Duration::from_nanos(self.0.load(Relaxed).saturating_mul(rounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_takes_as_long_as_the_last_runs_took() {
        let pace = Pace::default();
        assert_eq!(pace.time_for(5, 2), Duration::ZERO);
        pace.ran(Duration::from_secs(1));
        assert_eq!(pace.time_for(5, 2), Duration::from_secs(3));
        for _ in 0..100 {
            pace.ran(Duration::from_millis(10));
        }
        let now = pace.time_for(1, 1);
        assert!(now < Duration::from_millis(11), "{now:?}");
    }
}
