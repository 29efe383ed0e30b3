//! What a worker counts.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use super::definitions::{
    JOB_BUCKETS, JOB_LEASES_LOST, JOB_RETRIES, JOB_SECONDS, JOB_WAIT_SECONDS, JOBS, JOBS_RUNNING,
    Metric, counter, counters, gauge, gauge_value, in_registry, observe,
};

/// What a worker does. `function` is always the name of a function that there is, or empty.
#[derive(Debug, Clone)]
pub struct JobMetrics {
    ended: IntCounterVec,
    retries: IntCounterVec,
    seconds: HistogramVec,
    wait_seconds: HistogramVec,
    running: IntGauge,
    leases_lost: IntCounter,
}

impl JobMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let histograms = |metric: &Metric| {
            let opts = HistogramOpts::new(metric.name, metric.help).buckets(JOB_BUCKETS.to_vec());
            in_registry(registry, HistogramVec::new(opts, metric.labels))
        };
        Self {
            ended: counters(registry, &JOBS),
            retries: counters(registry, &JOB_RETRIES),
            seconds: histograms(&JOB_SECONDS),
            wait_seconds: histograms(&JOB_WAIT_SECONDS),
            running: gauge(registry, &JOBS_RUNNING),
            leases_lost: counter(registry, &JOB_LEASES_LOST),
        }
    }

    /// A job ended: `CODE_OK` or the code of the error.
    pub fn ended(&self, function: &'static str, code: &'static str) {
        self.ended.with_label_values(&[function, code]).inc();
    }

    pub fn retried(&self, function: &'static str, code: &'static str) {
        self.retries.with_label_values(&[function, code]).inc();
    }

    pub fn ran(&self, function: &'static str, time: Duration) {
        observe(&self.seconds.with_label_values(&[function]), time);
    }

    pub fn waited(&self, function: &'static str, time: Duration) {
        observe(&self.wait_seconds.with_label_values(&[function]), time);
    }

    pub fn running(&self, n_running: usize) {
        self.running.set(gauge_value(n_running));
    }

    pub fn lost(&self) {
        self.leases_lost.inc();
    }
}

impl Default for JobMetrics {
    /// Of nobody's registry: for tests.
    fn default() -> Self {
        Self::new(&Registry::new())
    }
}
