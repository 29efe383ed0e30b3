//! What is known of each metric before anything is counted, and how one comes into a registry.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What is known about a metric before anything is counted.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
}

const fn metric(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, help, labels }
}

pub(super) const PREDICT_REQUESTS: Metric = metric(
    "terrarium_predict_requests_total",
    &["model", "version", "code"],
    "Predictions asked for, by what came of them: `ok` or the code of the error.",
);
pub(super) const PREDICT_STEP: Metric = metric(
    "terrarium_predict_step_seconds",
    &["model", "version", "step"],
    "How long each step of an answered prediction took.",
);
pub(super) const PREDICT_ROWS: Metric = metric(
    "terrarium_predict_rows_total",
    &["model", "version"],
    "Rows that were predicted.",
);
pub(super) const INFERENCE_BATCH_ROWS: Metric = metric(
    "terrarium_inference_batch_rows",
    &["model", "version"],
    "Rows of each run of an engine.",
);
pub(super) const INFERENCE_IN_FLIGHT: Metric = metric(
    "terrarium_inference_in_flight",
    &["model", "version"],
    "Calls that run or wait to run now.",
);
pub(super) const INFERENCE_WAITING: Metric = metric(
    "terrarium_inference_waiting",
    &["model", "version"],
    "Calls that wait for an engine now, or for their part of a merged run.",
);
pub(super) const INFERENCE_NOT_RUN: Metric = metric(
    "terrarium_inference_not_run_total",
    &["model", "version", "reason"],
    "Calls that never reached an engine: `refused` by a full queue, `expired` while they waited, or `abandoned` by their callers.",
);
pub(super) const INFERENCE_REPEATED: Metric = metric(
    "terrarium_inference_merged_failures_total",
    &["model", "version"],
    "Merged runs that failed and were repeated call by call.",
);
pub(super) const INFERENCE_CACHE_LOOKUPS: Metric = metric(
    "terrarium_inference_cache_lookups_total",
    &["model", "version", "outcome"],
    "Calls whose inputs were looked for among those of earlier runs: `hit` or `miss`.",
);
pub(super) const INFERENCE_CACHE_BYTES: Metric = metric(
    "terrarium_inference_cache_bytes",
    &["model", "version"],
    "Bytes of inputs and outputs that are kept for calls with the same inputs.",
);
pub(super) const SHADOW_RUNS: Metric = metric(
    "terrarium_shadow_runs_total",
    &["model", "version", "code"],
    "Runs of shadow versions, by what came of them: `ok`, the code of the error, or `dropped` where too many went on.",
);
pub(super) const AUDIT_EVENTS: Metric = metric(
    "terrarium_audit_events_total",
    &[],
    "Audit events that were written.",
);
pub(super) const AUDIT_FAILURES: Metric = metric(
    "terrarium_audit_failures_total",
    &[],
    "Audit events that could not be written.",
);
pub(super) const AUDIT_SHIPPED: Metric = metric(
    "terrarium_audit_shipped_total",
    &[],
    "Audit events that the sink has.",
);
pub(super) const AUDIT_SHIP_FAILURES: Metric = metric(
    "terrarium_audit_ship_failures_total",
    &[],
    "Times that shipping audit events to the sink failed and began anew.",
);
pub(super) const AUDIT_SPOOL_BYTES: Metric = metric(
    "terrarium_audit_spool_bytes",
    &[],
    "Size of the audit spool.",
);
pub(super) const AUDIT_SPOOL_EVENTS: Metric = metric(
    "terrarium_audit_spool_events",
    &[],
    "Audit events of this process that the sink does not have yet.",
);
pub(super) const AUDIT_DAMAGED_SEGMENTS: Metric = metric(
    "terrarium_audit_damaged_segments_total",
    &[],
    "Damages found in segments of the audit spool; the segments are put aside.",
);
pub(super) const AUDIT_LOST: Metric = metric(
    "terrarium_audit_lost_total",
    &[],
    "Audit events that were in the spool and cannot be read any more.",
);
pub(super) const HTTP_AUDIT_EVENTS: Metric = metric(
    "terrarium_http_audit_events_total",
    &["stream"],
    "Audit events of HTTP calls that were written: `requests`, `responses`.",
);
pub(super) const HTTP_AUDIT_FAILURES: Metric = metric(
    "terrarium_http_audit_failures_total",
    &["stream"],
    "Audit events of HTTP calls that could not be written.",
);
pub(super) const HTTP_AUDIT_SHIPPED: Metric = metric(
    "terrarium_http_audit_shipped_total",
    &["stream"],
    "Audit events of HTTP calls that the sink has.",
);
pub(super) const HTTP_AUDIT_SHIP_FAILURES: Metric = metric(
    "terrarium_http_audit_ship_failures_total",
    &["stream"],
    "Times that shipping audit events of HTTP calls failed and began anew.",
);
pub(super) const HTTP_AUDIT_SPOOL_BYTES: Metric = metric(
    "terrarium_http_audit_spool_bytes",
    &["stream"],
    "Size of the audit spools of HTTP calls.",
);
pub(super) const HTTP_AUDIT_SPOOL_EVENTS: Metric = metric(
    "terrarium_http_audit_spool_events",
    &["stream"],
    "Audit events of HTTP calls that the sink does not have yet.",
);
pub(super) const HTTP_AUDIT_DAMAGED_SEGMENTS: Metric = metric(
    "terrarium_http_audit_damaged_segments_total",
    &["stream"],
    "Damages found in segments of the audit spools of HTTP calls; the segments are put aside.",
);
pub(super) const HTTP_AUDIT_LOST: Metric = metric(
    "terrarium_http_audit_lost_total",
    &["stream"],
    "Audit events of HTTP calls that were in a spool and cannot be read any more.",
);
pub(super) const HTTP_REQUESTS: Metric = metric(
    "terrarium_http_requests_total",
    &["route", "status"],
    "HTTP requests answered, by route template and status code.",
);
pub(super) const HTTP_IN_FLIGHT: Metric = metric(
    "terrarium_http_in_flight",
    &[],
    "HTTP requests being answered now.",
);
pub(super) const MODELS_LOADED: Metric = metric(
    "terrarium_models_loaded",
    &[],
    "Model versions that are being served.",
);
pub(super) const MODEL_LOAD_FAILURES: Metric = metric(
    "terrarium_model_load_failures",
    &[],
    "Model versions whose last load failed.",
);
pub(super) const MODELS_KEPT: Metric = metric(
    "terrarium_models_kept",
    &[],
    "Model versions that nothing wants any more, kept for going back to them.",
);
pub(super) const MODELS_BEHIND: Metric = metric(
    "terrarium_models_behind",
    &[],
    "Names that stand for an older version than the model registry wants: the newer one loads, or did not.",
);
pub(super) const MODEL_LOADS: Metric = metric(
    "terrarium_model_loads_total",
    &["model", "outcome"],
    "Attempts to load a model version: `loaded` or `failed`.",
);
pub(super) const MODEL_GATES: Metric = metric(
    "terrarium_model_gates_total",
    &["model", "outcome"],
    "Versions judged by recorded predictions before the plain name moves to them: `passed`, `unjudged` for too few rows, `refused`, or `failed` to be judged.",
);
pub(super) const MODEL_SWAPS: Metric = metric(
    "terrarium_model_swaps_total",
    &[],
    "Times that a model's plain name came to mean another version.",
);
pub(super) const MODEL_REGISTRY_READS: Metric = metric(
    "terrarium_model_registry_reads_total",
    &["outcome"],
    "Listings of the model registry: `changed`, `unchanged` or `failed`.",
);
pub(super) const MODEL_REGISTRY_READ_AT: Metric = metric(
    "terrarium_model_registry_read_timestamp_seconds",
    &[],
    "When the model registry was last listed with success, in seconds since the Unix epoch.",
);
pub(super) const WEBHOOK_DELIVERIES: Metric = metric(
    "terrarium_webhook_deliveries_total",
    &["outcome"],
    "Deliveries of MLflow's webhooks: `accepted`, `ignored`, `repeated` or `refused`.",
);
pub(super) const ONLINE_READ_FAILURES: Metric = metric(
    "terrarium_online_read_failures_total",
    &[],
    "Reads of the online store that failed.",
);
pub(super) const FEATURE_REGISTRY_READS: Metric = metric(
    "terrarium_feature_registry_reads_total",
    &["outcome"],
    "Reads of the feature registry after the first: `changed`, `unchanged` or `failed`.",
);
pub(super) const FEATURE_REGISTRY_READ_AT: Metric = metric(
    "terrarium_feature_registry_read_timestamp_seconds",
    &[],
    "When the feature registry was last read with success, in seconds since the Unix epoch.",
);
pub(super) const FEATURE_REGISTRY_LEFT_OUT: Metric = metric(
    "terrarium_feature_registry_left_out",
    &[],
    "Objects of the feature registry that do not decode and are not served.",
);
pub(super) const FEATURE_SKEW_COMPARED: Metric = metric(
    "terrarium_feature_skew_compared_total",
    &["view", "feature"],
    "Online feature values that were held against the offline store.",
);
pub(super) const FEATURE_SKEW_MISMATCHED: Metric = metric(
    "terrarium_feature_skew_mismatched_total",
    &["view", "feature"],
    "Online feature values that are not what a training set would have.",
);
pub(super) const FEATURE_SKEW_NOT_ONLINE: Metric = metric(
    "terrarium_feature_skew_not_online_total",
    &["view"],
    "Entity keys of the offline store that were looked for in the online store and are not there.",
);
pub(super) const FEATURE_SKEW_FAILURES: Metric = metric(
    "terrarium_feature_skew_failures_total",
    &["view"],
    "Times that a feature view could not be held against the offline store.",
);
pub(super) const FEATURE_SKEW_RUN_AT: Metric = metric(
    "terrarium_feature_skew_run_timestamp_seconds",
    &[],
    "When the online store was last held against the offline store, in seconds since the Unix epoch; 0 before that.",
);
pub(super) const JOBS: Metric = metric(
    "terrarium_jobs_total",
    &["function", "code"],
    "Jobs that came to their end here: `ok` or the code of the error; an empty function is one that is not known.",
);
pub(super) const JOB_RETRIES: Metric = metric(
    "terrarium_job_retries_total",
    &["function", "code"],
    "Attempts of jobs that failed and are followed by another one.",
);
pub(super) const JOB_SECONDS: Metric = metric(
    "terrarium_job_seconds",
    &["function"],
    "How long attempts of jobs took.",
);
pub(super) const JOB_WAIT_SECONDS: Metric = metric(
    "terrarium_job_wait_seconds",
    &["function"],
    "How long after they were enqueued attempts of jobs began.",
);
pub(super) const JOBS_RUNNING: Metric = metric(
    "terrarium_jobs_running",
    &[],
    "Jobs that this worker holds now.",
);
pub(super) const JOB_LEASES_LOST: Metric = metric(
    "terrarium_job_leases_lost_total",
    &[],
    "Jobs that were somebody else's by the time that they ended here.",
);
pub(super) const START_TIME: Metric = metric(
    "terrarium_process_start_time_seconds",
    &[],
    "When the process started, in seconds since the Unix epoch.",
);
pub(super) const BUILD_INFO: Metric = metric(
    "terrarium_build_info",
    &["version"],
    "Always 1; the labels say what is running.",
);

/// Upper bounds in seconds: 5 µs to 10 s.
pub(super) const STEP_BUCKETS: [f64; 20] = [
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds in seconds: 1 ms to an hour.
pub(super) const JOB_BUCKETS: [f64; 16] = [
    1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0,
    3600.0,
];

/// Upper bounds of rows.
pub(super) const ROW_BUCKETS: [f64; 14] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16_384.0, 65_536.0,
];

pub(super) fn observe(histogram: &Histogram, duration: Duration) {
    histogram.observe(duration.as_secs_f64());
}

pub(super) fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

pub(super) fn counter(registry: &Registry, metric: &Metric) -> IntCounter {
    in_registry(registry, IntCounter::with_opts(opts(metric)))
}

pub(super) fn counters(registry: &Registry, metric: &Metric) -> IntCounterVec {
    in_registry(registry, IntCounterVec::new(opts(metric), metric.labels))
}

pub(super) fn gauge(registry: &Registry, metric: &Metric) -> IntGauge {
    in_registry(registry, IntGauge::with_opts(opts(metric)))
}

#[expect(
    clippy::expect_used,
    reason = "names are the constants above, each registered once in a fresh registry"
)]
pub(super) fn in_registry<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("the name and the labels are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("the name is registered once");
    collector
}
