//! What a version consists of: written beside its files, read before they are used again.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::source::check_path;

/// Its name, beside the directory of files.
pub(super) const MANIFEST: &str = "manifest.json";
/// A manifest is small; a larger file is none.
const MAX_BYTES: u64 = 64 << 20;
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Tells a version from another one of the same number, registered after the model was deleted.
    pub(super) identity: String,
    /// Where the files came from, for people.
    pub(super) place: String,
    pub(super) files: Vec<KeptFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptFile {
    pub(super) path: String,
    pub(super) size: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
}

impl Manifest {
    /// `None` where there is none that makes sense: then the version is downloaded.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        let path = directory.join(MANIFEST);
        if fs_err::metadata(&path).ok()?.len() > MAX_BYTES {
            return None;
        }
        let manifest: Self = serde_json::from_slice(&fs_err::read(&path).ok()?).ok()?;
        let is_sound = |file: &KeptFile| {
            let is_hex = file.sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex && file.sha256.len() == 64 && check_path("", &file.path).is_ok()
        };
        manifest.files.iter().all(is_sound).then_some(manifest)
    }

    /// The paths of files that are not what they were when they came. Reads all of them.
    pub(super) fn damaged(&self, files: &Path) -> BTreeSet<String> {
        let is_damaged = |file: &&KeptFile| !file.is_intact(&files.join(&file.path));
        let damaged = self.files.iter().filter(is_damaged);
        damaged.map(|file| file.path.clone()).collect()
    }
}

impl KeptFile {
    pub(super) fn is_intact(&self, path: &Path) -> bool {
        let is_as_long = fs_err::symlink_metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == self.size);
        is_as_long && sha256(path).is_ok_and(|sha256| sha256 == self.sha256)
    }
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut context = Context::new(&SHA256);
    digest(&mut fs_err::File::open(path)?, &mut context)?;
    Ok(hex(context.finish().as_ref()))
}

/// Takes in the rest of a file; says how much that was.
pub(super) fn digest(file: &mut fs_err::File, context: &mut Context) -> std::io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut n_bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(n_bytes),
            n_read => {
                context.update(&buffer[..n_read]);
                n_bytes += n_read as u64;
            }
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// Stands for a text in the name of a file.
pub(super) fn hashed(text: &str) -> String {
    hex(ring::digest::digest(&SHA256, text.as_bytes()).as_ref())
}
