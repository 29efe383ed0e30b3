//! One stream of events on its way to disk: numbered, spooled, and shipped by a shipper of its own.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use uuid::Uuid;

use super::line::{Head, Line};
use super::shipper::{Delivery, Shipper};
use super::sink::AuditSink;
use super::spool::{self, Appender, Safe};
use super::{Error, OnFailure};
use crate::telemetry::metrics::AuditMetrics;

/// Where events of one kind are written.
pub(super) struct Stream {
    head: Head,
    on_failure: OnFailure,
    metrics: AuditMetrics,
    appender: Arc<Mutex<Appender>>,
    /// The last event was not written. Changes under the lock of `appender`.
    failing: AtomicBool,
    delivery: Arc<Delivery>,
}

/// What a stream is made of.
pub(super) struct Parts<'a> {
    pub(super) writer: Uuid,
    pub(super) spool: &'a spool::Config,
    /// Where the spool is.
    pub(super) directory: &'a Path,
    pub(super) sink: Box<dyn AuditSink>,
    pub(super) on_failure: OnFailure,
    pub(super) metrics: AuditMetrics,
}

impl Stream {
    /// Begins to write. The shipper is still to be started: until then events stay in the spool.
    ///
    /// Errors when the spool cannot be begun.
    pub(super) fn start(parts: Parts<'_>) -> Result<(Self, Shipper), Error> {
        let Parts {
            writer,
            spool,
            directory,
            sink,
            on_failure,
            metrics,
        } = parts;
        let opened = spool::open(spool, directory, writer, sink.name());
        let (appender, reader) = opened.map_err(|source| Error::Open { source })?;
        let appender = Arc::new(Mutex::new(appender));
        let shipper = Shipper::new(reader, Arc::clone(&appender), sink, metrics.clone());
        let stream = Self {
            head: Head::of(writer),
            on_failure,
            metrics,
            appender,
            failing: AtomicBool::new(false),
            delivery: shipper.delivery(),
        };
        Ok((stream, shipper))
    }

    /// Whether events can be written; finds out anew if the last one could not.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.failing.load(Ordering::Relaxed) {
            true => self
                .lock()
                .probe()
                .map_err(|source| Error::Write { source }),
            false => Ok(()),
        }
    }

    /// Whether what an event is about fails while events cannot be written.
    pub(super) fn refuses(&self) -> bool {
        self.on_failure == OnFailure::Refuse
    }

    pub(super) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Outside of any lock.
    pub(super) fn encode<T: Serialize>(&self, event: &T) -> Result<Line<'_>, Error> {
        Line::encode(&self.head, event).map_err(|source| Error::Encode { source })
    }

    /// Writes an event. Errors only with `refuse`.
    pub(super) fn append(&self, line: Result<Line<'_>, Error>) -> Result<Recorded<'_>, Error> {
        let written = line.and_then(|line| self.append_line(line));
        match &written {
            Ok(_) => self.metrics.events.inc(),
            Err(_) => self.metrics.failures.inc(),
        }
        let safe = match (written, self.on_failure) {
            (Err(_), OnFailure::Drop) => Safe::NOW,
            (written, _) => written?,
        };
        Ok(Recorded { stream: self, safe })
    }

    /// Of an event that was not to be written.
    pub(super) fn nothing(&self) -> Recorded<'_> {
        let safe = Safe::NOW;
        Recorded { stream: self, safe }
    }

    fn append_line(&self, mut line: Line<'_>) -> Result<Safe, Error> {
        let (written, was_failing) = {
            let mut appender = self.lock();
            let written = append(&mut appender, &mut line);
            let was_failing = self.failing.swap(written.is_err(), Ordering::Relaxed);
            (written, was_failing)
        };
        match &written {
            Ok(_) if was_failing => tracing::info!("audit events can be written again"),
            Err(error) if !was_failing => {
                let on_failure = self.on_failure;
                tracing::error!(%error, ?on_failure, "audit events cannot be written");
            }
            Ok(_) | Err(_) => {}
        }
        written.map_err(|source| Error::Write { source })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Appender> {
        let appender = self.appender.lock();
        appender.unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(appender: &mut Appender, line: &mut Line<'_>) -> Result<Safe, spool::Error> {
    let record = line.numbered(appender.sequence())?;
    appender.append(record)
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("head", &self.head)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}

/// An event that was written, or was not to be.
#[must_use = "an event is not safe before it is waited for"]
pub struct Recorded<'a> {
    stream: &'a Stream,
    safe: Safe,
}

impl Recorded<'_> {
    /// Waits until the event is as safe as the spool's `durability` asks. Only `fsync` has anything to wait for.
    ///
    /// Errors only with `refuse`: what the event tells of must then not be answered. Cancel safe.
    pub async fn safe(self) -> Result<(), Error> {
        if self.safe.is_now() {
            return Ok(());
        }
        let Err(error) = self.safe.wait().await else {
            return Ok(());
        };
        self.stream.metrics.failures.inc();
        self.stream.failing.store(true, Ordering::Relaxed);
        match self.stream.on_failure {
            OnFailure::Refuse => Err(Error::Write {
                source: error.into(),
            }),
            OnFailure::Drop => Ok(()),
        }
    }
}
