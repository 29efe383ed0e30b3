//! What there is: the server, its health, its models, what they take and give and what they have done.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json as object};

use super::failure::{Refusal, answered};
use super::{Api, Named};
use crate::http::{extract, json};
use crate::models::{Resolved, ServedVersion, VersionState};
use crate::predict::{Interface, ServingPlan, TensorDescription};
use crate::types::oip::{EXTENSIONS, OPTIONAL, PLATFORM, SERVER_NAME};

pub(super) async fn server() -> Response<Body> {
    let body = object!({
        "name": SERVER_NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": EXTENSIONS,
    });
    json(StatusCode::OK, &body)
}

pub(super) async fn live() -> Response<Body> {
    json(StatusCode::OK, &object!({ "live": true }))
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response<Body> {
    if api.predictor.is_ready(api.ready).await {
        return json(StatusCode::OK, &object!({ "live": true, "ready": true }));
    }
    let body = object!({ "live": true, "ready": false, "error": "the server is not ready; /readyz says why" });
    json(StatusCode::SERVICE_UNAVAILABLE, &body)
}

/// KServe's list of names.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Response<Body> {
    let models = api.predictor.models().models();
    let names: Vec<&str> = models.iter().map(|model| &*model.name).collect();
    json(StatusCode::OK, &object!({ "models": names }))
}

pub(super) async fn model(
    state: State<Arc<Api>>,
    named: Path<Named>,
    headers: HeaderMap,
) -> Response<Body> {
    of_version(state, named, &headers, |api, version| {
        let interface = Interface::of(version);
        let tensors = |tensors: &[TensorDescription]| -> Vec<Value> {
            let tensors = tensors.iter().map(|tensor| {
                let mut described = object!({ "name": tensor.name, "datatype": tensor.dtype.oip_name(), "shape": tensor.shape });
                if tensor.optional {
                    described["parameters"] = object!({ OPTIONAL: true });
                }
                described
            });
            tensors.collect()
        };
        object!({
            "name": &*version.name,
            "versions": api.predictor.models().loaded_versions_of(&version.name),
            "platform": PLATFORM,
            "inputs": tensors(&interface.inputs),
            "outputs": tensors(&interface.outputs),
        })
    })
}

pub(super) async fn model_ready(
    state: State<Arc<Api>>,
    named: Path<Named>,
    headers: HeaderMap,
) -> Response<Body> {
    of_version(
        state,
        named,
        &headers,
        |_, version| object!({ "name": &*version.name, "ready": true }),
    )
}

pub(super) async fn config(
    state: State<Arc<Api>>,
    named: Path<Named>,
    headers: HeaderMap,
) -> Response<Body> {
    of_version(state, named, &headers, |api, version| {
        let interface = Interface::of(version);
        let max_batch_size = interface.max_batch_size(api.config.max_rows.get());
        let tensors = |tensors: &[TensorDescription]| -> Vec<Value> {
            let tensors = tensors.iter().map(|tensor| {
                let mut described = object!({
                    "name": tensor.name,
                    "data_type": format!("TYPE_{}", config_type(tensor)),
                    "dims": interface.config_dims(tensor),
                });
                if tensor.optional {
                    described[OPTIONAL] = true.into();
                }
                described
            });
            tensors.collect()
        };
        object!({
            "name": &*version.name,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "max_batch_size": max_batch_size,
            "input": tensors(&interface.inputs),
            "output": tensors(&interface.outputs),
            "instance_group": [{ "name": &*version.name, "kind": "KIND_CPU", "count": version.model.n_engines() }],
            "default_model_filename": "model.onnx",
            "model_transaction_policy": { "decoupled": false },
        })
    })
}

/// What the config calls an element type.
fn config_type(tensor: &TensorDescription) -> &'static str {
    match tensor.dtype.oip_name() {
        "BYTES" => "STRING",
        name => name,
    }
}

pub(super) async fn statistics(
    state: State<Arc<Api>>,
    named: Path<Named>,
    headers: HeaderMap,
) -> Response<Body> {
    of_version(
        state,
        named,
        &headers,
        |_, version| object!({ "model_stats": [statistics_of(version)] }),
    )
}

pub(super) async fn all_statistics(State(api): State<Arc<Api>>) -> Response<Body> {
    let mut all = Vec::new();
    for model in api.predictor.models().models() {
        for status in &model.versions {
            if let VersionState::Loaded(version) = &status.state {
                all.push(statistics_of(version));
            }
        }
    }
    json(StatusCode::OK, &object!({ "model_stats": all }))
}

fn statistics_of(version: &ServedVersion<ServingPlan>) -> Value {
    let reading = version.plan.metrics().read();
    let duration = |count: u64, ns: u64| object!({ "count": count, "ns": ns });
    let step = |ns| duration(reading.answered, ns);
    let computed = |ns| duration(reading.answered.saturating_sub(reading.cache_hits), ns);
    let runs = version.plan.metrics().read_runs().into_iter();
    let batch_stats = runs.map(|size| {
        object!({
            "batch_size": size.n_rows,
            "compute_input": duration(size.runs, size.input_ns),
            "compute_infer": duration(size.runs, size.engine_ns),
            "compute_output": duration(size.runs, size.output_ns),
        })
    });
    let batch_stats: Vec<Value> = batch_stats.collect();
    object!({
        "name": &*version.name,
        "version": version.version.to_string(),
        "last_inference": reading.last_ms,
        "inference_count": reading.rows,
        "execution_count": reading.runs,
        "inference_stats": {
            "success": step(reading.total_ns),
            "fail": duration(reading.failed, 0),
            "queue": step(reading.queue_ns),
            "compute_input": computed(reading.input_ns),
            "compute_infer": computed(reading.engine_ns),
            "compute_output": computed(reading.output_ns),
            "cache_hit": duration(reading.cache_hits, reading.cache_hit_ns),
            "cache_miss": duration(reading.cache_misses, reading.cache_miss_ns),
        },
        "batch_stats": batch_stats,
    })
}

/// What a call has to say about the version that a path names.
fn of_version(
    State(api): State<Arc<Api>>,
    Path(named): Path<Named>,
    headers: &HeaderMap,
    describe: impl FnOnce(&Api, &ServedVersion<ServingPlan>) -> Value,
) -> Response<Body> {
    let answer = resolved(&api, &named)
        .map(|resolved| json(StatusCode::OK, &describe(&api, &resolved.version)));
    answered(answer, &extract::request_id(headers))
}

fn resolved(api: &Api, named: &Named) -> Result<Resolved<ServingPlan>, Refusal> {
    Ok(api.predictor.models().resolve(&named.reference()?)?)
}
