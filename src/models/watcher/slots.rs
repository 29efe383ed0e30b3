//! The versions in memory: those that are wanted, and those kept for going back to them. Who is let go, and when.
//!
//! A version that nothing wants any more is kept for a time, and of one model only a few are. Then it leaves the catalog;
//! requests that hold it finish, and its engines are freed here, off the async workers, never by the last request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::files::Files;
use super::gate::Judged;
use super::load::{Attempt, Tags};
use crate::inference::ServedModel;
use crate::models::catalog::ServedVersion;
use crate::models::error::LoadError;
use crate::types::names::ModelVersion;
use crate::types::timestamp::Timestamp;

/// Wait before a version that failed is tried again: this, doubled each time, up to the other.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const SLOWEST_RETRY: Duration = Duration::from_secs(600);

pub(super) type Key = (Arc<str>, ModelVersion);

/// What is known of one version.
pub(super) struct Slot<P> {
    pub(super) served: Option<Arc<ServedVersion<P>>>,
    /// Why the newest attempt to load or bind it failed, if it did.
    pub(super) failure: Option<Failed>,
    /// As of the newest attempt.
    tags: Tags,
    files: Option<Files>,
    /// The files have changed since.
    is_stale: bool,
    /// Whether the plain name may move to it, where that is asked.
    pub(super) judged: Judged,
    unwanted: Option<Unwanted>,
}

pub(super) struct Failed {
    pub(super) error: Arc<LoadError>,
    n_attempts: u32,
    /// When it is loaded once more. `None`: it was not loaded but bound anew, which only a change can help.
    retry: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Unwanted {
    since: Instant,
    until: Timestamp,
}

/// What a version needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// To be loaded for the first time, or because its files have changed.
    Load,
    /// To be loaded once more, after a failure.
    Retry,
    /// A new plan.
    Bind,
}

impl<P> Slot<P> {
    fn new(tags: Tags) -> Self {
        Self {
            served: None,
            failure: None,
            tags,
            files: None,
            is_stale: false,
            judged: Judged::NotYet,
            unwanted: None,
        }
    }

    pub(super) fn kept_until(&self) -> Option<Timestamp> {
        self.unwanted.map(|unwanted| unwanted.until)
    }
}

/// What came of keeping only what is in use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    /// Versions came into use or went out of it.
    pub(super) has_changed: bool,
    /// Versions left.
    pub(super) has_let_go: bool,
}

/// How long versions are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) time: Duration,
    pub(super) most: usize,
}

pub(super) struct Slots<P> {
    keep: Keep,
    slots: BTreeMap<Key, Slot<P>>,
    /// Engines of versions that have left, until no request has them any more.
    leaving: Vec<ServedModel>,
}

impl<P> Slots<P> {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            slots: BTreeMap::new(),
            leaving: Vec::new(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Slot<P>> {
        self.slots.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Slot<P>> {
        self.slots.get_mut(key)
    }

    pub(super) fn is_loaded(&self, key: &Key) -> bool {
        self.get(key).is_some_and(|slot| slot.served.is_some())
    }

    /// The versions of one model in ascending order.
    pub(super) fn of_model(
        &self,
        name: &Arc<str>,
    ) -> impl Iterator<Item = (ModelVersion, &Slot<P>)> {
        let first = (Arc::clone(name), ModelVersion(0));
        let from = self.slots.range(first..);
        from.take_while(move |((of, _), _)| of == name)
            .map(|((_, version), slot)| (*version, slot))
    }

    pub(super) fn loaded(&self) -> impl Iterator<Item = (&Key, &Arc<ServedVersion<P>>)> {
        let slots = self.slots.iter();
        slots.filter_map(|(key, slot)| Some((key, slot.served.as_ref()?)))
    }

    pub(super) fn files(&self) -> Vec<(Key, Files)> {
        let slots = self.slots.iter();
        slots
            .filter_map(|(key, slot)| Some((key.clone(), slot.files.clone()?)))
            .collect()
    }

    pub(super) fn need(&self, key: &Key, tags: &Tags, now: Instant) -> Option<Need> {
        let Some(slot) = self.slots.get(key) else {
            return Some(Need::Load);
        };
        let retry = slot.failure.as_ref().and_then(|failed| failed.retry);
        let is_other = slot.tags != *tags;
        match (&slot.served, &slot.failure) {
            _ if slot.is_stale => Some(Need::Load),
            (None, None) => Some(Need::Load),
            (None, Some(_)) if is_other => Some(Need::Load),
            (_, Some(_)) if retry.is_some_and(|at| at <= now) => Some(Need::Retry),
            (Some(_), _) if is_other => Some(Need::Bind),
            _ => None,
        }
    }

    pub(super) fn mark_stale(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.is_stale = true;
            }
        }
    }

    /// Tries versions again that only their binding kept from going live.
    pub(super) fn retry_unbound(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            if let Some(failed) = &mut slot.failure
                && failed.retry.is_some()
                && matches!(*failed.error, LoadError::Bind(_))
            {
                failed.retry = Some(now);
            }
        }
    }

    /// Takes the outcome of a load; what was loaded before stays if it failed. `true` for a failure not told before.
    pub(super) fn settle(&mut self, key: Key, tags: Tags, attempt: Attempt<P>) -> bool {
        let slot = self
            .slots
            .entry(key)
            .or_insert_with(|| Slot::new(Tags::new()));
        slot.tags = tags;
        slot.files = attempt.files.or(slot.files.take());
        slot.is_stale = false;
        match attempt.outcome {
            Ok(served) => {
                slot.failure = None;
                slot.judged = Judged::NotYet;
                if let Some(before) = slot.served.replace(Arc::new(served)) {
                    self.leaving.push(before.model.clone());
                }
                false
            }
            Err(error) => slot.fail(error, Some(Instant::now())),
        }
    }

    /// Takes a new plan for a version that is still the one it was made for. `true` for a failure not told before.
    pub(super) fn bound(
        &mut self,
        key: &Key,
        of: &Arc<ServedVersion<P>>,
        tags: Tags,
        outcome: Result<P, LoadError>,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(key) else {
            return false;
        };
        if !slot.served.as_ref().is_some_and(|now| Arc::ptr_eq(now, of)) {
            return false;
        }
        slot.tags.clone_from(&tags);
        match outcome {
            Ok(plan) => {
                slot.served = Some(Arc::new(of.with_plan(plan, tags)));
                slot.failure.take_if(|failed| failed.retry.is_none());
                false
            }
            // That newer files do not load says more.
            Err(_)
                if slot
                    .failure
                    .as_ref()
                    .is_some_and(|failed| failed.retry.is_some()) =>
            {
                true
            }
            Err(error) => slot.fail(error, None),
        }
    }

    /// Lets verdicts count no more of versions that are not `wanted`; `true` if there were any.
    pub(super) fn forget_verdicts(&mut self, wanted: impl Fn(&Key) -> bool) -> bool {
        let mut has_changed = false;
        for (key, slot) in &mut self.slots {
            if !matches!(slot.judged, Judged::NotYet) && !wanted(key) {
                slot.judged = Judged::NotYet;
                has_changed = true;
            }
        }
        has_changed
    }

    /// The tags that a version was last bound or tried by.
    pub(super) fn tags(&self, key: &Key) -> Tags {
        self.get(key)
            .map_or_else(Tags::new, |slot| slot.tags.clone())
    }

    /// Says which versions are in use, and lets go of those whose time is over.
    pub(super) fn keep_only(&mut self, in_use: &BTreeSet<Key>, now: Instant) -> Kept {
        let mut kept = Kept::default();
        let until = Timestamp::now().after(self.keep.time);
        for (key, slot) in &mut self.slots {
            if in_use.contains(key) {
                kept.has_changed |= slot.unwanted.take().is_some();
            } else if slot.unwanted.is_none() {
                kept.has_changed = true;
                slot.unwanted = Some(Unwanted { since: now, until });
            }
        }
        for key in self.overdue(now) {
            kept = Kept {
                has_changed: true,
                has_let_go: true,
            };
            if let Some(served) = self.slots.remove(&key).and_then(|slot| slot.served) {
                tracing::info!(model = %key.0, version = %key.1, "version leaves the memory");
                self.leaving.push(served.model.clone());
            }
        }
        kept
    }

    /// Unwanted versions that failed, that were kept long enough, or of which there are too many.
    fn overdue(&self, now: Instant) -> Vec<Key> {
        let mut overdue = Vec::new();
        let mut kept: BTreeMap<&Arc<str>, Vec<(Instant, &Key)>> = BTreeMap::new();
        for (key, slot) in &self.slots {
            match slot.unwanted {
                Some(_) if slot.served.is_none() => overdue.push(key.clone()),
                Some(unwanted) if now.duration_since(unwanted.since) >= self.keep.time => {
                    overdue.push(key.clone());
                }
                Some(unwanted) => kept.entry(&key.0).or_default().push((unwanted.since, key)),
                None => {}
            }
        }
        for versions in kept.values_mut() {
            // The last to go comes first; of those that went together the highest.
            versions.sort_by(|one, other| other.cmp(one));
            let too_many = versions.iter().skip(self.keep.most);
            overdue.extend(too_many.map(|(_, key)| (*key).clone()));
        }
        overdue
    }

    /// When something becomes due without anything happening, after `now`.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let retries = self
            .slots
            .values()
            .filter_map(|slot| slot.failure.as_ref()?.retry);
        let kept = self
            .slots
            .values()
            .filter_map(|slot| slot.unwanted?.since.checked_add(self.keep.time));
        let judged = self.slots.values().filter_map(|slot| slot.judged.retry());
        retries
            .chain(kept)
            .chain(judged)
            .filter(|due| *due > now)
            .min()
    }

    pub(super) fn is_waiting_for_requests(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Engines that no request has any more, to be freed off the async workers.
    pub(super) fn take_left(&mut self) -> Vec<ServedModel> {
        let (left, leaving) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(ServedModel::is_last_holder);
        self.leaving = leaving;
        left
    }

    #[cfg(test)]
    pub(super) fn n_loaded(&self) -> usize {
        self.loaded().count()
    }
}

impl<P> Slot<P> {
    /// `tried`: when it was loaded, so that it is tried again. `true` for a failure that is not the one before.
    fn fail(&mut self, error: LoadError, tried: Option<Instant>) -> bool {
        let before = self.failure.take();
        let is_new = before
            .as_ref()
            .is_none_or(|before| before.error.to_string() != error.to_string());
        let n_attempts = before.map_or(0, |before| before.n_attempts) + 1;
        let wait = FIRST_RETRY.saturating_mul(1 << n_attempts.min(8).saturating_sub(1));
        self.failure = Some(Failed {
            error: Arc::new(error),
            n_attempts,
            retry: tried.map(|tried| tried + wait.min(SLOWEST_RETRY)),
        });
        is_new
    }
}
