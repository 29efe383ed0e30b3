//! What can go wrong when a model is resolved or loaded.

use std::path::PathBuf;
use std::sync::Arc;

use super::artifact;
use super::bind::BindError;
use super::catalog::RegistryFailure;
use super::registry;
use crate::error::{ErrorClass, Failure};
use crate::inference;
use crate::types::names::ModelVersion;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("model `{name}` is not served")]
    UnknownModel { name: String, served: Vec<String> },
    #[error("model `{name}` has no alias `{alias}`")]
    UnknownAlias {
        name: String,
        alias: String,
        known: Vec<String>,
    },
    #[error("version {version} of model `{name}` is not served")]
    UnknownVersion {
        name: String,
        version: ModelVersion,
        served: Vec<String>,
    },
    #[error("model `{name}` did not load: {failure}")]
    Unavailable {
        /// `name`, or `name:version`.
        name: String,
        failure: Arc<LoadError>,
    },
    #[error("the models are still being loaded")]
    Loading,
    #[error("the model registry cannot be read: {}", .0.message)]
    RegistryUnread(Box<RegistryFailure>),
    #[error("what the model registry says of `{name}` is not served yet")]
    LoadLate { name: String },
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error("the model registry cannot be read, and {} holds no models that served before: {source}", .path.display())]
    NothingToStartFrom {
        path: PathBuf,
        source: Box<registry::Error>,
    },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownModel { .. } | Self::UnknownAlias { .. } | Self::UnknownVersion { .. } => {
                ErrorClass::NotFound
            }
            Self::Unavailable { .. } | Self::Loading | Self::RegistryUnread(_) => {
                ErrorClass::Unavailable
            }
            Self::LoadLate { .. } => ErrorClass::DeadlineExceeded,
            Self::Registry(error) => error.class(),
            Self::NothingToStartFrom { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "model_not_found",
            Self::UnknownAlias { .. } => "model_alias_not_found",
            Self::UnknownVersion { .. } => "model_version_not_found",
            Self::Unavailable { .. } => "model_unavailable",
            Self::Loading => "models_loading",
            Self::RegistryUnread(failure) => failure.code,
            Self::LoadLate { .. } => "model_load_late",
            Self::Registry(error) => error.code(),
            Self::NothingToStartFrom { .. } => "models_nothing_to_start_from",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownModel { served, .. } if served.is_empty() => {
                Some("no model is served; is the model registry empty?".to_owned())
            }
            Self::UnknownModel { served, .. } => Some(format!("served are {}", list(served))),
            Self::UnknownAlias { known, .. } if known.is_empty() => {
                Some("the model has no aliases".to_owned())
            }
            Self::UnknownAlias { known, .. } => Some(format!("its aliases are {}", list(known))),
            Self::UnknownVersion { served, .. } => Some(format!(
                "served are {}; `serving.versions` or an alias that is followed adds others",
                list(served)
            )),
            Self::Unavailable { failure, .. } => failure.hint(),
            Self::Loading => Some("try again in a moment".to_owned()),
            Self::RegistryUnread(failure) => failure.hint.clone(),
            Self::LoadLate { .. } => Some("it goes on; ask for the model's state later".to_owned()),
            Self::Registry(error) => error.hint(),
            Self::NothingToStartFrom { source, .. } => source.hint(),
        }
    }
}

/// The first twenty of the names, quoted.
fn list(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(20)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = names.len() - shown.len();
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Why a version is not live.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error(transparent)]
    Artifact(#[from] artifact::Error),
    #[error(transparent)]
    Inference(#[from] inference::Error),
    #[error("{0}")]
    Bind(BindError),
    #[error("the model does not run on its own input example: {0}")]
    InputExample(inference::Error),
    #[error("{0}")]
    Gate(BindError),
}

impl Failure for LoadError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Registry(error) => error.class(),
            Self::Artifact(error) => error.class(),
            Self::Inference(error) => error.class(),
            Self::Bind(error) | Self::Gate(error) => error.class(),
            Self::InputExample(_) => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Registry(error) => error.code(),
            Self::Artifact(error) => error.code(),
            Self::Inference(error) => error.code(),
            Self::Bind(error) | Self::Gate(error) => error.code(),
            Self::InputExample(_) => "model_input_example_fails",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Artifact(error) => error.hint(),
            Self::Inference(error) => error.hint(),
            Self::Bind(error) | Self::Gate(error) => error.hint(),
            Self::InputExample(_) => Some(
                "log the model again with an input example that it runs on, or without one"
                    .to_owned(),
            ),
        }
    }
}
