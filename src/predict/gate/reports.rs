//! What gates said, kept on disk: one JSON file per judged version, replaced as a whole.
//!
//! Layout: `<directory>/<model>/<version>.json`, the name with `%XX` for every byte that is no letter, digit, `_` or `-`.
//! Of one model the reports of the highest versions are kept (`MOST`).

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::shutdown::run_blocking;
use crate::types::names::ModelVersion;

/// Reports of one model.
const MOST: usize = 50;
/// What a file with a report is never larger than.
const MAX_BYTES: u64 = 8 << 20;

/// Where reports are.
#[derive(Debug, Clone)]
pub struct Reports {
    directory: PathBuf,
}

impl Reports {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The newest report on a version; `None` if there is none.
    ///
    /// Errors: it cannot be read, or is no report.
    pub async fn read(&self, model: &str, version: ModelVersion) -> io::Result<Option<Value>> {
        let path = self.path(model, version);
        let read = run_blocking(move || read(&path)).await;
        read.map_err(io::Error::other)?
    }

    /// Blocks on the disk.
    pub(super) fn read_now(&self, model: &str, version: ModelVersion) -> io::Result<Option<Value>> {
        read(&self.path(model, version))
    }

    /// Blocks on the disk.
    pub(super) fn write_now(
        &self,
        model: &str,
        version: ModelVersion,
        report: &Value,
    ) -> io::Result<()> {
        let path = self.path(model, version);
        let directory = self.of_model(model);
        fs_err::create_dir_all(&directory)?;
        let beside = path.with_extension("tmp");
        let mut file = fs_err::File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(report)?)?;
        fs_err::rename(beside, path)?;
        remove_lowest(&directory)
    }

    fn path(&self, model: &str, version: ModelVersion) -> PathBuf {
        self.of_model(model).join(format!("{version}.json"))
    }

    fn of_model(&self, model: &str) -> PathBuf {
        self.directory.join(file_name(model))
    }
}

fn read(path: &Path) -> io::Result<Option<Value>> {
    let n_bytes = match fs_err::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if n_bytes > MAX_BYTES {
        let path = path.display();
        return Err(io::Error::other(format!(
            "{path} has {n_bytes} bytes, which no report has"
        )));
    }
    Ok(Some(serde_json::from_slice(&fs_err::read(path)?)?))
}

fn remove_lowest(directory: &Path) -> io::Result<()> {
    let mut versions = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        let version = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        versions.extend(version.map(|version| (version, path)));
    }
    versions.sort();
    let n_surplus = versions.len().saturating_sub(MOST);
    for (_, path) in &versions[..n_surplus] {
        fs_err::remove_file(path)?;
    }
    Ok(())
}

fn file_name(model: &str) -> String {
    let mut name = String::new();
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_report_is_read_back_and_only_the_highest_versions_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let reports = Reports::new(directory.path().join("gate"));
        assert_eq!(reports.read("m", ModelVersion(1)).await.unwrap(), None);
        let n = MOST as u64 + 2;
        for version in 1..=n {
            let report = json!({"n": version});
            reports
                .write_now("m", ModelVersion(version), &report)
                .unwrap();
        }
        let last = reports.read("m", ModelVersion(n)).await.unwrap();
        assert_eq!(last, Some(json!({"n": n})));
        assert_eq!(reports.read("m", ModelVersion(2)).await.unwrap(), None);
        assert!(reports.read("m", ModelVersion(3)).await.unwrap().is_some());
    }

    #[test]
    fn no_name_leaves_the_directory() {
        assert_eq!(file_name("../a b"), "%2E%2E%2Fa%20b");
        assert_eq!(file_name(".."), "%2E%2E");
        assert_eq!(file_name("driver_ranking-2"), "driver_ranking-2");
    }
}
