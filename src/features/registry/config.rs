//! `registry` of feature_store.yaml: where the registry lies, and how long what was read of it holds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_yaml_ng::Value;

use super::source::{object, remote, sql};
use crate::features::repo::{Problem, local_path, note_left_over, unset_variable};
use crate::features::settings::{Settings, wrong};
use crate::storage;

/// What `registry` comes to.
#[derive(Debug, Clone)]
pub struct Config {
    pub(super) place: Place,
    /// How old a registry may get before it is read again; `None` is any age.
    pub cache_ttl: Option<Duration>,
    pub cache_mode: CacheMode,
    /// Views of version 1 and up are stored as `{view}_v{N}`.
    pub versioned_views: bool,
    pub serve_while_materializing: bool,
}

/// When a changed registry is noticed, as Feast's `cache_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// At once where that can be seen (a local file), else when the cached one is too old.
    Sync,
    /// When the cached one is too old.
    Thread,
}

/// Where the registry lies.
#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    Object(object::Config),
    Sql(sql::Config),
    Remote(remote::Config),
}

impl Config {
    /// Reads a path or a mapping.
    pub(in crate::features) fn read(
        value: Option<Value>,
        directory: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let mut settings = match value {
            None | Some(Value::Null) => {
                return Err(Problem::Invalid("`registry` is missing".to_owned()));
            }
            Some(Value::String(path)) => {
                let mut settings = Settings::new("registry", Value::Null)?;
                let place = file(
                    &path,
                    "registry",
                    &mut settings,
                    directory,
                    environment,
                    notes,
                )?;
                return Ok(Self::of(place));
            }
            Some(map @ Value::Mapping(_)) => Settings::new("registry", map)?,
            Some(other) => return Err(wrong("registry", "a path or a mapping", &other).into()),
        };
        let kind = settings.text("registry_type")?;
        let path = settings.text("path")?.filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| Problem::Invalid("`registry.path` is missing".to_owned()))?;
        check_variables(&path, "registry.path")?;
        let place = match kind.as_deref() {
            None | Some("file") => {
                let settings = &mut settings;
                file(
                    &path,
                    "registry.path",
                    settings,
                    directory,
                    environment,
                    notes,
                )?
            }
            Some("sql") => Place::Sql(sql::Config::read(&path, &mut settings, directory, notes)?),
            Some("remote") => {
                Place::Remote(remote::Config::read(&path, &mut settings, environment)?)
            }
            Some(other) => {
                return Err(Problem::Unsupported(format!(
                    "`registry.registry_type: {other}`"
                )));
            }
        };
        let mut config = Self::of(place);
        config.read_caching(&mut settings)?;
        // Feast finds the class by the path's scheme, as we do; its metadata and its MCP server are its own.
        for key in ["registry_store_type", "purge_feast_metadata", "mcp"] {
            settings.take(key);
        }
        note_left_over(&settings, notes);
        Ok(config)
    }

    /// A registry at `place`, with Feast's defaults.
    pub(super) fn of(place: Place) -> Self {
        Self {
            place,
            cache_ttl: Some(Duration::from_secs(600)),
            cache_mode: CacheMode::Sync,
            versioned_views: false,
            serve_while_materializing: false,
        }
    }

    fn read_caching(&mut self, settings: &mut Settings) -> Result<(), Problem> {
        if let Some(seconds) = settings.whole_number("cache_ttl_seconds")? {
            self.cache_ttl = Some(Duration::from_secs(seconds)).filter(|ttl| !ttl.is_zero());
        }
        self.cache_mode = match settings.text("cache_mode")?.as_deref() {
            None | Some("sync") => CacheMode::Sync,
            Some("thread") => CacheMode::Thread,
            Some(other) => {
                return Err(Problem::Invalid(format!(
                    "`registry.cache_mode` is `{other}`, and must be `sync` or `thread`"
                )));
            }
        };
        let mut flag = |key| settings.boolean(key).map(|value| value.unwrap_or(false));
        self.versioned_views = flag("enable_online_feature_view_versioning")?;
        self.serve_while_materializing = flag("serve_features_while_materializing")?;
        Ok(())
    }
}

/// A file here, or an object in a store.
fn file(
    path: &str,
    setting: &str,
    settings: &mut Settings,
    directory: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    notes: &mut Vec<String>,
) -> Result<Place, Problem> {
    if storage::is_at(path) {
        check_variables(path, setting)?;
        let config = object::Config::read(path, settings, environment, notes)?;
        return Ok(Place::Object(config));
    }
    settings.take("s3_additional_kwargs");
    Ok(Place::File(local_path(path, directory, setting)?))
}

/// Refuses what expansion left standing: it would be looked for under that very name.
fn check_variables(text: &str, setting: &str) -> Result<(), Problem> {
    match unset_variable(text) {
        None => Ok(()),
        Some(name) => Err(Problem::Invalid(format!(
            "`{setting}` needs the environment variable `{name}`, which is not set"
        ))),
    }
}
