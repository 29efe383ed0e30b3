//! From the spool to the sink, beside the requests: at least once, in order, again until it succeeds.
//!
//! Nothing here is ever waited for by a request. While the sink takes nothing, events stay in the spool; once that is
//! full, `audit.on_failure` decides. A sink that fails is connected to again; one that only says nothing is waited for, for
//! it may have taken the events, and `Delivery` tells.
//! A backlog is worked off at a moderate pace while calls are answered (`pace`).
//! Stop: `Shipping::finish` ships what is left, within a time limit; what remains is shipped by the next process.

mod pace;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use self::pace::Pace;
use super::batch::{Batch, Offset};
use super::sink::{self, AuditSink};
use super::spool::{self, Appender, Progress, Reader};
use crate::shutdown::{Shutdown, run_blocking};
use crate::telemetry::metrics::AuditMetrics;
use crate::workers::Aside;

/// How many bytes are read at once. Events and what a sink adds are to be one message of its protocol, or few.
const BATCH_BYTES: usize = 1 << 19;
/// The window of who sends one batch at a time.
const ONE_BATCH: usize = 1;
/// Events that come within so long are shipped together.
const LINGER: Duration = Duration::from_millis(20);
/// How long what is delivered waits to be recorded, while more is on its way: a sink that reports each event by itself would
/// else have each of them recorded by itself.
const RECORD_EVERY: Duration = Duration::from_millis(5);
/// Beside busy threads it still gets a seventh of a core, and needs half of that for all events that they can record.
const NICE: i32 = 5;
/// How often it is told how much waits, also while nothing is taken.
const LOOK: Duration = Duration::from_secs(1);
/// How often writers are looked for that died since.
const TAKE_OVER: Duration = Duration::from_secs(30);
/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Sink(#[from] sink::Error),
    #[error("the audit spool cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error("reading the audit spool failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Ships one spool to one sink, once it is started.
pub struct Shipper {
    reader: Arc<Mutex<Reader>>,
    appender: Arc<Mutex<Appender>>,
    progress: Arc<Progress>,
    sink: Box<dyn AuditSink>,
    delivery: Arc<Delivery>,
    metrics: AuditMetrics,
    /// The last sequence that was there when everything had been read.
    seen: u64,
    /// When writers were last looked for that died.
    looked: Instant,
    sent: Sent,
    /// With so many bytes that are sent and not yet delivered nothing more is sent. It is as small as is fast enough: what a sink was
    /// sent before it went away keeps it busy meanwhile, and goes out all at once when it is back. A far sink needs more, and so does
    /// a backlog beside no calls. After a failure it is one batch, so that a sink that fails often still gets on.
    window: usize,
    /// The window was full since the last delivery.
    was_full: bool,
    /// What it is at least, unless the sink has just failed, and at most.
    windows: RangeInclusive<usize>,
    pace: Pace,
}

/// How delivery goes, for whoever asks.
#[derive(Debug)]
pub(super) struct Delivery {
    progress: Arc<Progress>,
    failure: ArcSwapOption<String>,
}

impl Delivery {
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.load().as_deref().cloned()
    }

    pub(super) fn is_shipped(&self) -> bool {
        self.progress.shipped() == self.progress.appended()
    }
}

/// A shipper at work. Dropped, it stops at once.
#[must_use = "a shipper that is dropped ships nothing"]
pub struct Shipping {
    task: AbortOnDropHandle<()>,
    stop: Shutdown,
    /// Where it runs; absent on the caller's runtime.
    _aside: Option<Aside>,
}

impl Shipping {
    /// Ships what is left; `false` if that took longer than `limit`.
    pub async fn finish(self, limit: Duration) -> bool {
        self.stop.stop();
        tokio::time::timeout(limit, self.task).await.is_ok()
    }
}

impl Shipper {
    pub(super) fn new(
        reader: Reader,
        appender: Arc<Mutex<Appender>>,
        sink: Box<dyn AuditSink>,
        metrics: AuditMetrics,
    ) -> Self {
        let progress = {
            let appender = appender.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(appender.progress())
        };
        let delivery = Delivery {
            progress: Arc::clone(&progress),
            failure: ArcSwapOption::empty(),
        };
        let windows = sink.window();
        let pace = Pace::new(tokio::time::Instant::now(), progress.appended());
        Self {
            reader: Arc::new(Mutex::new(reader)),
            appender,
            progress,
            sink,
            delivery: Arc::new(delivery),
            metrics,
            seen: 0,
            looked: Instant::now(),
            sent: Sent::default(),
            window: *windows.start(),
            was_full: false,
            windows,
            pace,
        }
    }

    pub(super) fn delivery(&self) -> Arc<Delivery> {
        Arc::clone(&self.delivery)
    }

    /// Ships from now on, on a thread that stands back from those that answer requests.
    ///
    /// Errors: the system refuses the thread.
    pub fn start(self) -> io::Result<Shipping> {
        let aside = Aside::start("shipper", NICE)?;
        Ok(self.start_on(aside.runtime().clone(), Some(aside)))
    }

    fn start_on(self, runtime: Handle, aside: Option<Aside>) -> Shipping {
        // Not the server's: this one stops after everything that writes events.
        let stop = Shutdown::on(runtime);
        Shipping {
            task: stop.elsewhere(self.run(stop.clone())),
            stop,
            _aside: aside,
        }
    }

    async fn run(mut self, stop: Shutdown) {
        let (mut pause, longest) = PAUSES;
        loop {
            let n_before = self.metrics.shipped.get();
            let Err(error) = self.ship(&stop).await else {
                return;
            };
            if self.metrics.shipped.get() > n_before {
                (pause, _) = PAUSES;
            }
            self.failed(&error);
            self.sent = Sent::default();
            self.window = ONE_BATCH;
            self.with_reader(|reader| {
                reader.rewind();
                Ok(())
            })
            .await
            .unwrap_or_else(|error| self.failed(&error));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Ships until everything is delivered after it was told to stop, or something fails.
    async fn ship(&mut self, stop: &Shutdown) -> Result<(), Error> {
        self.sink.connect().await?;
        let mut is_stopping = false;
        let mut has_more = true;
        let mut next_read = tokio::time::Instant::now();
        let mut next_record = next_read;
        // When the sink has been silent for too long.
        let mut patience = None;
        let mut next_look = tokio::time::interval(LOOK);
        loop {
            let is_full = self.sent.n_bytes >= self.window;
            self.was_full |= is_full;
            if is_full || (is_stopping && !has_more) {
                self.sink.hurry();
            }
            let may_read = has_more && !is_full;
            if self.sent.is_empty() {
                patience = Some(tokio::time::Instant::now() + self.sink.patience());
            }
            tokio::select! {
                biased;
                offset = delivered(self.sink.as_mut(), next_record), if !self.sent.is_empty() => {
                    self.acknowledge(offset?).await?;
                    if !self.sent.is_empty() {
                        next_record = tokio::time::Instant::now() + RECORD_EVERY;
                    }
                    patience = Some(tokio::time::Instant::now() + self.sink.patience());
                }
                () = until(patience), if !self.sent.is_empty() => {
                    self.silent();
                    patience = None;
                }
                _ = next_look.tick(), if !is_stopping => self.tell_progress(),
                () = tokio::time::sleep_until(next_read), if may_read => match self.send_next(is_stopping).await? {
                    Some(time) => next_read = time,
                    None => has_more = false,
                },
                () = more(&self.progress, self.seen), if !has_more && !is_stopping => has_more = true,
                () = stop.stopped(), if !is_stopping => {
                    (is_stopping, has_more) = (true, true);
                    self.pace.end();
                    next_read = tokio::time::Instant::now();
                }
                else => return Ok(()),
            }
        }
    }

    /// Sends the next events, and tells when it is time for more; `None` if there are no more now.
    async fn send_next(
        &mut self,
        is_stopping: bool,
    ) -> Result<Option<tokio::time::Instant>, Error> {
        let now = tokio::time::Instant::now();
        let (n_bytes, pause) = match is_stopping {
            true => (BATCH_BYTES, Duration::ZERO),
            false => self
                .pace
                .next(now, self.progress.appended(), self.progress.shipped()),
        };
        let Some(batch) = self.read(n_bytes).await? else {
            return Ok(None);
        };
        // Nearly all was read. Without a pause each event that comes meanwhile were a batch of its own.
        let is_rest = !is_stopping && batch.n_bytes() < n_bytes / 2;
        self.pace.sent(&batch);
        self.sent.push(&batch);
        self.sink.send(batch).await?;
        Ok(Some(now + if is_rest { LINGER } else { pause }))
    }

    /// The next events, about `max_bytes` of them.
    async fn read(&mut self, max_bytes: usize) -> Result<Option<Batch>, Error> {
        let seen = self.progress.appended();
        let appender = Arc::clone(&self.appender);
        let should_look = self.looked.elapsed() >= TAKE_OVER;
        if should_look {
            self.looked = Instant::now();
        }
        let batch = self
            .with_reader(move |reader| {
                // With `memory` events are still there.
                appender
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .flush()?;
                if should_look {
                    reader.take_over()?;
                }
                Ok((reader.next(max_bytes)?, reader.take_damages()))
            })
            .await;
        let (batch, damages) = batch?;
        for damage in damages {
            self.metrics.damaged_segments.inc();
            self.metrics
                .lost
                .inc_by(damage.lost.end - damage.lost.start);
            tracing::error!(
                segment = %damage.segment.display(),
                writer = %damage.writer,
                sequences = ?damage.lost,
                "audit events in a damaged segment cannot be read; the rest of it is shipped, then it is put aside"
            );
        }
        if batch.is_none() {
            self.seen = seen;
            if self.sent.is_empty() {
                // Nothing to ship is as good as shipped.
                self.recovered();
            }
        }
        self.tell_progress();
        Ok(batch)
    }

    async fn acknowledge(&mut self, offset: Offset) -> Result<(), Error> {
        self.with_reader(move |reader| Ok(reader.acknowledge(offset)?))
            .await?;
        let n_events = self.sent.delivered(offset);
        let was_full = std::mem::take(&mut self.was_full);
        let window = match self.window {
            window if was_full && self.pace.is_too_slow() => (window * 2).max(BATCH_BYTES),
            // Nothing more was on its way: that much is not needed.
            window if self.sent.is_empty() && window > BATCH_BYTES => window / 2,
            _ if self.sent.is_empty() => ONE_BATCH,
            window => window,
        };
        self.window = window.clamp(*self.windows.start(), *self.windows.end());
        self.metrics.shipped.inc_by(n_events);
        self.recovered();
        self.tell_progress();
        Ok(())
    }

    async fn with_reader<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let reader = Arc::clone(&self.reader);
        run_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut reader)
        })
        .await?
    }

    fn n_waiting(&self) -> u64 {
        self.progress.appended() - self.progress.shipped()
    }

    fn tell_progress(&self) {
        self.metrics
            .spool_events
            .set(i64::try_from(self.n_waiting()).unwrap_or(i64::MAX));
        let n_bytes = self.progress.n_bytes();
        self.metrics
            .spool_bytes
            .set(i64::try_from(n_bytes).unwrap_or(i64::MAX));
    }

    fn failed(&self, error: &Error) {
        self.metrics.ship_failures.inc();
        self.tell(error.to_string());
        self.tell_progress();
    }

    fn silent(&self) {
        let (sink, patience) = (self.sink.name(), self.sink.patience());
        self.tell(format!(
            "the audit sink `{sink}` has not answered for {patience:?}"
        ));
    }

    fn tell(&self, reason: String) {
        let reason = Arc::new(reason);
        let before = self.delivery.failure.swap(Some(Arc::clone(&reason)));
        if before.is_none() {
            tracing::error!(error = %reason, sink = self.sink.name(), "audit events wait in the spool");
        }
    }

    fn recovered(&self) {
        if self.delivery.failure.load().is_some() {
            self.delivery.failure.store(None);
            tracing::info!(sink = self.sink.name(), "audit events are delivered again");
        }
    }
}

/// What is delivered at that time, or the first that is afterwards.
async fn delivered(
    sink: &mut dyn AuditSink,
    time: tokio::time::Instant,
) -> Result<Offset, sink::Error> {
    tokio::time::sleep_until(time).await;
    sink.delivered().await
}

async fn until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Waits until more was appended, and a moment more for what comes with it; or until it is time to look for dead writers.
async fn more(progress: &Progress, seen: u64) {
    let appended = tokio::time::timeout(TAKE_OVER, progress.appended_behind(seen)).await;
    if appended.is_ok() {
        tokio::time::sleep(LINGER).await;
    }
}

/// What was sent and is not delivered, in order.
#[derive(Default)]
struct Sent {
    batches: VecDeque<SentBatch>,
    n_bytes: usize,
}

struct SentBatch {
    last: Offset,
    n_events: u64,
    n_bytes: usize,
}

impl Sent {
    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn push(&mut self, batch: &Batch) {
        let n_bytes = batch.n_bytes();
        self.n_bytes += n_bytes;
        self.batches.push_back(SentBatch {
            last: batch.last(),
            n_events: batch.events().len() as u64,
            n_bytes,
        });
    }

    /// How many events are delivered with this offset, counted by whole batches.
    fn delivered(&mut self, offset: Offset) -> u64 {
        let reaches = |batch: &SentBatch| {
            batch.last.writer == offset.writer && batch.last.sequence >= offset.sequence
        };
        let Some(at) = self.batches.iter().position(reaches) else {
            return 0;
        };
        let is_whole = self.batches[at].last == offset;
        let n_whole = if is_whole { at + 1 } else { at };
        let mut n_events = 0;
        for batch in self.batches.drain(..n_whole) {
            n_events += batch.n_events;
            self.n_bytes -= batch.n_bytes;
        }
        n_events
    }
}
