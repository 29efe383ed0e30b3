//! Failures as `{"error": "..."}`, from every layer, with the status that their class has everywhere.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use serde::Serialize;

use crate::error::{ErrorClass, Failure, with_causes};
use crate::http::{Error, extract, retry_after};

/// Why a call was not answered as asked.
#[derive(Debug)]
pub(super) struct Refusal {
    class: ErrorClass,
    code: &'static str,
    message: String,
    retry_after: Option<Duration>,
    /// With what it was caused by, for the log.
    causes: String,
}

#[derive(Serialize)]
struct Told<'a> {
    error: &'a str,
}

impl<F: Failure> From<F> for Refusal {
    fn from(failure: F) -> Self {
        Self {
            class: failure.class(),
            code: failure.code(),
            message: match failure.hint() {
                Some(hint) => format!("{failure} ({hint})"),
                None => failure.to_string(),
            },
            retry_after: failure.retry_after(),
            causes: with_causes(&failure),
        }
    }
}

impl Refusal {
    /// Logs what is not the caller's doing, once.
    pub(super) fn render(&self, request_id: &str) -> Response<Body> {
        let (code, error) = (self.code, &self.causes);
        match self.class {
            ErrorClass::Internal => tracing::error!(request_id, code, error),
            ErrorClass::Unavailable => tracing::warn!(request_id, code, error),
            _ => {}
        }
        let body = serde_json::to_vec(&Told {
            error: &self.message,
        });
        let mut response = Response::new(Body::from(body.unwrap_or_default()));
        *response.status_mut() = StatusCode::from_u16(self.class.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.class {
            ErrorClass::Overloaded => {
                headers.insert(RETRY_AFTER, retry_after::value(self.retry_after));
            }
            ErrorClass::Unsupported => {
                // What a caller may do instead, where it was its content encoding.
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
            }
            _ => {}
        }
        response
    }
}

/// An answer, or its refusal.
pub(super) fn answered(
    answer: Result<Response<Body>, Refusal>,
    request_id: &str,
) -> Response<Body> {
    answer.unwrap_or_else(|refusal| refusal.render(request_id))
}

pub(in crate::http) fn unknown_route(request: &Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    Refusal::from(Error::RouteUnknown { path }).render(&extract::request_id(request.headers()))
}

pub(in crate::http) fn method_not_allowed(request: &Request) -> Response<Body> {
    let error = Error::MethodNotAllowed {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    };
    Refusal::from(error).render(&extract::request_id(request.headers()))
}
