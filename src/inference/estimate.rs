//! How long a run should take, which decides on which thread it happens.
//!
//! A call that should take at most 500 µs runs on the caller's thread, an async worker, because handing it to another
//! thread and back costs 10 to 20 µs, several times a small model's run. A longer one goes to a blocking thread, so that
//! it does not hold up other requests. The estimate is the fastest of a few warm-up runs, times as often as the call has
//! that run's number of rows; it overstates large calls of small models, unless a large run was timed too. A model that
//! was not warmed up counts as slow.

use std::time::Duration;

/// Longest estimated run that stays on the caller's thread.
pub(super) const SHORT: Duration = Duration::from_micros(500);

/// Least price of a run, whatever its rows, at which merged runs make up for what merging costs: some 0.6 µs a call.
const PRICE: Duration = Duration::from_nanos(1500);

/// The fastest run of a warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmRun {
    pub n_rows: usize,
    pub took: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Estimate {
    /// Absent before the warm-up.
    pub(super) warm_run: Option<WarmRun>,
    /// A run of more rows, where one was tried.
    pub(super) large_run: Option<WarmRun>,
}

impl Estimate {
    /// Whether short calls that are ready at the same time had better run as one: a run costs something before its first row.
    pub(super) fn favours_merging(&self) -> bool {
        let (Some(small), Some(large)) = (self.warm_run, self.large_run) else {
            return false;
        };
        let further_rows = large.n_rows.saturating_sub(small.n_rows) as f64;
        let longer = large.took.as_secs_f64() - small.took.as_secs_f64();
        let price = small.took.as_secs_f64() - small.n_rows as f64 * longer / further_rows;
        // Without further rows this is not a number, and merging is not favoured.
        price >= PRICE.as_secs_f64()
    }

    pub(super) fn is_short(&self, n_rows: Option<usize>) -> bool {
        let n_rows = n_rows.unwrap_or(1);
        let runs = [self.warm_run, self.large_run].into_iter().flatten();
        let estimates = runs.map(|run| {
            let times = n_rows.div_ceil(run.n_rows.max(1));
            run.took
                .saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
        });
        // Both overstate.
        estimates.min().is_some_and(|shortest| shortest <= SHORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n_rows: usize, micros: u64) -> Option<WarmRun> {
        Some(WarmRun {
            n_rows,
            took: Duration::from_micros(micros),
        })
    }

    #[test]
    fn a_large_run_that_was_timed_corrects_what_a_small_one_overstates() {
        let small = Estimate {
            warm_run: run(1, 10),
            large_run: None,
        };
        assert!(small.is_short(Some(50)));
        assert!(!small.is_short(Some(51)));
        let both = Estimate {
            large_run: run(64, 100),
            ..small
        };
        assert!(both.is_short(Some(320)));
        assert!(!both.is_short(Some(321)));
        assert!(!Estimate::default().is_short(Some(1)));
    }
}
