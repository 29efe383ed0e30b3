//! Whether a path from a model's own files stays in the model's directory.

use std::path::{Component, Path, PathBuf};

/// The file that `relative` names below `directory`, with all links resolved.
///
/// Errors: in words, when the path is absolute, has `..`, leads out through a link, or names nothing that exists.
pub(crate) fn confine(directory: &Path, relative: &str) -> Result<PathBuf, &'static str> {
    if relative.is_empty() {
        return Err("this is not a file name");
    }
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(relative).components().all(inside) {
        return Err("this leads outside the model's directory");
    }
    let (Ok(root), Ok(file)) = (
        fs_err::canonicalize(directory),
        fs_err::canonicalize(directory.join(relative)),
    ) else {
        return Err("there is no such file");
    };
    if !file.starts_with(root) {
        return Err("this is a link that leads outside the model's directory");
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_directory_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("model");
        fs_err::create_dir_all(directory.join("data")).unwrap();
        fs_err::write(parent.path().join("secret"), "x").unwrap();
        fs_err::write(directory.join("data/weights"), "x").unwrap();
        fs_err::os::unix::fs::symlink("../secret", directory.join("link")).unwrap();
        fs_err::os::unix::fs::symlink("data/weights", directory.join("inner")).unwrap();

        for inside in ["data/weights", "./data/weights", "inner"] {
            assert!(confine(&directory, inside).is_ok(), "{inside}");
        }
        let secret = parent.path().join("secret");
        for (outside, reason) in [
            ("../secret", "leads outside"),
            ("data/../../secret", "leads outside"),
            (secret.to_str().unwrap(), "leads outside"),
            ("link", "a link"),
            ("absent", "no such file"),
            ("", "not a file name"),
        ] {
            let error = confine(&directory, outside).unwrap_err();
            assert!(error.contains(reason), "{outside}: {error}");
        }
    }
}
