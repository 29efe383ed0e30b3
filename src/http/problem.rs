//! RFC 9457 problem documents: how `/v1` tells a failure.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use serde::Serialize;

use super::extract::REQUEST_ID;
use super::retry_after;
use crate::error::{ErrorClass, Failure, with_causes};

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    request_id: &'a str,
}

/// Renders a failure; logs the ones that are not the caller's doing, with their causes, once.
pub(super) fn render(failure: &dyn Failure, request_id: &str) -> Response<Body> {
    let class = failure.class();
    let detail = failure.to_string();
    match class {
        ErrorClass::Internal => {
            tracing::error!(request_id, code = failure.code(), error = %with_causes(failure))
        }
        ErrorClass::Unavailable => {
            tracing::warn!(request_id, code = failure.code(), error = %with_causes(failure))
        }
        _ => {}
    }
    let status =
        StatusCode::from_u16(class.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let problem = Problem {
        kind: format!("urn:terrarium:error:{}", failure.code()),
        title: title(class),
        status: status.as_u16(),
        detail: &detail,
        code: failure.code(),
        hint: failure.hint(),
        request_id,
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if class == ErrorClass::Overloaded {
        response
            .headers_mut()
            .insert(RETRY_AFTER, retry_after::value(failure.retry_after()));
    }
    response
}

fn title(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::InvalidInput => "The request is not valid",
        ErrorClass::Unauthenticated => "Not authenticated",
        ErrorClass::NotFound => "Not found",
        ErrorClass::MethodNotAllowed => "Method not allowed",
        ErrorClass::Conflict => "In conflict with what is there",
        ErrorClass::TooLarge => "Too large",
        ErrorClass::UnsupportedMediaType => "Unsupported media type",
        ErrorClass::Unprocessable => "The request cannot be answered",
        ErrorClass::Overloaded => "Too much to do",
        ErrorClass::Cancelled => "The caller left",
        ErrorClass::Internal => "Internal error",
        ErrorClass::Unsupported => "Not supported",
        ErrorClass::Unavailable => "Not available",
        ErrorClass::DeadlineExceeded => "Out of time",
    }
}
