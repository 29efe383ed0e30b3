//! A Feast feature repository's `feature_store.yaml`: which registry, which online store.
//!
//! Read as Feast 0.67 reads it: the whole text goes through `$NAME` and `${NAME}` expansion before it is parsed; names that
//! are not set stay as they are. What serving has no use for (`provider`, `batch_engine`, ...) is left alone; keys that
//! neither we nor Feast's core know are told in `notes`.
//! Not here: what the stores make of their settings (`online`), reading the registry (`registry`).

mod expand;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_yaml_ng::Value;

use self::expand::expand;
pub(super) use self::expand::unset_variable;
use super::key::KeyVersion;
use super::settings::{Settings, SettingsError};
use super::{offline, online, registry};
use crate::error::{ErrorClass, Failure};

/// What a repository's settings come to.
#[derive(Debug, Clone)]
pub struct Repo {
    /// Relative paths in settings and data sources start here.
    pub directory: PathBuf,
    pub project: String,
    pub registry: registry::Config,
    pub online_store: online::Config,
    pub offline_store: offline::Config,
    pub key_version: KeyVersion,
    /// Where Feast's transformation server listens, as its Go server is told.
    pub transformation_service: Option<String>,
    /// Settings that have no effect here, one sentence each.
    pub notes: Vec<String>,
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
                "use a file, SQL or remote registry, and the sqlite, redis or postgres online store"
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

    /// The same for the repository that nobody named: Feast's own variables may hold its settings (`FEATURE_STORE_YAML_BASE64`)
    /// or the path of their file (`FEAST_FS_YAML_FILE_PATH`). Relative paths in them start at `directory`.
    pub fn load_default(
        directory: &Path,
        file: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        if let Some(encoded) = environment(YAML).filter(|text| !text.is_empty()) {
            let path = Path::new(YAML);
            let decoded = BASE64.decode(encoded.trim()).ok();
            let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) else {
                return Err(Error::Invalid {
                    path: path.to_owned(),
                    message: "the value is not text in Base64".to_owned(),
                });
            };
            return Self::parse(&text, directory, path, environment);
        }
        match environment(YAML_PATH).filter(|path| !path.is_empty()) {
            // As in Feast it starts at the working directory, not at the repository.
            Some(path) => Self::load(
                directory,
                &std::path::absolute(&path).unwrap_or(path.into()),
                environment,
            ),
            None => Self::load(directory, file, environment),
        }
    }

    /// Whether the environment says where the settings are.
    pub fn is_in(environment: &dyn Fn(&str) -> Option<String>) -> bool {
        let is_set = |name| environment(name).is_some_and(|value| !value.is_empty());
        is_set(YAML) || is_set(YAML_PATH)
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

/// Feast's variables for its settings.
const YAML: &str = "FEATURE_STORE_YAML_BASE64";
const YAML_PATH: &str = "FEAST_FS_YAML_FILE_PATH";

/// Top-level keys of Feast that have no bearing on serving.
const NOT_OURS: [&str; 11] = [
    "provider",
    "batch_engine",
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
    let registry = registry::Config::read(
        settings.take("registry"),
        directory,
        environment,
        &mut notes,
    )?;
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
    let offline_store = offline::Config::read(settings.take("offline_store"), directory)?;
    if matches!(online_store, online::Config::Sqlite(_)) && project.contains('-') {
        return Err(Problem::Invalid(format!(
            "project `{project}` has a `-`, which the SQLite online store cannot hold"
        )));
    }
    let transformation_service = transformation_service(settings.take("feature_server"))?;
    for key in NOT_OURS {
        settings.take(key);
    }
    note_left_over(&settings, &mut notes);
    Ok(Repo {
        directory: directory.to_owned(),
        project,
        registry,
        online_store,
        offline_store,
        key_version,
        transformation_service,
        notes,
    })
}

pub(super) fn note_left_over(settings: &Settings, notes: &mut Vec<String>) {
    for path in settings.left_over() {
        notes.push(format!("feature_store.yaml: `{path}` has no effect here"));
    }
}

/// The one setting of the feature server that serving has a use for.
fn transformation_service(feature_server: Option<Value>) -> Result<Option<String>, Problem> {
    match feature_server {
        Some(map @ Value::Mapping(_)) => {
            let mut settings = Settings::new("feature_server", map)?;
            Ok(settings.text("transformation_service_endpoint")?)
        }
        _ => Ok(None),
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
