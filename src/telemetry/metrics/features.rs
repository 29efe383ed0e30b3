//! What the feature registry and the skew sampler count.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::definitions::{
    FEATURE_REGISTRY_LEFT_OUT, FEATURE_REGISTRY_READ_AT, FEATURE_REGISTRY_READS,
    FEATURE_SKEW_COMPARED, FEATURE_SKEW_FAILURES, FEATURE_SKEW_MISMATCHED, FEATURE_SKEW_NOT_ONLINE,
    FEATURE_SKEW_RUN_AT, counters, gauge, gauge_value,
};
use crate::types::timestamp::Timestamp;

/// Counts reads of the feature registry. Clones count into the same place.
#[derive(Debug, Clone)]
pub struct FeatureRegistryMetrics {
    pub changed: IntCounter,
    pub unchanged: IntCounter,
    pub failed: IntCounter,
    read_at: IntGauge,
    left_out: IntGauge,
}

impl FeatureRegistryMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let reads = counters(registry, &FEATURE_REGISTRY_READS);
        let read = |outcome| reads.with_label_values(&[outcome]);
        Self {
            changed: read("changed"),
            unchanged: read("unchanged"),
            failed: read("failed"),
            read_at: gauge(registry, &FEATURE_REGISTRY_READ_AT),
            left_out: gauge(registry, &FEATURE_REGISTRY_LEFT_OUT),
        }
    }

    pub fn set_read_at(&self, moment: Timestamp) {
        self.read_at.set(moment.as_seconds());
    }

    pub fn set_left_out(&self, n_objects: usize) {
        self.left_out.set(gauge_value(n_objects));
    }
}

/// Counts what is held against the offline store. `view` and `feature` are names of the feature registry. Clones count into
/// the same place.
#[derive(Debug, Clone)]
pub struct FeatureSkewMetrics {
    compared: IntCounterVec,
    mismatched: IntCounterVec,
    not_online: IntCounterVec,
    failures: IntCounterVec,
    run_at: IntGauge,
}

impl FeatureSkewMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            compared: counters(registry, &FEATURE_SKEW_COMPARED),
            mismatched: counters(registry, &FEATURE_SKEW_MISMATCHED),
            not_online: counters(registry, &FEATURE_SKEW_NOT_ONLINE),
            failures: counters(registry, &FEATURE_SKEW_FAILURES),
            run_at: gauge(registry, &FEATURE_SKEW_RUN_AT),
        }
    }

    /// So many values of a feature were compared, and so many of them differ.
    pub fn compared(&self, view: &str, feature: &str, n_compared: usize, n_mismatched: usize) {
        let count = |counters: &IntCounterVec, n: usize| {
            counters
                .with_label_values(&[view, feature])
                .inc_by(n as u64);
        };
        count(&self.compared, n_compared);
        count(&self.mismatched, n_mismatched);
    }

    pub fn not_online(&self, view: &str, n_keys: usize) {
        self.not_online
            .with_label_values(&[view])
            .inc_by(n_keys as u64);
    }

    /// A view could not be verified.
    pub fn failed(&self, view: &str) {
        self.failures.with_label_values(&[view]).inc();
    }

    pub fn set_run_at(&self, moment: Timestamp) {
        self.run_at.set(moment.as_seconds());
    }
}
