//! Helpers of this module's tests: the data recorded from Feast, and a repository to open.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{Config, FeatureStore};

/// A file or directory of `tests/fixtures/feast`.
pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/feast")
        .join(name)
}

pub(super) fn recorded(name: &str) -> Json {
    serde_json::from_str(&fs_err::read_to_string(fixture(name)).unwrap()).unwrap()
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text and `{"hex": ...}` of the recorded dumps.
pub(super) fn bytes_of(json: &Json) -> Vec<u8> {
    unhex(json["hex"].as_str().unwrap())
}

/// A copy of a recorded repository with other settings, to open and to write to.
pub(super) struct TestRepo {
    pub(super) directory: tempfile::TempDir,
}

impl TestRepo {
    /// `recorded` is a directory of the fixtures that holds `registry`; `yaml` becomes feature_store.yaml.
    pub(super) fn new(recorded: &str, registry: &str, yaml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let from = fixture(recorded);
        let copy = |name: &str, to: &str| {
            fs_err::copy(from.join(name), directory.path().join(to)).unwrap();
        };
        copy(registry, "registry.db");
        fs_err::create_dir_all(directory.path().join("data")).unwrap();
        for entry in fs_err::read_dir(from.join("data")).unwrap() {
            let name = format!("data/{}", entry.unwrap().file_name().to_str().unwrap());
            copy(&name, &name);
        }
        let repo = Self { directory };
        fs_err::write(repo.path("feature_store.yaml"), yaml).unwrap();
        repo
    }

    /// Feast's ride_ops repository with an SQLite online store.
    pub(super) fn ride_ops() -> Self {
        let yaml = "project: ride_ops\nregistry: registry.db\nonline_store:\n  path: online.db\n";
        Self::new("repo", "registry.db", yaml)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn config(&self) -> Config {
        Config {
            repo: self.directory.path().to_owned(),
            // A loaded build machine may be slow; time-outs have tests of their own.
            timeout: std::time::Duration::from_secs(10),
            ..Config::default()
        }
    }

    pub(super) async fn open(&self) -> FeatureStore {
        let utc = |name: &str| (name == "TZ").then(|| "UTC".to_owned());
        FeatureStore::open(&self.config(), &utc).await.unwrap()
    }
}
