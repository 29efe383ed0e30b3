//! The audit trail: one event for every prediction, answered or not, for every shadow run, and for every file that was scored.
//!
//! ```text
//! AuditLog::open      a record that is consumed once: closed with the outcome, or dropped, which is an event too
//!   event, line       the event as JSON, outside of any lock
//!   spool             one write of it, or of it and others that came with it, under a short lock, before the answer leaves
//! shipper             from the spool to the sink, beside the requests; at least once, in order
//!   sink              files of JSON lines, or a Kafka topic
//! ```
//!
//! Invariants:
//! - exactly one event per record, also when the future is dropped or unwinds;
//! - sequences of a writer have no gap, and stand in the spool and in the sink in their order;
//! - an event that cannot be written takes no sequence; it is counted, and the first of a series is logged;
//! - a sink that is slow or gone holds up no request before the spool is full.
//!
//! `http` does the same for calls of routes that are no predictions; `stream` is what all of them are written through.
//!
//! `event` is the schema, `read` reads events back.
//! Not here: what a prediction is (`predict`).

pub mod batch;
mod columns;
pub mod event;
mod find;
mod flat;
pub mod http;
mod line;
mod parts;
pub mod postgres;
pub mod query;
pub mod read;
pub mod recent;
pub mod redact;
mod rows_file;
mod runs;
pub mod schema;
mod scored;
mod shipper;
pub mod sink;
pub mod spool;
mod stored;
mod stream;
#[cfg(test)]
mod tests;
pub mod topic;
pub mod verify;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::event::{Event, Failed, Subject};
use self::redact::Redaction;
pub use self::scored::ScoredFile;
pub use self::shipper::{Shipper, Shipping};
pub use self::stream::Recorded;
use self::stream::Stream;
use crate::error::{ErrorClass, Failure};
use crate::shutdown::run_blocking;
use crate::telemetry::metrics::Metrics;
use crate::types::difference::OutputDifference;
use crate::types::prediction::{Prediction, ServedBy};
use crate::types::request::PredictRequest;
use crate::types::timestamp::Timestamp;

/// The trail of all predictions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether predictions leave events. Without, nothing tells afterwards what was answered; what waits in the spool from
    /// before is shipped all the same.
    pub enabled: bool,
    /// What happens to predictions while events cannot be written.
    pub on_failure: OnFailure,
    /// How long the end of the process waits for the sink to take what is in the spool. The rest is shipped at the next
    /// start.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub drain_timeout: Duration,
    /// What is left out of events, or made unreadable in them.
    pub redact: redact::Config,
    /// Where events wait until the sink has them.
    pub spool: spool::Config,
    /// Events in files: JSON lines, or Parquet.
    pub file: sink::file::Config,
    /// Events on a Kafka topic, and then none in files.
    pub kafka: Option<sink::kafka::Config>,
    /// Where a sink of Kafka Connect writes events to, to be verified.
    pub postgres: Option<postgres::Config>,
    /// Questions in SQL.
    pub query: query::Config,
    /// Calls of other routes, as two streams of their own.
    pub http: http::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            on_failure: OnFailure::default(),
            drain_timeout: Duration::from_secs(5),
            redact: redact::Config::default(),
            spool: spool::Config::default(),
            file: sink::file::Config::default(),
            kafka: None,
            postgres: None,
            query: query::Config::default(),
            http: http::Config::default(),
        }
    }
}

impl Config {
    /// Where the spool is.
    pub fn spool_directory(&self) -> PathBuf {
        let beside_the_files = || self.file.directory.join("spool");
        self.spool
            .directory
            .clone()
            .unwrap_or_else(beside_the_files)
    }

    /// Where the streams of HTTP calls have their spools and files.
    fn http_directory(&self) -> PathBuf {
        let directory = self.http.directory.clone();
        directory.unwrap_or_else(|| self.file.directory.join("http"))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Predictions fail until events can be written again.
    #[default]
    Refuse,
    /// Predictions go on; lost events are counted.
    Drop,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the audit trail cannot be begun: {source}")]
    Open { source: io::Error },
    #[error("`audit.redact.fields` hashes `{field}`, and there is no key to do it with")]
    NoKey { field: redact::Field },
    #[error("`audit.http.redact` hashes `{field}`, and there is no key to do it with")]
    NoHttpKey { field: http::Field },
    #[error("the audit event cannot be written: {source}")]
    Write { source: spool::Error },
    #[error("the audit event cannot be encoded")]
    Encode { source: serde_json::Error },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Open { .. } | Self::Write { .. } => ErrorClass::Unavailable,
            Self::NoKey { .. } | Self::NoHttpKey { .. } => ErrorClass::InvalidInput,
            Self::Encode { .. } => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } | Self::Write { .. } => "audit_unavailable",
            Self::NoKey { .. } | Self::NoHttpKey { .. } => "audit_key_missing",
            Self::Encode { .. } => "audit_encoding",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { .. } => Some("`audit.file.directory` and `audit.spool.directory` must be writable".into()),
            Self::Write { .. } => Some(
                "predictions are refused until the audit log can be written; `audit.on_failure = \"drop\"` lets them pass"
                    .into(),
            ),
            Self::NoKey { .. } | Self::NoHttpKey { .. } => {
                Some("set `TERRARIUM__AUDIT__REDACT__KEY`, or `audit.redact.key`".into())
            }
            Self::Encode { .. } => None,
        }
    }
}

/// Hands out records and writes their events.
#[derive(Debug)]
pub struct AuditLog {
    is_enabled: bool,
    stream: Stream,
    /// Records that are neither closed nor dropped.
    n_open: AtomicUsize,
    redaction: Option<Redaction>,
    /// Where the spool and the files are.
    places: (PathBuf, PathBuf),
    archive: query::Archive,
}

impl AuditLog {
    /// Begins to write under a new writer id. The shipper is still to be started: until then events stay in the spool.
    ///
    /// Errors when the spool or the sink cannot be begun for a reason on this machine.
    pub fn start(config: &Config, metrics: &Metrics) -> Result<(Self, Shipper), Error> {
        let writer = Uuid::now_v7();
        let redaction = Redaction::new(&config.redact).map_err(|field| Error::NoKey { field })?;
        let directory = config.spool_directory();
        let (stream, shipper) = Stream::start(stream::Parts {
            writer,
            spool: &config.spool,
            directory: &directory,
            sink: sink::open(config, writer).map_err(|source| Error::Open { source })?,
            on_failure: config.on_failure,
            metrics: metrics.audit(),
        })?;
        let log = Self {
            is_enabled: config.enabled,
            stream,
            n_open: AtomicUsize::new(0),
            redaction,
            places: (directory, config.file.directory.clone()),
            archive: query::Archive::of(config),
        };
        Ok((log, shipper))
    }

    /// Begins the record of a request. Errors only with `refuse`, while events cannot be written; every call finds
    /// out anew, so that predictions go on by themselves.
    pub fn open<'a>(&'a self, request: &'a PredictRequest) -> Result<AuditRecord<'a>, Error> {
        self.open_for(request, None)
    }

    /// Begins the record of a shadow run of a request whose prediction is recorded already.
    pub fn open_shadow<'a>(
        &'a self,
        request: &'a PredictRequest,
        shadow_of: Uuid,
    ) -> Result<AuditRecord<'a>, Error> {
        self.open_for(request, Some(shadow_of))
    }

    fn open_for<'a>(
        &'a self,
        request: &'a PredictRequest,
        shadow_of: Option<Uuid>,
    ) -> Result<AuditRecord<'a>, Error> {
        if self.refuses() {
            self.check()?;
        }
        self.n_open.fetch_add(1, Ordering::Relaxed);
        Ok(AuditRecord {
            log: self,
            request,
            id: Uuid::now_v7(),
            time: Timestamp::now(),
            opened: Instant::now(),
            served_by: None,
            shadow_of,
            is_open: self.is_enabled,
        })
    }

    /// Whether events can be written; finds out anew if the last one could not.
    pub fn check(&self) -> Result<(), Error> {
        self.stream.check()
    }

    /// Why events cannot be delivered to the sink at present; they wait in the spool meanwhile.
    pub fn undelivered(&self) -> Option<String> {
        self.stream.delivery().failure()
    }

    /// The event of a prediction, as it was written; `None` if it is neither in the spool nor in the files.
    pub async fn find(&self, id: Uuid) -> Result<Option<Bytes>, read::Error> {
        let (spool, files) = self.places.clone();
        let found = run_blocking(move || find::find(&spool, &files, id)).await;
        Ok(found.map_err(io::Error::other)??)
    }

    /// The events that are kept, to be asked.
    pub fn archive(&self) -> &query::Archive {
        &self.archive
    }

    /// Whether the sink has every event so far.
    pub fn is_shipped(&self) -> bool {
        self.stream.delivery().is_shipped()
    }

    /// Whether predictions fail while events cannot be written.
    pub fn refuses(&self) -> bool {
        self.stream.refuses()
    }
}

/// The record of one request: exactly one event, when it is closed or dropped.
#[derive(Debug)]
#[must_use = "a record that is dropped tells that the caller went away"]
pub struct AuditRecord<'a> {
    log: &'a AuditLog,
    request: &'a PredictRequest,
    id: Uuid,
    time: Timestamp,
    opened: Instant,
    served_by: Option<ServedBy>,
    /// Of a shadow run the prediction that it shadows.
    shadow_of: Option<Uuid>,
    /// Its event is still to be written.
    is_open: bool,
}

impl<'a> AuditRecord<'a> {
    /// The id of the prediction.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Tells which version takes the request, so that a failure from here on names it.
    pub fn served_by(&mut self, served_by: ServedBy) {
        self.served_by = Some(served_by);
    }

    /// Writes the event. Errors only with `refuse`: the prediction must then not be answered.
    pub fn close(
        mut self,
        outcome: Result<&Prediction, &dyn Failure>,
    ) -> Result<Recorded<'a>, Error> {
        if !self.is_open {
            return Ok(self.log.stream.nothing());
        }
        let line = self.log.stream.encode(&match outcome {
            Ok(prediction) => Event::answered(&self.subject(), prediction),
            Err(failure) => self.failed(&Failed::of(failure)),
        });
        self.is_open = false;
        // Where nobody else is about to write, nobody is waited for.
        match self.log.n_open.load(Ordering::Relaxed) > 1 {
            true => self.log.stream.append_with_others(line),
            false => self.log.stream.append(line),
        }
    }

    /// Writes the event of a shadow run: what it gave, and how far that is from what was answered.
    pub fn close_shadow(
        mut self,
        outcome: Result<(&Prediction, &[OutputDifference]), &dyn Failure>,
    ) -> Result<(), Error> {
        if !self.is_open {
            return Ok(());
        }
        let line = self.log.stream.encode(&match outcome {
            Ok((prediction, differences)) => {
                Event::shadowed(&self.subject(), prediction, differences)
            }
            Err(failure) => self.failed(&Failed::of(failure)),
        });
        self.is_open = false;
        // Nobody waits for it.
        self.log.stream.append(line).map(|_recorded| ())
    }

    fn failed<'e>(&'e self, failed: &Failed<'e>) -> Event<'e> {
        Event::failed(&self.subject(), failed, self.opened.elapsed())
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            id: self.id,
            time: self.time,
            request: self.request,
            served_by: self.served_by.as_ref(),
            shadow_of: self.shadow_of,
            redaction: self.log.redaction.as_ref(),
        }
    }
}

impl Drop for AuditRecord<'_> {
    /// Nobody is left to be told that the event could not be written; the log and the metrics tell.
    fn drop(&mut self) {
        self.log.n_open.fetch_sub(1, Ordering::Relaxed);
        if !self.is_open {
            return;
        }
        let line = self
            .log
            .stream
            .encode(&self.failed(&unclosed(self.shadow_of.is_some())));
        let _ = self.log.stream.append(line);
    }
}

impl<'a> Failed<'a> {
    fn of(failure: &'a (dyn Failure + 'a)) -> Self {
        Self {
            class: failure.class().name(),
            code: failure.code(),
            message: failure,
        }
    }
}

/// What became of a request whose record was never closed.
fn unclosed(is_shadow: bool) -> Failed<'static> {
    if std::thread::panicking() {
        return Failed {
            class: ErrorClass::Internal.name(),
            code: "panicked",
            message: &"the prediction panicked",
        };
    }
    Failed {
        class: ErrorClass::Cancelled.name(),
        code: "cancelled",
        message: match is_shadow {
            true => &"the process stopped before the shadow run had ended",
            false => &"the caller went away before the answer",
        },
    }
}
