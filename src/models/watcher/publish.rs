//! Tells what is served now: to requests (the catalog), to operators (log, metrics), and to the next start (the saved set).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::FutureExt;

use super::Watcher;
use super::places::{Chosen, Places};
use super::saved::{self, SavedModel, SavedSet};
use super::slots::Slot;
use super::wish::Wish;
use super::work::Event;
use crate::models::bind::Binder;
use crate::models::catalog::{ModelStatus, Snapshot, VersionState, VersionStatus};
use crate::shutdown::run_blocking;
use crate::types::names::ModelVersion;

impl<B: Binder> Watcher<B> {
    /// Replaces the catalog's snapshot.
    pub(super) fn publish(&mut self, chosen: &BTreeMap<Arc<str>, Chosen>) {
        let mut models = Vec::with_capacity(self.wishes.len());
        let before_gates = self.before_gates();
        for (name, wish) in &self.wishes {
            if let Some(chosen) = chosen.get(name) {
                models.push(self.status(name, wish, chosen, &before_gates));
            }
        }
        self.catalog.publish(Snapshot::new(models, self.tried));
        for (name, chosen) in chosen {
            self.tell_moves(name, &chosen.places);
        }
        self.count();
        self.note_what_to_save();
    }

    fn status(
        &self,
        name: &Arc<str>,
        wish: &Wish,
        chosen: &Chosen,
        before_gates: &BTreeMap<Arc<str>, ModelVersion>,
    ) -> ModelStatus<B::Plan> {
        let before_gate = before_gates.get(name);
        let held: BTreeMap<_, _> = self.slots.of_model(name).collect();
        let mut numbers: BTreeSet<ModelVersion> = wish.wanted.clone();
        numbers.extend(wish.registered.versions.keys());
        numbers.extend(held.keys());
        let versions = numbers.into_iter().map(|version| {
            let slot = held.get(&version).copied();
            let is_wanted = wish.wanted.contains(&version) || chosen.stand_ins.contains(&version);
            version_status(version, slot, is_wanted, before_gate == Some(&version))
        });
        let aliases = chosen.places.aliases.iter();
        ModelStatus {
            name: Arc::clone(name),
            aliases: aliases
                .map(|(alias, to)| (Arc::clone(alias), *to))
                .collect(),
            serving: match (&chosen.places.serving, &wish.serving) {
                (Some(serving), _) | (None, Ok(serving)) => Ok(serving.clone()),
                (None, Err(failure)) => Err(Arc::clone(failure)),
            },
            behind: chosen.behind.clone(),
            trouble: wish.trouble.clone(),
            versions: versions.collect(),
            traffic: None,
        }
    }

    /// Says which names stand for another version than before, and remembers it.
    fn tell_moves(&mut self, name: &Arc<str>, now: &Places) {
        let slots = &self.slots;
        let is_loaded = |version| slots.is_loaded(&(Arc::clone(name), version));
        let places = self.places.entry(Arc::clone(name)).or_default();
        let before = places.clone();
        places.remember(now, is_loaded);
        if !self.tried {
            return;
        }
        for (alias, to) in &places.aliases {
            match before.aliases.get(alias) {
                Some(from) if from != to => {
                    tracing::info!(model = %name, %alias, %from, %to, "alias has moved");
                }
                Some(_) => {}
                None => tracing::info!(model = %name, %alias, %to, "alias is new"),
            }
        }
        let (from, to) = (before.serving.as_ref(), places.serving.as_ref());
        if let (Some(from), Some(to)) = (from, to)
            && from.version != to.version
        {
            self.metrics.swaps.inc();
            if to.alias.is_none() || from.alias != to.alias {
                let (from, to) = (from.version, to.version);
                tracing::info!(model = %name, %from, %to, "the model is served by another version");
            }
        }
    }

    fn count(&self) {
        let readiness = self.catalog.readiness();
        let models = self.catalog.models();
        let n_behind = models.iter().map(|model| model.behind.len()).sum();
        let failed = models.iter().flat_map(|model| &model.versions);
        let failed = failed.filter(|status| matches!(status.state, VersionState::Failed(_)));
        let n_unlisted = models.iter().filter(|model| model.serving.is_err()).count();
        self.metrics.set(
            readiness.n_loaded,
            failed.count() + n_unlisted,
            readiness.n_kept,
            n_behind,
        );
    }

    /// Only what came from the registry itself is worth saving, and only once it is complete.
    fn note_what_to_save(&mut self) {
        let is_from_registry = !self.looks.status().from_saved_set;
        if self.saved.path.is_none() || !self.tried || !is_from_registry {
            return;
        }
        let mut set = SavedSet::new(&self.looks.status().location);
        for name in self.wishes.keys() {
            let mut versions = BTreeMap::new();
            for (version, slot) in self.slots.of_model(name) {
                if let (Some(served), None) = (&slot.served, slot.kept_until()) {
                    versions.insert(version, served.tags.clone());
                }
            }
            let places = self.places.get(name);
            let model = places.and_then(|places| SavedModel::new(places, versions));
            // A model of which nothing loads any more may do so after a restart, by what is in the cache.
            let model = model.or_else(|| self.saved.set.models.get(&**name).cloned());
            if let Some(model) = model {
                set.models.insert(name.to_string(), model);
            }
        }
        self.saved.next = (set != self.saved.set).then_some(set);
    }

    pub(super) fn begin_saving(&mut self) {
        if self.saved.writing {
            return;
        }
        if let (Some(path), Some(set)) = (self.saved.path.clone(), self.saved.next.take()) {
            self.saved.set = set.clone();
            self.saved.writing = true;
            let write = async move {
                let written = run_blocking(move || saved::write(&path, &set)).await;
                Event::Saved(written.unwrap_or_else(|error| Err(error.into())))
            };
            self.work.push(write.boxed());
        }
    }
}

fn version_status<P>(
    version: ModelVersion,
    slot: Option<&Slot<P>>,
    is_wanted: bool,
    waits: bool,
) -> VersionStatus<P> {
    let served = slot.and_then(|slot| slot.served.as_ref());
    let failure = slot.and_then(|slot| slot.failure.as_ref());
    let failure = failure.map(|failed| Arc::clone(&failed.error));
    let (state, setback) = match (served, failure) {
        (Some(served), setback) => (VersionState::Loaded(Arc::clone(served)), setback),
        (None, Some(failure)) => (VersionState::Failed(failure), None),
        (None, None) if is_wanted => (VersionState::Loading, None),
        (None, None) => (VersionState::NotServed, None),
    };
    VersionStatus {
        version,
        kept_until: slot.and_then(Slot::kept_until).filter(|_| served.is_some()),
        gate: slot
            .filter(|_| served.is_some())
            .and_then(|slot| slot.judged.status(waits)),
        state,
        setback,
    }
}
