//! What can go wrong when models are loaded and run.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{ErrorClass, Failure};

/// The engine's own account of a failed run: for the log, not for clients.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the ONNX Runtime library is not there; looked at {}", list(.looked_at))]
    LibraryMissing { looked_at: Vec<PathBuf> },
    #[error("the ONNX Runtime library {} does not load: {reason}", .path.display())]
    Library { path: PathBuf, reason: String },
    #[error("cannot read the model file: {reason}")]
    Read { reason: String },
    #[error("{} is not a readable ONNX file: {reason}", .path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("tensor data of {} lies at `{location}`: {reason}", .path.display())]
    ExternalData {
        path: PathBuf,
        location: String,
        reason: &'static str,
    },
    #[error("ONNX Runtime does not load {}: {reason}", .path.display())]
    Load { path: PathBuf, reason: String },
    #[error("{} {place} is of type {actual}, which is not supported", .path.display())]
    Unsupported {
        path: PathBuf,
        place: String,
        actual: String,
    },

    #[error("the model refuses its inputs: {reason}")]
    Rejected { reason: String },
    #[error("the model failed while it ran")]
    Run { source: Cause },
    #[error("the model's engine panicked")]
    Panicked,
    #[error("output `{output}` of the model has {actual} rows where its inputs have {wanted}")]
    Shape {
        output: String,
        wanted: usize,
        actual: usize,
    },
    #[error("all engines of the model are busy and {max_waiting} calls wait already")]
    Overloaded {
        max_waiting: NonZeroUsize,
        /// What waits should have run by then.
        retry_after: Duration,
    },
    #[error("all engines of the model are busy and calls of {max_rows} rows wait already")]
    OverloadedRows {
        max_rows: NonZeroUsize,
        retry_after: Duration,
    },
    #[error("the deadline passed before the model answered")]
    DeadlineExceeded,
    #[error("the server is stopping")]
    Stopping,
}

fn list(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    quoted.join(", ")
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryMissing { .. }
            | Self::Library { .. }
            | Self::Read { .. }
            | Self::Malformed { .. }
            | Self::ExternalData { .. }
            | Self::Load { .. }
            | Self::Unsupported { .. }
            | Self::Stopping => ErrorClass::Unavailable,
            Self::Rejected { .. } => ErrorClass::InvalidInput,
            Self::Run { .. } | Self::Panicked | Self::Shape { .. } => ErrorClass::Internal,
            Self::Overloaded { .. } | Self::OverloadedRows { .. } => ErrorClass::Overloaded,
            Self::DeadlineExceeded => ErrorClass::DeadlineExceeded,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::LibraryMissing { .. } => "onnxruntime_missing",
            Self::Library { .. } => "onnxruntime_unusable",
            Self::Read { .. } => "model_file_unreadable",
            Self::Malformed { .. } | Self::Load { .. } => "model_file_invalid",
            Self::ExternalData { .. } => "model_external_data_refused",
            Self::Unsupported { .. } => "model_unsupported",
            Self::Rejected { .. } => "model_inputs_refused",
            Self::Run { .. } | Self::Panicked => "inference_failed",
            Self::Shape { .. } => "model_output_rows_wrong",
            Self::Overloaded { .. } | Self::OverloadedRows { .. } => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Stopping => "stopping",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::LibraryMissing { .. } => {
                "run `dev/onnxruntime` (or `make demo`), or set `inference.library` or `ORT_DYLIB_PATH`"
            }
            Self::Library { .. } => {
                "version 1.24 or later for this machine is needed: run `dev/onnxruntime`, or set `inference.library`"
            }
            Self::Read { .. } => "check the file and its permissions",
            Self::Malformed { .. } | Self::Load { .. } => {
                "log the model again; `onnx.checker.check_model` shows what is wrong with it"
            }
            Self::ExternalData { .. } => {
                "keep all files of a model in its own directory; `onnx.save_model` writes them so"
            }
            Self::Unsupported { .. } => {
                "export the model with inputs and outputs that are tensors of numbers, booleans or text, or ZipMap outputs"
            }
            Self::Rejected { .. } => {
                "send values of the types and shapes that the model's signature states"
            }
            Self::Run { .. } | Self::Panicked => "the server's log has the cause",
            Self::Shape { .. } => "the graph must give one row for each row it takes",
            Self::Overloaded { .. } => {
                "try again later, or raise `inference.threads` or `inference.max_waiting`"
            }
            Self::OverloadedRows { .. } => {
                "try again later, send fewer rows a call, or raise `inference.threads` or `inference.max_waiting_rows`"
            }
            Self::DeadlineExceeded => "allow more time, or send fewer calls at once",
            Self::Stopping => "try again on another server",
        };
        Some(hint.to_owned())
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } | Self::OverloadedRows { retry_after, .. } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }
}
