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
use super::spool::{self, Appender, Group, Safe};
use super::{Error, OnFailure};
use crate::telemetry::metrics::AuditMetrics;

/// Where events of one kind are written.
pub(super) struct Stream {
    head: Head,
    on_failure: OnFailure,
    metrics: AuditMetrics,
    appender: Arc<Mutex<Appender>>,
    /// The last event was not written.
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
        self.append_as(line, Appender::append)
    }

    /// Writes an event together with those that others append until `Recorded::safe` is waited for. Errors only with `refuse`.
    pub(super) fn append_with_others(
        &self,
        line: Result<Line<'_>, Error>,
    ) -> Result<Recorded<'_>, Error> {
        // While nothing can be written each event finds out for itself.
        match self.failing.load(Ordering::Relaxed) {
            true => self.append(line),
            false => self.append_as(line, Appender::append_to_group),
        }
    }

    fn append_as(
        &self,
        line: Result<Line<'_>, Error>,
        append: fn(&mut Appender, &mut [u8]) -> Result<Safe, spool::Error>,
    ) -> Result<Recorded<'_>, Error> {
        let safe = line.and_then(|mut line| {
            let mut appender = self.lock();
            let numbered = line.numbered(appender.sequence());
            let appended = numbered.map_err(spool::Error::from);
            let appended = appended.and_then(|record| append(&mut appender, record));
            if !matches!(appended, Ok(Safe::Written(_))) {
                self.tell(appended.as_ref().err());
            }
            appended.map_err(|source| Error::Write { source })
        });
        match &safe {
            // It is not written yet.
            Ok(Safe::Written(_)) => {}
            Ok(_) => self.metrics.events.inc(),
            Err(_) => self.metrics.failures.inc(),
        }
        let safe = match (safe, self.on_failure) {
            (Err(_), OnFailure::Drop) => Safe::Now,
            (safe, _) => safe?,
        };
        Ok(Recorded { stream: self, safe })
    }

    /// Of an event that was not to be written.
    pub(super) fn nothing(&self) -> Recorded<'_> {
        let safe = Safe::Now;
        Recorded { stream: self, safe }
    }

    /// Writes the group unless another of its events has seen to that.
    fn write(&self, group: &Group) -> Result<(), spool::Error> {
        let outcome = match group.outcome() {
            Some(outcome) => outcome,
            None => {
                let mut appender = self.lock();
                match group.outcome() {
                    Some(outcome) => outcome,
                    None => appender.write_group(),
                }
            }
        };
        let written = outcome.map_err(spool::Error::from);
        self.tell(written.as_ref().err());
        match &written {
            Ok(()) => self.metrics.events.inc(),
            Err(_) => self.metrics.failures.inc(),
        }
        written
    }

    /// The first failure of a series, and its end, go to the log.
    fn tell(&self, error: Option<&spool::Error>) {
        // All threads look at it, and hardly ever one changes it.
        let was_failing = self.failing.load(Ordering::Relaxed);
        if was_failing != error.is_some() {
            self.failing.store(error.is_some(), Ordering::Relaxed);
        }
        match error {
            None if was_failing => tracing::info!("audit events can be written again"),
            Some(error) if !was_failing => {
                let on_failure = self.on_failure;
                tracing::error!(%error, ?on_failure, "audit events cannot be written");
            }
            None | Some(_) => {}
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Appender> {
        let appender = self.appender.lock();
        appender.unwrap_or_else(PoisonError::into_inner)
    }
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
    /// Waits until the event is as safe as the spool's `durability` asks.
    ///
    /// Errors only with `refuse`: what the event tells of must then not be answered. Cancel safe: the event is written all the
    /// same.
    pub async fn safe(mut self) -> Result<(), Error> {
        if matches!(self.safe, Safe::Written(_)) {
            // Whatever is ready on this thread appends its events before; one write takes them all.
            tokio::task::yield_now().await;
        }
        let written = match std::mem::replace(&mut self.safe, Safe::Now) {
            Safe::Now => return Ok(()),
            Safe::Written(group) => self.stream.write(&group),
            Safe::Synced(syncing) => {
                let synced = syncing.wait().await.map_err(spool::Error::from);
                if let Err(error) = &synced {
                    self.stream.metrics.failures.inc();
                    self.stream.tell(Some(error));
                }
                synced
            }
        };
        match (written, self.stream.on_failure) {
            (Err(source), OnFailure::Refuse) => Err(Error::Write { source }),
            (Ok(()) | Err(_), _) => Ok(()),
        }
    }
}

impl Drop for Recorded<'_> {
    /// Nobody waits for it any more, and it may be the last of its group.
    fn drop(&mut self) {
        if let Safe::Written(group) = &self.safe {
            let _ = self.stream.write(group);
        }
    }
}
