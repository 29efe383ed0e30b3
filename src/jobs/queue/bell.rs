//! Wakes who waits in this process: for work, for requests to abort, for the end of a job.
//!
//! It only ever says "look again": a ring may be late, missing or for nothing, so whoever waits looks from time to time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::jobs::JobId;

#[derive(Debug, Default)]
pub(super) struct Bell {
    work: watch::Sender<()>,
    aborts: watch::Sender<()>,
    /// Who waits for the end of a job.
    ends: Mutex<HashMap<JobId, Vec<Arc<Notify>>>>,
}

impl Bell {
    pub(super) fn work(&self) {
        self.work.send_replace(());
    }

    pub(super) fn abort(&self) {
        self.aborts.send_replace(());
    }

    pub(super) fn ended(&self, id: &JobId) {
        let waiting = self.ends().get(id).cloned();
        for waiter in waiting.into_iter().flatten() {
            waiter.notify_one();
        }
    }

    /// Something may have been missed.
    pub(super) fn everything(&self) {
        self.work();
        self.abort();
        let waiting: Vec<_> = self.ends().values().flatten().cloned().collect();
        for waiter in waiting {
            waiter.notify_one();
        }
    }

    /// Hears what rings from now on.
    pub(super) fn listen_for_work(&self) -> watch::Receiver<()> {
        self.work.subscribe()
    }

    /// Hears what rings from now on.
    pub(super) fn listen_for_aborts(&self) -> watch::Receiver<()> {
        self.aborts.subscribe()
    }

    /// Hears what rings from now on, until it is dropped.
    pub(super) fn listen_for_end(&self, id: &JobId) -> Ending<'_> {
        let notify = Arc::new(Notify::new());
        self.ends()
            .entry(id.clone())
            .or_default()
            .push(notify.clone());
        Ending {
            bell: self,
            id: id.clone(),
            notify,
        }
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<JobId, Vec<Arc<Notify>>>> {
        // Each change is one call, so a poisoned map is still whole.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for the end of a job.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    bell: &'a Bell,
    id: JobId,
    notify: Arc<Notify>,
}

impl Ending<'_> {
    /// Resolves at once if it rang since the last time. Cancel safe.
    pub(super) async fn heard(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut ends = self.bell.ends();
        if let Some(waiting) = ends.get_mut(&self.id) {
            waiting.retain(|waiter| !Arc::ptr_eq(waiter, &self.notify));
            if waiting.is_empty() {
                ends.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_ring_before_the_wait_is_heard() {
        let bell = Bell::default();
        let id = JobId::random();
        let ending = bell.listen_for_end(&id);
        bell.ended(&JobId::random());
        assert!(ending.heard().now_or_never().is_none());
        bell.ended(&id);
        assert!(ending.heard().now_or_never().is_some());
        assert!(ending.heard().now_or_never().is_none());
        bell.everything();
        assert!(ending.heard().now_or_never().is_some());
    }

    #[test]
    fn nobody_is_remembered_who_left() {
        let bell = Bell::default();
        let id = JobId::random();
        let (first, second) = (bell.listen_for_end(&id), bell.listen_for_end(&id));
        drop(first);
        assert_eq!(bell.ends().len(), 1);
        drop(second);
        assert!(bell.ends().is_empty());
    }
}
