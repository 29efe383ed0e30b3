//! What can go wrong at the HTTP edge, before or beside a prediction.

use std::time::Duration;

use crate::error::{ErrorClass, Failure};
use crate::features::historical;
use crate::types::request::ColumnsError;
use crate::types::urgency::PriorityError;
use crate::{models, predict};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Predict(#[from] predict::Error),
    #[error(transparent)]
    Json(#[from] predict::json::Error),
    #[error(transparent)]
    Models(#[from] models::Error),
    #[error(transparent)]
    ModelRef(#[from] crate::types::names::ModelRefError),
    #[error("the body is larger than the limit of {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    BodyLate,
    #[error("the body ended early: {source}")]
    BodyCut { source: axum::Error },
    #[error("the content type `{actual}` is not `application/json` in UTF-8")]
    ContentType { actual: String },
    #[error(
        "`x-request-timeout-ms` is `{actual}`, not a number of milliseconds from 1 to 4294967295"
    )]
    RequestTimeout { actual: String },
    #[error("`x-request-priority`: {0}")]
    RequestPriority(#[from] PriorityError),
    #[error("there is nothing at `{path}`")]
    RouteUnknown { path: String },
    #[error("`{path}` does not take {method}")]
    MethodNotAllowed { method: String, path: String },
    #[error(transparent)]
    Historical(Box<historical::Error>),
    #[error("there is no feature repository")]
    NoFeatures,
    #[error("{limit} point-in-time joins are running, and no more may")]
    HistoricalBusy { limit: usize },
    #[error("the point-in-time join took too long")]
    HistoricalLate,
    #[error("the content type `{actual}` is none of JSON, Parquet and Arrow")]
    HistoricalContentType { actual: String },
    #[error("the answer can be `{}`, and none of them is accepted", known.join("`, `"))]
    Accept { known: [&'static str; 3] },
    #[error("the answer cannot be written as JSON")]
    Encode { source: serde_json::Error },
}

impl From<ColumnsError> for Error {
    fn from(error: ColumnsError) -> Self {
        Self::Json(error.into())
    }
}

impl From<historical::Error> for Error {
    fn from(error: historical::Error) -> Self {
        Self::Historical(Box::new(error))
    }
}

impl Failure for Error {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Predict(error) => error.retry_after(),
            Self::Json(error) => error.retry_after(),
            _ => None,
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Predict(error) => error.class(),
            Self::Models(error) => error.class(),
            Self::Json(error) => error.class(),
            Self::BodyTooLarge { .. } => ErrorClass::TooLarge,
            Self::ModelRef(_) | Self::RequestTimeout { .. } | Self::RequestPriority(_) => {
                ErrorClass::InvalidInput
            }
            Self::BodyLate => ErrorClass::DeadlineExceeded,
            Self::BodyCut { .. } => ErrorClass::Cancelled,
            Self::ContentType { .. } => ErrorClass::UnsupportedMediaType,
            Self::RouteUnknown { .. } => ErrorClass::NotFound,
            Self::MethodNotAllowed { .. } => ErrorClass::MethodNotAllowed,
            Self::Historical(error) => error.class(),
            Self::NoFeatures => ErrorClass::NotFound,
            Self::HistoricalBusy { .. } => ErrorClass::Overloaded,
            Self::HistoricalLate => ErrorClass::DeadlineExceeded,
            Self::HistoricalContentType { .. } => ErrorClass::UnsupportedMediaType,
            Self::Accept { .. } => ErrorClass::InvalidInput,
            Self::Encode { .. } => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Predict(error) => error.code(),
            Self::Json(error) => error.code(),
            Self::Models(error) => error.code(),
            Self::ModelRef(_) => "model_reference_malformed",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyLate => "body_late",
            Self::BodyCut { .. } => "body_cut",
            Self::ContentType { .. } => "content_type_unsupported",
            Self::RequestTimeout { .. } => "request_timeout_malformed",
            Self::RequestPriority(_) => "request_priority_unknown",
            Self::RouteUnknown { .. } => "route_unknown",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Historical(error) => error.code(),
            Self::NoFeatures => "feature_repository_absent",
            Self::HistoricalBusy { .. } => "historical_busy",
            Self::HistoricalLate => "deadline_exceeded",
            Self::HistoricalContentType { .. } => "content_type_unsupported",
            Self::Accept { .. } => "accept_unsupported",
            Self::Encode { .. } => "answer_encoding",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Predict(error) => return error.hint(),
            Self::Json(error) => return error.hint(),
            Self::Models(error) => return error.hint(),
            Self::ModelRef(_) => "write `name`, `name@alias` or `name:version`",
            Self::BodyTooLarge { .. } => "send fewer rows a call, or raise `http.max_body`",
            Self::ContentType { .. } => {
                "send JSON with `Content-Type: application/json`, or without the header"
            }
            Self::RouteUnknown { .. } | Self::MethodNotAllowed { .. } => {
                "the routes are listed at /openapi.json and /docs"
            }
            Self::RequestTimeout { .. } => "send whole milliseconds, or leave the header out",
            Self::RequestPriority(_) => "send one of the words, or leave the header out",
            Self::BodyLate => "send it faster, or raise `http.request_timeout`",
            Self::Historical(error) => return error.hint(),
            Self::NoFeatures => "set `features.repo`",
            Self::HistoricalBusy { .. } => {
                "try again later, queue it as a job, or raise `http.historical.concurrent`"
            }
            Self::HistoricalLate => {
                "send fewer rows, queue it as a job, or raise `http.historical.timeout`"
            }
            Self::HistoricalContentType { .. } => {
                "send `application/json`, `application/vnd.apache.parquet` or `application/vnd.apache.arrow.stream`"
            }
            Self::Accept { .. } => "accept one of these",
            Self::BodyCut { .. } | Self::Encode { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
