//! Frees what no wanted version needs.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::download::blocking;
use super::{Cache, Entry, Error};
use crate::models::registry::Error as RegistryError;
use crate::types::names::ModelVersion;

/// Younger files may belong to a version that is being put together, here or in another process.
const GRACE: Duration = Duration::from_secs(3600);
/// What has come of a file is kept so long for another attempt.
const PARTIAL_GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

impl Cache {
    /// Removes the versions of this registry that are not among `kept`, then contents that no version has any more. Other
    /// registries in the same directory keep theirs.
    pub(in crate::models::registry) async fn collect(
        &self,
        kept: &[(String, ModelVersion)],
    ) -> Result<(), RegistryError> {
        let kept: Vec<_> = kept
            .iter()
            .map(|(name, version)| self.directory(&Entry::Version(name.clone(), *version)))
            .collect();
        let versions = self.root.join("versions").join(&self.registry);
        let (contents, partial) = (self.files(), self.root.join("partial"));
        blocking(move || {
            for model in entries(&versions)? {
                for version in entries(&model)? {
                    if !kept.contains(&version) && !is_scaffold(&version) {
                        remove_version(&version)?;
                    } else if is_scaffold(&version) && is_older(&version, GRACE) {
                        fs_err::remove_dir_all(&version).map_err(Error::unwritable)?;
                    }
                }
                // Only an empty one goes.
                let _ = fs_err::remove_dir(&model);
            }
            for digits in entries(&contents)? {
                for content in entries(&digits)? {
                    if is_unused(&content) && is_older(&content, GRACE) {
                        fs_err::remove_file(&content).map_err(Error::unwritable)?;
                    }
                }
            }
            for file in entries(&partial)? {
                if is_older(&file, PARTIAL_GRACE) {
                    fs_err::remove_file(&file).map_err(Error::unwritable)?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// Renamed first: a half removed version must not be found.
fn remove_version(directory: &Path) -> Result<(), Error> {
    let name = format!(".old-{}", uuid::Uuid::now_v7().simple());
    let aside = directory.with_file_name(name);
    fs_err::rename(directory, &aside).map_err(Error::unwritable)?;
    fs_err::remove_dir_all(&aside).map_err(Error::unwritable)
}

/// What lies in a directory; nothing if there is none.
fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(directory).map_err(Error::unwritable)? {
        paths.push(entry.map_err(Error::unwritable)?.path());
    }
    Ok(paths)
}

fn is_scaffold(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with('.')
}

/// Whether no version has a hard link to it.
fn is_unused(content: &Path) -> bool {
    fs_err::symlink_metadata(content).is_ok_and(|metadata| metadata.nlink() == 1)
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs_err::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|since| since > age)
    })
}
