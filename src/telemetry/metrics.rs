//! Every metric: its name, its labels and the handle that counts it.
//!
//! Labels come from closed sets (loaded models, steps, error codes, routes of the route table), never from what a
//! caller wrote: a request for a model that is not served counts under the empty model.
//! Handles are resolved once, when a model version goes live or a part starts; counting is then a few atomic adds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use super::runs::RunsReading;
use super::statistics::{Reading, Statistics};
use crate::types::names::ModelVersion;
use crate::types::prediction::Timings;
use crate::types::timestamp::Timestamp;

/// The Content-Type of `Metrics::render`.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What is known about a metric before anything is counted.
struct Metric {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
}

const fn metric(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, help, labels }
}

const PREDICT_REQUESTS: Metric = metric(
    "terrarium_predict_requests_total",
    &["model", "version", "code"],
    "Predictions asked for, by what came of them: `ok` or the code of the error.",
);
const PREDICT_STEP: Metric = metric(
    "terrarium_predict_step_seconds",
    &["model", "version", "step"],
    "How long each step of an answered prediction took.",
);
const PREDICT_ROWS: Metric = metric(
    "terrarium_predict_rows_total",
    &["model", "version"],
    "Rows that were predicted.",
);
const INFERENCE_BATCH_ROWS: Metric = metric(
    "terrarium_inference_batch_rows",
    &["model", "version"],
    "Rows of each run of an engine.",
);
const INFERENCE_IN_FLIGHT: Metric = metric(
    "terrarium_inference_in_flight",
    &["model", "version"],
    "Calls that run or wait to run now.",
);
const INFERENCE_WAITING: Metric = metric(
    "terrarium_inference_waiting",
    &["model", "version"],
    "Calls that wait for an engine now, or for their part of a merged run.",
);
const INFERENCE_NOT_RUN: Metric = metric(
    "terrarium_inference_not_run_total",
    &["model", "version", "reason"],
    "Calls that never reached an engine: `refused` by a full queue, `expired` while they waited, or `abandoned` by their callers.",
);
const INFERENCE_REPEATED: Metric = metric(
    "terrarium_inference_merged_failures_total",
    &["model", "version"],
    "Merged runs that failed and were repeated call by call.",
);
const INFERENCE_CACHE_LOOKUPS: Metric = metric(
    "terrarium_inference_cache_lookups_total",
    &["model", "version", "outcome"],
    "Calls whose inputs were looked for among those of earlier runs: `hit` or `miss`.",
);
const INFERENCE_CACHE_BYTES: Metric = metric(
    "terrarium_inference_cache_bytes",
    &["model", "version"],
    "Bytes of inputs and outputs that are kept for calls with the same inputs.",
);
const SHADOW_RUNS: Metric = metric(
    "terrarium_shadow_runs_total",
    &["model", "version", "code"],
    "Runs of shadow versions, by what came of them: `ok`, the code of the error, or `dropped` where too many went on.",
);
const AUDIT_EVENTS: Metric = metric(
    "terrarium_audit_events_total",
    &[],
    "Audit events that were written.",
);
const AUDIT_FAILURES: Metric = metric(
    "terrarium_audit_failures_total",
    &[],
    "Audit events that could not be written.",
);
const AUDIT_SHIPPED: Metric = metric(
    "terrarium_audit_shipped_total",
    &[],
    "Audit events that the sink has.",
);
const AUDIT_SHIP_FAILURES: Metric = metric(
    "terrarium_audit_ship_failures_total",
    &[],
    "Times that shipping audit events to the sink failed and began anew.",
);
const AUDIT_SPOOL_BYTES: Metric = metric(
    "terrarium_audit_spool_bytes",
    &[],
    "Size of the audit spool.",
);
const AUDIT_SPOOL_EVENTS: Metric = metric(
    "terrarium_audit_spool_events",
    &[],
    "Audit events of this process that the sink does not have yet.",
);
const AUDIT_DAMAGED_SEGMENTS: Metric = metric(
    "terrarium_audit_damaged_segments_total",
    &[],
    "Damages found in segments of the audit spool; the segments are put aside.",
);
const AUDIT_LOST: Metric = metric(
    "terrarium_audit_lost_total",
    &[],
    "Audit events that were in the spool and cannot be read any more.",
);
const HTTP_AUDIT_EVENTS: Metric = metric(
    "terrarium_http_audit_events_total",
    &["stream"],
    "Audit events of HTTP calls that were written: `requests`, `responses`.",
);
const HTTP_AUDIT_FAILURES: Metric = metric(
    "terrarium_http_audit_failures_total",
    &["stream"],
    "Audit events of HTTP calls that could not be written.",
);
const HTTP_AUDIT_SHIPPED: Metric = metric(
    "terrarium_http_audit_shipped_total",
    &["stream"],
    "Audit events of HTTP calls that the sink has.",
);
const HTTP_AUDIT_SHIP_FAILURES: Metric = metric(
    "terrarium_http_audit_ship_failures_total",
    &["stream"],
    "Times that shipping audit events of HTTP calls failed and began anew.",
);
const HTTP_AUDIT_SPOOL_BYTES: Metric = metric(
    "terrarium_http_audit_spool_bytes",
    &["stream"],
    "Size of the audit spools of HTTP calls.",
);
const HTTP_AUDIT_SPOOL_EVENTS: Metric = metric(
    "terrarium_http_audit_spool_events",
    &["stream"],
    "Audit events of HTTP calls that the sink does not have yet.",
);
const HTTP_AUDIT_DAMAGED_SEGMENTS: Metric = metric(
    "terrarium_http_audit_damaged_segments_total",
    &["stream"],
    "Damages found in segments of the audit spools of HTTP calls; the segments are put aside.",
);
const HTTP_AUDIT_LOST: Metric = metric(
    "terrarium_http_audit_lost_total",
    &["stream"],
    "Audit events of HTTP calls that were in a spool and cannot be read any more.",
);
const HTTP_REQUESTS: Metric = metric(
    "terrarium_http_requests_total",
    &["route", "status"],
    "HTTP requests answered, by route template and status code.",
);
const HTTP_IN_FLIGHT: Metric = metric(
    "terrarium_http_in_flight",
    &[],
    "HTTP requests being answered now.",
);
const MODELS_LOADED: Metric = metric(
    "terrarium_models_loaded",
    &[],
    "Model versions that are being served.",
);
const MODEL_LOAD_FAILURES: Metric = metric(
    "terrarium_model_load_failures",
    &[],
    "Model versions whose last load failed.",
);
const MODELS_KEPT: Metric = metric(
    "terrarium_models_kept",
    &[],
    "Model versions that nothing wants any more, kept for going back to them.",
);
const MODELS_BEHIND: Metric = metric(
    "terrarium_models_behind",
    &[],
    "Names that stand for an older version than the model registry wants: the newer one loads, or did not.",
);
const MODEL_LOADS: Metric = metric(
    "terrarium_model_loads_total",
    &["model", "outcome"],
    "Attempts to load a model version: `loaded` or `failed`.",
);
const MODEL_GATES: Metric = metric(
    "terrarium_model_gates_total",
    &["model", "outcome"],
    "Versions judged by recorded predictions before the plain name moves to them: `passed`, `unjudged` for too few rows, `refused`, or `failed` to be judged.",
);
const MODEL_SWAPS: Metric = metric(
    "terrarium_model_swaps_total",
    &[],
    "Times that a model's plain name came to mean another version.",
);
const MODEL_REGISTRY_READS: Metric = metric(
    "terrarium_model_registry_reads_total",
    &["outcome"],
    "Listings of the model registry: `changed`, `unchanged` or `failed`.",
);
const MODEL_REGISTRY_READ_AT: Metric = metric(
    "terrarium_model_registry_read_timestamp_seconds",
    &[],
    "When the model registry was last listed with success, in seconds since the Unix epoch.",
);
const WEBHOOK_DELIVERIES: Metric = metric(
    "terrarium_webhook_deliveries_total",
    &["outcome"],
    "Deliveries of MLflow's webhooks: `accepted`, `ignored`, `repeated` or `refused`.",
);
const ONLINE_READ_FAILURES: Metric = metric(
    "terrarium_online_read_failures_total",
    &[],
    "Reads of the online store that failed.",
);
const FEATURE_REGISTRY_READS: Metric = metric(
    "terrarium_feature_registry_reads_total",
    &["outcome"],
    "Reads of the feature registry after the first: `changed`, `unchanged` or `failed`.",
);
const FEATURE_REGISTRY_READ_AT: Metric = metric(
    "terrarium_feature_registry_read_timestamp_seconds",
    &[],
    "When the feature registry was last read with success, in seconds since the Unix epoch.",
);
const FEATURE_REGISTRY_LEFT_OUT: Metric = metric(
    "terrarium_feature_registry_left_out",
    &[],
    "Objects of the feature registry that do not decode and are not served.",
);
const FEATURE_SKEW_COMPARED: Metric = metric(
    "terrarium_feature_skew_compared_total",
    &["view", "feature"],
    "Online feature values that were held against the offline store.",
);
const FEATURE_SKEW_MISMATCHED: Metric = metric(
    "terrarium_feature_skew_mismatched_total",
    &["view", "feature"],
    "Online feature values that are not what a training set would have.",
);
const FEATURE_SKEW_NOT_ONLINE: Metric = metric(
    "terrarium_feature_skew_not_online_total",
    &["view"],
    "Entity keys of the offline store that were looked for in the online store and are not there.",
);
const FEATURE_SKEW_FAILURES: Metric = metric(
    "terrarium_feature_skew_failures_total",
    &["view"],
    "Times that a feature view could not be held against the offline store.",
);
const FEATURE_SKEW_RUN_AT: Metric = metric(
    "terrarium_feature_skew_run_timestamp_seconds",
    &[],
    "When the online store was last held against the offline store, in seconds since the Unix epoch; 0 before that.",
);
const JOBS: Metric = metric(
    "terrarium_jobs_total",
    &["function", "code"],
    "Jobs that came to their end here: `ok` or the code of the error; an empty function is one that is not known.",
);
const JOB_RETRIES: Metric = metric(
    "terrarium_job_retries_total",
    &["function", "code"],
    "Attempts of jobs that failed and are followed by another one.",
);
const JOB_SECONDS: Metric = metric(
    "terrarium_job_seconds",
    &["function"],
    "How long attempts of jobs took.",
);
const JOB_WAIT_SECONDS: Metric = metric(
    "terrarium_job_wait_seconds",
    &["function"],
    "How long after they were enqueued attempts of jobs began.",
);
const JOBS_RUNNING: Metric = metric(
    "terrarium_jobs_running",
    &[],
    "Jobs that this worker holds now.",
);
const JOB_LEASES_LOST: Metric = metric(
    "terrarium_job_leases_lost_total",
    &[],
    "Jobs that were somebody else's by the time that they ended here.",
);
const START_TIME: Metric = metric(
    "terrarium_process_start_time_seconds",
    &[],
    "When the process started, in seconds since the Unix epoch.",
);
const BUILD_INFO: Metric = metric(
    "terrarium_build_info",
    &["version"],
    "Always 1; the labels say what is running.",
);

/// The code under which an answered prediction counts.
pub const CODE_OK: &str = "ok";

/// The code under which a shadow run counts that was not begun.
pub const CODE_DROPPED: &str = "dropped";

/// Upper bounds in seconds: 5 µs to 10 s.
const STEP_BUCKETS: [f64; 20] = [
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds in seconds: 1 ms to an hour.
const JOB_BUCKETS: [f64; 16] = [
    1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0,
    3600.0,
];

/// Upper bounds of rows.
const ROW_BUCKETS: [f64; 14] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16_384.0, 65_536.0,
];

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

/// Counts the predictions of one model version. Clones count into the same place.
#[derive(Debug, Clone)]
pub struct ModelMetrics {
    name: String,
    version: String,
    ok: IntCounter,
    requests: IntCounterVec,
    shadow_runs: IntCounterVec,
    rows: IntCounter,
    features: Histogram,
    assemble: Histogram,
    queue: Histogram,
    engine: Histogram,
    total: Histogram,
    /// One observation for each run of an engine.
    runs: Histogram,
    statistics: Arc<Statistics>,
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
struct QueuesMetrics {
    batch_rows: HistogramVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    not_run: IntCounterVec,
    repeated: IntCounterVec,
    cache_lookups: IntCounterVec,
    cache_bytes: IntGaugeVec,
}

impl QueuesMetrics {
    fn new(registry: &Registry) -> Self {
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

    fn of(&self, name: &str, version: &str, statistics: Arc<Statistics>) -> QueueMetrics {
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
    batch_rows: Histogram,
    in_flight: IntGauge,
    waiting: IntGauge,
    pub refused: IntCounter,
    pub expired: IntCounter,
    pub abandoned: IntCounter,
    /// Merged runs that failed and were repeated call by call.
    pub repeated: IntCounter,
    pub cache: CacheMetrics,
    statistics: Arc<Statistics>,
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
struct HttpAuditMetrics {
    counters: [IntCounterVec; 6],
    gauges: [IntGaugeVec; 2],
}

impl HttpAuditMetrics {
    fn new(registry: &Registry) -> Self {
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

    fn of(&self, stream: &'static str) -> AuditMetrics {
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
    fn new(registry: &Registry) -> Self {
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
    fn new(registry: &Registry) -> Self {
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
    fn new(registry: &Registry) -> Self {
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
    fn new(registry: &Registry) -> Self {
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

/// One request being answered, or waiting.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn observe(histogram: &Histogram, duration: Duration) {
    histogram.observe(duration.as_secs_f64());
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The three digits of a status code, without an allocation.
fn status_text(status: u16, digits: &mut [u8; 3]) -> &str {
    let digit = |n: u16| b'0' + (n % 10) as u8;
    *digits = [digit(status / 100), digit(status / 10), digit(status)];
    std::str::from_utf8(digits).unwrap_or_default()
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn counter(registry: &Registry, metric: &Metric) -> IntCounter {
    in_registry(registry, IntCounter::with_opts(opts(metric)))
}

fn counters(registry: &Registry, metric: &Metric) -> IntCounterVec {
    in_registry(registry, IntCounterVec::new(opts(metric), metric.labels))
}

fn gauge(registry: &Registry, metric: &Metric) -> IntGauge {
    in_registry(registry, IntGauge::with_opts(opts(metric)))
}

#[expect(
    clippy::expect_used,
    reason = "names are the constants above, each registered once in a fresh registry"
)]
fn in_registry<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("the name and the labels are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("the name is registered once");
    collector
}

#[cfg(test)]
mod tests {
    use super::*;

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
