//! Where the files of MLflow's local stores are now: stored locations are absolute, and trees move.

use std::path::{Component, Path, PathBuf};

use super::cache::check_path;
use super::mlflow::local_path;
use crate::types::model_uri::ModelUri;

/// The directories that MLflow puts artifacts into.
const ROOT_NAMES: [&str; 2] = ["mlruns", "mlartifacts"];

/// The directory that the first of `locations` leads to. What stands below one of `roots` wins over the place that is
/// written: a copy has its own files.
pub(super) fn find(locations: &[&str], roots: &[PathBuf]) -> Option<PathBuf> {
    locations
        .iter()
        .find_map(|location| find_one(location, roots))
}

fn find_one(location: &str, roots: &[PathBuf]) -> Option<PathBuf> {
    if let Some(path) = location.strip_prefix("mlflow-artifacts:") {
        let path = path.trim_start_matches('/');
        check_path(location, path).ok()?;
        return first_directory(roots, Path::new(path));
    }
    if ModelUri::is_meant(location) {
        return match location.parse().ok()? {
            ModelUri::Logged { model_id, path } => {
                in_experiments(roots, &format!("models/{model_id}/artifacts"), &path)
            }
            ModelUri::Run { run_id, path } => {
                in_experiments(roots, &format!("{run_id}/artifacts"), &path)
            }
            _ => None,
        };
    }
    let written = local_path(location)?;
    let is_plain = |part: &Component| !matches!(part, Component::ParentDir);
    if !written.components().all(|part| is_plain(&part)) {
        return None;
    }
    let parts: Vec<Component> = written.components().collect();
    for (i, part) in parts.iter().enumerate().rev() {
        let name = part.as_os_str().to_string_lossy();
        if ROOT_NAMES.contains(&name.as_ref()) {
            let below: PathBuf = parts[i + 1..].iter().collect();
            if let Some(found) = first_directory(roots, &below) {
                return Some(found);
            }
        }
    }
    written.is_dir().then_some(written)
}

/// Something of an experiment, whichever that is.
fn in_experiments(roots: &[PathBuf], name: &str, path: &str) -> Option<PathBuf> {
    check_path("", name).ok()?;
    for root in roots {
        for entry in fs_err::read_dir(root).ok()?.flatten() {
            let found = entry.path().join(name).join(path);
            if found.is_dir() {
                return Some(found);
            }
        }
    }
    None
}

fn first_directory(roots: &[PathBuf], below: &Path) -> Option<PathBuf> {
    let candidates = roots.iter().map(|root| root.join(below));
    candidates.into_iter().find(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "m-0123456789abcdef0123456789abcdef";

    #[test]
    fn a_moved_tree_is_found_by_what_follows_its_root() {
        let here = tempfile::tempdir().unwrap();
        let root = here.path().join("copy");
        let files = root.join("1/models").join(ID).join("artifacts");
        fs_err::create_dir_all(&files).unwrap();
        let roots = [root.clone()];
        let below = format!("1/models/{ID}/artifacts");
        for location in [
            format!("/nowhere/mlruns/{below}"),
            format!("file:///nowhere/mlruns/{below}"),
            format!("/nowhere/mlruns/old/mlartifacts/{below}"),
            format!("mlflow-artifacts:/{below}"),
            format!("models:/{ID}"),
            files.display().to_string(),
        ] {
            assert_eq!(
                find(&[&location], &roots),
                Some(files.clone()),
                "{location}"
            );
        }
        for location in [
            "/nowhere/mlruns/2".to_owned(),
            "s3://bucket/1".to_owned(),
            "mlflow-artifacts:/../copy".to_owned(),
            format!("/nowhere/mlruns/../mlruns/{below}"),
            "models:/m/1".to_owned(),
            "".to_owned(),
        ] {
            assert_eq!(find(&[&location], &roots), None, "{location}");
        }
        let both = ["/nowhere/mlruns/2", &format!("models:/{ID}")];
        assert_eq!(
            find(&both, &roots),
            Some(files),
            "the next location is tried"
        );
    }

    #[test]
    fn a_copy_reads_its_own_files() {
        let here = tempfile::tempdir().unwrap();
        let original = here.path().join("a/mlruns/1");
        let copy = here.path().join("b/mlruns/1");
        fs_err::create_dir_all(&original).unwrap();
        fs_err::create_dir_all(&copy).unwrap();
        let written = original.display().to_string();
        let roots = [here.path().join("b/mlruns")];
        assert_eq!(find(&[&written], &roots), Some(copy));
        assert_eq!(find(&[&written], &[]), Some(original));
    }
}
