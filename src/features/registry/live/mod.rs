//! The registry as it is served: the newest snapshot, kept fresh off the request path.
//!
//! Invariants: a snapshot is replaced as a whole; what was read first is never swapped in last; a read that fails leaves the
//! snapshot that is there, and is told by `status` until one succeeds.
//! Not here: where registries lie (`source`), what is compiled from one (`plan`).

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::config::{CacheMode, Config};
use super::snapshot::Snapshot;
use super::source::{Mark, RegistrySource, ViewChange};
use super::{Error, Registry};
use crate::error::{Failure, with_causes};
use crate::features::{self, FeatureStore};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::FeatureRegistryMetrics;
use crate::types::timestamp::Timestamp;

/// How often the refresher looks whether a read is due.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait between two attempts after a failed one; the first come a second apart.
const SLOWEST_RETRY: Duration = Duration::from_secs(30);
/// Longest time for one read of the whole registry.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// The current snapshot and how to get a newer one.
#[derive(Debug)]
pub(in crate::features) struct Live {
    source: RegistrySource,
    ttl: Option<Duration>,
    cache_mode: CacheMode,
    current: ArcSwap<Snapshot>,
    changed: watch::Sender<Arc<Snapshot>>,
    checks: Mutex<Checks>,
    /// Held while the registry is read or written, so that snapshots are swapped in the order in which they were read.
    turn: tokio::sync::Mutex<()>,
}

/// What is known about the reads so far.
#[derive(Debug)]
struct Checks {
    read_at: Timestamp,
    read: Instant,
    /// Of the file that was read last, with or without success.
    mark: Option<Mark>,
    failure: Option<RegistryFailure>,
    retry: Instant,
}

/// How fresh the registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryStatus {
    /// What and where it is, without secrets.
    pub source: String,
    /// `Snapshot::number` of what is being served.
    pub number: u64,
    /// Feast's own id of that content.
    pub revision: String,
    /// When that content was first read.
    pub loaded_at: Timestamp,
    /// When it was last read with success, whether or not it had changed.
    pub read_at: Timestamp,
    /// Why the newest attempt failed, if it did; the snapshot is then an older one.
    pub failure: Option<RegistryFailure>,
    /// Objects that do not decode and so are not served, one sentence each.
    pub left_out: Vec<String>,
}

/// Attempts that have failed since the last good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryFailure {
    pub code: &'static str,
    /// Of the newest attempt.
    pub message: String,
    pub since: Timestamp,
    pub n_attempts: u32,
}

/// Tells of every snapshot that comes after it was asked for. A slow listener sees the newest one only.
#[derive(Debug, Clone)]
pub struct RegistryChanges(watch::Receiver<Arc<Snapshot>>);

impl RegistryChanges {
    /// The next snapshot; `None` once the feature store is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Snapshot>> {
        self.0.changed().await.ok()?;
        Some(Arc::clone(&self.0.borrow_and_update()))
    }
}

impl Live {
    /// Reads the registry for the first time.
    pub(in crate::features) async fn open(config: &Config, project: &str) -> Result<Self, Error> {
        let source = RegistrySource::open(config, project)?;
        let mark = source.mark().await;
        let registry = read(&source).await?;
        warn_of_left_out(&registry, None);
        let snapshot = Arc::new(Snapshot::new(registry, 1));
        Ok(Self {
            source,
            ttl: config.cache_ttl,
            cache_mode: config.cache_mode,
            current: ArcSwap::from(Arc::clone(&snapshot)),
            changed: watch::Sender::new(snapshot),
            checks: Mutex::new(Checks {
                read_at: Timestamp::now(),
                read: Instant::now(),
                mark,
                failure: None,
                retry: Instant::now(),
            }),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    pub(in crate::features) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    pub(in crate::features) fn describe(&self) -> &str {
        self.source.describe()
    }

    fn status(&self) -> RegistryStatus {
        let snapshot = self.snapshot();
        let checks = self.checks();
        let left_out = &snapshot.registry().left_out;
        RegistryStatus {
            source: self.describe().to_owned(),
            number: snapshot.number(),
            revision: snapshot.registry().revision.clone(),
            loaded_at: snapshot.loaded_at(),
            read_at: checks.read_at,
            failure: checks.failure.clone(),
            left_out: left_out.iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads the registry now; `true` if it has changed.
    async fn refresh(&self) -> Result<bool, Error> {
        let _turn = self.turn.lock().await;
        self.read_in_turn().await
    }

    async fn record(&self, view: &str, change: ViewChange) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        self.source.record(view, change).await?;
        // It is recorded, whether or not it can be read back now; the refresher goes on trying.
        let _ = self.read_in_turn().await;
        Ok(())
    }

    async fn read_in_turn(&self) -> Result<bool, Error> {
        let mark = self.source.mark().await;
        let registry = match read(&self.source).await {
            Ok(registry) => registry,
            Err(error) => {
                self.note_failure(&error, mark);
                return Err(error);
            }
        };
        self.note_success(mark);
        let current = self.snapshot();
        if registry == **current.registry() {
            return Ok(false);
        }
        warn_of_left_out(&registry, Some(current.registry()));
        let snapshot = Arc::new(Snapshot::new(registry, current.number() + 1));
        tracing::info!(
            number = snapshot.number(),
            revision = snapshot.registry().revision,
            "feature registry {} has changed",
            self.describe()
        );
        self.current.store(Arc::clone(&snapshot));
        self.changed.send_replace(snapshot);
        Ok(true)
    }

    fn note_success(&self, mark: Option<Mark>) {
        let mut checks = self.checks();
        checks.read_at = Timestamp::now();
        checks.read = Instant::now();
        checks.mark = mark;
        if let Some(failure) = checks.failure.take() {
            tracing::info!(
                attempts = failure.n_attempts,
                "feature registry {} is read again",
                self.describe()
            );
        }
    }

    /// One line in the log for each distinct failure, however often it repeats.
    fn note_failure(&self, error: &Error, mark: Option<Mark>) {
        let message = with_causes(error);
        let mut checks = self.checks();
        checks.mark = mark;
        let before = checks.failure.take();
        if before
            .as_ref()
            .is_none_or(|failure| failure.message != message)
        {
            tracing::warn!(
                code = error.code(),
                "{message}; features are served by the registry as of {}",
                checks.read_at
            );
        }
        let n_attempts = before.as_ref().map_or(0, |failure| failure.n_attempts) + 1;
        let wait = TICK.saturating_mul(1 << n_attempts.min(6).saturating_sub(1));
        checks.retry = Instant::now() + wait.min(SLOWEST_RETRY);
        checks.failure = Some(RegistryFailure {
            code: error.code(),
            message,
            since: before.map_or_else(Timestamp::now, |failure| failure.since),
            n_attempts,
        });
    }

    /// Whether the cached registry is too old, or the file is another one than was read.
    async fn is_due(&self) -> bool {
        let known = {
            let checks = self.checks();
            let is_due = match &checks.failure {
                Some(_) => Instant::now() >= checks.retry,
                None => self.ttl.is_some_and(|ttl| checks.read.elapsed() >= ttl),
            };
            if is_due {
                return true;
            }
            checks.mark
        };
        self.cache_mode == CacheMode::Sync && self.source.mark().await != known
    }

    fn checks(&self) -> std::sync::MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(source: &RegistrySource) -> Result<Registry, Error> {
    match tokio::time::timeout(READ_LIMIT, source.load()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Timeout {
            origin: source.describe().to_owned(),
            waited: READ_LIMIT,
        }),
    }
}

/// One line for each object that was not already left out before.
fn warn_of_left_out(registry: &Registry, before: Option<&Registry>) {
    for object in &registry.left_out {
        if before.is_none_or(|before| !before.left_out.contains(object)) {
            tracing::warn!("{object}; it is left out");
        }
    }
}

impl FeatureStore {
    /// The definitions as they were last read, with what was compiled from them.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.registry.snapshot()
    }

    /// The definitions as they were last read.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(self.snapshot().registry())
    }

    /// How fresh the registry is, and what is wrong with it.
    pub fn registry_status(&self) -> RegistryStatus {
        self.0.registry.status()
    }

    /// Reads the registry again; `true` if it has changed. Plans that exist keep what they were compiled from.
    pub async fn refresh(&self) -> Result<bool, features::Error> {
        Ok(self.0.registry.refresh().await?)
    }

    /// Writes a change of a view's state or watermark into the registry, as Feast would, and reads the registry again.
    /// Not cancel safe: the change may be written although nobody heard of it.
    pub async fn record(&self, view: &str, change: ViewChange) -> Result<(), features::Error> {
        Ok(self.0.registry.record(view, change).await?)
    }

    /// Tells of every snapshot that replaces the current one.
    pub fn subscribe(&self) -> RegistryChanges {
        let mut receiver = self.0.registry.changed.subscribe();
        receiver.mark_unchanged();
        RegistryChanges(receiver)
    }

    /// Keeps the registry fresh until `shutdown`: it is read again when it is older than `cache_ttl_seconds`, or when its file
    /// was replaced. A failed read is tried again after 1 to 30 seconds.
    pub fn watch(&self, shutdown: &Shutdown, metrics: FeatureRegistryMetrics) {
        let (store, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn("feature registry", async move {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let live = &store.0.registry;
            let follow = async {
                loop {
                    ticks.tick().await;
                    if live.is_due().await {
                        match live.refresh().await {
                            Ok(true) => metrics.changed.inc(),
                            Ok(false) => metrics.unchanged.inc(),
                            Err(_) => metrics.failed.inc(),
                        }
                    }
                    metrics.set_read_at(live.checks().read_at);
                    metrics.set_left_out(live.snapshot().registry().left_out.len());
                }
            };
            tokio::select! {
                () = stop.stopped() => {}
                () = follow => {}
            }
        });
    }
}
