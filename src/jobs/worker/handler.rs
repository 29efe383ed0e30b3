//! What runs jobs, as a worker sees it: functions by name.

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{ErrorClass, Failure};
use crate::jobs::JobId;
use crate::jobs::value::Value;
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;

/// One function that jobs may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    pub name: &'static str,
    /// How long it may take where nothing is configured for it, if not as long as any other.
    pub timeout: Option<Duration>,
    /// How many attempts it has, likewise.
    pub tries: Option<NonZeroU32>,
}

impl Function {
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            timeout: None,
            tries: None,
        }
    }

    pub const fn within(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    pub const fn trying(self, tries: NonZeroU32) -> Self {
        Self {
            tries: Some(tries),
            ..self
        }
    }
}

/// One attempt of a job.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: JobId,
    pub function: String,
    pub args: Vec<Value>,
    pub kwargs: Vec<(String, Value)>,
    /// From 1.
    pub attempt: u32,
    pub enqueued_at: Timestamp,
    /// When the attempt is given up.
    pub deadline: Deadline,
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    pub class: ErrorClass,
    /// As in `docs/errors.md`.
    pub code: &'static str,
    pub message: String,
}

impl JobError {
    /// What HTTP would say of the same failure.
    pub fn of(failure: &dyn Failure) -> Self {
        Self {
            class: failure.class(),
            code: failure.code(),
            message: failure.to_string(),
        }
    }

    /// Whether the same job may succeed later, without anybody doing anything about it.
    pub(super) fn may_pass(&self) -> bool {
        match self.class {
            ErrorClass::Overloaded | ErrorClass::Unavailable | ErrorClass::DeadlineExceeded => true,
            ErrorClass::InvalidInput
            | ErrorClass::Unauthenticated
            | ErrorClass::NotFound
            | ErrorClass::MethodNotAllowed
            | ErrorClass::Conflict
            | ErrorClass::TooLarge
            | ErrorClass::UnsupportedMediaType
            | ErrorClass::Unprocessable
            | ErrorClass::Cancelled
            | ErrorClass::Internal
            | ErrorClass::Unsupported => false,
        }
    }

    /// Whether what the job asks for is wrong, so that it fails whenever it runs.
    pub(super) fn is_of_caller(&self) -> bool {
        match self.class {
            ErrorClass::InvalidInput
            | ErrorClass::Unauthenticated
            | ErrorClass::NotFound
            | ErrorClass::MethodNotAllowed
            | ErrorClass::Conflict
            | ErrorClass::TooLarge
            | ErrorClass::UnsupportedMediaType
            | ErrorClass::Unprocessable
            | ErrorClass::Unsupported
            | ErrorClass::Cancelled => true,
            ErrorClass::Overloaded
            | ErrorClass::Unavailable
            | ErrorClass::DeadlineExceeded
            | ErrorClass::Internal => false,
        }
    }
}

/// Runs jobs. A panic fails the job and nothing else.
#[async_trait]
pub trait JobHandler: Send + Sync {
    /// All functions that there are.
    fn functions(&self) -> &[Function];

    /// Runs one attempt of a function that there is. The future is dropped when the time is up, when the job is aborted, and
    /// when the worker stops; it may run again after that, here or elsewhere.
    async fn run(&self, call: &Call) -> Result<Value, JobError>;

    /// Told of a job that comes to its end, before its result is stored, and again if that has to be repeated.
    async fn ending(&self, call: &Call, succeeded: bool) -> Result<(), JobError>;
}
