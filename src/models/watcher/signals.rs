//! What others tell the watcher: that there is something new in the registry, or that the features have changed.
//!
//! Nothing queues up: told twice before the watcher looks is told once.

use std::sync::Arc;

use tokio::sync::Notify;

/// Tells a watcher; clones tell the same one.
#[derive(Debug, Clone, Default)]
pub struct Handle {
    pub(super) registry: Arc<Notify>,
    pub(super) features: Arc<Notify>,
}

impl Handle {
    /// The registry is looked at now, rather than when it is due.
    pub fn look(&self) {
        self.registry.notify_one();
    }

    /// Everything is bound anew in a moment.
    pub fn features_changed(&self) {
        self.features.notify_one();
    }
}
