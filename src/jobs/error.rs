//! What can go wrong with a queue.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use super::JobId;
use crate::error::{ErrorClass, Failure};

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("the job queue ({queue}) cannot be reached")]
    Unreachable {
        queue: Arc<str>,
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    #[error("the job queue ({queue}) did not answer within {waited:?}")]
    Timeout { queue: Arc<str>, waited: Duration },
    /// It answered, and not with what was asked for.
    #[error("the job queue ({queue}) refused: {message}")]
    Refused { queue: Arc<str>, message: String },
    #[error("the job queue cannot be opened: {what}")]
    Settings { what: String },
    #[error("a job id has 1 to {limit} bytes, and this one has {n_bytes}")]
    IdInvalid { n_bytes: usize, limit: usize },
    #[error("the job `{id}` would expire before it is due")]
    ExpiresBeforeDue { id: JobId },
    #[error("the {what} of the job `{id}` has {n_bytes} bytes, and at most {limit} are taken")]
    TooLarge {
        id: JobId,
        what: &'static str,
        n_bytes: usize,
        limit: usize,
    },
    #[error("the job `{id}` cannot be written: {problem}")]
    Unencodable { id: JobId, problem: String },
    #[error("there is no job `{id}`")]
    NotFound { id: JobId },
    #[error("there is no dead job `{id}`")]
    NotDead { id: JobId },
    #[error("the dead job `{id}` cannot run again: it had expired, and nothing but its id is left")]
    Hollow { id: JobId },
    #[error("the cursor `{cursor}` is none that this list gave")]
    CursorInvalid { cursor: String },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Refused { .. } => {
                ErrorClass::Unavailable
            }
            Self::Settings { .. } => ErrorClass::Internal,
            Self::IdInvalid { .. }
            | Self::ExpiresBeforeDue { .. }
            | Self::Unencodable { .. }
            | Self::CursorInvalid { .. } => ErrorClass::InvalidInput,
            Self::TooLarge { .. } => ErrorClass::TooLarge,
            Self::NotFound { .. } | Self::NotDead { .. } => ErrorClass::NotFound,
            Self::Hollow { .. } => ErrorClass::Unprocessable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "job_queue_unreachable",
            Self::Timeout { .. } => "job_queue_timeout",
            Self::Refused { .. } => "job_queue_refused",
            Self::Settings { .. } => "job_queue_settings_invalid",
            Self::IdInvalid { .. } => "job_id_invalid",
            Self::ExpiresBeforeDue { .. } => "job_expiry_invalid",
            Self::TooLarge { .. } => "job_too_large",
            Self::Unencodable { .. } => "job_unencodable",
            Self::NotFound { .. } | Self::NotDead { .. } => "job_not_found",
            Self::Hollow { .. } => "job_body_gone",
            Self::CursorInvalid { .. } => "job_cursor_invalid",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                Some("jobs that were accepted are kept; look whether the queue's server runs".into())
            }
            Self::Refused { .. } | Self::Settings { .. } => {
                Some("look at the section `[jobs]` of the configuration".into())
            }
            Self::IdInvalid { .. } | Self::Unencodable { .. } => None,
            Self::ExpiresBeforeDue { .. } => {
                Some("let it expire later; the time counts from now, not from when it is due".into())
            }
            Self::TooLarge { what, .. } => Some(format!(
                "store the data elsewhere and pass a reference, or raise `jobs.max_{what}_size`"
            )),
            Self::NotFound { .. } => Some(
                "it was never enqueued, or its result is no longer kept; look at the queue's name as well"
                    .into(),
            ),
            Self::NotDead { .. } => Some("`GET /v1/jobs?state=dead` lists them".into()),
            Self::Hollow { .. } => Some("enqueue it anew".into()),
            Self::CursorInvalid { .. } => Some("begin the list anew, without a cursor".into()),
        }
    }
}
