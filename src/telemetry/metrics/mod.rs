//! Every metric: its name, its labels and the handle that counts it.
//!
//! Labels come from closed sets (loaded models, steps, error codes, routes of the route table), never from what a
//! caller wrote: a request for a model that is not served counts under the empty model.
//! Handles are resolved once, when a model version goes live or a part starts; counting is then a few atomic adds.

mod audit;
mod definitions;
mod features;
mod jobs;
mod models;
mod serving;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

pub use self::audit::AuditMetrics;
use self::audit::HttpAuditMetrics;
use self::definitions::{
    AUDIT_DAMAGED_SEGMENTS, AUDIT_EVENTS, AUDIT_FAILURES, AUDIT_LOST, AUDIT_SHIP_FAILURES,
    AUDIT_SHIPPED, AUDIT_SPOOL_BYTES, AUDIT_SPOOL_EVENTS, BUILD_INFO, HTTP_IN_FLIGHT,
    HTTP_REQUESTS, ONLINE_READ_FAILURES, PREDICT_REQUESTS, PREDICT_ROWS, PREDICT_STEP, SHADOW_RUNS,
    START_TIME, STEP_BUCKETS, WEBHOOK_DELIVERIES, counter, counters, gauge, in_registry, opts,
};
pub use self::features::{FeatureRegistryMetrics, FeatureSkewMetrics};
pub use self::jobs::JobMetrics;
pub use self::models::ModelsMetrics;
use self::serving::QueuesMetrics;
pub use self::serving::{CacheMetrics, ModelMetrics, QueueMetrics};
pub use super::runs::RunsReading;
use super::statistics::Statistics;
use crate::types::names::ModelVersion;
use crate::types::timestamp::Timestamp;

/// The Content-Type of `Metrics::render`.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The code under which an answered prediction counts.
pub const CODE_OK: &str = "ok";

/// The code under which a shadow run counts that was not begun.
pub const CODE_DROPPED: &str = "dropped";

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    predict_requests: IntCounterVec,
    predict_step: HistogramVec,
    predict_rows: IntCounterVec,
    shadow_runs: IntCounterVec,
    queues: QueuesMetrics,
    audit: AuditMetrics,
    http_audit: HttpAuditMetrics,
    http_requests: IntCounterVec,
    http_in_flight: IntGauge,
    models: ModelsMetrics,
    webhook_deliveries: IntCounterVec,
    online_read_failures: IntCounter,
    feature_registry: FeatureRegistryMetrics,
    feature_skew: FeatureSkewMetrics,
    jobs: JobMetrics,
    /// By model and version, for as long as the process runs.
    statistics: Mutex<HashMap<(String, ModelVersion), Arc<Statistics>>>,
}

impl Metrics {
    /// Fresh metrics in a registry of their own; the process counts as started now.
    pub fn new() -> Self {
        let registry = Registry::new();
        let start_time = in_registry(&registry, Gauge::with_opts(opts(&START_TIME)));
        start_time.set(Timestamp::now().as_micros() as f64 / 1e6);
        let build_info = in_registry(
            &registry,
            IntGaugeVec::new(opts(&BUILD_INFO), BUILD_INFO.labels),
        );
        build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Self {
            predict_requests: counters(&registry, &PREDICT_REQUESTS),
            predict_step: in_registry(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(PREDICT_STEP.name, PREDICT_STEP.help)
                        .buckets(STEP_BUCKETS.to_vec()),
                    PREDICT_STEP.labels,
                ),
            ),
            predict_rows: counters(&registry, &PREDICT_ROWS),
            shadow_runs: counters(&registry, &SHADOW_RUNS),
            queues: QueuesMetrics::new(&registry),
            audit: AuditMetrics {
                events: counter(&registry, &AUDIT_EVENTS),
                failures: counter(&registry, &AUDIT_FAILURES),
                shipped: counter(&registry, &AUDIT_SHIPPED),
                ship_failures: counter(&registry, &AUDIT_SHIP_FAILURES),
                spool_bytes: gauge(&registry, &AUDIT_SPOOL_BYTES),
                spool_events: gauge(&registry, &AUDIT_SPOOL_EVENTS),
                damaged_segments: counter(&registry, &AUDIT_DAMAGED_SEGMENTS),
                lost: counter(&registry, &AUDIT_LOST),
            },
            http_audit: HttpAuditMetrics::new(&registry),
            http_requests: counters(&registry, &HTTP_REQUESTS),
            http_in_flight: gauge(&registry, &HTTP_IN_FLIGHT),
            models: ModelsMetrics::new(&registry),
            webhook_deliveries: counters(&registry, &WEBHOOK_DELIVERIES),
            online_read_failures: counter(&registry, &ONLINE_READ_FAILURES),
            feature_registry: FeatureRegistryMetrics::new(&registry),
            feature_skew: FeatureSkewMetrics::new(&registry),
            jobs: JobMetrics::new(&registry),
            statistics: Mutex::default(),
            registry,
        }
    }

    /// Handles of a version that goes live; keep them with it.
    pub fn model(&self, name: &str, version: ModelVersion) -> ModelMetrics {
        let statistics = self.statistics(name, version);
        let queue = self.queue(name, version);
        let version = version.to_string();
        let step = |step| {
            self.predict_step
                .with_label_values(&[name, version.as_str(), step])
        };
        ModelMetrics {
            name: name.to_owned(),
            ok: self
                .predict_requests
                .with_label_values(&[name, version.as_str(), CODE_OK]),
            rows: self
                .predict_rows
                .with_label_values(&[name, version.as_str()]),
            requests: self.predict_requests.clone(),
            shadow_runs: self.shadow_runs.clone(),
            features: step("features"),
            assemble: step("assemble"),
            queue: step("queue"),
            engine: step("engine"),
            total: step("total"),
            runs: queue.batch_rows,
            version,
            statistics,
        }
    }

    /// Handles of the queue of a version that goes live; keep them with it.
    pub fn queue(&self, name: &str, version: ModelVersion) -> QueueMetrics {
        let statistics = self.statistics(name, version);
        self.queues.of(name, &version.to_string(), statistics)
    }

    fn statistics(&self, name: &str, version: ModelVersion) -> Arc<Statistics> {
        let all = self.statistics.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((name.to_owned(), version)).or_default())
    }

    /// Counts a request that was not for a served model: what it named makes no label.
    pub fn count_unresolved(&self, code: &'static str) {
        self.predict_requests
            .with_label_values(&["", "", code])
            .inc();
    }

    pub fn audit(&self) -> AuditMetrics {
        self.audit.clone()
    }

    /// Of one stream of HTTP calls, by its name in a closed set.
    pub fn http_audit(&self, stream: &'static str) -> AuditMetrics {
        self.http_audit.of(stream)
    }

    /// Counts an HTTP answer. `route` is the template of the route table, or one fixed word where none matched.
    pub fn http_answered(&self, route: &str, status: u16) {
        let mut digits = [0; 3];
        self.http_requests
            .with_label_values(&[route, status_text(status, &mut digits)])
            .inc();
    }

    /// Counts an HTTP request as being answered until the guard is dropped.
    pub fn http_in_flight(&self) -> InFlight {
        self.http_in_flight.inc();
        InFlight(self.http_in_flight.clone())
    }

    pub fn models(&self) -> ModelsMetrics {
        self.models.clone()
    }

    /// Counts a webhook's delivery by what came of it, a word of a closed set.
    pub fn webhook_delivered(&self, outcome: &'static str) {
        self.webhook_deliveries.with_label_values(&[outcome]).inc();
    }

    pub fn online_read_failures(&self) -> IntCounter {
        self.online_read_failures.clone()
    }

    pub fn feature_registry(&self) -> FeatureRegistryMetrics {
        self.feature_registry.clone()
    }

    pub fn feature_skew(&self) -> FeatureSkewMetrics {
        self.feature_skew.clone()
    }

    pub fn jobs(&self) -> JobMetrics {
        self.jobs.clone()
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be rendered to their end");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// One request being answered, or waiting.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The three digits of a status code, without an allocation.
fn status_text(status: u16, digits: &mut [u8; 3]) -> &str {
    let digit = |n: u16| b'0' + (n % 10) as u8;
    *digits = [digit(status / 100), digit(status / 10), digit(status)];
    std::str::from_utf8(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::prediction::Timings;

    const MICROSECOND: Duration = Duration::from_micros(1);

    fn timings() -> Timings {
        Timings {
            features: 120 * MICROSECOND,
            assemble: 3 * MICROSECOND,
            queue: Duration::ZERO,
            engine: 7 * MICROSECOND,
            total: 140 * MICROSECOND,
        }
    }

    fn assert_renders(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.render();
        for line in lines {
            assert!(text.lines().any(|l| l == *line), "no `{line}` in\n{text}");
        }
    }

    #[test]
    fn an_answered_prediction_counts_once_with_its_steps_and_rows() {
        let metrics = Metrics::new();
        let model = metrics.model("ranking", ModelVersion(3));
        model.count(CODE_OK);
        model.observe(&timings(), 20, false);
        assert_renders(
            &metrics,
            &[
                r#"terrarium_predict_requests_total{code="ok",model="ranking",version="3"} 1"#,
                r#"terrarium_predict_rows_total{model="ranking",version="3"} 20"#,
                r#"terrarium_predict_step_seconds_bucket{model="ranking",step="engine",version="3",le="0.000005"} 0"#,
                r#"terrarium_predict_step_seconds_bucket{model="ranking",step="engine",version="3",le="0.00001"} 1"#,
                r#"terrarium_predict_step_seconds_bucket{model="ranking",step="total",version="3",le="10"} 1"#,
                r#"terrarium_predict_step_seconds_count{model="ranking",step="queue",version="3"} 1"#,
            ],
        );
    }

    #[test]
    fn failures_count_by_code_and_leave_the_steps_alone() {
        let metrics = Metrics::new();
        let model = metrics.model("ranking", ModelVersion(3));
        model.count("feature_missing");
        model.clone().count("feature_missing");
        assert_renders(
            &metrics,
            &[
                r#"terrarium_predict_requests_total{code="feature_missing",model="ranking",version="3"} 2"#,
                r#"terrarium_predict_requests_total{code="ok",model="ranking",version="3"} 0"#,
                r#"terrarium_predict_step_seconds_count{model="ranking",step="total",version="3"} 0"#,
            ],
        );
    }

    #[test]
    fn shadow_runs_count_apart_from_requests() {
        let metrics = Metrics::new();
        let model = metrics.model("ranking", ModelVersion(4));
        model.count_shadow(CODE_OK);
        model.count_shadow(CODE_DROPPED);
        assert_renders(
            &metrics,
            &[
                r#"terrarium_shadow_runs_total{code="dropped",model="ranking",version="4"} 1"#,
                r#"terrarium_shadow_runs_total{code="ok",model="ranking",version="4"} 1"#,
                r#"terrarium_predict_requests_total{code="ok",model="ranking",version="4"} 0"#,
            ],
        );
    }

    #[test]
    fn an_unknown_model_counts_without_a_name() {
        let metrics = Metrics::new();
        metrics.count_unresolved("model_unknown");
        assert_renders(
            &metrics,
            &[r#"terrarium_predict_requests_total{code="model_unknown",model="",version=""} 1"#],
        );
    }

    #[test]
    fn skew_counts_by_view_and_feature_also_where_there_is_none() {
        let metrics = Metrics::new();
        let skew = metrics.feature_skew();
        skew.compared("stats", "rate", 100, 2);
        skew.compared("stats", "trips", 100, 0);
        skew.not_online("stats", 3);
        skew.failed("profile");
        skew.set_run_at(Timestamp::from_seconds(7));
        assert_renders(
            &metrics,
            &[
                r#"terrarium_feature_skew_compared_total{feature="rate",view="stats"} 100"#,
                r#"terrarium_feature_skew_mismatched_total{feature="rate",view="stats"} 2"#,
                r#"terrarium_feature_skew_mismatched_total{feature="trips",view="stats"} 0"#,
                r#"terrarium_feature_skew_not_online_total{view="stats"} 3"#,
                r#"terrarium_feature_skew_failures_total{view="profile"} 1"#,
                "terrarium_feature_skew_run_timestamp_seconds 7",
            ],
        );
    }

    #[test]
    fn http_requests_count_by_route_and_status_and_while_in_flight() {
        let metrics = Metrics::new();
        let in_flight = metrics.http_in_flight();
        metrics.http_answered("/v1/models/{model}/predict", 404);
        assert_renders(
            &metrics,
            &[
                "terrarium_http_in_flight 1",
                r#"terrarium_http_requests_total{route="/v1/models/{model}/predict",status="404"} 1"#,
            ],
        );
        drop(in_flight);
        assert_renders(&metrics, &["terrarium_http_in_flight 0"]);
    }

    #[test]
    fn the_process_tells_version_start_models_and_stores() {
        let metrics = Metrics::new();
        metrics.models().set(2, 1, 0, 0);
        metrics.online_read_failures().inc();
        assert_renders(
            &metrics,
            &[
                concat!(
                    "terrarium_build_info{version=\"",
                    env!("CARGO_PKG_VERSION"),
                    "\"} 1"
                ),
                "terrarium_models_loaded 2",
                "terrarium_model_load_failures 1",
                "terrarium_online_read_failures_total 1",
                "terrarium_audit_events_total 0",
                "terrarium_audit_failures_total 0",
            ],
        );
        assert!(
            metrics
                .render()
                .contains("terrarium_process_start_time_seconds 1")
        );
    }
}
