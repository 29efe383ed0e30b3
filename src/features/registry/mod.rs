//! The feature registry: Feast's definitions of one project, read into an immutable snapshot that is kept fresh.
//!
//! Format: `feast.core.Registry` (Feast 0.67), possibly of several projects, or the same objects in tables. An object that
//! does not decode is left out by name; it takes no other down with it.
//! Not here: what serving makes of a view (`plan`).

mod change;
mod config;
mod error;
mod live;
mod objects;
mod proto;
mod read;
mod snapshot;
pub mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;

pub use self::config::{CacheMode, Config};
pub use self::error::Error;
pub(super) use self::live::Live;
pub use self::live::{RegistryChanges, RegistryFailure, RegistryStatus};
pub use self::objects::ObjectKind;
use self::objects::Objects;
pub use self::snapshot::Snapshot;
use super::definitions::{Entity, FeatureService, FeatureView, OnDemandFeatureView};

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
    /// What does not decode.
    pub left_out: Vec<LeftOut>,
}

/// An object of the registry that is not served, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub kind: ObjectKind,
    /// Empty where not even that can be read.
    pub name: String,
    pub reason: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, reason } = self;
        match name.as_str() {
            "" => write!(
                f,
                "a {kind} of the feature registry does not decode: {reason}"
            ),
            name => write!(f, "{kind} `{name}` does not decode: {reason}"),
        }
    }
}

impl Registry {
    /// Reads the file at `path` and keeps what belongs to `project`.
    pub fn load(path: &Path, project: &str) -> Result<Self, Error> {
        let bytes = Self::read_file(path)?;
        Self::decode(&bytes, project, &path.display().to_string())
    }

    fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
        fs_err::read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                origin: path.display().to_string(),
            },
            _ => Error::Read {
                path: path.to_owned(),
                source,
            },
        })
    }

    /// From the bytes of a registry; `origin` names it in errors.
    pub fn decode(bytes: &[u8], project: &str, origin: &str) -> Result<Self, Error> {
        let objects = Objects::of_registry(bytes).map_err(|source| Error::Decode {
            origin: origin.to_owned(),
            source,
        })?;
        Self::of(objects, project, origin)
    }

    fn of(objects: Objects<'_>, project: &str, origin: &str) -> Result<Self, Error> {
        if !objects.projects.iter().any(|name| name == project) {
            return Err(Error::UnknownProject {
                project: project.to_owned(),
                origin: origin.to_owned(),
                found: objects.projects,
            });
        }
        Ok(read::registry(objects, project))
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

    /// Why there is no view or feature service of this name, if one is there and does not decode.
    pub fn left_out(&self, name: &str) -> Option<Error> {
        let is_it = |object: &&LeftOut| object.name == name && object.kind != ObjectKind::Entity;
        let object = self.left_out.iter().find(is_it)?;
        Some(Error::Object {
            kind: object.kind.name(),
            name: object.name.clone(),
            reason: object.reason.clone(),
        })
    }
}
