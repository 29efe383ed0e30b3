//! Where the ONNX Runtime library is looked for. Nothing is loaded here.

use std::env;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = ".terrarium/lib";

/// The outcome of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Named by the user, or found.
    File(PathBuf),
    /// In none of our places; the system's loader may still know it by its name.
    System {
        name: PathBuf,
        looked_at: Vec<PathBuf>,
    },
}

/// A path given by the user is taken as it is, so that a mistake in it is an error and not a silent fallback.
pub(super) fn find(configured: Option<&Path>, ort_dylib_path: Option<&Path>) -> Place {
    if let Some(path) = configured.or(ort_dylib_path) {
        return Place::File(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    }
    let name = file_name();
    let mut looked_at = Vec::new();
    for root in roots() {
        let path = root.join(DIRECTORY).join(&name);
        if path.is_file() {
            return Place::File(path);
        }
        if !looked_at.contains(&path) {
            looked_at.push(path);
        }
    }
    Place::System { name, looked_at }
}

fn file_name() -> PathBuf {
    let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    PathBuf::from(format!("{prefix}onnxruntime{suffix}"))
}

/// The working directory, then every folder above the executable, innermost first.
fn roots() -> Vec<PathBuf> {
    let mut roots = Vec::new();
    if let Ok(directory) = env::current_dir() {
        roots.push(directory);
    }
    if let Ok(executable) = env::current_exe() {
        roots.extend(executable.ancestors().skip(1).map(Path::to_owned));
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_path_wins_even_if_it_does_not_exist() {
        let configured = Path::new("/nowhere/a.so");
        let place = find(Some(configured), Some(Path::new("/nowhere/b.so")));
        assert_eq!(place, Place::File(configured.to_owned()));
        let place = find(None, Some(Path::new("/nowhere/b.so")));
        assert_eq!(place, Place::File(PathBuf::from("/nowhere/b.so")));
    }

    #[test]
    fn the_working_directory_comes_before_the_executable() {
        let roots = roots();
        assert_eq!(roots[0], env::current_dir().unwrap());
        assert_eq!(roots[1], env::current_exe().unwrap().parent().unwrap());
    }
}
