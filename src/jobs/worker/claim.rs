//! Claiming: as many jobs as there are free places, in one call.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::outage::Outage;
use super::{Shared, job};
use crate::jobs::{Claimed, JobOutcome, Settlement};

/// How long a claim waits where there is nothing to do. A worker that is told to stop waits for its last claim, since jobs
/// may be on their way.
const WAIT: Duration = Duration::from_secs(1);

/// Returns once the worker was told to stop; the jobs go on, and hold a sender each.
pub(super) async fn run(shared: &Arc<Shared>, settlements: mpsc::Sender<Settlement>) {
    let mut outage = Outage::new("no jobs are claimed");
    while let Some(first) = free_place(shared).await {
        let free = shared.places.available_permits() + 1;
        let n =
            NonZeroUsize::new(free).map_or(shared.n_places(), |free| free.min(shared.n_places()));
        let claimed = match shared.queue().claim(n, WAIT).await {
            Ok(claimed) => claimed,
            Err(error) => {
                drop(first);
                let pause = outage.failed(&error);
                tokio::select! {
                    () = shared.shutdown.stopped() => return,
                    () = tokio::time::sleep(pause) => continue,
                }
            }
        };
        outage.over();
        if shared.shutdown.is_stopping() {
            hand_back(claimed, &settlements).await;
            return;
        }
        let mut place = Some(first);
        for claimed in claimed {
            // Only this loop takes places, so there is one for each job.
            let permit = match place.take() {
                Some(permit) => Some(permit),
                None => Arc::clone(&shared.places).try_acquire_owned().ok(),
            };
            start(shared, claimed, permit, settlements.clone());
        }
    }
}

/// `None` once the worker was told to stop.
async fn free_place(shared: &Shared) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        biased;
        () = shared.shutdown.stopped() => None,
        permit = Arc::clone(&shared.places).acquire_owned() => permit.ok(),
    }
}

fn start(
    shared: &Arc<Shared>,
    claimed: Claimed,
    permit: Option<OwnedSemaphorePermit>,
    settlements: mpsc::Sender<Settlement>,
) {
    let own = Arc::clone(shared);
    shared.shutdown.spawn("job", async move {
        job::run(&own, claimed, &settlements).await;
        drop(permit);
    });
}

/// Jobs that came when it was too late to begin.
async fn hand_back(claimed: Vec<Claimed>, settlements: &mpsc::Sender<Settlement>) {
    for claimed in claimed {
        let settlement = Settlement {
            lease: claimed.lease,
            outcome: JobOutcome::Released,
        };
        // Whoever settles goes on for as long as there is a sender.
        let _ = settlements.send(settlement).await;
    }
}
