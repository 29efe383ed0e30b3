//! What goes on beside the watcher: looks, loads, verdicts, bindings, files and engines that are let go; each comes back as an event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use tokio::time::Instant;

use super::Watcher;
use super::load::{Attempt, Loader, Tags};
use super::slots::{Key, Need};
use crate::models::bind::{BindError, Binder, Verdict};
use crate::models::catalog::ServedVersion;
use crate::models::registry::{self, Listing};
use crate::shutdown::run_blocking;
use crate::types::names::ModelVersion;

/// Longest wait for one listing of the registry, whatever the registry's own limits are.
const LIST_LIMIT: Duration = Duration::from_secs(60);

/// Something beside came to its end.
pub(super) enum Event<P> {
    Listed {
        outcome: Result<Vec<Listing>, registry::Error>,
        /// Versions whose files are not those that were loaded.
        changed: Vec<Key>,
    },
    Tried {
        key: Key,
        tags: Tags,
        /// Of the features when the load began.
        generation: u64,
        attempt: Box<Attempt<P>>,
    },
    Judged {
        key: Key,
        candidate: Arc<ServedVersion<P>>,
        /// What served when it began.
        served: ModelVersion,
        verdict: Verdict,
    },
    Bound(Vec<Bound<P>>),
    Saved(std::io::Result<()>),
    /// Files that no version in memory needs are gone from this machine.
    Collected(Result<(), registry::Error>),
    Freed,
}

pub(super) struct Bound<P> {
    pub(super) key: Key,
    pub(super) version: Arc<ServedVersion<P>>,
    pub(super) tags: Tags,
    pub(super) outcome: Result<P, BindError>,
}

impl<B: Binder> Watcher<B> {
    pub(super) fn look(&mut self) {
        self.looks.begin(Instant::now());
        self.asked.0 = self.handle.asked();
        let (loader, files) = (self.loader.clone(), self.slots.files());
        let look = async move {
            let outcome = list(&loader).await;
            let changed = move || {
                let changed = files.into_iter().filter(|(_, files)| files.have_changed());
                changed.map(|(key, _)| key).collect()
            };
            Event::Listed {
                outcome,
                changed: run_blocking(changed).await.unwrap_or_default(),
            }
        };
        self.work.push(look.boxed());
    }

    /// Begins the next load: what was never tried before what failed, plain names first.
    pub(super) fn begin_loading(&mut self, in_use: &BTreeSet<Key>, now: Instant) {
        if self.loading.is_some() {
            return;
        }
        let mut next: Option<((bool, bool), &Key, Tags)> = None;
        for key in in_use {
            let Some(wish) = self.wishes.get(&key.0) else {
                continue;
            };
            let tags = wish.tags(key.1);
            let is_retry = match self.slots.need(key, &tags, now) {
                Some(Need::Load) => false,
                Some(Need::Retry) => true,
                Some(Need::Bind) | None => continue,
            };
            let serving = wish.serving.as_ref();
            let is_other = serving.is_ok_and(|serving| serving.version != key.1);
            let rank = (is_retry, is_other);
            if next.as_ref().is_none_or(|(best, ..)| rank < *best) {
                next = Some((rank, key, tags));
            }
        }
        if let Some((_, key, tags)) = next {
            let key = key.clone();
            self.loading = Some(key.clone());
            let (loader, generation) = (self.loader.clone(), self.features.generation);
            let load = async move {
                let (name, version) = key.clone();
                let attempt = loader.load(name, version, tags.clone()).await;
                if let Ok(served) = &attempt.outcome {
                    loader.binder.warm_up(served).await;
                }
                Event::Tried {
                    key,
                    tags,
                    generation,
                    attempt: Box::new(attempt),
                }
            };
            self.work.push(load.boxed());
        }
    }

    /// Begins to bind anew what has other tags now, and what the features have changed under.
    pub(super) fn begin_binding(&mut self, in_use: &BTreeSet<Key>, now: Instant) {
        if self.binding {
            return;
        }
        for key in in_use {
            if let Some(wish) = self.wishes.get(&key.0)
                && self.slots.need(key, &wish.tags(key.1), now) == Some(Need::Bind)
            {
                self.to_bind.insert(key.clone());
            }
        }
        let mut versions = Vec::new();
        for key in std::mem::take(&mut self.to_bind) {
            let Some(served) = self.slots.get(&key).and_then(|slot| slot.served.clone()) else {
                continue;
            };
            let wish = self.wishes.get(&key.0).filter(|_| in_use.contains(&key));
            let tags = match wish {
                Some(wish) => wish.tags(key.1),
                None => self.slots.tags(&key),
            };
            versions.push((key, served, tags));
        }
        if versions.is_empty() {
            return;
        }
        self.binding = true;
        let loader = self.loader.clone();
        let bind = async move {
            let of = versions.iter();
            let of = of.map(|(_, served, tags)| (Arc::clone(served), tags.clone()));
            let plans = loader.bind(of.collect()).await;
            let bound = versions.into_iter().zip(plans);
            let bound = bound.map(|((key, version, tags), outcome)| Bound {
                key,
                version,
                tags,
                outcome,
            });
            Event::Bound(bound.collect())
        };
        self.work.push(bind.boxed());
    }

    /// Lets go of files once nothing loads; those of the saved set stay, for a start without the registry.
    pub(super) fn begin_collecting(&mut self, in_use: BTreeSet<Key>) {
        let is_known = self.tried && !self.looks.status().from_saved_set;
        if !is_known || self.loading.is_some() || !std::mem::take(&mut self.collect) {
            return;
        }
        let in_memory = self.slots.loaded().map(|(key, _)| key.clone());
        let needed: BTreeSet<Key> = in_use.into_iter().chain(in_memory).collect();
        let needed = needed.into_iter();
        let mut kept: Vec<_> = needed
            .map(|(name, version)| (name.to_string(), version))
            .collect();
        kept.extend(self.saved.set.versions());
        let registry = Arc::clone(&self.loader.registry);
        let collect = async move { Event::Collected(registry.retain(&kept).await) };
        self.work.push(collect.boxed());
    }

    pub(super) fn begin_freeing(&mut self) {
        let left = self.slots.take_left();
        if !left.is_empty() {
            let thread = Arc::clone(&self.loader.thread);
            let free = async move {
                // Closing sessions takes milliseconds. A panic there has nobody to tell.
                let _ = thread.run(move || drop(left)).await;
                Event::Freed
            };
            self.work.push(free.boxed());
        }
    }
}

pub(super) async fn list<B: Binder>(loader: &Loader<B>) -> Result<Vec<Listing>, registry::Error> {
    match tokio::time::timeout(LIST_LIMIT, loader.registry.list()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(registry::Error::Unreadable {
            reason: format!("no answer within {LIST_LIMIT:?}"),
        }),
    }
}
