//! What a model version has done since the start, as plain numbers: for protocols that have a call for it.
//!
//! Every number only grows. Failures are counted; how long they took is not kept.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::runs::Runs;
use crate::types::prediction::Timings;
use crate::types::timestamp::Timestamp;

/// Counts one model version.
#[derive(Debug, Default)]
pub struct Statistics {
    pub(super) runs: Runs,
    answered: AtomicU64,
    failed: AtomicU64,
    rows: AtomicU64,
    last_ms: AtomicU64,
    queue_ns: AtomicU64,
    input_ns: AtomicU64,
    engine_ns: AtomicU64,
    total_ns: AtomicU64,
    cache_hits: AtomicU64,
    cache_hit_ns: AtomicU64,
    cache_misses: AtomicU64,
    cache_miss_ns: AtomicU64,
}

/// The numbers at one moment; of several calls at once one may be in some of them only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    pub answered: u64,
    pub failed: u64,
    pub rows: u64,
    /// Of the engines; several calls may be one run.
    pub runs: u64,
    /// When the last call was answered, in milliseconds since the Unix epoch; zero before the first.
    pub last_ms: u64,
    pub queue_ns: u64,
    /// Features and assembling.
    pub input_ns: u64,
    pub engine_ns: u64,
    /// What is left of the whole.
    pub output_ns: u64,
    pub total_ns: u64,
    /// Calls that were answered from earlier runs, and how long looking for them took.
    pub cache_hits: u64,
    pub cache_hit_ns: u64,
    pub cache_misses: u64,
    pub cache_miss_ns: u64,
}

impl Statistics {
    pub(super) fn answered(&self, timings: &Timings, n_rows: usize) {
        let add = |to: &AtomicU64, time: Duration| to.fetch_add(time.as_nanos() as u64, Relaxed);
        self.answered.fetch_add(1, Relaxed);
        self.rows.fetch_add(n_rows as u64, Relaxed);
        add(&self.queue_ns, timings.queue);
        add(&self.input_ns, timings.features + timings.assemble);
        add(&self.engine_ns, timings.engine);
        add(&self.total_ns, timings.total);
        let now = Timestamp::now().as_micros() / 1_000;
        self.last_ms.store(u64::try_from(now).unwrap_or(0), Relaxed);
    }

    pub(super) fn cache_hit(&self, took: Duration) {
        self.cache_hits.fetch_add(1, Relaxed);
        self.cache_hit_ns.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    pub(super) fn cache_miss(&self, took: Duration) {
        self.cache_misses.fetch_add(1, Relaxed);
        self.cache_miss_ns
            .fetch_add(took.as_nanos() as u64, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// All but the runs, which are counted where they are made.
    pub(super) fn read(&self) -> Reading {
        let [queue_ns, input_ns, engine_ns, total_ns] = [
            &self.queue_ns,
            &self.input_ns,
            &self.engine_ns,
            &self.total_ns,
        ]
        .map(|number| number.load(Relaxed));
        Reading {
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            rows: self.rows.load(Relaxed),
            runs: 0,
            last_ms: self.last_ms.load(Relaxed),
            queue_ns,
            input_ns,
            engine_ns,
            output_ns: total_ns.saturating_sub(queue_ns + input_ns + engine_ns),
            total_ns,
            cache_hits: self.cache_hits.load(Relaxed),
            cache_hit_ns: self.cache_hit_ns.load(Relaxed),
            cache_misses: self.cache_misses.load(Relaxed),
            cache_miss_ns: self.cache_miss_ns.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up_and_what_no_step_took_is_output() {
        let statistics = Statistics::default();
        assert_eq!(statistics.read(), Reading::default());
        let timings = Timings {
            features: Duration::from_nanos(10),
            assemble: Duration::from_nanos(5),
            queue: Duration::from_nanos(1),
            engine: Duration::from_nanos(20),
            total: Duration::from_nanos(40),
        };
        statistics.answered(&timings, 3);
        statistics.answered(&timings, 1);
        statistics.failed();
        let reading = statistics.read();
        assert_eq!((reading.answered, reading.failed, reading.rows), (2, 1, 4));
        assert_eq!(
            (reading.input_ns, reading.output_ns, reading.total_ns),
            (30, 8, 80)
        );
        assert!(reading.last_ms > 0);
    }
}
