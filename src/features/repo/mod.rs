//! A Feast feature repository's `feature_store.yaml`: which registry, which online store.
//!
//! Read as Feast 0.67 reads it: the whole text goes through `$NAME` and `${NAME}` expansion before it is parsed; names that
//! are not set stay as they are. What serving has no use for (`offline_store`, `provider`, ...) is left alone; keys that
//! neither we nor Feast's core know are told in `notes`.
//! Not here: what the stores make of their settings (`online`), reading the registry (`registry`).

mod expand;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;

use self::expand::expand;
pub(super) use self::expand::unset_variable;
use super::key::KeyVersion;
use super::online;
use super::settings::{Settings, SettingsError, wrong};
use crate::error::{ErrorClass, Failure};

/// What a repository's settings come to.
#[derive(Debug, Clone)]
pub struct Repo {
    /// Relative paths in settings and data sources start here.
    pub directory: PathBuf,
    pub project: String,
    pub registry: RegistryConfig,
    pub online_store: online::Config,
    pub key_version: KeyVersion,
    /// Settings that have no effect here, one sentence each.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    pub path: PathBuf,
    /// Views of version 1 and up are stored as `{view}_v{N}`.
    pub versioned_views: bool,
    pub serve_while_materializing: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("feature repository has no {}", path.display())]
    Missing { path: PathBuf },
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not valid YAML", path.display())]
    Yaml {
        path: PathBuf,
        #[source]
        source: serde_yaml_ng::Error,
    },
    #[error("in {}, {problem}", path.display())]
    Setting {
        path: PathBuf,
        problem: SettingsError,
    },
    #[error("in {}, {message}", path.display())]
    Invalid { path: PathBuf, message: String },
    #[error("in {}, {what} is not supported by this build", path.display())]
    Unsupported { path: PathBuf, what: String },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Missing { .. }
            | Self::Read { .. }
            | Self::Yaml { .. }
            | Self::Setting { .. }
            | Self::Invalid { .. }
            | Self::Unsupported { .. } => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "feature_repo_missing",
            Self::Read { .. } => "feature_repo_unreadable",
            Self::Yaml { .. } | Self::Setting { .. } | Self::Invalid { .. } => {
                "feature_repo_invalid"
            }
            Self::Unsupported { .. } => "feature_repo_unsupported",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(
                "point `features.repo` at a Feast feature repository, or make one with `feast init`"
                    .to_owned(),
            ),
            Self::Read { .. } | Self::Yaml { .. } | Self::Setting { .. } | Self::Invalid { .. } => {
                None
            }
            Self::Unsupported { .. } => Some(
                "use the file registry and the sqlite or redis online store"
                    .to_owned(),
            ),
        }
    }
}

/// Why one part of the file does not do; the path is put to it above.
pub(super) enum Problem {
    Setting(SettingsError),
    Invalid(String),
    Unsupported(String),
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        Self::Setting(error)
    }
}

impl Repo {
    /// Reads `file`, which lies in `directory` unless it is absolute.
    pub fn load(
        directory: &Path,
        file: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let path = directory.join(file);
        let text = fs_err::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { path: path.clone() },
            _ => Error::Read {
                path: path.clone(),
                source,
            },
        })?;
        Self::parse(&text, directory, &path, environment)
    }

    fn parse(
        text: &str,
        directory: &Path,
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let path = path.to_owned();
        let document: Value = match serde_yaml_ng::from_str(&expand(text, environment)) {
            Ok(document) => document,
            Err(source) => return Err(Error::Yaml { path, source }),
        };
        read(document, directory, environment).map_err(|problem| match problem {
            Problem::Setting(problem) => Error::Setting { path, problem },
            Problem::Invalid(message) => Error::Invalid { path, message },
            Problem::Unsupported(what) => Error::Unsupported { path, what },
        })
    }
}

/// Top-level keys of Feast that have no bearing on serving.
const NOT_OURS: [&str; 13] = [
    "provider",
    "offline_store",
    "batch_engine",
    "feature_server",
    "auth",
    "flags",
    "repo_path",
    "materialization",
    "coerce_tz_aware",
    "openlineage",
    "mlflow",
    "project_description",
    "tags",
];

fn read(
    document: Value,
    directory: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Repo, Problem> {
    let mut settings = Settings::new("", document)?;
    let mut notes = Vec::new();
    let project = settings
        .text("project")?
        .ok_or_else(|| Problem::Invalid("`project` is missing".to_owned()))?;
    check_project(&project)?;
    let registry = registry(settings.take("registry"), directory, &mut notes)?;
    let key_version = match settings.whole_number("entity_key_serialization_version")? {
        None => KeyVersion::default(),
        Some(number) => KeyVersion::from_number(number).ok_or_else(|| {
            Problem::Unsupported(format!("`entity_key_serialization_version: {number}`"))
        })?,
    };
    let place = online::Place {
        directory,
        time_zone: environment("TZ"),
    };
    let online_store = online::Config::read(settings.take("online_store"), &place, &mut notes)?;
    if matches!(online_store, online::Config::Sqlite(_)) && project.contains('-') {
        return Err(Problem::Invalid(format!(
            "project `{project}` has a `-`, which the SQLite online store cannot hold"
        )));
    }
    for key in NOT_OURS {
        settings.take(key);
    }
    note_left_over(&settings, &mut notes);
    Ok(Repo {
        directory: directory.to_owned(),
        project,
        registry,
        online_store,
        key_version,
        notes,
    })
}

pub(super) fn note_left_over(settings: &Settings, notes: &mut Vec<String>) {
    for path in settings.left_over() {
        notes.push(format!("feature_store.yaml: `{path}` has no effect here"));
    }
}

fn check_project(project: &str) -> Result<(), Problem> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if project.is_empty() || !project.chars().all(allowed) || project.starts_with(['_', '-']) {
        return Err(Problem::Invalid(format!(
            "project `{project}` must be letters, digits, `_` and `-`, and begin with a letter or digit"
        )));
    }
    Ok(())
}

fn registry(
    value: Option<Value>,
    directory: &Path,
    notes: &mut Vec<String>,
) -> Result<RegistryConfig, Problem> {
    let mut settings = match value {
        None | Some(Value::Null) => {
            return Err(Problem::Invalid("`registry` is missing".to_owned()));
        }
        Some(Value::String(path)) => {
            return Ok(RegistryConfig {
                path: local_path(&path, directory, "registry")?,
                versioned_views: false,
                serve_while_materializing: false,
            });
        }
        Some(map @ Value::Mapping(_)) => Settings::new("registry", map)?,
        Some(other) => return Err(wrong("registry", "a path or a mapping", &other).into()),
    };
    let kind = settings.text("registry_type")?;
    if let Some(kind) = kind.filter(|kind| kind != "file") {
        return Err(Problem::Unsupported(format!(
            "`registry.registry_type: {kind}`"
        )));
    }
    let path = settings
        .text("path")?
        .ok_or_else(|| Problem::Invalid("`registry.path` is missing".to_owned()))?;
    let config = RegistryConfig {
        path: local_path(&path, directory, "registry.path")?,
        versioned_views: settings
            .boolean("enable_online_feature_view_versioning")?
            .unwrap_or(false),
        serve_while_materializing: settings
            .boolean("serve_features_while_materializing")?
            .unwrap_or(false),
    };
    for key in [
        "cache_ttl_seconds",
        "cache_mode",
        "registry_store_type",
        "s3_additional_kwargs",
    ] {
        settings.take(key);
    }
    note_left_over(&settings, notes);
    Ok(config)
}

/// A path of the file system; other places than it are refused by their scheme.
pub(super) fn local_path(text: &str, directory: &Path, setting: &str) -> Result<PathBuf, Problem> {
    if let Some(name) = unset_variable(text) {
        return Err(Problem::Invalid(format!(
            "`{setting}` needs the environment variable `{name}`, which is not set"
        )));
    }
    match text.split_once("://") {
        None => Ok(directory.join(text)),
        Some(("file", path)) => Ok(PathBuf::from(path)),
        Some((scheme, _)) => Err(Problem::Unsupported(format!("`{setting}` at {scheme}://"))),
    }
}
