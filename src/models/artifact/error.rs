//! What can be wrong with the files of a model version.

use std::path::PathBuf;

use crate::error::{ErrorClass, Failure};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the model's files: {reason}")]
    Unreadable { reason: String },
    #[error("{}: {reason}", .path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("{} has no flavor `onnx`, only {flavors}", .path.display())]
    NoOnnxFlavor { path: PathBuf, flavors: String },
    #[error("{} names `{file}`: {reason}", .path.display())]
    Escapes {
        path: PathBuf,
        file: String,
        reason: &'static str,
    },
}

impl Error {
    /// `fs_err` has put the file's name into the message.
    pub(super) fn unreadable(error: std::io::Error) -> Self {
        Self::Unreadable {
            reason: error.to_string(),
        }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unreadable { .. }
            | Self::Malformed { .. }
            | Self::NoOnnxFlavor { .. }
            | Self::Escapes { .. } => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "artifact_unreadable",
            Self::Malformed { .. } => "artifact_malformed",
            Self::NoOnnxFlavor { .. } => "artifact_not_onnx",
            Self::Escapes { .. } => "artifact_path_refused",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreadable { .. } => {
                "the directory of a version is what `mlflow.onnx.save_model` writes, `MLmodel` included"
            }
            Self::Malformed { .. } => "log the model again with a current MLflow",
            Self::NoOnnxFlavor { .. } => {
                "convert the model to ONNX and log it with `mlflow.onnx.log_model`"
            }
            Self::Escapes { .. } => "keep all files of a model in its own directory",
        };
        Some(hint.to_owned())
    }
}
