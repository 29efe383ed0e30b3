//! `GET /v1/models/{model}/versions/{version}/gate`: what a version answered to recorded predictions before the plain name
//! could move to it, as JSON, or as a page for who asks for one (`Accept: text/html`).

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::models::{LoadFailure, failure};
use super::{Api, extract, json, problem};
use crate::error::{ErrorClass, Failure};
use crate::models::Gate;
use crate::predict::replay;
use crate::types::names::ModelVersion;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("there is no report of a gate on version {version} of model `{model}`")]
    Unknown { model: String, version: String },
    #[error("the report of the gate cannot be read: {source}")]
    Read { source: io::Error },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unknown { .. } => ErrorClass::NotFound,
            Self::Read { .. } => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "model_gate_report_not_found",
            Self::Read { .. } => "model_gate_report_unreadable",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => Some(
                "a version is judged where `[models.<name>.gate]` has `replay`, when the plain name should move to it"
                    .to_owned(),
            ),
            Self::Read { .. } => None,
        }
    }
}

/// What became of a version before its gate, as `/v1/models` shows it.
#[derive(Serialize)]
pub struct Status {
    /// `pending`, `passed`, `unjudged`, `refused` or `failed`.
    pub outcome: &'static str,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why the version stays out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LoadFailure>,
    /// Where the differences are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

pub(super) fn describe(model: &str, version: ModelVersion, gate: &Gate) -> Status {
    let (outcome, message) = match gate {
        Gate::Pending => ("pending", None),
        Gate::Passed(sentence) => ("passed", Some(sentence.to_string())),
        Gate::Unjudged(sentence) => ("unjudged", Some(sentence.to_string())),
        Gate::Refused(_) => ("refused", None),
        Gate::Failed(_) => ("failed", None),
    };
    let is_judged = !matches!(gate, Gate::Pending | Gate::Failed(_));
    Status {
        outcome,
        message,
        error: gate.failure().map(|error| failure(&**error)),
        report: is_judged.then(|| path(model, version)),
    }
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    let title = format!("{model}:{version}");
    match find(&api, model, version).await {
        Ok(report) if wants_page(&headers) => page(replay::page(&title, &report)),
        Ok(report) => json(StatusCode::OK, &report),
        Err(error) => problem::render(&error, &extract::request_id(&headers)),
    }
}

async fn find(api: &Api, model: String, version: String) -> Result<Value, Error> {
    let Ok(number) = version.parse() else {
        return Err(Error::Unknown { model, version });
    };
    let report = api.gates.read(&model, ModelVersion(number)).await;
    let report = report.map_err(|source| Error::Read { source })?;
    report.ok_or(Error::Unknown { model, version })
}

/// A browser names pages first.
fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn page(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    // It has nothing but text and its own style.
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    response
}

/// Where the report on a version is, without scheme and host.
fn path(model: &str, version: ModelVersion) -> String {
    let mut path = "/v1/models/".to_owned();
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path + &format!("/versions/{version}/gate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_the_path() {
        assert_eq!(
            path("a b/ü", ModelVersion(3)),
            "/v1/models/a%20b%2F%C3%BC/versions/3/gate"
        );
    }
}
