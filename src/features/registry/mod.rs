//! The feature registry: reads Feast's file registry into an immutable snapshot of one project.
//!
//! Format: one serialized `feast.core.Registry` (Feast 0.67), possibly of several projects.
//! Not here: when the snapshot is replaced (`FeatureStore`), what serving makes of a view (`plan`).

mod proto;
mod read;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use prost::Message;

use super::definitions::{Entity, FeatureService, FeatureView, OnDemandFeatureView};
use crate::error::{ErrorClass, Failure};

/// The definitions of one project at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    pub project: String,
    /// Feast writes a new one each time it changes the registry.
    pub revision: String,
    pub entities: Vec<Entity>,
    /// Batch and stream views.
    pub feature_views: Vec<FeatureView>,
    pub on_demand_feature_views: Vec<OnDemandFeatureView>,
    pub feature_services: Vec<FeatureService>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("feature registry {} does not exist", path.display())]
    Missing { path: PathBuf },
    #[error("feature registry {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("feature registry {origin} is not a Feast registry")]
    Decode {
        origin: String,
        #[source]
        source: prost::DecodeError,
    },
    #[error("project `{project}` is not in feature registry {origin}, which holds {}", list(.found))]
    UnknownProject {
        project: String,
        origin: String,
        found: Vec<String>,
    },
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
            Self::Missing { .. }
            | Self::Read { .. }
            | Self::Decode { .. }
            | Self::UnknownProject { .. } => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "feature_registry_missing",
            Self::Read { .. } => "feature_registry_unreadable",
            Self::Decode { .. } => "feature_registry_invalid",
            Self::UnknownProject { .. } => "feature_project_unknown",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(
                "run `feast apply` in the feature repository, or check `registry` in its feature_store.yaml"
                    .to_owned(),
            ),
            Self::Read { .. } => None,
            Self::Decode { .. } => {
                Some("the file may be damaged; run `feast apply` to write it anew".to_owned())
            }
            Self::UnknownProject { .. } => {
                Some("check `project` in feature_store.yaml, or run `feast apply`".to_owned())
            }
        }
    }
}

impl Registry {
    /// Reads the file at `path` and keeps what belongs to `project`.
    pub fn load(path: &Path, project: &str) -> Result<Self, Error> {
        let bytes = fs_err::read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                path: path.to_owned(),
            },
            _ => Error::Read {
                path: path.to_owned(),
                source,
            },
        })?;
        Self::decode(&bytes, project, &path.display().to_string())
    }

    /// From the bytes of a registry; `origin` names it in errors.
    pub fn decode(bytes: &[u8], project: &str, origin: &str) -> Result<Self, Error> {
        let message = proto::Registry::decode(bytes).map_err(|source| Error::Decode {
            origin: origin.to_owned(),
            source,
        })?;
        let found = read::projects(&message);
        if !found.iter().any(|name| name == project) {
            return Err(Error::UnknownProject {
                project: project.to_owned(),
                origin: origin.to_owned(),
                found,
            });
        }
        Ok(read::registry(message, project))
    }

    pub fn feature_view(&self, name: &str) -> Option<&FeatureView> {
        self.feature_views.iter().find(|view| view.name == name)
    }

    pub fn on_demand_feature_view(&self, name: &str) -> Option<&OnDemandFeatureView> {
        self.on_demand_feature_views
            .iter()
            .find(|view| view.name == name)
    }

    pub fn feature_service(&self, name: &str) -> Option<&FeatureService> {
        self.feature_services
            .iter()
            .find(|service| service.name == name)
    }

    pub fn entity(&self, name: &str) -> Option<&Entity> {
        self.entities.iter().find(|entity| entity.name == name)
    }
}
