//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use serde::Serialize;

use super::{Api, json};
use crate::error::Failure;
use crate::features::FeatureStore;
use crate::models::{Readiness, RegistryStatus};

/// The process answers.
pub(super) async fn alive() -> Response<Body> {
    json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
}

#[derive(Serialize)]
struct Report {
    /// `ready`, `degraded` (ready, and something is wrong) or `not_ready`.
    status: &'static str,
    /// What is wrong, one sentence each.
    reasons: Vec<String>,
    models: Models,
}

#[derive(Serialize)]
struct Models {
    loaded: usize,
    failed: Vec<String>,
}

/// 200 once the models were tried and the online store answers, else 503; both with the reasons.
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response<Body> {
    let models = api.predictor.models().readiness();
    let mut reasons = Vec::new();
    let mut is_ready = models.is_ready(api.ready);
    if api.shutdown.is_stopping() {
        is_ready = false;
        reasons.push("the server is stopping".to_owned());
    }
    if let Some(reason) = reason(&models) {
        reasons.push(reason);
    }
    reasons.extend(models.behind.iter().cloned());
    let registry = api.predictor.models().registry();
    reasons.extend(registry.and_then(|registry| unread_registry(&registry)));
    if let Some(features) = &api.features
        && let Err(error) = features.ping().await
    {
        is_ready = false;
        reasons.push(format!("{error} ({})", error.code()));
    }
    if let Some(features) = &api.features {
        reasons.extend(stale_registry(features));
    }
    let audit = api.predictor.audit();
    if let Err(error) = audit.check() {
        is_ready &= !audit.refuses();
        reasons.push(format!("{error} ({})", error.code()));
    }
    reasons.extend(audit.undelivered());
    if let Some(http_audit) = &api.http_audit {
        let unwritten = http_audit.check().err();
        reasons.extend(unwritten.map(|error| format!("{error} ({})", error.code())));
        reasons.extend(http_audit.undelivered());
    }
    let status = match (is_ready, reasons.is_empty()) {
        (false, _) => "not_ready",
        (true, false) => "degraded",
        (true, true) => "ready",
    };
    let code = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(
        code,
        &Report {
            status,
            reasons,
            models: Models {
                loaded: models.n_loaded,
                failed: models.failed,
            },
        },
    )
}

/// An old registry is served, and objects that do not decode are not: neither keeps the rest from being served.
fn stale_registry(features: &FeatureStore) -> Vec<String> {
    let status = features.registry_status();
    let mut reasons = status.left_out;
    if let Some(failure) = status.failure {
        let (message, code) = (failure.message, failure.code);
        reasons.push(format!(
            "{message} ({code}); features are served by the registry as of {}",
            status.read_at
        ));
    }
    reasons
}

/// What was served before goes on being served.
fn unread_registry(status: &RegistryStatus) -> Option<String> {
    let failure = status.failure.as_ref()?;
    let since = match (status.read_at, status.from_saved_set) {
        (Some(at), false) => format!("models are served as of {at}"),
        (Some(at), true) => format!("the models that served on {at} are served"),
        (None, _) => "the models that served last are served".to_owned(),
    };
    let (message, code) = (&failure.message, failure.code);
    Some(format!(
        "model registry unreachable: {message} ({code}); {since}"
    ))
}

fn reason(models: &Readiness) -> Option<String> {
    if !models.tried {
        return Some("the models are still being loaded".to_owned());
    }
    let failed = models.failed.join(", ");
    (!models.failed.is_empty()).then(|| format!("did not load: {failed}; /v1/models says why"))
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response<Body> {
    let mut response = Response::new(Body::from(api.metrics.render()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
