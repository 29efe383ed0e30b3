//! Events in files of one directory: JSON lines, or Parquet.

mod lines;
mod names;
mod parquet;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(super) use self::names::{hour_of, list};
use super::AuditSink;
use crate::types::byte_size::ByteSize;

/// Audit events in rotated files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the files are; made when it is missing.
    pub directory: PathBuf,
    /// How events are written.
    pub format: Format,
    /// A new file is begun before this one grows larger. An event larger than that has a file of its own. A Parquet file may
    /// grow larger by what comes at once.
    pub max_file_size: ByteSize,
    /// How many files are kept in the directory; the oldest are deleted, except those being written. 0 keeps all.
    pub max_files: usize,
    /// With `parquet` a file is finished so long after its first event; until then its events are in the spool.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub max_file_age: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("audit"),
            format: Format::default(),
            max_file_size: ByteSize::from_mebibytes(256),
            max_files: 0,
            max_file_age: Duration::from_secs(300),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "FileFormat")]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// An event is a JSON object on a line of its own, at once.
    #[default]
    JsonLines,
    /// An event is a row, in files for each hour that are complete when they are there.
    Parquet,
}

/// Begins to write in the process that writes as `writer`. `spool_size` is what may wait for a Parquet file to be finished.
pub(super) fn open(
    config: Config,
    writer: Uuid,
    should_sync: bool,
    spool_size: ByteSize,
) -> io::Result<Box<dyn AuditSink>> {
    Ok(match config.format {
        Format::JsonLines => Box::new(lines::open(config, writer, should_sync)?),
        Format::Parquet => Box::new(parquet::open(config, writer, spool_size)?),
    })
}
