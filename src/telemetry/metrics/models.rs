//! What is served, and how it came there.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::definitions::{
    MODEL_GATES, MODEL_LOAD_FAILURES, MODEL_LOADS, MODEL_REGISTRY_READ_AT, MODEL_REGISTRY_READS,
    MODEL_SWAPS, MODELS_BEHIND, MODELS_KEPT, MODELS_LOADED, counter, counters, gauge, gauge_value,
};
use crate::types::timestamp::Timestamp;

/// Counts what is served and how it came there. Clones count into the same place.
#[derive(Debug, Clone)]
pub struct ModelsMetrics {
    pub reads_changed: IntCounter,
    pub reads_unchanged: IntCounter,
    pub reads_failed: IntCounter,
    pub swaps: IntCounter,
    loads: IntCounterVec,
    gates: IntCounterVec,
    loaded: IntGauge,
    failures: IntGauge,
    kept: IntGauge,
    behind: IntGauge,
    read_at: IntGauge,
}

impl ModelsMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let reads = counters(registry, &MODEL_REGISTRY_READS);
        let read = |outcome| reads.with_label_values(&[outcome]);
        Self {
            reads_changed: read("changed"),
            reads_unchanged: read("unchanged"),
            reads_failed: read("failed"),
            swaps: counter(registry, &MODEL_SWAPS),
            loads: counters(registry, &MODEL_LOADS),
            gates: counters(registry, &MODEL_GATES),
            loaded: gauge(registry, &MODELS_LOADED),
            failures: gauge(registry, &MODEL_LOAD_FAILURES),
            kept: gauge(registry, &MODELS_KEPT),
            behind: gauge(registry, &MODELS_BEHIND),
            read_at: gauge(registry, &MODEL_REGISTRY_READ_AT),
        }
    }

    /// A version of a registered model came to life.
    pub fn loaded(&self, model: &str) {
        self.loads.with_label_values(&[model, "loaded"]).inc();
    }

    /// A version of a registered model did not.
    pub fn not_loaded(&self, model: &str) {
        self.loads.with_label_values(&[model, "failed"]).inc();
    }

    /// A version was judged, with an outcome of a closed set.
    pub fn judged(&self, model: &str, outcome: &'static str) {
        self.gates.with_label_values(&[model, outcome]).inc();
    }

    /// How many versions are served, failed to load the last time and are kept, and how many names are behind.
    pub fn set(&self, n_loaded: usize, n_failed: usize, n_kept: usize, n_behind: usize) {
        self.loaded.set(gauge_value(n_loaded));
        self.failures.set(gauge_value(n_failed));
        self.kept.set(gauge_value(n_kept));
        self.behind.set(gauge_value(n_behind));
    }

    pub fn set_read_at(&self, moment: Timestamp) {
        self.read_at.set(moment.as_seconds());
    }
}

impl Default for ModelsMetrics {
    /// Of nobody's registry: for a command, which nobody scrapes.
    fn default() -> Self {
        Self::new(&Registry::new())
    }
}
