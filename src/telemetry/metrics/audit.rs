//! What an audit trail counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::definitions::{
    HTTP_AUDIT_DAMAGED_SEGMENTS, HTTP_AUDIT_EVENTS, HTTP_AUDIT_FAILURES, HTTP_AUDIT_LOST,
    HTTP_AUDIT_SHIP_FAILURES, HTTP_AUDIT_SHIPPED, HTTP_AUDIT_SPOOL_BYTES, HTTP_AUDIT_SPOOL_EVENTS,
    Metric, counters, in_registry, opts,
};

/// Counts audit events. Clones count into the same place.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    pub events: IntCounter,
    pub failures: IntCounter,
    pub shipped: IntCounter,
    pub ship_failures: IntCounter,
    pub spool_bytes: IntGauge,
    pub spool_events: IntGauge,
    pub damaged_segments: IntCounter,
    pub lost: IntCounter,
}

/// The same for each stream of HTTP calls.
#[derive(Debug)]
pub(super) struct HttpAuditMetrics {
    counters: [IntCounterVec; 6],
    gauges: [IntGaugeVec; 2],
}

impl HttpAuditMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauges =
            |metric: &Metric| in_registry(registry, IntGaugeVec::new(opts(metric), metric.labels));
        Self {
            counters: [
                &HTTP_AUDIT_EVENTS,
                &HTTP_AUDIT_FAILURES,
                &HTTP_AUDIT_SHIPPED,
                &HTTP_AUDIT_SHIP_FAILURES,
                &HTTP_AUDIT_DAMAGED_SEGMENTS,
                &HTTP_AUDIT_LOST,
            ]
            .map(|metric| counters(registry, metric)),
            gauges: [&HTTP_AUDIT_SPOOL_BYTES, &HTTP_AUDIT_SPOOL_EVENTS].map(gauges),
        }
    }

    pub(super) fn of(&self, stream: &'static str) -> AuditMetrics {
        let counter = |metric: &IntCounterVec| metric.with_label_values(&[stream]);
        let [
            events,
            failures,
            shipped,
            ship_failures,
            damaged_segments,
            lost,
        ] = self.counters.each_ref().map(counter);
        let [spool_bytes, spool_events] = self
            .gauges
            .each_ref()
            .map(|metric| metric.with_label_values(&[stream]));
        AuditMetrics {
            events,
            failures,
            shipped,
            ship_failures,
            spool_bytes,
            spool_events,
            damaged_segments,
            lost,
        }
    }
}
