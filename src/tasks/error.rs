//! What can go wrong with a job beside the work itself.

use crate::error::{ErrorClass, Failure};
use crate::jobs::value::NotJson;
use crate::{features, jobs, predict};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Predict(#[from] predict::json::Error),
    #[error(transparent)]
    Features(#[from] features::Error),
    #[error(transparent)]
    Jobs(#[from] jobs::Error),
    #[error("the arguments of `{function}` do not fit: {problem}")]
    Arguments { function: String, problem: String },
    #[error("the body is not valid: {0}")]
    NotJson(#[from] NotJson),
    #[error("there is no feature repository")]
    NoFeatures,
    #[error(transparent)]
    Historical(Box<features::historical::Error>),
    #[error(transparent)]
    Score(Box<predict::score::Error>),
    #[error("`{path}` is no file that jobs may use: {problem}")]
    File { path: String, problem: String },
    #[error("there is no function `{function}`")]
    NoFunction { function: String },
    #[error("`{url}` is not told of jobs: {reason}")]
    WebhookRefused { url: String, reason: &'static str },
    #[error("`{url}` was not told of the job `{job}`: {problem}")]
    WebhookUnanswered {
        url: String,
        job: String,
        problem: String,
    },
    #[error("`{url}` answered {status} when it was told of the job `{job}`")]
    WebhookRejected {
        url: String,
        job: String,
        status: u16,
    },
}

impl From<features::historical::Error> for Error {
    fn from(error: features::historical::Error) -> Self {
        Self::Historical(Box::new(error))
    }
}

impl From<predict::score::Error> for Error {
    fn from(error: predict::score::Error) -> Self {
        Self::Score(Box::new(error))
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Predict(error) => error.class(),
            Self::Features(error) => error.class(),
            Self::Jobs(error) => error.class(),
            Self::Arguments { .. } | Self::NotJson(_) | Self::WebhookRefused { .. } => {
                ErrorClass::InvalidInput
            }
            Self::Historical(error) => error.class(),
            Self::Score(error) => error.class(),
            Self::File { .. } => ErrorClass::InvalidInput,
            Self::NoFeatures | Self::NoFunction { .. } => ErrorClass::NotFound,
            Self::WebhookUnanswered { .. } => ErrorClass::Unavailable,
            Self::WebhookRejected { .. } => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Predict(error) => error.code(),
            Self::Features(error) => error.code(),
            Self::Jobs(error) => error.code(),
            Self::Arguments { .. } => "job_arguments_invalid",
            Self::NotJson(_) => "body_malformed",
            Self::Historical(error) => error.code(),
            Self::Score(error) => error.code(),
            Self::File { .. } => "job_file_refused",
            Self::NoFeatures => "feature_repository_absent",
            Self::NoFunction { .. } => "job_function_unknown",
            Self::WebhookRefused { .. } => "job_webhook_refused",
            Self::WebhookUnanswered { .. } => "job_webhook_unanswered",
            Self::WebhookRejected { .. } => "job_webhook_rejected",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Predict(error) => return error.hint(),
            Self::Features(error) => return error.hint(),
            Self::Jobs(error) => return error.hint(),
            Self::Arguments { .. } | Self::NoFunction { .. } => {
                "docs/jobs.md lists the functions and what they take"
            }
            Self::NotJson(_) => "send numbers, text, lists and dicts, as in a JSON body",
            Self::Historical(error) => return error.hint(),
            Self::Score(error) => return error.hint(),
            Self::File { .. } => {
                "set `jobs.files` to a directory, and name files by their paths below it"
            }
            Self::NoFeatures => "set `features.repo`",
            Self::WebhookRefused { .. } => {
                "set `jobs.webhook.secret`, and list what the URL begins with in `jobs.webhook.allow`"
            }
            Self::WebhookUnanswered { .. } | Self::WebhookRejected { .. } => {
                "`terrarium jobs list --state dead` shows what was given up"
            }
        };
        Some(hint.to_owned())
    }
}
