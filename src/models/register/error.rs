//! What can go wrong when a model is registered.

use std::path::PathBuf;

use crate::error::{ErrorClass, Failure};
use crate::inference;
use crate::models::{artifact, registry};
use crate::types::names::ModelVersion;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("model name `{name}`: {reason}")]
    ModelName { name: String, reason: &'static str },
    #[error("alias `{alias}`: {reason}")]
    Alias { alias: String, reason: &'static str },
    #[error("{}: {reason}", .path.display())]
    Source { path: PathBuf, reason: String },
    #[error("the signature in {}: {reason}", .path.display())]
    Signature { path: PathBuf, reason: String },
    #[error("the signature contradicts the graph: {reason}")]
    Contradiction { reason: String },
    #[error("the input example in {}: {reason}", .path.display())]
    Example { path: PathBuf, reason: String },
    #[error(transparent)]
    Artifact(#[from] artifact::Error),
    #[error(transparent)]
    Inference(#[from] inference::Error),
    #[error("while {step}: {source}")]
    Step {
        step: &'static str,
        #[source]
        source: registry::Error,
    },
    #[error("while {step}: {reason}")]
    Answer { step: &'static str, reason: String },
    #[error("experiment `{experiment}` has been deleted")]
    ExperimentDeleted { experiment: String },
    #[error("the server keeps its artifacts at {uri}: {reason}")]
    Store { uri: String, reason: String },
    #[error("while uploading `{file}` to {uri}: {reason}")]
    Upload {
        file: String,
        uri: String,
        reason: String,
    },
    #[error("the model registry at {location} is read, not written")]
    ReadOnly { location: String },
    #[error("while {step}: {reason}")]
    Write { step: &'static str, reason: String },
    #[error("model `{name}` has no version {version}")]
    UnknownVersion { name: String, version: ModelVersion },
    #[error("there is no model `{name}` in {location}")]
    UnknownModel { name: String, location: String },
    #[error("the command was stopped")]
    Stopped,
}

impl Error {
    /// Of the file system; `fs_err` has put the file's name into the message.
    pub(super) fn write(step: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Write {
            step,
            reason: error.to_string(),
        }
    }

    /// Whether it is the command that was wrong, not what it met.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::ModelName { .. } | Self::Alias { .. } | Self::ReadOnly { .. }
        )
    }

    pub(super) fn step(step: &'static str) -> impl Fn(registry::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ModelName { .. }
            | Self::Alias { .. }
            | Self::Source { .. }
            | Self::Signature { .. }
            | Self::Contradiction { .. }
            | Self::Example { .. }
            | Self::ReadOnly { .. } => ErrorClass::InvalidInput,
            Self::Artifact(error) => error.class(),
            Self::Inference(error) => error.class(),
            Self::Step { source, .. } => source.class(),
            Self::UnknownVersion { .. } | Self::UnknownModel { .. } => ErrorClass::NotFound,
            Self::Answer { .. }
            | Self::ExperimentDeleted { .. }
            | Self::Store { .. }
            | Self::Upload { .. }
            | Self::Write { .. }
            | Self::Stopped => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ModelName { .. } => "model_name_invalid",
            Self::Alias { .. } => "model_alias_invalid",
            Self::Source { .. } => "register_source_invalid",
            Self::Signature { .. } => "register_signature_invalid",
            Self::Contradiction { .. } => "register_signature_contradicts",
            Self::Example { .. } => "register_input_example_invalid",
            Self::Artifact(error) => error.code(),
            Self::Inference(error) => error.code(),
            Self::Step { source, .. } => source.code(),
            Self::Answer { .. } => "register_answer_unexpected",
            Self::ExperimentDeleted { .. } => "register_experiment_deleted",
            Self::Store { .. } => "register_store_unsupported",
            Self::Upload { .. } => "register_upload_failed",
            Self::ReadOnly { .. } => "model_registry_read_only",
            Self::Write { .. } => "register_write_failed",
            Self::UnknownVersion { .. } => "model_version_not_found",
            Self::UnknownModel { .. } => "model_not_found",
            Self::Stopped => "stopping",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::ModelName { .. } | Self::Alias { .. } => "choose another name",
            Self::Source { .. } => {
                "give an `.onnx` file, or a directory with an `MLmodel` file in it"
            }
            Self::Signature { .. } => {
                "write what `ModelSignature.to_dict()` of MLflow gives: {\"inputs\": ..., \"outputs\": ..., \"params\": ...}"
            }
            Self::Contradiction { .. } => {
                "correct the signature, or leave it out: it is then inferred from the graph"
            }
            Self::Example { .. } => {
                "write {\"columns\": [...], \"data\": [[...]]}, nested lists, or an object of lists by input name"
            }
            Self::Artifact(error) => return error.hint(),
            Self::Inference(error) => return error.hint(),
            Self::Step { source, .. } => return source.hint(),
            Self::Answer { .. } => "is there an MLflow server of version 2 or 3 at this address?",
            Self::ExperimentDeleted { .. } => {
                "restore it (`mlflow experiments restore`), or name another with `--experiment`"
            }
            Self::Store { .. } => {
                "start the MLflow server with `--serve-artifacts`, or on a store that can be reached from here"
            }
            Self::Upload { .. } => "check that the server, or its store, takes files of this size",
            Self::Write { .. } => "check the path, its permissions, and the space that is left",
            Self::ReadOnly { .. } => {
                "register with the MLflow server in front of it (`--registry-uri http://...`), or in a directory \
                 (`[registry.local]`)"
            }
            Self::UnknownVersion { .. } | Self::UnknownModel { .. } => {
                "`terrarium models list --registry` shows what there is"
            }
            Self::Stopped => "run it again",
        };
        Some(hint.to_owned())
    }
}
