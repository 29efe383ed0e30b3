//! Feast's settings for its SQLite online store.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde_yaml_ng::{Mapping, Value as Yaml};

use crate::features::repo::{Problem, local_path, note_left_over};
use crate::features::settings::Settings;

const DEFAULT_PATH: &str = "data/online.db";

#[derive(Debug, Clone)]
pub struct Config {
    pub(super) path: PathBuf,
    /// The zone whose wall clock Feast's timestamps are in.
    pub(super) time_zone: TimeZone,
}

impl Config {
    pub(in crate::features::online) fn read(
        entries: Mapping,
        directory: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let mut settings = Settings::new("online_store", Yaml::Mapping(entries))?;
        let path = settings
            .text("path")?
            .unwrap_or_else(|| DEFAULT_PATH.to_owned());
        let path = local_path(&path, directory, "online_store.path")?;
        note_left_over(&settings, notes);
        Ok(Self {
            path,
            // Feast uses the zone of its process; ours is taken to be the same.
            time_zone: TimeZone::system(),
        })
    }
}
