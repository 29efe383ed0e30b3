//! Which versions wait for a verdict before the plain name moves to them, and what a verdict does.
//!
//! Invariants:
//! - only a move of the plain name, and of the alias it goes by, to a higher version number is held up: a lower one is a way
//!   back;
//! - who served before goes on until there is a verdict; where nothing served before, or that does not load, nobody waits;
//! - a verdict counts for as long as the name should mean the version: pointed away and back, it is judged anew.
//!
//! Not here: how a version is judged (the binder).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use tokio::time::Instant;

use super::Watcher;
use super::places::Places;
use super::slots::{Key, Slot, Slots};
use super::wish::Wish;
use super::work::Event;
use crate::models::bind::{Binder, Verdict};
use crate::models::catalog::{Gate, ServedVersion};
use crate::models::error::LoadError;
use crate::types::names::ModelVersion;

/// Wait before a version is judged once more that could not be: this, doubled each time, up to the other.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const SLOWEST_RETRY: Duration = Duration::from_secs(600);

/// What is known of a version that stands before a gate.
#[derive(Debug, Default)]
pub(super) enum Judged {
    #[default]
    NotYet,
    Passed(Gate),
    Refused(Arc<LoadError>),
    /// It could not be judged.
    Failed {
        error: Arc<LoadError>,
        n_attempts: u32,
        retry: Instant,
    },
}

impl Judged {
    fn is_due(&self, now: Instant) -> bool {
        match self {
            Self::NotYet => true,
            Self::Failed { retry, .. } => *retry <= now,
            Self::Passed(_) | Self::Refused(_) => false,
        }
    }

    /// When it is judged once more.
    pub(super) fn retry(&self) -> Option<Instant> {
        match self {
            Self::Failed { retry, .. } => Some(*retry),
            Self::NotYet | Self::Passed(_) | Self::Refused(_) => None,
        }
    }

    /// As the catalog shows it; `waits`: a name would move to the version if it may.
    pub(super) fn status(&self, waits: bool) -> Option<Gate> {
        match self {
            Self::NotYet => waits.then_some(Gate::Pending),
            Self::Passed(gate) => Some(gate.clone()),
            Self::Refused(error) => Some(Gate::Refused(Arc::clone(error))),
            Self::Failed { error, .. } => Some(Gate::Failed(Arc::clone(error))),
        }
    }
}

/// What stands before the gate of one model: which version, and which one serves meanwhile.
pub(super) fn waiting(wish: &Wish, before: &Places) -> Option<(ModelVersion, ModelVersion)> {
    let wanted = wish.serving.as_ref().ok()?.version;
    let served = before.serving.as_ref()?.version;
    (wanted > served).then_some((wanted, served))
}

/// Whether the version must not take the plain name yet.
pub(super) fn is_held<P>(slots: &Slots<P>, key: &Key) -> bool {
    let slot = slots.get(key);
    slot.is_some_and(|slot| !matches!(slot.judged, Judged::Passed(_)))
}

impl<B: Binder> Watcher<B> {
    /// Begins to judge the next version that stands before a gate.
    pub(super) fn begin_judging(&mut self, now: Instant) {
        self.forget_verdicts();
        if self.judging.is_some() {
            return;
        }
        let next = self.wishes.iter().find_map(|(name, wish)| {
            if !self.loader.binder.is_gated(name) {
                return None;
            }
            let (wanted, served) = waiting(wish, self.places.get(name)?)?;
            let key = (Arc::clone(name), wanted);
            let slot = self.slots.get(&key)?;
            let candidate = slot.served.as_ref().filter(|_| slot.judged.is_due(now))?;
            Some((key, Arc::clone(candidate), served))
        });
        let Some((key, candidate, served)) = next else {
            return;
        };
        tracing::info!(model = %key.0, version = %key.1, %served, "the version is judged by recorded predictions");
        self.judging = Some(key.clone());
        let judging = self.loader.binder.judge(Arc::clone(&candidate), served);
        let judging = judging.map(move |verdict| Event::Judged {
            key,
            candidate,
            served,
            verdict,
        });
        self.work.push(judging.boxed());
    }

    /// Of versions that no plain name should mean any more.
    fn forget_verdicts(&mut self) {
        let wishes = &self.wishes;
        self.dirty |= self.slots.forget_verdicts(|(name, version)| {
            let wish: Option<&Wish> = wishes.get(name);
            wish.is_some_and(|wish| wish.serving.as_ref().is_ok_and(|s| s.version == *version))
        });
    }

    pub(super) fn judged(
        &mut self,
        key: &Key,
        candidate: &Arc<ServedVersion<B::Plan>>,
        served: ModelVersion,
        verdict: Verdict,
    ) {
        let Some(slot) = self.slots.judged(key, candidate) else {
            return;
        };
        let (name, version) = key;
        let outcome = match verdict {
            Verdict::Passed(sentence) => {
                tracing::info!(model = %name, %version, "gate {sentence}");
                slot.judged = Judged::Passed(Gate::Passed(sentence.into()));
                "passed"
            }
            Verdict::Unjudged(sentence) => {
                tracing::warn!(model = %name, %version, "gate {sentence}");
                slot.judged = Judged::Passed(Gate::Unjudged(sentence.into()));
                "unjudged"
            }
            Verdict::Refused(error) => {
                let (code, hint) = (error.code(), error.hint());
                tracing::error!(model = %name, %version, %served, %error, code, hint, "the version does not pass its gate; who served before goes on");
                slot.judged = Judged::Refused(Arc::new(LoadError::Gate(error)));
                "refused"
            }
            Verdict::Failed(error) => {
                let (code, hint) = (error.code(), error.hint());
                let n_attempts = match slot.judged {
                    Judged::Failed { n_attempts, .. } => n_attempts + 1,
                    _ => 1,
                };
                if n_attempts == 1 {
                    tracing::error!(model = %name, %version, %served, %error, code, hint, "the version cannot be judged; who served before goes on");
                }
                let wait = FIRST_RETRY.saturating_mul(1 << n_attempts.min(8).saturating_sub(1));
                slot.judged = Judged::Failed {
                    error: Arc::new(LoadError::Gate(error)),
                    n_attempts,
                    retry: Instant::now() + wait.min(SLOWEST_RETRY),
                };
                "failed"
            }
        };
        self.metrics.judged(name, outcome);
    }

    /// Versions that stand before a gate, by model.
    pub(super) fn before_gates(&self) -> BTreeMap<Arc<str>, ModelVersion> {
        let gated = self.wishes.iter().filter_map(|(name, wish)| {
            let is_gated = self.loader.binder.is_gated(name);
            let (wanted, _) = waiting(wish, self.places.get(name).filter(|_| is_gated)?)?;
            Some((Arc::clone(name), wanted))
        });
        gated.collect()
    }
}

impl<P> Slots<P> {
    /// The slot of a version if it is still the one that was judged, whatever plan it has now.
    fn judged(&mut self, key: &Key, candidate: &Arc<ServedVersion<P>>) -> Option<&mut Slot<P>> {
        let slot = self.get_mut(key)?;
        let now = slot.served.as_ref()?;
        (now.loaded_at == candidate.loaded_at).then_some(slot)
    }
}
