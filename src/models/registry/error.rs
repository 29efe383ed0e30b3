//! What can go wrong with a model registry.

use std::path::PathBuf;
use std::time::Duration;

use super::cache;
use crate::error::{ErrorClass, Failure};
use crate::types::names::ModelVersion;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no model registry at {}", .path.display())]
    Missing { path: PathBuf },
    #[error("cannot read the model registry: {reason}")]
    Unreadable { reason: String },
    #[error("{} is not a flat map of {content}: {reason}", .path.display())]
    Malformed {
        path: PathBuf,
        content: &'static str,
        reason: String,
    },
    #[error(
        "alias `{alias}` of model `{model}` points to version {version}, which is not registered"
    )]
    AliasWithoutVersion {
        model: String,
        alias: String,
        version: ModelVersion,
    },
    #[error("version {version} of model `{model}` is not registered")]
    UnknownVersion {
        model: String,
        version: ModelVersion,
    },
    #[error("model `{model}` has no version")]
    NoVersion { model: String },
    #[error("`{option}`: {reason}")]
    Settings {
        /// An option, or a variable of the environment.
        option: &'static str,
        reason: String,
    },
    #[error("the model registry at {origin} cannot be reached: {reason}")]
    Unreachable { origin: String, reason: String },
    #[error("the model registry at {origin} did not answer `{call}` within {waited:?}")]
    Silent {
        origin: String,
        call: String,
        waited: Duration,
    },
    #[error("the model registry at {origin} fails at `{call}` with {status}: {message}")]
    Failing {
        origin: String,
        call: String,
        status: u16,
        message: String,
    },
    #[error("the model registry at {origin} does not accept {credentials}")]
    Unauthenticated {
        origin: String,
        /// What kind they are.
        credentials: &'static str,
    },
    #[error("the model registry at {origin} does not allow `{call}`: {message}")]
    Forbidden {
        origin: String,
        call: String,
        message: String,
    },
    #[error("the model registry at {origin} refuses `{call}` with {error_code}: {message}")]
    Refused {
        origin: String,
        call: String,
        status: u16,
        /// MLflow's: `RESOURCE_ALREADY_EXISTS`, `INVALID_PARAMETER_VALUE`.
        error_code: String,
        message: String,
    },
    #[error("{origin} does not answer `{call}` as an MLflow server does: {reason}")]
    NotMlflow {
        origin: String,
        call: String,
        reason: String,
    },
    #[error("version {version} of model `{model}` is {status} in the registry{}", reason(.message))]
    NotReady {
        model: String,
        version: ModelVersion,
        /// MLflow's: `PENDING_REGISTRATION`, `FAILED_REGISTRATION`.
        status: String,
        message: String,
    },
    #[error(
        "the files of version {version} of model `{model}` are not on this machine; the registry has {place}"
    )]
    FilesElsewhere {
        model: String,
        version: ModelVersion,
        place: String,
    },
    #[error("model `{model}` has no alias `{alias}`")]
    UnknownAlias { model: String, alias: String },
    #[error("`{uri}` leads nowhere: {reason}")]
    UnknownUri { uri: String, reason: String },
    #[error(transparent)]
    Files(#[from] cache::Error),
    #[error("the server is stopping")]
    Stopping,
}

/// What the registry adds, if anything.
fn reason(message: &str) -> String {
    match message {
        "" => String::new(),
        message => format!(": {message}"),
    }
}

impl Error {
    /// What an MLflow server calls the failure.
    pub fn mlflow_code(&self) -> Option<&str> {
        match self {
            Self::Refused { error_code, .. } => Some(error_code),
            _ => None,
        }
    }

    /// Whether the server has no such call: an older MLflow, for one that came later.
    pub fn is_unknown_call(&self) -> bool {
        match self {
            Self::Refused { error_code, .. } => error_code == "ENDPOINT_NOT_FOUND",
            Self::NotMlflow { reason, .. } => reason.starts_with("the answer is 404"),
            _ => false,
        }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Missing { .. }
            | Self::Unreadable { .. }
            | Self::Malformed { .. }
            | Self::AliasWithoutVersion { .. }
            | Self::Settings { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Failing { .. }
            | Self::Unauthenticated { .. }
            | Self::Forbidden { .. }
            | Self::NotMlflow { .. }
            | Self::NotReady { .. }
            | Self::FilesElsewhere { .. }
            | Self::Stopping => ErrorClass::Unavailable,
            Self::Files(error) => error.class(),
            Self::Refused { status: 400, .. } => ErrorClass::InvalidInput,
            Self::Refused { status: 404, .. } => ErrorClass::NotFound,
            Self::Refused { .. } => ErrorClass::Unavailable,
            Self::UnknownVersion { .. }
            | Self::NoVersion { .. }
            | Self::UnknownAlias { .. }
            | Self::UnknownUri { .. } => ErrorClass::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "model_registry_missing",
            Self::Unreadable { .. } => "model_registry_unreadable",
            Self::Malformed { .. } => "model_registry_malformed",
            Self::AliasWithoutVersion { .. } => "model_alias_dangling",
            Self::UnknownVersion { .. } | Self::NoVersion { .. } => "model_version_not_found",
            Self::Settings { .. } => "model_registry_settings",
            Self::Unreachable { .. } => "model_registry_unreachable",
            Self::Silent { .. } => "model_registry_timeout",
            Self::Failing { .. } => "model_registry_failing",
            Self::Unauthenticated { .. } => "model_registry_unauthenticated",
            Self::Forbidden { .. } => "model_registry_forbidden",
            Self::Refused { .. } => "model_registry_refused",
            Self::NotMlflow { .. } => "model_registry_not_mlflow",
            Self::NotReady { .. } => "model_version_not_ready",
            Self::FilesElsewhere { .. } => "artifact_elsewhere",
            Self::UnknownAlias { .. } => "model_alias_not_found",
            Self::UnknownUri { .. } => "model_uri_unresolved",
            Self::Files(error) => error.code(),
            Self::Stopping => "stopping",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { .. } => {
                "make the directory with `<name>/<version>/MLmodel` in it, or set `registry.local.path`"
            }
            Self::Unreadable { .. } => "check that the path exists and its permissions",
            Self::Malformed { .. } => "write one `key: value` per line",
            Self::AliasWithoutVersion { .. } => {
                "point the alias to a version that is there, or remove it"
            }
            Self::UnknownVersion { .. } => {
                "register the version, or leave it out of `serving.versions`"
            }
            Self::NoVersion { .. } => "register a version",
            Self::Settings { .. } => "correct the option, or unset the variable",
            Self::Unreachable { .. } => {
                "check `registry.mlflow.uri` (or MLFLOW_TRACKING_URI), and that the MLflow server runs"
            }
            Self::Silent { .. } => {
                "raise `registry.mlflow.timeout`, or look at the MLflow server's log"
            }
            Self::Failing { .. } => "look at the MLflow server's log",
            Self::Unauthenticated { .. } => {
                "they are wrong or have expired: set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and \
                 MLFLOW_TRACKING_PASSWORD, and start again; new ones in ~/.mlflow/credentials are found without a restart"
            }
            Self::Forbidden { .. } => {
                "give the user that the credentials belong to the permission READ in MLflow; registering needs EDIT"
            }
            Self::Refused { .. } => "what the server says is what to change",
            Self::NotMlflow { .. } => {
                "check the address and its path: `registry.mlflow.uri` is what MLFLOW_TRACKING_URI is for MLflow's client"
            }
            Self::NotReady { .. } => "wait until MLflow has it, or register it again",
            Self::FilesElsewhere { .. } => {
                "copy the artifacts here with the registry, set `registry.mlflow_sqlite.artifacts`, or serve the registry \
                 by `mlflow server` and set `registry.mlflow.uri`"
            }
            Self::UnknownAlias { .. } => "set the alias, or name a version",
            Self::UnknownUri { .. } => {
                "`models:/name@alias`, `models:/name/3`, `models:/m-...` and `runs:/run/path` lead to files"
            }
            Self::Files(error) => return error.hint(),
            Self::Stopping => "try again on another server",
        };
        Some(hint.to_owned())
    }
}
