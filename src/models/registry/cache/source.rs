//! Where the files of a version come from, and which names such files may have.

use async_trait::async_trait;

use super::Error as Damage;
use crate::models::registry::Error;

/// A directory of files somewhere. Several kinds of places can do this.
#[async_trait]
pub(in crate::models::registry) trait Source: Send + Sync {
    /// Where it is, for people to read and without secrets.
    fn place(&self) -> String;

    /// All files below, at any depth. Empty if there is nothing. Ends with an error past `max_files`.
    async fn list(&self, max_files: usize) -> Result<Vec<RemoteFile>, Error>;

    /// A file's bytes from offset `from` on, or from the start where that is not possible.
    async fn open(&self, path: &str, from: u64) -> Result<Opened, Error>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::models::registry) struct RemoteFile {
    /// Relative, with `/`.
    pub(in crate::models::registry) path: String,
    pub(in crate::models::registry) size: Option<u64>,
}

/// A file that is being read.
pub(in crate::models::registry) struct Opened {
    /// Where the first byte stands.
    pub(in crate::models::registry) start: u64,
    /// Size of the whole.
    pub(in crate::models::registry) size: Option<u64>,
    /// Another one after the bytes have changed.
    pub(in crate::models::registry) etag: Option<String>,
    pub(in crate::models::registry) pieces: Box<dyn Pieces>,
}

/// The bytes, in order.
#[async_trait]
pub(in crate::models::registry) trait Pieces: Send {
    /// `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error>;
}

/// Longest path of a file, in bytes.
const MAX_PATH_BYTES: usize = 1024;
const MAX_NAME_BYTES: usize = 255;

/// Refuses what would not end up as a file below the version's own directory.
pub(in crate::models::registry) fn check_path(place: &str, path: &str) -> Result<(), Error> {
    let reason = if path.is_empty() {
        "this is not a file name"
    } else if path.starts_with('/') {
        "an absolute path leads outside the model's directory"
    } else if path.contains(['\\', '\0']) || path.chars().any(char::is_control) {
        "backslashes and control characters are not taken"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "this leads outside the model's directory"
    } else if path.len() > MAX_PATH_BYTES || path.split('/').any(|part| part.len() > MAX_NAME_BYTES)
    {
        "the name is too long"
    } else {
        return Ok(());
    };
    let refused = Damage::Refused {
        place: place.to_owned(),
        path: path.escape_debug().take(200).collect(),
        reason,
    };
    Err(refused.into())
}

/// For a listing that has grown too long.
pub(in crate::models::registry) fn too_many(place: &str, max_files: usize) -> Error {
    let error = Damage::TooLarge {
        place: place.to_owned(),
        what: format!("over {max_files} files"),
        option: "max_files",
        limit: max_files.to_string(),
    };
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    #[test]
    fn only_names_below_the_directory_are_taken() {
        for path in ["MLmodel", "a/b.onnx", "..data", "with space/ü", "a..b"] {
            check_path("here", path).unwrap();
        }
        let long = "x".repeat(256);
        for path in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/.",
            "a\\b",
            "C:\\x",
            "a\0b",
            "a\nb",
            &long,
        ] {
            let error = check_path("here", path).unwrap_err();
            assert_eq!(error.code(), "artifact_path_refused", "{path}");
        }
    }
}
