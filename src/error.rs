//! What kinds of failure there are, with their HTTP and gRPC columns: the only place that knows status codes.

use std::time::Duration;

/// The closed set of failure classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request is malformed or does not fit the model.
    InvalidInput,
    /// Who calls did not prove who it is.
    Unauthenticated,
    NotFound,
    MethodNotAllowed,
    /// It does not go with what is there already.
    Conflict,
    /// Larger than a limit.
    TooLarge,
    UnsupportedMediaType,
    /// Well-formed, and yet it cannot be answered: a feature that must be there is missing or stale.
    Unprocessable,
    /// A bounded queue is full.
    Overloaded,
    /// The caller left.
    Cancelled,
    /// Our own fault.
    Internal,
    /// Part of the protocol, and not of this server.
    Unsupported,
    /// Something that we depend on is down, or the model did not load.
    Unavailable,
    DeadlineExceeded,
}

struct Row {
    name: &'static str,
    http: u16,
    grpc: i32,
}

const fn row(name: &'static str, http: u16, grpc: i32) -> Row {
    Row { name, http, grpc }
}

impl ErrorClass {
    const fn row(self) -> Row {
        match self {
            Self::InvalidInput => row("invalid_input", 400, 3),
            Self::Unauthenticated => row("unauthenticated", 401, 16),
            Self::NotFound => row("not_found", 404, 5),
            Self::MethodNotAllowed => row("method_not_allowed", 405, 12),
            Self::Conflict => row("conflict", 409, 6),
            Self::TooLarge => row("too_large", 413, 8),
            Self::UnsupportedMediaType => row("unsupported_media_type", 415, 3),
            Self::Unprocessable => row("unprocessable", 422, 9),
            Self::Overloaded => row("overloaded", 429, 8),
            Self::Cancelled => row("cancelled", 499, 1),
            Self::Internal => row("internal", 500, 13),
            Self::Unsupported => row("unsupported", 501, 12),
            Self::Unavailable => row("unavailable", 503, 14),
            Self::DeadlineExceeded => row("deadline_exceeded", 504, 4),
        }
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn http_status(self) -> u16 {
        self.row().http
    }

    /// The number of the gRPC status code.
    pub fn grpc_code(self) -> i32 {
        self.row().grpc
    }
}

/// The message with everything that it was caused by, as far as it does not say that itself. For logs and operators.
pub fn with_causes(failure: &dyn Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let cause_text = error.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        cause = error.source();
    }
    text
}

/// What every module's error tells about itself. The message is its `Display`: what failed, and where.
pub trait Failure: std::error::Error {
    fn class(&self) -> ErrorClass;

    /// Stable name of the failure: in bodies, metric labels and `docs/errors.md`.
    fn code(&self) -> &'static str;

    /// How to fix it.
    fn hint(&self) -> Option<String> {
        None
    }

    /// When it makes sense to try again, where that is known.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}
