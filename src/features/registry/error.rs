//! What can go wrong with the feature registry.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{ErrorClass, Failure};
use crate::features::codec::WireError;

/// `origin` is what and where the registry is, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("feature registry {origin} does not exist")]
    Missing { origin: String },
    #[error("feature registry {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("feature registry {origin} cannot be written")]
    Write {
        origin: String,
        #[source]
        source: io::Error,
    },
    #[error("feature registry {origin} is not a Feast registry")]
    Decode {
        origin: String,
        #[source]
        source: WireError,
    },
    #[error("{kind} `{name}` does not decode: {reason}")]
    Object {
        kind: &'static str,
        name: String,
        reason: String,
    },
    #[error("project `{project}` is not in feature registry {origin}, which holds {}", list(.found))]
    UnknownProject {
        project: String,
        origin: String,
        found: Vec<String>,
    },
    #[error("feature view `{view}` of project `{project}` is not in feature registry {origin}")]
    UnknownView {
        view: String,
        project: String,
        origin: String,
    },
    #[error("`{view}` is an on-demand feature view, which has no state or watermark to record")]
    NotMaterialized { view: String },
    #[error("feature registry {origin} cannot be reached")]
    Unreachable {
        origin: String,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    #[error("feature registry {origin} did not answer within {waited:?}")]
    Timeout { origin: String, waited: Duration },
    #[error("feature registry {origin} refused: {message}")]
    Refused { origin: String, message: String },
    #[error("feature registry {origin} was changed by others for {waited:?} without a pause")]
    Contended { origin: String, waited: Duration },
    #[error("feature registry {origin} cannot record this: {reason}")]
    CannotRecord {
        origin: String,
        reason: &'static str,
    },
    #[error("feature registry {origin} needs a build with feature `{feature}`")]
    NotBuilt {
        origin: String,
        feature: &'static str,
    },
    #[error("the read of the feature registry panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "no project".to_owned();
    }
    format!("`{}`", names.join("`, `"))
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownView { .. } => ErrorClass::NotFound,
            Self::NotMaterialized { .. } => ErrorClass::InvalidInput,
            Self::Missing { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Decode { .. }
            | Self::Object { .. }
            | Self::UnknownProject { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Refused { .. }
            | Self::Contended { .. }
            | Self::CannotRecord { .. }
            | Self::NotBuilt { .. } => ErrorClass::Unavailable,
            Self::Panicked(_) => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "feature_registry_missing",
            Self::Read { .. } => "feature_registry_unreadable",
            Self::Write { .. } => "feature_registry_unwritable",
            Self::Decode { .. } => "feature_registry_invalid",
            Self::Object { .. } => "feature_definition_invalid",
            Self::UnknownProject { .. } => "feature_project_unknown",
            Self::UnknownView { .. } => "feature_view_unknown",
            Self::NotMaterialized { .. } => "feature_view_not_recordable",
            Self::Unreachable { .. } => "feature_registry_unreachable",
            Self::Timeout { .. } => "feature_registry_timeout",
            Self::Refused { .. } => "feature_registry_refused",
            Self::Contended { .. } => "feature_registry_contended",
            Self::CannotRecord { .. } => "feature_registry_cannot_record",
            Self::NotBuilt { .. } => "feature_registry_not_built",
            Self::Panicked(_) => "internal",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Missing { .. } => {
                "run `feast apply` in the feature repository, or check `registry` in its feature_store.yaml"
            }
            Self::Decode { .. } => "it may be damaged; run `feast apply` to write it anew",
            Self::Object { .. } => "run `feast apply` to write it anew",
            Self::UnknownProject { .. } => {
                "check `project` in feature_store.yaml, or run `feast apply`"
            }
            Self::UnknownView { .. } => "check the name, or run `feast apply`",
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Refused { .. } => {
                "check `registry` in feature_store.yaml, and that the registry can be reached"
            }
            Self::Contended { .. } => "see who writes it, and try again",
            Self::Read { .. }
            | Self::Write { .. }
            | Self::NotMaterialized { .. }
            | Self::CannotRecord { .. }
            | Self::NotBuilt { .. }
            | Self::Panicked(_) => return None,
        };
        Some(text.to_owned())
    }
}
