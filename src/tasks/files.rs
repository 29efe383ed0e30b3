//! The files that jobs may use: those below one directory.

use std::path::{Component, Path, PathBuf};

use super::{Error, Tasks};

impl Tasks {
    /// A path below the configured directory, and really there: no link leads out of it. The file itself need not exist; its
    /// directory must.
    pub(super) fn file(&self, path: &str) -> Result<PathBuf, Error> {
        confined(self.files.as_deref(), path)
    }
}

fn confined(root: Option<&Path>, path: &str) -> Result<PathBuf, Error> {
    let refused = |problem: &str| Error::File {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let root = root.ok_or_else(|| refused("`jobs.files` is not set"))?;
    let is_below = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_below || path.is_empty() {
        return Err(refused("it is not below `jobs.files`"));
    }
    let file = root.join(path);
    let real =
        |path: &Path| fs_err::canonicalize(path).map_err(|error| refused(&error.to_string()));
    let root = real(root)?;
    let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(refused("it is no file"));
    };
    let file = real(parent)?.join(name);
    let target = match fs_err::symlink_metadata(&file) {
        Ok(_) => real(&file)?,
        Err(_) => file.clone(),
    };
    match target.starts_with(&root) {
        true => Ok(file),
        false => Err(refused("a link leads out of `jobs.files`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_directory_are_used() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("files");
        fs_err::create_dir_all(root.join("in")).unwrap();
        fs_err::write(directory.path().join("secret"), "").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(directory.path(), root.join("out")).unwrap();
        let ask = |path: &str| confined(Some(&root), path);
        assert!(
            ask("in/rows.parquet")
                .unwrap()
                .ends_with("files/in/rows.parquet")
        );
        assert!(ask("rows.csv").is_ok());
        for path in [
            "",
            "/etc/passwd",
            "../secret",
            "in/../../secret",
            "nowhere/rows.csv",
            "out/secret",
        ] {
            assert!(ask(path).is_err(), "{path}");
        }
        let error = confined(None, "rows.csv").unwrap_err();
        assert!(
            error.to_string().contains("`jobs.files` is not set"),
            "{error}"
        );
    }
}
