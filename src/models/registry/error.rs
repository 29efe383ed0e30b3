//! What can go wrong with a model registry.

use std::path::PathBuf;

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
    #[error("the server is stopping")]
    Stopping,
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Missing { .. }
            | Self::Unreadable { .. }
            | Self::Malformed { .. }
            | Self::AliasWithoutVersion { .. }
            | Self::Stopping => ErrorClass::Unavailable,
            Self::UnknownVersion { .. } | Self::NoVersion { .. } => ErrorClass::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "model_registry_missing",
            Self::Unreadable { .. } => "model_registry_unreadable",
            Self::Malformed { .. } => "model_registry_malformed",
            Self::AliasWithoutVersion { .. } => "model_alias_dangling",
            Self::UnknownVersion { .. } | Self::NoVersion { .. } => "model_version_not_found",
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
            Self::Stopping => "try again on another server",
        };
        Some(hint.to_owned())
    }
}
