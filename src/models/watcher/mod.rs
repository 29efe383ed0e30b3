//! Keeps what is served as the registry wants it: look → load what is new → swap → keep the old for a while → free it.
//!
//! One task owns everything that is written into the catalog. What takes long runs beside it and comes back as an event, so
//! that a slow registry or a large download holds up neither an alias that moves to a version in memory nor new features.
//!
//! Invariants:
//! - A name moves only to a version that is loaded, bound and warm, and a plain name with a gate (`gate`) only to one that
//!   passes it; until then, or for good if that fails, it means the
//!   version that served before.
//! - A version in memory is not loaded again while its files and its name stay; versions load one after another.
//! - A look that fails changes nothing of what is served.
//! - A swap is one store of a pointer; requests keep the version that they resolved, to its end.
//!
//! Not here: how one version is loaded (`load`), which are wanted (`policy`), what names stand for (`places`), what is in
//! memory (`slots`), what may take a gated name (`gate`), when to look (`looks`), what goes on beside (`work`).

mod files;
mod gate;
#[cfg(test)]
mod gate_tests;
mod load;
mod looks;
mod places;
mod publish;
mod saved;
mod signals;
mod slots;
#[cfg(test)]
mod swap_tests;
#[cfg(test)]
mod tests;
mod wish;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use self::load::{Attempt, Tags};
pub use self::load::{Checked, Loader};
use self::looks::Looks;
use self::places::{Chosen, Known, Places};
use self::saved::SavedSet;
pub use self::signals::Handle;
use self::slots::{Keep, Key, Slots};
use self::wish::Wish;
use self::work::{Bound, Event, list};
use super::bind::Binder;
use super::catalog::ModelCatalog;
use super::error::{Error, LoadError};
use super::registry::Listing;
use crate::error::Failure;
use crate::shutdown::{Shutdown, run_blocking};
use crate::telemetry::metrics::ModelsMetrics;
use crate::types::timestamp::Timestamp;

/// Changes of the features come in groups: a group ends after this time without one, or after the other.
const FEATURES_QUIET: Duration = Duration::from_millis(250);
const FEATURES_LIMIT: Duration = Duration::from_secs(2);
/// How often it is seen whether requests still hold a version that has left.
const LEAVING_TICK: Duration = Duration::from_secs(1);
/// Longest sleep: nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What a watcher does beside loading. By default it looks once and saves nothing.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How often the registry is looked at; `None` only when a handle says so.
    pub poll: Option<Duration>,
    /// The directory with the last known good set, if there is to be one.
    pub cache: Option<PathBuf>,
    pub metrics: ModelsMetrics,
}

/// Keeps a catalog as the registry wants it.
pub struct Watcher<B: Binder> {
    loader: Loader<B>,
    catalog: Arc<ModelCatalog<B::Plan>>,
    handle: Handle,
    metrics: ModelsMetrics,
    saved: Saved,
    looks: Looks,
    /// Who had asked for a look when the one in flight began, and when the last one did that has come back.
    asked: (u64, u64),
    wishes: BTreeMap<Arc<str>, Wish>,
    slots: Slots<B::Plan>,
    /// What the names stood for when that was last a loaded version.
    places: BTreeMap<Arc<str>, Places>,
    /// What is going on beside: at most one look, one load, one verdict, one binding and one write of the saved set.
    work: FuturesUnordered<BoxFuture<'static, Event<B::Plan>>>,
    loading: Option<Key>,
    judging: Option<Key>,
    binding: bool,
    /// Versions that want a new plan.
    to_bind: BTreeSet<Key>,
    features: Features,
    /// Files of former versions may lie on this machine.
    collect: bool,
    /// The first load of everything was tried.
    tried: bool,
    /// Something is not as it was published.
    dirty: bool,
}

/// What is known of the features: how often they changed, and since when changes wait to be followed.
#[derive(Default)]
struct Features {
    generation: u64,
    /// The first change of the group, and when it is followed.
    pending: Option<(Instant, Instant)>,
}

/// The last known good set as it is in its file.
struct Saved {
    path: Option<PathBuf>,
    set: SavedSet,
    /// The set as it should be, where it is another one.
    next: Option<SavedSet>,
    writing: bool,
}

impl<B: Binder> Watcher<B> {
    /// Lists the registry; if that fails, takes the last known good set.
    ///
    /// Errors: when there is neither.
    pub async fn open(loader: Loader<B>, settings: Settings) -> Result<Self, Error> {
        let location = loader.registry.location();
        let policy = &loader.policy.config;
        let slots = Slots::new(Keep {
            time: policy.keep_previous,
            most: policy.max_previous,
        });
        let mut watcher = Self {
            catalog: Arc::new(ModelCatalog::with_traffic(Arc::clone(&loader.traffic))),
            handle: Handle::default(),
            metrics: settings.metrics,
            saved: Saved {
                path: settings.cache.as_deref().map(saved::path),
                set: SavedSet::new(&location),
                next: None,
                writing: false,
            },
            looks: Looks::new(location, settings.poll),
            asked: (0, 0),
            wishes: BTreeMap::new(),
            slots,
            places: BTreeMap::new(),
            work: FuturesUnordered::new(),
            loading: None,
            judging: None,
            binding: false,
            to_bind: BTreeSet::new(),
            features: Features::default(),
            collect: true,
            tried: false,
            dirty: true,
            loader,
        };
        watcher.first_look().await?;
        Ok(watcher)
    }

    pub fn catalog(&self) -> Arc<ModelCatalog<B::Plan>> {
        Arc::clone(&self.catalog)
    }

    /// Nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    async fn first_look(&mut self) -> Result<(), Error> {
        let saved = self.read_saved().await;
        self.looks.begin(Instant::now());
        match list(&self.loader).await {
            Ok(listings) => {
                if let Some((set, _)) = saved {
                    self.remember(set);
                }
                self.listed(listings);
                Ok(())
            }
            Err(source) => {
                self.looks.failed(&source, Instant::now());
                match (saved, &self.saved.path) {
                    (Some((set, saved_at)), _) => {
                        tracing::warn!("the models that served last are served");
                        let listings = set.listings();
                        self.remember(set);
                        self.want(listings);
                        self.looks.fell_back(saved_at);
                        self.tell_status();
                        Ok(())
                    }
                    (None, Some(path)) => Err(Error::NothingToStartFrom {
                        path: path.clone(),
                        source: Box::new(source),
                    }),
                    (None, None) => Err(source.into()),
                }
            }
        }
    }

    async fn read_saved(&self) -> Option<(SavedSet, Option<Timestamp>)> {
        let path = self.saved.path.clone()?;
        let location = self.looks.status().location.clone();
        let read = run_blocking(move || saved::read(&path, &location)).await;
        read.ok().flatten()
    }

    /// What served before stands in for what does not load now, as if there had been no restart.
    fn remember(&mut self, set: SavedSet) {
        for (name, model) in &set.models {
            self.places.insert(Arc::from(name.as_str()), model.places());
        }
        self.saved.set = set;
    }

    /// Tries every wanted version once. Cancel safe: what was loaded is served, and `run` goes on from there.
    pub async fn start(&mut self) {
        self.settle().await;
        self.tried = true;
        self.dirty = true;
        self.settle().await;
    }

    /// Follows the registry and the features until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        let handle = self.handle.clone();
        loop {
            self.advance();
            let due = self.next_due();
            tokio::select! {
                () = shutdown.stopped() => return,
                Some(event) = self.work.next() => self.take(event),
                () = handle.registry.notified() => self.looks.ask(Instant::now()),
                () = handle.features.notified() => self.features.changed(Instant::now()),
                () = tokio::time::sleep_until(due) => {}
            }
            if self.looks.next().is_some_and(|next| next <= Instant::now()) {
                self.look();
            }
        }
    }

    /// Goes on until nothing is going on beside.
    async fn settle(&mut self) {
        self.advance();
        while let Some(event) = self.work.next().await {
            self.take(event);
            self.advance();
        }
    }

    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let leaving = self.slots.is_waiting_for_requests();
        let due = [
            self.looks.next(),
            // What is due already waits for a load to end.
            self.slots.next_due(now),
            self.features.pending.map(|(_, due)| due),
            leaving.then_some(now + LEAVING_TICK),
        ];
        due.into_iter().flatten().min().unwrap_or(now + IDLE)
    }

    fn take(&mut self, event: Event<B::Plan>) {
        match event {
            Event::Listed { outcome, changed } => {
                self.asked.1 = self.asked.0;
                self.slots.mark_stale(&changed);
                match outcome {
                    Ok(listings) => self.listed(listings),
                    Err(error) => {
                        self.looks.failed(&error, Instant::now());
                        self.metrics.reads_failed.inc();
                        self.tell_status();
                    }
                }
            }
            Event::Tried {
                key,
                tags,
                generation,
                attempt,
            } => {
                self.loading = None;
                self.dirty = true;
                if generation != self.features.generation {
                    self.to_bind.insert(key.clone());
                }
                self.tried(key, tags, *attempt);
            }
            Event::Judged {
                key,
                candidate,
                served,
                verdict,
            } => {
                self.judging = None;
                self.dirty = true;
                self.judged(&key, &candidate, served, verdict);
            }
            Event::Bound(versions) => {
                self.binding = false;
                self.dirty = true;
                for bound in versions {
                    self.bound(bound);
                }
            }
            Event::Saved(outcome) => {
                self.saved.writing = false;
                if let Err(error) = outcome {
                    tracing::warn!(%error, "the set of models that serve cannot be saved for a start without the registry");
                }
            }
            Event::Collected(outcome) => {
                if let Err(error) = outcome {
                    tracing::warn!(%error, code = error.code(), "files of former versions cannot be removed");
                }
            }
            Event::Freed => {}
        }
    }

    fn listed(&mut self, listings: Vec<Listing>) {
        self.looks.succeeded(Instant::now());
        if self.want(listings) {
            self.metrics.reads_changed.inc();
        } else {
            self.metrics.reads_unchanged.inc();
        }
        self.tell_status();
    }

    fn tell_status(&self) {
        let status = self.looks.status();
        if let Some(read_at) = status.read_at {
            self.metrics.set_read_at(read_at);
        }
        self.catalog.set_registry(status.clone());
    }

    /// Takes the registry's word; `true` if that is a new one.
    fn want(&mut self, listings: Vec<Listing>) -> bool {
        let mut before = std::mem::take(&mut self.wishes);
        let mut is_new = false;
        for Listing { name, model } in listings {
            let old = before.remove(name.as_str());
            let wish = Wish::new(&self.loader.policy, &name, model, old.as_ref());
            is_new |= old.is_none_or(|old| !old.is_same(&wish));
            self.wishes.insert(Arc::from(name), wish);
        }
        for name in before.keys() {
            is_new = true;
            self.places.remove(name);
            tracing::warn!(model = %name, "the model is no longer in the registry, so it is no longer served");
        }
        self.dirty |= is_new;
        is_new
    }

    fn tried(&mut self, key: Key, tags: Tags, attempt: Attempt<B::Plan>) {
        let (name, version) = key.clone();
        match &attempt.outcome {
            Ok(served) => {
                self.metrics.loaded(&name);
                let engines = served.model.n_engines();
                tracing::info!(model = %name, %version, engines, "model loaded");
                self.slots.settle(key, tags, attempt);
            }
            Err(error) => {
                self.metrics.not_loaded(&name);
                let (code, hint, message) = (error.code(), error.hint(), error.to_string());
                let serving = self.places.get(&name).and_then(|p| p.serving.as_ref());
                let served = serving.map(|serving| serving.version.0);
                if self.slots.settle(key, tags, attempt) {
                    tracing::error!(model = %name, %version, error = message, code, hint, served, "model did not load");
                }
            }
        }
    }

    fn bound(&mut self, bound: Bound<B::Plan>) {
        let Bound {
            key,
            version,
            tags,
            outcome,
        } = bound;
        let failure = outcome.as_ref().err().map(|e| (e.to_string(), e.code()));
        let is_new = self
            .slots
            .bound(&key, &version, tags, outcome.map_err(LoadError::Bind));
        if let (true, Some((error, code))) = (is_new, failure) {
            tracing::error!(
                model = %key.0, version = %key.1, error, code,
                "the changed features do not fit; the version keeps the plan that it has"
            );
        }
    }

    /// Does everything that can be done now: names are placed, old versions let go, work begun, the outcome published.
    fn advance(&mut self) {
        let now = Instant::now();
        self.follow_features(now);
        let chosen = self.choose();
        let in_use = self.in_use(&chosen);
        let kept = self.slots.keep_only(&in_use, now);
        self.collect |= kept.has_let_go;
        self.dirty |= kept.has_changed;
        self.begin_loading(&in_use, now);
        self.begin_judging(now);
        self.begin_binding(&in_use, now);
        if std::mem::take(&mut self.dirty) {
            self.publish(&chosen);
        }
        self.handle.published(self.asked.1);
        self.begin_saving();
        self.begin_freeing();
        self.begin_collecting(in_use);
    }

    fn follow_features(&mut self, now: Instant) {
        if self.features.pending.is_none_or(|(_, due)| due > now) {
            return;
        }
        self.features.pending = None;
        self.features.generation += 1;
        tracing::info!("the features have changed; binding the models anew");
        let loaded = self.slots.loaded().map(|(key, _)| key.clone());
        self.to_bind.extend(loaded);
        self.slots.retry_unbound(now);
    }

    /// What every name stands for now.
    fn choose(&self) -> BTreeMap<Arc<str>, Chosen> {
        let mut chosen = BTreeMap::new();
        let before = Places::default();
        for (name, wish) in &self.wishes {
            let before = self.places.get(name).unwrap_or(&before);
            let known = |version| self.known(&(Arc::clone(name), version));
            let waiting = gate::waiting(wish, before).filter(|_| self.loader.binder.is_gated(name));
            let is_held = |version| {
                waiting.is_some_and(|(wanted, _)| wanted == version)
                    && gate::is_held(&self.slots, &(Arc::clone(name), version))
            };
            chosen.insert(Arc::clone(name), before.choose(wish, known, is_held));
        }
        chosen
    }

    fn known(&self, key: &Key) -> Known {
        match self.slots.get(key) {
            Some(slot) if slot.served.is_some() => Known::Loaded,
            Some(slot) if slot.failure.is_some() => Known::Failed,
            _ => Known::Nothing,
        }
    }

    /// Every version that a name stands for, or should.
    fn in_use(&self, chosen: &BTreeMap<Arc<str>, Chosen>) -> BTreeSet<Key> {
        let mut in_use = BTreeSet::new();
        for (name, wish) in &self.wishes {
            let mut use_version = |version| in_use.insert((Arc::clone(name), version));
            for version in &wish.wanted {
                use_version(*version);
            }
            let Some(chosen) = chosen.get(name) else {
                continue;
            };
            for version in &chosen.stand_ins {
                use_version(*version);
            }
            for behind in &chosen.behind {
                use_version(behind.served);
            }
        }
        in_use
    }
}

impl Features {
    fn changed(&mut self, now: Instant) {
        let first = self.pending.map_or(now, |(first, _)| first);
        let due = (now + FEATURES_QUIET).min(first + FEATURES_LIMIT);
        self.pending = Some((first, due));
    }
}
