//! Whether the files of a version are still the ones that were loaded: names, sizes and times of change.
//!
//! A registry's versions never change; a directory that people work in does. Only files directly in the version's
//! directory count, and not `tags.yaml` (tags are listed) nor `registered_model_meta` (MLflow writes it when it loads).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const NOT_OF_THE_MODEL: [&str; 2] = ["tags.yaml", "registered_model_meta"];

/// A version's directory, as it was at one moment.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
    seen: Vec<SeenFile>,
}

/// Name, size, time of change.
type SeenFile = (OsString, u64, Option<SystemTime>);

impl Files {
    /// Blocks. A directory that cannot be read counts as empty.
    pub(super) fn read(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            seen: see(directory).unwrap_or_default(),
        }
    }

    /// Blocks. Files that cannot be read now have not changed: what is in memory is all there is.
    pub(super) fn have_changed(&self) -> bool {
        see(&self.directory).is_ok_and(|now| now != self.seen)
    }
}

fn see(directory: &Path) -> std::io::Result<Vec<SeenFile>> {
    let mut seen = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // Of what a link points to.
        let metadata = fs_err::metadata(entry.path())?;
        if metadata.is_file() && !NOT_OF_THE_MODEL.iter().any(|other| name == *other) {
            seen.push((name, metadata.len(), metadata.modified().ok()));
        }
    }
    seen.sort();
    Ok(seen)
}
