//! The last known good set: what was served when the registry last answered, for a start without it.
//!
//! ```text
//! <cache>/serving.json
//! {"format": 1, "registry": "<location>", "models": {"<name>": {
//!     "serving": {"version": 2, "alias": "champion"}, "aliases": {"champion": 2}, "versions": {"2": {"<tag>": "<value>"}}}}}
//! ```
//! Invariants: only versions that loaded are in it; it is replaced as a whole; the set of another registry is not read.
//! Recovery: a file that is damaged, or of another format, counts as none, with a warning.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::load::Tags;
use super::places::Places;
use crate::models::catalog::Serving;
use crate::models::registry::{Listing, RegisteredModel};
use crate::types::names::ModelVersion;
use crate::types::timestamp::Timestamp;

const FILE: &str = "serving.json";
const FORMAT: u32 = 1;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedSet {
    format: u32,
    registry: String,
    pub(super) models: BTreeMap<String, SavedModel>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedModel {
    serving: SavedServing,
    aliases: BTreeMap<String, ModelVersion>,
    versions: BTreeMap<ModelVersion, Tags>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedServing {
    version: ModelVersion,
    alias: Option<String>,
}

impl SavedSet {
    pub(super) fn new(registry: &str) -> Self {
        Self {
            format: FORMAT,
            registry: registry.to_owned(),
            models: BTreeMap::new(),
        }
    }

    /// Every version that is in it.
    pub(super) fn versions(&self) -> impl Iterator<Item = (String, ModelVersion)> {
        let models = self.models.iter();
        models.flat_map(|(name, model)| {
            let versions = model.versions.keys();
            versions.map(|version| (name.clone(), *version))
        })
    }

    /// As the registry would list it.
    pub(super) fn listings(&self) -> Vec<Listing> {
        let models = self.models.iter().map(|(name, saved)| Listing {
            name: name.clone(),
            model: Ok(RegisteredModel {
                versions: saved.versions.clone(),
                aliases: saved.aliases.clone(),
            }),
        });
        models.collect()
    }
}

impl SavedModel {
    /// Of a model whose plain name is served; only versions with tags here are loaded.
    pub(super) fn new(places: &Places, versions: BTreeMap<ModelVersion, Tags>) -> Option<Self> {
        let serving = places.serving.as_ref()?;
        if !versions.contains_key(&serving.version) {
            return None;
        }
        let aliases = places.aliases.iter();
        let loaded = aliases.filter(|(_, version)| versions.contains_key(version));
        Some(Self {
            serving: SavedServing {
                version: serving.version,
                alias: serving.alias.as_deref().map(str::to_owned),
            },
            aliases: loaded
                .map(|(alias, version)| (alias.to_string(), *version))
                .collect(),
            versions,
        })
    }

    /// What the names stood for.
    pub(super) fn places(&self) -> Places {
        let aliases = self.aliases.iter();
        Places {
            serving: Some(Serving {
                version: self.serving.version,
                alias: self.serving.alias.as_deref().map(Arc::from),
            }),
            aliases: aliases
                .map(|(alias, version)| (Arc::from(alias.as_str()), *version))
                .collect(),
        }
    }
}

/// Where the set of this cache directory is.
pub(super) fn path(cache: &Path) -> PathBuf {
    cache.join(FILE)
}

/// The set, and when it was written. Blocks.
pub(super) fn read(path: &Path, registry: &str) -> Option<(SavedSet, Option<Timestamp>)> {
    let text = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, "the models that served last cannot be read");
            return None;
        }
    };
    let set: SavedSet = match serde_json::from_str(&text) {
        Ok(set) => set,
        Err(error) => {
            let path = path.display();
            tracing::warn!("{path} is damaged, so it counts as none: {error}");
            return None;
        }
    };
    if set.format != FORMAT || set.registry != registry {
        let path = path.display();
        tracing::info!("{path} is of another registry or format, so it counts as none");
        return None;
    }
    let modified = fs_err::metadata(path).and_then(|metadata| metadata.modified());
    Some((set, modified.ok().map(Timestamp::from)))
}

/// Replaces the file as a whole. Blocks.
pub(super) fn write(path: &Path, set: &SavedSet) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    fs_err::create_dir_all(parent)?;
    let beside = parent.join(format!("{FILE}.{}.tmp", std::process::id()));
    let mut file = fs_err::File::create(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(set)?)?;
    file.sync_all()?;
    fs_err::rename(&beside, path)
}
