//! A copy of the demo whose online store is a Redis, loaded by our own `features materialize`.

use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::{Server, copy, root};

/// The range that tests/fixtures/demo was recorded with.
const RANGE: [&str; 2] = ["2026-11-01T00:00:00Z", "2026-11-22T00:00:00Z"];

pub(crate) struct Demo {
    directory: TempDir,
}

impl Demo {
    /// Copies the demo and loads it into the Redis at `connection_string`.
    pub(crate) fn load(connection_string: &str) -> Self {
        let demo = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for part in ["feature_repo", "features", "models"] {
            copy(&root().join(part), &demo.directory.path().join(part));
        }
        demo.point_at(connection_string);
        demo.materialize();
        demo
    }

    /// The settings for Redis as they are shipped, with the variable filled in. Servers that run keep their store.
    pub(crate) fn point_at(&self, connection_string: &str) {
        let repo = self.directory.path().join("feature_repo");
        let shipped = std::fs::read_to_string(repo.join("feature_store.redis.yaml")).unwrap();
        let settings = shipped.replace("${TERRARIUM_REDIS}", connection_string);
        assert_ne!(settings, shipped);
        std::fs::write(repo.join("feature_store.yaml"), settings).unwrap();
    }

    /// Further settings of the online store; servers that run do not see them.
    pub(crate) fn set_online(&self, settings: &str) {
        let file = self
            .directory
            .path()
            .join("feature_repo/feature_store.yaml");
        let shipped = std::fs::read_to_string(&file).unwrap();
        let changed = shipped.replace("online_store:\n", &format!("online_store:\n  {settings}\n"));
        assert_ne!(changed, shipped);
        std::fs::write(file, changed).unwrap();
    }

    /// Runs a command in this copy.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_terrarium"))
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    fn materialize(&self) {
        let output = self.run(&[&["features", "materialize"], &RANGE[..]].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A server over this copy, with further settings as on the command line.
    pub(crate) async fn server(&self, settings: &[&str]) -> Server {
        let directory = self.directory.path();
        let repo = format!("features.repo={}", directory.join("feature_repo").display());
        let models = format!("registry.local.path={}", directory.join("models").display());
        let mut all = vec![repo.as_str(), models.as_str()];
        all.extend(settings);
        Server::start_bare(&all).await
    }
}
