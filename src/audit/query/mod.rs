//! Asking the audit trail in SQL: tables over the files, the spool or the topic, read as they are asked for.
//!
//! ```text
//! Archive::ask     a question -> bytes of the answer as they are made
//!   engine         SQL -> a plan that only reads; runs it on threads of its own
//!     table        the tables, as streams of batches; only the columns that the plan needs
//!       scan       events of a place, within a range of time -> flat rows
//!       unfold     flat rows -> a row for each feature value, or for each output
//!     render       batches of the answer -> bytes
//! ```
//!
//! Bounded: memory of a query by `memory`, what it sorts beyond that by `SPILL`, its rows by `max_rows`, its time by
//! `timeout`, queries at a time by `max_queries`. The input is never held; a reader waits for the query above it.
//! Overload: one query too many fails with `Busy`.
//! Cancel safety: whoever drops the answer ends the work behind it, within one batch.
//! Not here: who gets an answer (`cli`, `http`).

#[cfg(feature = "datafusion")]
mod engine;
mod error;
mod left_out;
mod question;
#[cfg(feature = "datafusion")]
mod render;
#[cfg(feature = "datafusion")]
mod scan;
#[cfg(feature = "datafusion")]
mod table;
#[cfg(test)]
#[cfg(feature = "datafusion")]
mod tests;
#[cfg(feature = "datafusion")]
mod unfold;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use self::error::Error;
pub use self::left_out::LeftOut;
pub use self::question::{Format, Question, Source, moment};
use super::topic;
use crate::types::byte_size::ByteSize;

/// Questions to the audit trail in SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QueryConfig")]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Answers `POST /v1/audit/query`. Whoever reaches the server can then read all recorded requests.
    pub http: bool,
    /// Longest that a query may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
    /// Most rows of an answer; a query that gives more fails.
    pub max_rows: NonZeroUsize,
    /// What a query may hold in memory, beside the batches on their way. Sorts and groups beyond that go to the system's
    /// temporary directory.
    pub memory: ByteSize,
    /// Queries at a time.
    pub max_queries: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: true,
            timeout: Duration::from_secs(30),
            max_rows: const { NonZeroUsize::new(100_000).unwrap() },
            memory: ByteSize::from_mebibytes(128),
            max_queries: const { NonZeroUsize::new(2).unwrap() },
        }
    }
}

/// Where events are kept, to be asked.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "datafusion"),
    expect(dead_code, reason = "nothing asks")
)]
pub struct Archive {
    config: Config,
    files: PathBuf,
    spool: PathBuf,
    topic: Option<topic::Config>,
    permits: Arc<Semaphore>,
}

impl Archive {
    /// As the configuration has it.
    pub fn of(config: &super::Config) -> Self {
        Self {
            config: config.query.clone(),
            files: config.file.directory.clone(),
            spool: config.spool_directory(),
            topic: config.kafka.clone(),
            permits: Arc::new(Semaphore::new(config.query.max_queries.get())),
        }
    }

    /// The same with files of another directory.
    pub fn with_files(self, files: PathBuf) -> Self {
        Self { files, ..self }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// The answer on its way, piece by piece.
pub struct Answer {
    /// Together the answer in the format that was asked for. After an error there is no more, and what came is not all.
    pub pieces: BoxStream<'static, Result<Vec<u8>, Error>>,
    /// What is no event, as far as it was read.
    pub left_out: LeftOut,
}

impl Archive {
    /// Answers a question. Errors before there is an answer: the query cannot be planned, or one too many runs.
    ///
    /// Cancel safety: dropping the future or the answer ends the work.
    #[cfg(feature = "datafusion")]
    pub async fn ask(&self, question: Question, format: Format) -> Result<Answer, Error> {
        let permit = self.permits.clone().try_acquire_owned();
        let limit = self.config.max_queries.get();
        let permit = permit.map_err(|_| Error::Busy { limit })?;
        engine::ask(self, question, format, permit).await
    }

    #[cfg(not(feature = "datafusion"))]
    #[expect(
        clippy::unused_async,
        reason = "it is where there is something to wait for"
    )]
    pub async fn ask(&self, _: Question, _: Format) -> Result<Answer, Error> {
        Err(Error::NotBuilt)
    }
}
