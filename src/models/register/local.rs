//! Registering in a directory of models (`registry/local` has its layout).
//!
//! A version is written beside its place and renamed into it, complete; then the alias file is replaced in one step. A
//! server that reads the directory meanwhile sees the state before or after, never one between. Who writes holds a lock
//! on `<name>/.lock`. What an interrupted attempt left (`<name>/.new-*`) is removed by the next one.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;

use super::mlmodel::Identity;
use super::{Error, Order, Package, Progress, Registered, TAG_SHA256};
use crate::shutdown::run_blocking;
use crate::types::names::ModelVersion;

const ALIASES: &str = "aliases.yaml";
const TAGS: &str = "tags.yaml";
const UNFINISHED: &str = ".new-";

pub(super) async fn register(
    path: &Path,
    package: &Package,
    order: &Order,
    progress: &Progress,
) -> Result<Registered, Error> {
    let (path, package, order) = (path.to_owned(), package.clone(), order.clone());
    let progress = progress.clone();
    elsewhere(move || {
        check_name(&path, &order.name)?;
        let model = Model::open(&path, &order.name, true)?;
        model.register(&package, &order, &progress)
    })
    .await
}

pub(super) async fn set_alias(
    path: &Path,
    name: &str,
    alias: &str,
    version: ModelVersion,
) -> Result<(), Error> {
    let (path, name, alias) = (path.to_owned(), name.to_owned(), alias.to_owned());
    elsewhere(move || {
        check_name(&path, &name)?;
        let model = Model::open(&path, &name, false)?;
        if !model.directory.join(version.to_string()).is_dir() {
            return Err(Error::UnknownVersion { name, version });
        }
        model.set_alias(&alias, version)
    })
    .await
}

pub(super) async fn delete_alias(path: &Path, name: &str, alias: &str) -> Result<bool, Error> {
    let (path, name, alias) = (path.to_owned(), name.to_owned(), alias.to_owned());
    elsewhere(move || {
        check_name(&path, &name)?;
        let model = Model::open(&path, &name, false)?;
        let file = model.directory.join(ALIASES);
        let mut aliases = read_map(&file)?;
        let was_there = aliases.remove(&alias).is_some();
        if was_there {
            write_map(&file, &aliases, "deleting the alias")?;
        }
        Ok(was_there)
    })
    .await
}

/// Such directories are not read as models.
fn check_name(path: &Path, name: &str) -> Result<(), Error> {
    if name.starts_with(['.', '_']) || !path.join(name).starts_with(path) {
        return Err(Error::ModelName {
            name: name.to_owned(),
            reason: "a directory whose name begins with `.` or `_` is not read as a model",
        });
    }
    Ok(())
}

/// A model's directory, while nobody else writes to it.
struct Model {
    name: String,
    location: String,
    directory: PathBuf,
    /// Unlocked when it is closed.
    _lock: fs_err::File,
}

impl Model {
    fn open(path: &Path, name: &str, create: bool) -> Result<Self, Error> {
        let directory = path.join(name);
        let failed = Error::write("opening the model's directory");
        if create {
            fs_err::create_dir_all(&directory).map_err(&failed)?;
        } else if !directory.is_dir() {
            return Err(Error::UnknownModel {
                name: name.to_owned(),
                location: path.display().to_string(),
            });
        }
        let lock = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(".lock"))
            .map_err(&failed)?;
        lock.lock().map_err(&failed)?;
        Ok(Self {
            name: name.to_owned(),
            location: path.display().to_string(),
            directory,
            _lock: lock,
        })
    }

    fn register(
        &self,
        package: &Package,
        order: &Order,
        progress: &Progress,
    ) -> Result<Registered, Error> {
        let resumed = self.clear()?;
        progress.step("looking for a version with the same content");
        let versions = self.versions()?;
        let known = match order.force {
            true => None,
            false => self.same(&versions, package.fingerprint())?,
        };
        let tags = tags_of(order, package);
        let version = match known {
            Some(version) => {
                let file = self.directory.join(version.to_string()).join(TAGS);
                let mut merged = read_map(&file)?;
                merged.extend(tags);
                write_map(&file, &merged, "writing the tags")?;
                version
            }
            None => {
                progress.step("copying the files");
                let newest = versions.last().map_or(0, |version| version.0);
                self.add(package, &tags, ModelVersion(newest + 1))?
            }
        };
        if let Some(alias) = &order.alias {
            progress.step("setting the alias");
            self.set_alias(alias, version)?;
        }
        Ok(Registered {
            name: self.name.clone(),
            version,
            alias: order.alias.clone(),
            is_new: known.is_none(),
            resumed,
            location: self.location.clone(),
            model_id: None,
            run_id: None,
            sha256: package.fingerprint().to_owned(),
        })
    }

    /// Removes what interrupted attempts left. Whether there was something.
    fn clear(&self) -> Result<bool, Error> {
        let failed = Error::write("removing what an interrupted attempt left");
        let mut found = false;
        for entry in fs_err::read_dir(&self.directory).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs_err::remove_dir_all(entry.path()).map_err(&failed)?;
                found = true;
            }
        }
        Ok(found)
    }

    /// In ascending order.
    fn versions(&self) -> Result<Vec<ModelVersion>, Error> {
        let failed = Error::write("listing the versions");
        let mut versions = Vec::new();
        for entry in fs_err::read_dir(&self.directory).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name();
            versions.extend(
                name.to_str()
                    .and_then(|name| name.parse().ok())
                    .map(ModelVersion),
            );
        }
        versions.sort_unstable();
        Ok(versions)
    }

    /// The highest version with this content.
    fn same(
        &self,
        versions: &[ModelVersion],
        fingerprint: &str,
    ) -> Result<Option<ModelVersion>, Error> {
        for version in versions.iter().rev() {
            let tags = read_map(&self.directory.join(version.to_string()).join(TAGS))?;
            if tags.get(TAG_SHA256).and_then(Value::as_str) == Some(fingerprint) {
                return Ok(Some(*version));
            }
        }
        Ok(None)
    }

    fn add(
        &self,
        package: &Package,
        tags: &BTreeMap<String, Value>,
        version: ModelVersion,
    ) -> Result<ModelVersion, Error> {
        let step = "writing the version";
        let failed = Error::write(step);
        let name = format!("{UNFINISHED}{}", uuid::Uuid::now_v7().simple());
        let unfinished = self.directory.join(name);
        package.write_to(&unfinished, &Identity::default())?;
        write_map(&unfinished.join(TAGS), tags, step)?;
        sync(&unfinished).map_err(&failed)?;
        fs_err::rename(&unfinished, self.directory.join(version.to_string())).map_err(&failed)?;
        sync(&self.directory).map_err(&failed)?;
        Ok(version)
    }

    fn set_alias(&self, alias: &str, version: ModelVersion) -> Result<(), Error> {
        let file = self.directory.join(ALIASES);
        let mut aliases = read_map(&file)?;
        let version = Value::Number(version.0.into());
        if aliases.get(alias) == Some(&version) {
            return Ok(());
        }
        aliases.insert(alias.to_owned(), version);
        write_map(&file, &aliases, "setting the alias")
    }
}

fn tags_of(order: &Order, package: &Package) -> BTreeMap<String, Value> {
    let mut tags = order.version_tags(package);
    // A directory has no other place for it.
    if let Some(description) = &order.description {
        tags.insert("description".to_owned(), description.clone());
    }
    let tags = tags.into_iter();
    tags.map(|(tag, value)| (tag, Value::String(value)))
        .collect()
}

/// Empty if there is no such file. A file that cannot be read as a map is not replaced.
fn read_map(path: &Path) -> Result<BTreeMap<String, Value>, Error> {
    let step = "reading aliases and tags";
    let text = match fs_err::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text.map_err(Error::write(step))?,
    };
    let map: Result<Option<BTreeMap<String, Value>>, _> = serde_yaml_ng::from_str(&text);
    match map {
        Ok(map) => Ok(map.unwrap_or_default()),
        Err(error) => Err(Error::Write {
            step,
            reason: format!("{}: {error}", path.display()),
        }),
    }
}

/// Replaces the file in one step.
fn write_map(path: &Path, map: &BTreeMap<String, Value>, step: &'static str) -> Result<(), Error> {
    let failed = Error::write(step);
    let text = serde_yaml_ng::to_string(map).map_err(|error| Error::Write {
        step,
        reason: error.to_string(),
    })?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let beside = path.with_extension("yaml.new");
    let mut file = fs_err::File::create(&beside).map_err(&failed)?;
    file.write_all(text.as_bytes()).map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    fs_err::rename(&beside, path).map_err(&failed)?;
    sync(directory).map_err(&failed)
}

/// A rename is on disk only once its directory is.
fn sync(directory: &Path) -> std::io::Result<()> {
    fs_err::File::open(directory)?.sync_all()
}

async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match run_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Stopped),
    }
}
