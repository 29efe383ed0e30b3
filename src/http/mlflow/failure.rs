//! Our errors as MLflow's scoring server answers them: the one place where this surface departs from the classes of `error`.
//!
//! An exception of MLflow is `{"error_code", "message", "sqlstate", "error_class"}`. Its texts carry Python's print of the
//! data; ours say what is wrong with it. What MLflow has no word for (a model that is not there, overload) keeps the
//! status that it has everywhere else.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use serde::Serialize;

use crate::error::{ErrorClass, Failure, with_causes};
use crate::http::{Error, retry_after};
use crate::{inference, predict};

/// Why a call was not answered as asked.
#[derive(Debug)]
pub(super) enum Refusal {
    Mlflow {
        kind: Kind,
        message: String,
        /// Another status than that of the kind.
        status: Option<u16>,
        retry_after: Option<Duration>,
    },
    /// Not an exception of MLflow's: bare text.
    Text {
        status: u16,
        message: String,
        content_type: &'static str,
    },
}

/// MLflow's exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    BadRequest,
    Parameter,
    Schema,
    NotFound,
    Overloaded,
    Unavailable,
    Internal,
}

#[derive(Serialize)]
struct Exception<'a> {
    error_code: &'a str,
    message: &'a str,
    sqlstate: &'a str,
    error_class: &'a str,
}

impl Kind {
    /// Status, error code, SQL state, error class.
    const fn row(self) -> (u16, &'static str, &'static str, &'static str) {
        match self {
            Self::BadRequest => (400, "BAD_REQUEST", "KAM00", "INVALID_PARAMETER_VALUE"),
            Self::Parameter => (
                400,
                "INVALID_PARAMETER_VALUE",
                "KAM00",
                "INVALID_PARAMETER_VALUE",
            ),
            Self::Schema => (
                400,
                "INVALID_PARAMETER_VALUE",
                "KAM01",
                "SCHEMA_ENFORCEMENT_FAILED",
            ),
            Self::NotFound => (
                404,
                "RESOURCE_DOES_NOT_EXIST",
                "KAM00",
                "RESOURCE_NOT_FOUND",
            ),
            Self::Overloaded => (
                429,
                "REQUEST_LIMIT_EXCEEDED",
                "KAMC3",
                "CP_REQUEST_RATE_LIMITED",
            ),
            Self::Unavailable => (
                503,
                "TEMPORARILY_UNAVAILABLE",
                "XXM00",
                "CLIENT_INTERNAL_ERROR",
            ),
            Self::Internal => (500, "INTERNAL_ERROR", "XXM00", "CLIENT_INTERNAL_ERROR"),
        }
    }
}

impl Refusal {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::Mlflow {
            kind,
            message: message.into(),
            status: None,
            retry_after: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    pub(super) fn text(status: u16, message: impl Into<String>) -> Self {
        Self::Text {
            status,
            message: message.into(),
            content_type: "text/plain; charset=utf-8",
        }
    }

    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Mlflow { message, .. } | Self::Text { message, .. } => message,
        }
    }

    pub(super) fn render(&self) -> Response<Body> {
        let mut pause = None;
        let (status, content_type, body) = match self {
            Self::Mlflow {
                kind,
                message,
                status,
                retry_after,
            } => {
                pause = *retry_after;
                let (own, error_code, sqlstate, error_class) = kind.row();
                let exception = Exception {
                    error_code,
                    message,
                    sqlstate,
                    error_class,
                };
                let body = serde_json::to_vec(&exception).unwrap_or_default();
                (status.unwrap_or(own), "application/json", body)
            }
            Self::Text {
                status,
                message,
                content_type,
            } => (*status, *content_type, message.clone().into_bytes()),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if status == 429 {
            headers.insert(RETRY_AFTER, retry_after::value(pause));
        }
        response
    }
}

/// What MLflow says of whatever goes wrong in a model.
const MODEL: &str = "Encountered an unexpected error while evaluating the model. Verify that the serialized input Dataframe is compatible with the model for inference.";

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match &error {
            Error::Predict(predict) => of_prediction(predict),
            _ => by_class(&error),
        }
    }
}

impl From<predict::Error> for Refusal {
    fn from(error: predict::Error) -> Self {
        of_prediction(&error)
    }
}

fn of_prediction(error: &predict::Error) -> Refusal {
    use inference::Error as I;
    use predict::ScoringError as S;
    match error {
        predict::Error::Scoring(scoring) => {
            let message = scoring.to_string();
            match scoring {
                S::Column { .. } | S::Value { .. } | S::Csv { .. } => Refusal::bad_request(message),
                S::Schema { .. } => Refusal::new(Kind::Schema, message),
                S::Params { .. } => Refusal::new(Kind::Parameter, message),
                S::Model { .. } => Refusal::bad_request(format!("{MODEL} {message}")),
                S::SeveralInputs { .. } => Refusal::new(Kind::Internal, message),
            }
        }
        // MLflow blames the input for whatever the model raises.
        predict::Error::Inference(failure @ (I::Rejected { .. } | I::Run { .. })) => {
            log(error);
            Refusal::bad_request(format!("{MODEL} {failure}"))
        }
        other => by_class(other),
    }
}

fn by_class(failure: &dyn Failure) -> Refusal {
    log(failure);
    let class = failure.class();
    let kind = match class {
        // The request does not fit what the model takes.
        ErrorClass::InvalidInput => Kind::Schema,
        ErrorClass::Unprocessable => Kind::Parameter,
        ErrorClass::NotFound => Kind::NotFound,
        ErrorClass::MethodNotAllowed
        | ErrorClass::Conflict
        | ErrorClass::Unsupported
        | ErrorClass::Unauthenticated
        | ErrorClass::TooLarge
        | ErrorClass::UnsupportedMediaType
        | ErrorClass::Cancelled => Kind::BadRequest,
        ErrorClass::Overloaded => Kind::Overloaded,
        ErrorClass::Unavailable => Kind::Unavailable,
        ErrorClass::Internal => Kind::Internal,
        ErrorClass::DeadlineExceeded => {
            return Refusal::Text {
                status: class.http_status(),
                message: "Request processing time exceeded limit".to_owned(),
                content_type: "application/json",
            };
        }
    };
    let message = match failure.hint() {
        Some(hint) => format!("{failure} ({hint})"),
        None => failure.to_string(),
    };
    Refusal::Mlflow {
        kind,
        message,
        status: Some(class.http_status()),
        retry_after: failure.retry_after(),
    }
}

/// What is not the caller's doing, once, with its causes.
fn log(failure: &dyn Failure) {
    match failure.class() {
        ErrorClass::Internal => {
            tracing::error!(code = failure.code(), error = %with_causes(failure));
        }
        ErrorClass::Unavailable => {
            tracing::warn!(code = failure.code(), error = %with_causes(failure));
        }
        _ => {}
    }
}
