//! MLflow's file store, read without a server.
//!
//! ```text
//! mlruns/models/<name>/meta.yaml              a registered model
//! mlruns/models/<name>/aliases/<alias>        the version's number; authoritative, the copy in meta.yaml is not
//! mlruns/models/<name>/tags/<key>             the value; a slash in a key is a directory
//! mlruns/models/<name>/version-<n>/meta.yaml  a version: source, storage_location, status, current_stage
//! mlruns/models/<name>/version-<n>/tags/<key>
//! ```
//! A deleted version stays, in the stage `Deleted_Internal`. Read anew at each listing.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Error, Listing, ModelRegistry, RegisteredModel, is_model_name, moved, named_directory,
};
use crate::shutdown::run_blocking;
use crate::types::model_uri::ModelUri;
use crate::types::names::ModelVersion;

/// Meta files, tags and aliases are small; a larger file is a mistake.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Tags may stand in directories, as their keys have slashes.
const MAX_TAG_DEPTH: usize = 8;
const DELETED: &str = "Deleted_Internal";
const PROMPT_TAG: &str = "mlflow.prompt";

/// A directory that MLflow's file store has written, read only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory, with `models/<name>/version-<n>/meta.yaml` below it. It may have been moved since.
    pub path: PathBuf,
    /// How often the directory is looked at for changes. Zero for never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("mlruns"),
            poll: Duration::from_secs(10),
        }
    }
}

pub(super) struct Mlruns {
    path: PathBuf,
}

/// What matters of a version's meta.yaml.
#[derive(Debug, Deserialize)]
struct VersionMeta {
    #[serde(default)]
    current_stage: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    storage_location: Option<String>,
    /// `READY`; older stores have a number here.
    #[serde(default)]
    status: serde_yaml_ng::Value,
    #[serde(default)]
    status_message: Option<String>,
}

impl Mlruns {
    pub(super) fn connect(config: &Config) -> Self {
        Self {
            path: config.path.clone(),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let path = self.path.clone();
        match run_blocking(move || step(&path)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Stopping),
        }
    }
}

#[async_trait]
impl ModelRegistry for Mlruns {
    fn location(&self) -> String {
        format!("MLflow file store {}", self.path.display())
    }

    async fn list(&self) -> Result<Vec<Listing>, Error> {
        self.blocking(list).await
    }

    async fn directory(&self, model: &str, version: ModelVersion) -> Result<PathBuf, Error> {
        let model = model.to_owned();
        self.blocking(move |path| directory(path, &model, version))
            .await
    }

    async fn directory_of(&self, uri: &ModelUri) -> Result<PathBuf, Error> {
        match uri {
            ModelUri::Logged { .. } | ModelUri::Run { .. } => {
                let uri = uri.to_string();
                self.blocking(move |path| {
                    let found = moved::find(&[&uri], &[path.to_owned()]);
                    found.ok_or_else(|| Error::UnknownUri {
                        uri,
                        reason: "it is not in the file store".to_owned(),
                    })
                })
                .await
            }
            _ => named_directory(self, uri).await,
        }
    }
}

fn list(path: &Path) -> Result<Vec<Listing>, Error> {
    let models = path.join("models");
    if !path.is_dir() {
        return Err(Error::Missing {
            path: path.to_owned(),
        });
    }
    let mut listings = Vec::new();
    for name in names(&models)? {
        let directory = models.join(&name);
        if !is_model_name(&name) || !directory.join("meta.yaml").is_file() {
            continue;
        }
        let model = match read_model(&directory, &name) {
            Ok(None) => continue,
            Ok(Some(model)) => Ok(model),
            Err(error) => Err(error),
        };
        listings.push(Listing { name, model });
    }
    Ok(listings)
}

/// `None` for a prompt, and for a model without a version.
fn read_model(directory: &Path, name: &str) -> Result<Option<RegisteredModel>, Error> {
    let model_tags = read_tags(&directory.join("tags"))?;
    if model_tags.keys().any(|key| key.starts_with(PROMPT_TAG)) {
        return Ok(None);
    }
    let mut versions = BTreeMap::new();
    for entry in names(directory)? {
        let Some(version) = version_number(&entry) else {
            continue;
        };
        let directory = directory.join(&entry);
        if read_meta(&directory)?.is_deleted() {
            continue;
        }
        let mut tags = model_tags.clone();
        tags.extend(read_tags(&directory.join("tags"))?);
        versions.insert(version, tags);
    }
    let mut aliases = BTreeMap::new();
    for alias in names(&directory.join("aliases"))? {
        let path = directory.join("aliases").join(&alias);
        let number = read_text(&path)?.trim().parse();
        let version = ModelVersion(number.map_err(|_| Error::Malformed {
            path,
            content: "a version's number",
            reason: "this is no whole number".to_owned(),
        })?);
        if !versions.contains_key(&version) {
            return Err(Error::AliasWithoutVersion {
                model: name.to_owned(),
                alias,
                version,
            });
        }
        aliases.insert(alias, version);
    }
    let model = RegisteredModel { versions, aliases };
    Ok((!model.versions.is_empty()).then_some(model))
}

fn directory(root: &Path, model: &str, version: ModelVersion) -> Result<PathBuf, Error> {
    let unknown = || Error::UnknownVersion {
        model: model.to_owned(),
        version,
    };
    let of_version = root
        .join("models")
        .join(model)
        .join(format!("version-{version}"));
    // Such names are not listed either; they could lead elsewhere.
    if !is_model_name(model) || !of_version.join("meta.yaml").is_file() {
        return Err(unknown());
    }
    let meta = read_meta(&of_version)?;
    if meta.is_deleted() {
        return Err(unknown());
    }
    match &meta.status {
        serde_yaml_ng::Value::String(status) if status != "READY" => {
            return Err(Error::NotReady {
                model: model.to_owned(),
                version,
                status: status.clone(),
                message: meta.status_message.unwrap_or_default(),
            });
        }
        _ => {}
    }
    let locations = [&meta.storage_location, &meta.source];
    let locations: Vec<&str> = locations
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let found = moved::find(&locations, &[root.to_owned()]);
    found.ok_or_else(|| Error::FilesElsewhere {
        model: model.to_owned(),
        version,
        place: locations.first().copied().unwrap_or("no place").to_owned(),
    })
}

impl VersionMeta {
    fn is_deleted(&self) -> bool {
        self.current_stage.as_deref() == Some(DELETED)
    }
}

fn read_meta(directory: &Path) -> Result<VersionMeta, Error> {
    let path = directory.join("meta.yaml");
    serde_yaml_ng::from_str(&read_text(&path)?).map_err(|error| Error::Malformed {
        path,
        content: "what MLflow knows of a version",
        reason: error.to_string(),
    })
}

fn version_number(name: &str) -> Option<ModelVersion> {
    let digits = name.strip_prefix("version-")?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(ModelVersion(number))
}

fn read_tags(directory: &Path) -> Result<BTreeMap<String, String>, Error> {
    let mut tags = BTreeMap::new();
    collect_tags(directory, "", 0, &mut tags)?;
    Ok(tags)
}

fn collect_tags(
    directory: &Path,
    above: &str,
    depth: usize,
    tags: &mut BTreeMap<String, String>,
) -> Result<(), Error> {
    for name in names(directory)? {
        let path = directory.join(&name);
        let key = match above {
            "" => name,
            above => format!("{above}/{name}"),
        };
        if !path.is_dir() {
            tags.insert(key, read_text(&path)?);
        } else if depth < MAX_TAG_DEPTH {
            collect_tags(&path, &key, depth + 1, tags)?;
        }
    }
    Ok(())
}

/// The names in a directory, in ascending order; none if there is no such.
fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs_err::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(unreadable)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read_text(path: &Path) -> Result<String, Error> {
    let n_bytes = fs_err::metadata(path).map_err(unreadable)?.len();
    if n_bytes > MAX_TEXT_BYTES {
        return Err(Error::Malformed {
            path: path.to_owned(),
            content: "a few words",
            reason: format!("it has over {MAX_TEXT_BYTES} bytes"),
        });
    }
    fs_err::read_to_string(path).map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> Error {
    Error::Unreadable {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
