//! Files of registered versions on this machine, each content once.
//!
//! ```text
//! files/<2 digits>/<sha256>                         contents
//! versions/<registry>/<model>/<version>/files/...   a version: hard links to contents, in the model's own layout
//! versions/<registry>/<model>/<version>/manifest.json   which files, with size and SHA-256
//! partial/...                                       what has come of a file (`download`)
//! ```
//! * A version is there as a whole or not at all: it is put together beside its place and renamed.
//! * Every file is hashed before a version is handed out again; what is damaged is fetched anew, alone.
//! * A version is found by registry, model and number, without the registry.
//! * One version is fetched once, however many ask for it at the same time.
//! * No file of a version is a link out of its directory: where hard links cannot be made, files are copied.
//!
//! Not here: what the files mean (`artifact`), which versions are wanted.

mod collect;
mod download;
mod error;
mod manifest;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use self::download::{Wanted, blocking, fetch, place_of};
pub use self::error::Error;
use self::manifest::{KeptFile, MANIFEST, Manifest, hashed};
pub(super) use self::source::{Opened, Pieces, RemoteFile, Source, check_path, too_many};
use super::Error as RegistryError;
use crate::types::byte_size::ByteSize;
use crate::types::names::ModelVersion;

/// Files of one version that are fetched at the same time.
const MAX_AT_ONCE: usize = 4;
/// Where a version's files lie below its directory.
const FILES: &str = "files";

#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    /// The registry and the workspace in it, as a directory's name.
    registry: String,
    limits: Limits,
    /// Holders of a permit fetch that version.
    fetching: Mutex<HashMap<PathBuf, Arc<Semaphore>>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_size: ByteSize,
    pub(super) max_files: usize,
}

/// What is kept under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Version(String, ModelVersion),
    /// What is addressed without a registered model: a logged model, a path of a run.
    Other(String),
}

impl Cache {
    /// `registry` tells registries apart that share a directory. Nothing is written yet.
    pub(super) fn new(root: &Path, registry: &str, limits: Limits) -> Self {
        Self {
            // The path is handed out, and must hold after a change of directory.
            root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
            registry: hashed(registry)[..16].to_owned(),
            limits,
            fetching: Mutex::default(),
        }
    }

    /// The files of an entry if they are here and intact. With `identity` only those of that very version.
    pub(super) async fn find(
        &self,
        entry: &Entry,
        identity: Option<&str>,
    ) -> Result<Option<PathBuf>, RegistryError> {
        let directory = self.directory(entry);
        let identity = identity.map(str::to_owned);
        blocking(move || {
            let Some(manifest) = Manifest::read(&directory) else {
                return Ok(None);
            };
            if identity.is_some_and(|identity| identity != manifest.identity) {
                return Ok(None);
            }
            let files = directory.join(FILES);
            let damaged = manifest.damaged(&files);
            for path in &damaged {
                tracing::warn!(
                    file = %files.join(path).display(),
                    "a file of the cache is not what was downloaded; it is fetched anew"
                );
            }
            Ok(damaged.is_empty().then_some(files))
        })
        .await
    }

    /// The files of an entry, fetched as far as they are not here. Whoever comes second waits for the first.
    ///
    /// Cancel safe: a later call goes on where this one stopped.
    pub(super) async fn fetch(
        &self,
        entry: &Entry,
        identity: &str,
        source: &dyn Source,
    ) -> Result<PathBuf, RegistryError> {
        let directory = self.directory(entry);
        let turn = self.turn(&directory);
        let _permit = turn.acquire().await.map_err(|_| RegistryError::Stopping)?;
        if let Some(files) = self.find(entry, Some(identity)).await? {
            return Ok(files);
        }
        let listed = self.list(source).await?;
        let known = self.known(&directory, identity).await?;
        let files = self.bring(source, listed, &known).await?;
        let manifest = Manifest {
            identity: identity.to_owned(),
            place: source.place(),
            files,
        };
        let root = self.files();
        blocking(move || assemble(&directory, &root, &manifest)).await
    }

    fn directory(&self, entry: &Entry) -> PathBuf {
        let (kind, name, version) = match entry {
            Entry::Version(name, version) => ("versions", name, version.to_string()),
            Entry::Other(name) => ("other", name, "0".to_owned()),
        };
        let below = self.root.join(kind).join(&self.registry);
        below.join(directory_name(name)).join(version)
    }

    fn turn(&self, directory: &Path) -> Arc<Semaphore> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody holds or waits for those that only the map knows.
        fetching.retain(|_, turn| Arc::strong_count(turn) > 1);
        let turn = fetching.entry(directory.to_owned());
        Arc::clone(turn.or_insert_with(|| Arc::new(Semaphore::new(1))))
    }

    /// What there is to fetch, checked.
    async fn list(&self, source: &dyn Source) -> Result<Vec<RemoteFile>, RegistryError> {
        let place = source.place();
        let mut files = source.list(self.limits.max_files).await?;
        // Nothing else tells a model's directory from any other one.
        if !files.iter().any(|file| file.path == "MLmodel") {
            return Err(Error::Missing { place }.into());
        }
        if files.len() > self.limits.max_files {
            return Err(too_many(&place, self.limits.max_files));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut n_bytes = 0_u64;
        let mut directories = BTreeSet::new();
        for file in &files {
            check_path(&place, &file.path)?;
            n_bytes = n_bytes.saturating_add(file.size.unwrap_or(0));
            for (end, _) in file.path.match_indices('/') {
                directories.insert(&file.path[..end]);
            }
        }
        let is_twice = files.windows(2).find(|pair| pair[0].path == pair[1].path);
        let is_both = files
            .iter()
            .find(|file| directories.contains(file.path.as_str()));
        if let Some(file) = is_twice.map(|pair| &pair[0]).or(is_both) {
            return Err(Error::Refused {
                place,
                path: file.path.clone(),
                reason: "the name is there twice",
            }
            .into());
        }
        let max_size = self.limits.max_size;
        if n_bytes > max_size.as_bytes() {
            return Err(Error::TooLarge {
                place,
                what: format!("{n_bytes} bytes"),
                option: "max_size",
                limit: max_size.to_string(),
            }
            .into());
        }
        Ok(files)
    }

    /// Intact files of the same version from before.
    async fn known(
        &self,
        directory: &Path,
        identity: &str,
    ) -> Result<BTreeMap<String, KeptFile>, RegistryError> {
        let (directory, identity) = (directory.to_owned(), identity.to_owned());
        let root = self.files();
        blocking(move || {
            let manifest = Manifest::read(&directory).filter(|known| known.identity == identity);
            let Some(manifest) = manifest else {
                return Ok(BTreeMap::new());
            };
            let intact = manifest.files.into_iter().filter(|file| {
                // The link in the version and the content are one file, or copies of each other.
                file.is_intact(&place_of(&root, &file.sha256))
            });
            Ok(intact.map(|file| (file.path.clone(), file)).collect())
        })
        .await
    }

    async fn bring(
        &self,
        source: &dyn Source,
        listed: Vec<RemoteFile>,
        known: &BTreeMap<String, KeptFile>,
    ) -> Result<Vec<KeptFile>, RegistryError> {
        use futures::stream::{StreamExt as _, TryStreamExt as _};

        let announced: u64 = listed.iter().filter_map(|file| file.size).sum();
        let spare = self.limits.max_size.as_bytes().saturating_sub(announced);
        let files = listed.into_iter().map(|file| async move {
            let is_as_long = |kept: &&KeptFile| file.size.is_none_or(|size| size == kept.size);
            if let Some(kept) = known.get(&file.path).filter(is_as_long) {
                return Ok(kept.clone());
            }
            let wanted = Wanted {
                path: &file.path,
                size: file.size,
                budget: file.size.unwrap_or(spare),
            };
            fetch(self, source, &wanted).await
        });
        let files: Vec<KeptFile> = futures::stream::iter(files)
            .buffered(MAX_AT_ONCE)
            .try_collect()
            .await?;
        let n_bytes: u64 = files.iter().map(|file| file.size).sum();
        if n_bytes > self.limits.max_size.as_bytes() {
            return Err(Error::TooLarge {
                place: source.place(),
                what: format!("{n_bytes} bytes"),
                option: "max_size",
                limit: self.limits.max_size.to_string(),
            }
            .into());
        }
        Ok(files)
    }
}

/// Puts a version together beside its place, and then there. Says where its files are.
fn assemble(directory: &Path, root: &Path, manifest: &Manifest) -> Result<PathBuf, Error> {
    let unique = uuid::Uuid::now_v7().simple();
    let parent = directory.parent().unwrap_or(Path::new("."));
    let fresh = Scaffold(parent.join(format!(".new-{unique}")));
    let files = fresh.0.join(FILES);
    fs_err::create_dir_all(&files).map_err(Error::unwritable)?;
    for file in &manifest.files {
        let place = files.join(&file.path);
        if let Some(parent) = place.parent() {
            fs_err::create_dir_all(parent).map_err(Error::unwritable)?;
        }
        let content = place_of(root, &file.sha256);
        // Some file systems have no hard links, and some have a limit on their number.
        if fs_err::hard_link(&content, &place).is_err() {
            fs_err::copy(&content, &place).map_err(Error::unwritable)?;
        }
    }
    let text = serde_json::to_vec_pretty(manifest);
    let text = text.map_err(|error| Error::unwritable(error.into()))?;
    fs_err::write(fresh.0.join(MANIFEST), text).map_err(Error::unwritable)?;
    // A directory cannot be renamed onto one that has files.
    let old = Scaffold(parent.join(format!(".old-{unique}")));
    if directory.exists() {
        fs_err::rename(directory, &old.0).map_err(Error::unwritable)?;
    }
    fs_err::rename(&fresh.0, directory).map_err(Error::unwritable)?;
    Ok(directory.join(FILES))
}

/// A directory that is gone once nobody needs it.
struct Scaffold(PathBuf);

impl Drop for Scaffold {
    fn drop(&mut self) {
        // It was renamed, or was never there, or is swept up by `collect`.
        let _ = fs_err::remove_dir_all(&self.0);
    }
}

/// A model's name as the name of a directory, another one for each name.
fn directory_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.chars().all(is_plain) && !name.is_empty() && name.len() <= 100 {
        return name.to_owned();
    }
    let readable: String = name
        .chars()
        .take(60)
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    // The dot keeps it apart from plain names.
    format!("{readable}.{}", &hashed(name)[..16])
}
