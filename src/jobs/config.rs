//! `[jobs]`: where jobs are queued, and how long things last there.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::queue::{RedisConfig, SqliteConfig};
use super::worker;
use crate::types::byte_size::ByteSize;
use crate::types::secret::Secret;

/// Jobs: in Redis, shared with arq's clients and workers, or in a file of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Jobs")]
pub struct Config {
    /// How long a job stays with a worker that no longer says that it lives; then it runs again. Running jobs are renewed
    /// three times as often.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub lease: Duration,
    /// Longest pause between two looks at the queue where no notification can be relied on. Pauses grow up to it while
    /// nothing happens.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub poll: Duration,
    /// Largest job that is taken.
    pub max_body_size: ByteSize,
    /// Largest result that is kept; a larger one fails its job.
    pub max_result_size: ByteSize,
    /// How long a job that failed for good can be looked at and queued again.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub keep_dead: Duration,
    /// Most of these jobs; the oldest go first.
    pub max_dead: NonZeroU32,
    /// What workers do with jobs.
    pub worker: worker::Config,
    /// What single functions have other than that, by the function's name.
    pub functions: BTreeMap<String, worker::FunctionConfig>,
    /// Jobs that workers enqueue by the calendar, by a name of your own.
    pub cron: BTreeMap<String, worker::CronConfig>,
    /// The directory below which jobs read and write files: entity rows, training sets. Without it those jobs are refused.
    pub files: Option<PathBuf>,
    /// Who may be told of a job's end.
    pub webhook: WebhookConfig,
    /// A queue in Redis. Without this table jobs are in SQLite.
    pub redis: Option<RedisConfig>,
    /// The queue in SQLite, where there is none in Redis.
    pub sqlite: SqliteConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            poll: Duration::from_millis(100),
            max_body_size: ByteSize::from_mebibytes(16),
            max_result_size: ByteSize::from_mebibytes(64),
            keep_dead: Duration::from_secs(7 * 24 * 3600),
            max_dead: NonZeroU32::MIN.saturating_add(9_999),
            worker: worker::Config::default(),
            functions: BTreeMap::new(),
            cron: BTreeMap::new(),
            files: None,
            webhook: WebhookConfig::default(),
            redis: None,
            sqlite: SqliteConfig::default(),
        }
    }
}

/// Who may be told of a job's end, and how they know that it was us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "JobWebhook")]
pub struct WebhookConfig {
    /// Signs what is sent, as text or as `whsec_` and base64. Without one nobody is told.
    pub secret: Option<Secret>,
    /// What the URLs begin with, such as `https://api.example.com/hooks/`; scheme, host and port must be the same.
    pub allow: Vec<String>,
    /// Longest wait for an answer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            secret: None,
            allow: Vec::new(),
            timeout: Duration::from_secs(10),
        }
    }
}
