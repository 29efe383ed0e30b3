//! The jobs that a worker holds: their leases, and how each of them is told to end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::jobs::{JobId, Lease};

/// Why a job is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// Somebody asked for its end.
    Abort,
    /// It belongs to somebody else by now.
    Lost,
}

struct Held {
    lease: Lease,
    /// Taken once it is used, and gone once the job has ended and only waits to be settled.
    interrupt: Option<oneshot::Sender<Interrupt>>,
}

/// Everything that is claimed and not settled.
#[derive(Default)]
pub(super) struct Running {
    jobs: Mutex<HashMap<JobId, Held>>,
    /// Rung when there is a first job.
    begun: Notify,
}

impl Running {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Held>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receiver tells when the job must end.
    pub(super) fn insert(&self, lease: Lease) -> oneshot::Receiver<Interrupt> {
        let (interrupt, receiver) = oneshot::channel();
        let held = Held {
            lease: lease.clone(),
            interrupt: Some(interrupt),
        };
        self.jobs().insert(lease.id, held);
        self.begun.notify_waiters();
        receiver
    }

    /// A job whose attempt counts differently from what the queue thinks.
    pub(super) fn renumber(&self, id: &JobId, attempt: u32) {
        if let Some(held) = self.jobs().get_mut(id) {
            held.lease.attempt = attempt;
        }
    }

    /// It has ended; its lease is still needed until it is settled.
    pub(super) fn ended(&self, id: &JobId) {
        if let Some(held) = self.jobs().get_mut(id) {
            held.interrupt = None;
        }
    }

    pub(super) fn remove(&self, id: &JobId) {
        self.jobs().remove(id);
    }

    pub(super) fn len(&self) -> usize {
        self.jobs().len()
    }

    pub(super) fn leases(&self) -> Vec<Lease> {
        self.jobs()
            .values()
            .map(|held| held.lease.clone())
            .collect()
    }

    /// Those that can still be ended.
    pub(super) fn interruptible(&self) -> Vec<JobId> {
        let jobs = self.jobs();
        let running = jobs.iter().filter(|(_, held)| held.interrupt.is_some());
        running.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn interrupt(&self, id: &JobId, why: Interrupt) {
        let interrupt = {
            let mut jobs = self.jobs();
            jobs.get_mut(id).and_then(|held| held.interrupt.take())
        };
        if let Some(interrupt) = interrupt {
            // It may have ended in this moment.
            let _ = interrupt.send(why);
        }
    }

    /// Resolves once there is a job. Cancel safe.
    pub(super) async fn any(&self) {
        let begun = self.begun.notified();
        if self.len() == 0 {
            begun.await;
        }
    }
}
