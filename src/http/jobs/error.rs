//! What can go wrong with the routes of jobs.

use std::time::Duration;

use crate::error::{ErrorClass, Failure};
use crate::{http, jobs, models, predict, tasks};

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Http(#[from] http::Error),
    #[error(transparent)]
    Jobs(#[from] jobs::Error),
    #[error(transparent)]
    Task(#[from] tasks::Error),
    #[error("there are no jobs in this process")]
    Off,
    #[error("`{name}` is `{actual}`; wanted is {wanted}")]
    Query {
        name: &'static str,
        actual: String,
        wanted: &'static str,
    },
    #[error("the job `{id}` is another one")]
    KeyReused { id: String },
    #[error("the job `{id}` has ended already")]
    Ended { id: String },
}

impl From<predict::json::Error> for Error {
    fn from(error: predict::json::Error) -> Self {
        Self::Http(error.into())
    }
}

impl From<models::Error> for Error {
    fn from(error: models::Error) -> Self {
        Self::Http(error.into())
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Http(error) => error.class(),
            Self::Jobs(error) => error.class(),
            Self::Task(error) => error.class(),
            Self::Off => ErrorClass::Unavailable,
            Self::Query { .. } => ErrorClass::InvalidInput,
            Self::KeyReused { .. } | Self::Ended { .. } => ErrorClass::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Http(error) => error.code(),
            Self::Jobs(error) => error.code(),
            Self::Task(error) => error.code(),
            Self::Off => "jobs_off",
            Self::Query { .. } => "query_parameter_malformed",
            Self::KeyReused { .. } => "idempotency_key_reused",
            Self::Ended { .. } => "job_ended",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Http(error) => error.retry_after(),
            Self::Jobs(_)
            | Self::Task(_)
            | Self::Off
            | Self::Query { .. }
            | Self::KeyReused { .. }
            | Self::Ended { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Http(error) => return error.hint(),
            Self::Jobs(error) => return error.hint(),
            Self::Task(error) => return error.hint(),
            Self::Off | Self::Query { .. } => return None,
            Self::KeyReused { .. } => {
                "use an `Idempotency-Key` for one call only; it is free again once the job's result is no longer kept"
            }
            Self::Ended { .. } => "its result stays; `GET` shows it",
        };
        Some(hint.to_owned())
    }
}
