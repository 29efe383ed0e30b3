//! Where audit events go once they are in the spool.

#[cfg(test)]
pub(crate) mod contract;
pub mod file;
pub mod kafka;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::batch::{Batch, Offset};
use super::spool::Durability;
use crate::audit;

/// What a sink cannot do now. The shipper tries again for ever, so there is no other kind: an event that the sink will
/// never take is the sink's to put aside, with its reason, and counts as delivered.
#[derive(Debug, thiserror::Error)]
#[error("audit events cannot be delivered to {place}: {source}")]
pub struct Error {
    /// Where to, for the log and `/readyz`: a directory, or brokers and topic. Never credentials.
    pub place: String,
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Of sinks that deliver at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Takes events out of the spool to where they are kept.
///
/// One shipper owns the sink and calls it like this:
///
/// ```text
/// connect, until it succeeds
/// send, send, ...      as long as no more than `window` bytes are sent and not yet delivered
///   delivered, ...     beside that, as soon as anything is sent and not yet delivered
///   hurry              once nothing more is sent before something is delivered
/// after an error:      back-off, connect, and everything that was not delivered is sent again from the first
/// at the end:          delivered until nothing is left or the time to stop is over; then the sink is dropped
/// ```
///
/// Contract:
/// - events are delivered in the order in which they were sent; all of one batch are of one writer, the next batch may
///   be of another writer;
/// - an event is delivered when it is as safe as the sink can make it: in the file, acknowledged by all replicas;
/// - an offset that `delivered` returned is never sent again, so it must not be returned too early; one that was
///   delivered and not yet returned when the process died is sent again: at least once.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// As in metrics and in the name of the spool's offset: `file`, `kafka`.
    fn name(&self) -> &'static str;

    /// Gets ready to take events, at the start and after every error. What was sent before and not delivered is
    /// forgotten: it comes again.
    ///
    /// Errors: the sink is not there; it is tried again after a while.
    async fn connect(&mut self) -> Result<(), Error>;

    /// Takes a batch over; waits while there is no room for it. Returning says nothing about delivery.
    ///
    /// Cancel safety: none needed, it is always awaited to its end.
    async fn send(&mut self, batch: Batch) -> Result<(), Error>;

    /// How many bytes of events may be sent and not yet delivered before no further batch is: the least, which is what a sink
    /// needs that gathers events, and the most, where shipping would be too slow with less.
    fn window(&self) -> RangeInclusive<usize> {
        1..=8 << 20
    }

    /// How long a working sink may take to deliver anything of what was sent; beyond that it is told of as failing.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// Nothing more is sent before something is delivered: the window is full, or the process ends. A sink that gathers
    /// events delivers them now. May be called again and again.
    fn hurry(&mut self) {}

    /// Waits until more of what was sent is delivered than at the last call, and returns the offset up to which
    /// everything is. Called only while something is not delivered.
    ///
    /// Cancel safety: must be safe to drop at any await and to call again; nothing that was delivered may be lost by it.
    async fn delivered(&mut self) -> Result<Offset, Error>;
}

/// What the configuration asks for, in the process that writes as `writer`.
///
/// Errors: it cannot work for a reason on this machine. A server across the network need not be there yet.
pub(super) fn open(config: &audit::Config, writer: Uuid) -> io::Result<Box<dyn AuditSink>> {
    if let Some(kafka) = &config.kafka {
        return kafka::sink(kafka.clone());
    }
    let should_sync = config.spool.durability == Durability::Fsync;
    file::open(
        config.file.clone(),
        writer,
        should_sync,
        config.spool.max_size,
    )
}

/// The sink of one stream of HTTP calls: its topic where there are brokers, else files in its directory.
pub(super) fn open_http(
    config: &audit::Config,
    directory: &Path,
    topic: &str,
    writer: Uuid,
) -> io::Result<Box<dyn AuditSink>> {
    if let Some(kafka) = &config.kafka {
        return kafka::sink(kafka::Config {
            topic: topic.to_owned(),
            dead_letter_topic: None,
            // The other formats are of predictions.
            format: kafka::Format::Json,
            key: kafka::Key::Event,
            ..kafka.clone()
        });
    }
    let files = file::Config {
        directory: directory.to_owned(),
        // The columns of the other are those of predictions.
        format: file::Format::JsonLines,
        ..config.file.clone()
    };
    let should_sync = config.spool.durability == Durability::Fsync;
    file::open(files, writer, should_sync, config.spool.max_size)
}

/// All files of a directory, oldest first.
pub(super) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    file::list(directory)
}

/// The first moment of the hour that a file is for, and the first behind it, in microseconds since the epoch; `None` for a
/// file that is for any time.
pub(super) fn hour_of(file: &Path) -> Option<(i64, i64)> {
    file::hour_of(file)
}
