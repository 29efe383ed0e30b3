//! A model registry that is a directory, read anew at each listing.
//!
//! ```text
//! models/<name>/<version>/MLmodel ...    a version in MLflow model format; its directory's name is a number
//! models/<name>/aliases.yaml             flat map of alias to version: `champion: 2`
//! models/<name>/tags.yaml                flat map of tag to value, for all versions
//! models/<name>/<version>/tags.yaml      the same for one version, which wins
//! ```
//! Files, directories whose name begins with `.` or `_`, and directories without a version are not models.
//! Links are followed: the directory belongs to the operator. What a version's files point to does not (`artifact`).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use super::{Error, Listing, ModelRegistry, RegisteredModel, is_model_name};
use crate::shutdown::run_blocking;
use crate::types::names::ModelVersion;

/// Aliases and tags are small; a larger file is a mistake.
const MAX_MAP_BYTES: u64 = 1 << 20;

/// A directory of models in MLflow format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory, with `<name>/<version>/MLmodel` below it.
    pub path: PathBuf,
    /// How often the directory is looked at for changes. Zero for never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("models"),
            poll: Duration::from_secs(10),
        }
    }
}

pub(super) struct LocalRegistry {
    path: PathBuf,
    /// Then a directory that is not there has no models; otherwise it is a mistake.
    may_be_absent: bool,
}

impl LocalRegistry {
    pub(super) fn connect(config: &Config) -> Self {
        Self {
            path: config.path.clone(),
            may_be_absent: false,
        }
    }

    /// The same, but nobody asked for the default directory, so it need not be there.
    pub(super) fn connect_optional(config: &Config) -> Self {
        Self {
            path: config.path.clone(),
            may_be_absent: config.path == Config::default().path,
        }
    }
}

#[async_trait]
impl ModelRegistry for LocalRegistry {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    async fn list(&self) -> Result<Vec<Listing>, Error> {
        let path = self.path.clone();
        if self.may_be_absent && !path.exists() {
            return Ok(Vec::new());
        }
        match run_blocking(move || list(&path)).await {
            Ok(listing) => listing,
            Err(_) => Err(Error::Stopping),
        }
    }

    async fn directory(&self, model: &str, version: ModelVersion) -> Result<PathBuf, Error> {
        let directory = self.path.join(model).join(version.to_string());
        // Such names are not listed either; they could lead elsewhere.
        if is_directory_name(model) && directory.is_dir() {
            return Ok(directory);
        }
        Err(Error::UnknownVersion {
            model: model.to_owned(),
            version,
        })
    }
}

fn list(path: &Path) -> Result<Vec<Listing>, Error> {
    if !path.is_dir() {
        return Err(Error::Missing {
            path: path.to_owned(),
        });
    }
    let mut models = Vec::new();
    for name in directories(path)? {
        if !is_directory_name(&name) {
            continue;
        }
        let model = match read_model(&path.join(&name), &name) {
            Ok(model) if model.versions.is_empty() => continue,
            outcome => outcome,
        };
        models.push(Listing { name, model });
    }
    Ok(models)
}

/// Names that begin otherwise are for what is no model.
fn is_directory_name(name: &str) -> bool {
    is_model_name(name) && !name.starts_with(['.', '_'])
}

fn read_model(directory: &Path, name: &str) -> Result<RegisteredModel, Error> {
    let mut numbers = Vec::new();
    for entry in directories(directory)? {
        match version_number(&entry) {
            Some(number) => numbers.push(number),
            None => tracing::debug!(
                model = name,
                directory = entry,
                "not a version: its name is no number"
            ),
        }
    }
    if numbers.is_empty() {
        return Ok(RegisteredModel::default());
    }
    let model_tags = read_tags(&directory.join("tags.yaml"))?;
    let mut versions = BTreeMap::new();
    for version in numbers {
        let mut tags = model_tags.clone();
        tags.extend(read_tags(
            &directory.join(version.to_string()).join("tags.yaml"),
        )?);
        versions.insert(version, tags);
    }
    let aliases = read_aliases(&directory.join("aliases.yaml"))?;
    for (alias, version) in &aliases {
        if !versions.contains_key(version) {
            return Err(Error::AliasWithoutVersion {
                model: name.to_owned(),
                alias: alias.clone(),
                version: *version,
            });
        }
    }
    Ok(RegisteredModel { versions, aliases })
}

/// Only the way a version is written, so that its directory is found again: no sign, no leading zero.
fn version_number(name: &str) -> Option<ModelVersion> {
    let number: u64 = name.parse().ok()?;
    (number.to_string() == name).then_some(ModelVersion(number))
}

/// The names of the directories in `path`, in ascending order.
fn directories(path: &Path) -> Result<Vec<String>, Error> {
    let unreadable = |error: std::io::Error| Error::Unreadable {
        reason: error.to_string(),
    };
    let mut names = Vec::new();
    for entry in fs_err::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        match entry.file_name().into_string() {
            Ok(name) if entry.path().is_dir() => names.push(name),
            _ => {}
        }
    }
    names.sort();
    Ok(names)
}

fn read_tags(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let malformed = |reason| Error::Malformed {
        path: path.to_owned(),
        content: "tag to value",
        reason,
    };
    let mut tags = BTreeMap::new();
    for (tag, value) in read_map(path, malformed)? {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Null => String::new(),
            Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => {
                return Err(malformed(format!("the value of `{tag}` is not a scalar")));
            }
        };
        tags.insert(tag, text);
    }
    Ok(tags)
}

fn read_aliases(path: &Path) -> Result<BTreeMap<String, ModelVersion>, Error> {
    let malformed = |reason| Error::Malformed {
        path: path.to_owned(),
        content: "alias to version",
        reason,
    };
    let mut aliases = BTreeMap::new();
    for (alias, value) in read_map(path, malformed)? {
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let number =
            number.ok_or_else(|| malformed(format!("`{alias}` names no version number")))?;
        aliases.insert(alias, ModelVersion(number));
    }
    Ok(aliases)
}

/// A YAML map with text keys; empty if there is no such file.
fn read_map(
    path: &Path,
    malformed: impl Fn(String) -> Error,
) -> Result<BTreeMap<String, Value>, Error> {
    let unreadable = |error: std::io::Error| Error::Unreadable {
        reason: error.to_string(),
    };
    match fs_err::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(unreadable(error)),
        Ok(metadata) if metadata.len() > MAX_MAP_BYTES => {
            return Err(malformed(format!("it has over {MAX_MAP_BYTES} bytes")));
        }
        Ok(_) => {}
    }
    let text = fs_err::read_to_string(path).map_err(unreadable)?;
    let map: Option<BTreeMap<String, Value>> =
        serde_yaml_ng::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    Ok(map.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::contract;
    use super::*;
    use crate::error::Failure;

    /// Files below a directory, by path.
    fn directory_of(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        directory
    }

    fn registry(directory: &TempDir) -> LocalRegistry {
        LocalRegistry::connect(&Config {
            path: directory.path().to_owned(),
            ..Config::default()
        })
    }

    const SOUND: [(&str, &str); 7] = [
        ("plain/1/MLmodel", ""),
        ("ranking/1/MLmodel", ""),
        ("ranking/2/MLmodel", ""),
        ("ranking/2/tags.yaml", "team: b"),
        ("ranking/10/MLmodel", ""),
        ("ranking/aliases.yaml", "champion: 2\ncandidate: '10'\n"),
        ("ranking/tags.yaml", "team: a"),
    ];

    #[tokio::test]
    async fn the_contract_holds() {
        contract::run(&registry(&directory_of(&SOUND))).await;
    }

    #[tokio::test]
    async fn what_is_no_model_is_ignored() {
        let directory = directory_of(&SOUND);
        for path in [
            "README.md",
            "train.py",
            ".git/1/MLmodel",
            "_old/1/MLmodel",
            "data/raw.parquet",
            "data/tags.yaml",
            "a@b/1/MLmodel",
            "ranking/notes/x",
            "ranking/03/MLmodel",
            "ranking/+3/MLmodel",
        ] {
            let path = directory.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "a: [").unwrap();
        }
        contract::run(&registry(&directory)).await;
    }

    #[tokio::test]
    async fn a_broken_model_stops_only_itself_and_says_where() {
        for (path, content, code, part) in [
            (
                "aliases.yaml",
                "champion: 7",
                "model_alias_dangling",
                "points to version 7",
            ),
            (
                "aliases.yaml",
                "champion: two",
                "model_registry_malformed",
                "`champion` names no version",
            ),
            (
                "aliases.yaml",
                "champion: -1",
                "model_registry_malformed",
                "`champion` names no version",
            ),
            (
                "aliases.yaml",
                "champion: 1.5",
                "model_registry_malformed",
                "`champion` names no version",
            ),
            (
                "aliases.yaml",
                "[",
                "model_registry_malformed",
                "aliases.yaml is not a flat map",
            ),
            (
                "aliases.yaml",
                "- champion",
                "model_registry_malformed",
                "aliases.yaml is not a flat map",
            ),
            (
                "tags.yaml",
                "a: {b: c}",
                "model_registry_malformed",
                "the value of `a`",
            ),
            (
                "1/tags.yaml",
                "a: [b]",
                "model_registry_malformed",
                "1/tags.yaml",
            ),
        ] {
            let directory = directory_of(&SOUND);
            let broken = directory.path().join("broken/1/MLmodel");
            fs_err::create_dir_all(broken.parent().unwrap()).unwrap();
            fs_err::write(directory.path().join("broken").join(path), content).unwrap();
            let registry = registry(&directory);
            contract::run(&registry).await;
            let listings = registry.list().await.unwrap();
            let error = listings[0].model.as_ref().unwrap_err();
            assert_eq!(
                (listings[0].name.as_str(), error.code()),
                ("broken", code),
                "{error}"
            );
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn tags_are_text_whatever_yaml_makes_of_them() {
        let directory = directory_of(&[
            ("m/1/tags.yaml", "a: 1\nb: true\nc: text\nd:\n"),
            ("m/aliases.yaml", ""),
        ]);
        let listings = registry(&directory).list().await.unwrap();
        let model = listings[0].model.as_ref().unwrap();
        let tags = &model.versions[&ModelVersion(1)];
        let tags: Vec<_> = tags
            .iter()
            .map(|(tag, value)| (tag.as_str(), value.as_str()))
            .collect();
        assert_eq!(tags, [("a", "1"), ("b", "true"), ("c", "text"), ("d", "")]);
    }

    #[tokio::test]
    async fn an_absent_directory_is_an_error_that_names_it() {
        let config = Config {
            path: PathBuf::from("/nowhere/models"),
            ..Config::default()
        };
        let error = LocalRegistry::connect(&config).list().await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/models"), "{error}");
        assert!(error.hint().unwrap().contains("`registry.local.path`"));
    }

    #[tokio::test]
    async fn only_the_default_directory_may_be_absent_and_only_if_it_is_optional() {
        let missing = Config {
            path: "no_such_directory".into(),
            ..Config::default()
        };
        let asked_for = LocalRegistry::connect_optional(&missing);
        let error = asked_for.list().await.unwrap_err();
        assert_eq!(error.code(), "model_registry_missing");
        let optional = LocalRegistry {
            path: missing.path.clone(),
            may_be_absent: true,
        };
        assert!(optional.list().await.unwrap().is_empty());
        assert!(LocalRegistry::connect_optional(&Config::default()).may_be_absent);
        assert!(!LocalRegistry::connect(&Config::default()).may_be_absent);
    }
}
