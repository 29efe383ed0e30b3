//! Feast's settings for its SQLite online store.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde_yaml_ng::{Mapping, Value as Yaml};

use super::super::Place;
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
        place: &Place<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let mut settings = Settings::new("online_store", Yaml::Mapping(entries))?;
        let path = settings
            .text("path")?
            .unwrap_or_else(|| DEFAULT_PATH.to_owned());
        let path = local_path(&path, place.directory, "online_store.path")?;
        note_left_over(&settings, notes);
        Ok(Self {
            path,
            time_zone: time_zone(place.time_zone.as_deref())?,
        })
    }
}

/// The process's local zone: Feast uses its own process's, and ours is taken to be the same.
fn time_zone(variable: Option<&str>) -> Result<TimeZone, Problem> {
    let Some(text) = variable else {
        return Ok(TimeZone::system());
    };
    let name = text.trim_start_matches(':');
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    let zone = TimeZone::get(name).or_else(|_| TimeZone::posix(name));
    zone.map_err(|_| {
        Problem::Invalid(format!(
            "the SQLite online store needs the local time zone, and `TZ={text}` is none that is known"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_zone_or_a_rule() {
        for (variable, offset) in [
            ("UTC", 0),
            ("", 0),
            (":Asia/Kolkata", 19_800),
            ("EST5", -18_000),
        ] {
            let zone = match time_zone(Some(variable)) {
                Ok(zone) => zone,
                Err(_) => panic!("{variable} is a zone"),
            };
            assert_eq!(
                zone.to_offset(jiff::Timestamp::UNIX_EPOCH).seconds(),
                offset
            );
        }
        assert!(time_zone(Some("Mars/Olympus")).is_err());
    }
}
