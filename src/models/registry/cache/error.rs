//! What can go wrong with the files of a version on their way to this machine.

use crate::error::{ErrorClass, Failure};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{place} has a file named `{path}`: {reason}")]
    Refused {
        place: String,
        path: String,
        reason: &'static str,
    },
    #[error("{place} has {what}; `registry.mlflow.{option}` is {limit}")]
    TooLarge {
        place: String,
        what: String,
        option: &'static str,
        limit: String,
    },
    #[error("there is no `MLmodel` at {place}")]
    Missing { place: String },
    #[error("`{path}` of {place} is damaged: {reason}")]
    Damaged {
        place: String,
        path: String,
        reason: String,
    },
    #[error("the files lie at {place}, {reason}")]
    Unsupported { place: String, reason: String },
    #[error("{place} cannot be read: {reason}")]
    Store { place: String, reason: String },
    #[error("the cache of model files cannot be used: {reason}")]
    Unwritable { reason: String },
}

impl Error {
    /// `fs_err` has put the file's name into the message.
    pub(super) fn unwritable(error: std::io::Error) -> Self {
        Self::Unwritable {
            reason: error.to_string(),
        }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Unsupported { .. }
            | Self::Store { .. }
            | Self::Unwritable { .. } => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "artifact_path_refused",
            Self::TooLarge { .. } => "artifact_too_large",
            Self::Missing { .. } => "artifact_missing",
            Self::Damaged { .. } => "artifact_damaged",
            Self::Unsupported { .. } => "artifact_location_unsupported",
            Self::Store { .. } => "artifact_store_failed",
            Self::Unwritable { .. } => "model_cache_unwritable",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { .. } => "keep all files of a model in its own directory",
            Self::TooLarge { .. } => "raise the limit, or log less with the model",
            Self::Missing { .. } => {
                "the files were deleted or never uploaded: log and register the model again"
            }
            Self::Damaged { .. } => "log and register the model again if this stays",
            Self::Unsupported { .. } => {
                "start the MLflow server with `--serve-artifacts`, or keep the files where it says"
            }
            Self::Store { .. } => {
                "check the store's variables (AWS_ACCESS_KEY_ID, MLFLOW_S3_ENDPOINT_URL and so on) and its permissions"
            }
            Self::Unwritable { .. } => {
                "set `registry.mlflow.cache` to a directory that can be written, with room for the models"
            }
        };
        Some(hint.to_owned())
    }
}
