//! What others tell the watcher: that there is something new in the registry, or that the features have changed.
//!
//! Nothing queues up: told twice before the watcher looks is told once. Who wants to know what came of a look waits for
//! the publication after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// Tells a watcher; clones tell the same one.
#[derive(Debug, Clone, Default)]
pub struct Handle {
    pub(super) registry: Arc<Notify>,
    pub(super) features: Arc<Notify>,
    /// How often a look was asked for.
    asked: Arc<AtomicU64>,
    /// How many of those were answered; sent with every publication.
    answered: Arc<watch::Sender<u64>>,
}

impl Handle {
    /// The registry is looked at now, rather than when it is due.
    pub fn look(&self) {
        self.ask();
    }

    /// Everything is bound anew in a moment.
    pub fn features_changed(&self) {
        self.features.notify_one();
    }

    /// Looks, and returns once what was found is published and `is_settled` says so of it; that is asked after every
    /// publication. Cancel safe: the look goes on.
    pub(in crate::models) async fn look_until(&self, mut is_settled: impl FnMut() -> bool) {
        let mut answered = self.answered.subscribe();
        let ticket = self.ask();
        loop {
            if *answered.borrow_and_update() >= ticket && is_settled() {
                return;
            }
            // The sender lives as long as this handle.
            if answered.changed().await.is_err() {
                return;
            }
        }
    }

    fn ask(&self) -> u64 {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.registry.notify_one();
        ticket
    }

    /// Those who have asked until now are answered by a look that begins now.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// The outcome of a look that began at `asked`, or of a load since, is published.
    pub(super) fn published(&self, asked: u64) {
        self.answered
            .send_modify(|answered| *answered = asked.max(*answered));
    }
}
