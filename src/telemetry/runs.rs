//! Engine runs of a model version by their size: for protocols that have a call for it.
//!
//! Sizes up to 256 rows count apart; larger ones under the next power of two, up to a limit that no run reaches.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Sizes that count apart: what merged runs have unless they are configured to be larger.
const EXACT: usize = 256;

/// Powers of two above that.
const POWERS: usize = 24;

/// Counts the runs of one model version.
#[derive(Debug)]
pub(super) struct Runs {
    /// The first is of one row.
    sizes: Box<[Size]>,
}

#[derive(Debug, Default)]
struct Size {
    runs: AtomicU64,
    input_ns: AtomicU64,
    engine_ns: AtomicU64,
    output_ns: AtomicU64,
}

/// The runs of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunsReading {
    pub n_rows: u64,
    pub runs: u64,
    /// Joining the rows of several calls.
    pub input_ns: u64,
    pub engine_ns: u64,
    /// Taking them apart again.
    pub output_ns: u64,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            sizes: (0..EXACT + POWERS).map(|_| Size::default()).collect(),
        }
    }
}

impl Runs {
    pub(super) fn add(&self, n_rows: usize, input: Duration, engine: Duration, output: Duration) {
        let Some(size) = self.sizes.get(place(n_rows)) else {
            return;
        };
        let add = |to: &AtomicU64, time: Duration| {
            // Of a call that runs alone two are.
            if !time.is_zero() {
                to.fetch_add(time.as_nanos() as u64, Relaxed);
            }
        };
        size.runs.fetch_add(1, Relaxed);
        add(&size.input_ns, input);
        add(&size.engine_ns, engine);
        add(&size.output_ns, output);
    }

    /// Sizes that there were, in ascending order.
    pub(super) fn read(&self) -> Vec<RunsReading> {
        let sizes = self.sizes.iter().enumerate();
        let read = sizes.map(|(place, size)| RunsReading {
            n_rows: n_rows(place),
            runs: size.runs.load(Relaxed),
            input_ns: size.input_ns.load(Relaxed),
            engine_ns: size.engine_ns.load(Relaxed),
            output_ns: size.output_ns.load(Relaxed),
        });
        read.filter(|reading| reading.runs > 0).collect()
    }
}

fn place(n_rows: usize) -> usize {
    match n_rows {
        0 => 0,
        n if n <= EXACT => n - 1,
        n => {
            let doublings = n.div_ceil(EXACT).next_power_of_two().trailing_zeros() as usize;
            EXACT - 1 + doublings.min(POWERS)
        }
    }
}

fn n_rows(place: usize) -> u64 {
    match place {
        exact if exact < EXACT => exact as u64 + 1,
        power => (EXACT as u64) << (power - EXACT + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_runs_count_by_their_size_and_large_ones_by_the_next_power_of_two() {
        let runs = Runs::default();
        let ns = Duration::from_nanos;
        for n_rows in [1, 1, 256, 257, 512, 513, 100_000] {
            runs.add(n_rows, ns(1), ns(20), ns(3));
        }
        let sizes: Vec<(u64, u64)> = runs.read().iter().map(|r| (r.n_rows, r.runs)).collect();
        assert_eq!(sizes, [(1, 2), (256, 1), (512, 2), (1024, 1), (131_072, 1)]);
        let first = runs.read()[0];
        assert_eq!(
            (first.input_ns, first.engine_ns, first.output_ns),
            (2, 40, 6)
        );
        runs.add(usize::MAX, ns(1), ns(1), ns(1));
        assert_eq!(runs.read().last().unwrap().n_rows, 256 << 24);
    }
}
