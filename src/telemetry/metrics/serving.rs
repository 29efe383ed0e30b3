//! What predictions of a model version count: requests, steps, runs, what waits, the cache.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry,
};

use super::definitions::{
    INFERENCE_BATCH_ROWS, INFERENCE_CACHE_BYTES, INFERENCE_CACHE_LOOKUPS, INFERENCE_IN_FLIGHT,
    INFERENCE_NOT_RUN, INFERENCE_REPEATED, INFERENCE_WAITING, Metric, ROW_BUCKETS, counters,
    in_registry, observe, opts,
};
use super::{CODE_OK, InFlight, RunsReading};
use crate::telemetry::statistics::{Reading, Statistics};
use crate::types::prediction::Timings;

/// Counts the predictions of one model version. Clones count into the same place.
#[derive(Debug, Clone)]
pub struct ModelMetrics {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) ok: IntCounter,
    pub(super) requests: IntCounterVec,
    pub(super) shadow_runs: IntCounterVec,
    pub(super) rows: IntCounter,
    pub(super) features: Histogram,
    pub(super) assemble: Histogram,
    pub(super) queue: Histogram,
    pub(super) engine: Histogram,
    pub(super) total: Histogram,
    /// One observation for each run of an engine.
    pub(super) runs: Histogram,
    pub(super) statistics: Arc<Statistics>,
}

impl ModelMetrics {
    /// The same counts as numbers.
    pub fn read(&self) -> Reading {
        Reading {
            runs: self.runs.get_sample_count(),
            ..self.statistics.read()
        }
    }

    /// Runs of the engines by their size, in ascending order.
    pub fn read_runs(&self) -> Vec<RunsReading> {
        self.statistics.runs.read()
    }

    /// Counts a request by what came of it: `CODE_OK` or the code of the error.
    pub fn count(&self, code: &'static str) {
        if code == CODE_OK {
            self.ok.inc();
            return;
        }
        self.statistics.failed();
        let labels = [self.name.as_str(), self.version.as_str(), code];
        self.requests.with_label_values(&labels).inc();
    }

    /// Counts a shadow run of the version: `CODE_OK`, `CODE_DROPPED` or the code of the error.
    pub fn count_shadow(&self, code: &'static str) {
        let labels = [self.name.as_str(), self.version.as_str(), code];
        self.shadow_runs.with_label_values(&labels).inc();
    }

    /// The steps and rows of an answered prediction; `cached` if no engine ran for it.
    pub fn observe(&self, timings: &Timings, n_rows: usize, cached: bool) {
        self.rows.inc_by(n_rows as u64);
        // Protocols count inferences, which are rows that were run.
        let n_run = if cached { 0 } else { n_rows };
        self.statistics.answered(timings, n_run);
        observe(&self.features, timings.features);
        observe(&self.assemble, timings.assemble);
        observe(&self.queue, timings.queue);
        observe(&self.engine, timings.engine);
        observe(&self.total, timings.total);
    }
}

/// What waits and runs, of all models.
#[derive(Debug)]
pub(super) struct QueuesMetrics {
    batch_rows: HistogramVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    not_run: IntCounterVec,
    repeated: IntCounterVec,
    cache_lookups: IntCounterVec,
    cache_bytes: IntGaugeVec,
}

impl QueuesMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let batch_rows = HistogramOpts::new(INFERENCE_BATCH_ROWS.name, INFERENCE_BATCH_ROWS.help);
        let batch_rows = batch_rows.buckets(ROW_BUCKETS.to_vec());
        let gauges =
            |metric: &Metric| in_registry(registry, IntGaugeVec::new(opts(metric), metric.labels));
        Self {
            batch_rows: in_registry(
                registry,
                HistogramVec::new(batch_rows, INFERENCE_BATCH_ROWS.labels),
            ),
            in_flight: gauges(&INFERENCE_IN_FLIGHT),
            waiting: gauges(&INFERENCE_WAITING),
            not_run: counters(registry, &INFERENCE_NOT_RUN),
            repeated: counters(registry, &INFERENCE_REPEATED),
            cache_lookups: counters(registry, &INFERENCE_CACHE_LOOKUPS),
            cache_bytes: gauges(&INFERENCE_CACHE_BYTES),
        }
    }

    pub(super) fn of(
        &self,
        name: &str,
        version: &str,
        statistics: Arc<Statistics>,
    ) -> QueueMetrics {
        let labels = [name, version];
        let lookups = |outcome| {
            self.cache_lookups
                .with_label_values(&[name, version, outcome])
        };
        let not_run = |reason| self.not_run.with_label_values(&[name, version, reason]);
        QueueMetrics {
            batch_rows: self.batch_rows.with_label_values(&labels),
            in_flight: self.in_flight.with_label_values(&labels),
            waiting: self.waiting.with_label_values(&labels),
            refused: not_run("refused"),
            expired: not_run("expired"),
            abandoned: not_run("abandoned"),
            repeated: self.repeated.with_label_values(&labels),
            cache: CacheMetrics {
                hits: lookups("hit"),
                misses: lookups("miss"),
                bytes: self.cache_bytes.with_label_values(&labels),
                statistics: Arc::clone(&statistics),
            },
            statistics,
        }
    }
}

/// Counts what waits for the engines of one model version and what they run. Clones count into the same place.
#[derive(Debug, Clone)]
pub struct QueueMetrics {
    pub(super) batch_rows: Histogram,
    pub(super) in_flight: IntGauge,
    pub(super) waiting: IntGauge,
    pub refused: IntCounter,
    pub expired: IntCounter,
    pub abandoned: IntCounter,
    /// Merged runs that failed and were repeated call by call.
    pub repeated: IntCounter,
    pub cache: CacheMetrics,
    pub(super) statistics: Arc<Statistics>,
}

/// Counts what a cache of answers was asked for. Clones count into the same place.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    hits: IntCounter,
    misses: IntCounter,
    bytes: IntGauge,
    statistics: Arc<Statistics>,
}

impl CacheMetrics {
    /// Found, in so much time.
    pub fn hit(&self, took: Duration) {
        self.hits.inc();
        self.statistics.cache_hit(took);
    }

    /// Not found, in so much time.
    pub fn missed(&self, took: Duration) {
        self.misses.inc();
        self.statistics.cache_miss(took);
    }

    pub fn set_bytes(&self, n_bytes: u64) {
        self.bytes.set(i64::try_from(n_bytes).unwrap_or(i64::MAX));
    }

    pub fn n_hits(&self) -> u64 {
        self.hits.get()
    }

    pub fn n_misses(&self) -> u64 {
        self.misses.get()
    }
}

impl QueueMetrics {
    /// A run of one call, of so many rows.
    pub fn ran(&self, n_rows: usize, took: Duration) {
        self.ran_merged(n_rows, Duration::ZERO, took, Duration::ZERO);
    }

    /// A run of several calls: joining their rows, running, taking them apart.
    pub fn ran_merged(&self, n_rows: usize, input: Duration, engine: Duration, output: Duration) {
        self.batch_rows.observe(n_rows as f64);
        self.statistics.runs.add(n_rows, input, engine, output);
    }

    /// Runs so far, and the rows of all of them.
    pub fn runs(&self) -> (u64, f64) {
        let rows = &self.batch_rows;
        (rows.get_sample_count(), rows.get_sample_sum())
    }

    /// Counts a call until the guard is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a call as waiting until the guard is dropped.
    pub fn waiting(&self) -> InFlight {
        self.waiting.inc();
        InFlight(self.waiting.clone())
    }
}

impl Default for QueueMetrics {
    /// Of nobody's registry: for a command, which nobody scrapes.
    fn default() -> Self {
        QueuesMetrics::new(&Registry::new()).of("", "", Arc::default())
    }
}
