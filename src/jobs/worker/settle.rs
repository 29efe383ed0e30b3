//! Settling: the results of all jobs that have ended meanwhile, in one call, until the queue has taken them.

use tokio::sync::mpsc;

use super::Shared;
use super::outage::Outage;
use crate::error::{ErrorClass, Failure, with_causes};
use crate::jobs::{Error, JobOutcome, LeaseState, Settlement};

/// Most settlements of one call.
const MAX_BATCH: usize = 256;

/// Returns once nobody can send any more.
pub(super) async fn run(shared: &Shared, mut settlements: mpsc::Receiver<Settlement>) {
    let mut outage = Outage::new("no results are stored");
    let mut batch = Vec::with_capacity(MAX_BATCH);
    loop {
        batch.clear();
        if settlements.recv_many(&mut batch, MAX_BATCH).await == 0 {
            return;
        }
        settle(shared, &batch, &mut outage).await;
        for settlement in &batch {
            shared.running.remove(&settlement.lease.id);
        }
        shared.metrics.running(shared.running.len());
    }
}

/// Until the queue has taken them, or the time to stop is over: then their leases run out and they are run again.
async fn settle(shared: &Shared, batch: &[Settlement], outage: &mut Outage) {
    loop {
        match shared.queue().settle(batch).await {
            Ok(states) => {
                outage.over();
                report_lost(shared, batch, &states);
                return;
            }
            Err(error) if error.class() == ErrorClass::Unavailable => {
                let pause = outage.failed(&error);
                if shared.release.is_cancelled() {
                    tracing::error!(
                        n_jobs = batch.len(),
                        "the queue is away and the time to stop is over: results are lost, the jobs run again"
                    );
                    return;
                }
                tokio::select! {
                    () = shared.release.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => return one_by_one(shared, batch, &error).await,
        }
    }
}

/// One of them is refused; the others shall not go with it.
async fn one_by_one(shared: &Shared, batch: &[Settlement], error: &Error) {
    if let [settlement] = batch {
        let id = &settlement.lease.id;
        tracing::error!(%id, code = error.code(), "a result is refused: {}", with_causes(error));
        return;
    }
    for settlement in batch {
        let alone = std::slice::from_ref(settlement);
        match shared.queue().settle(alone).await {
            Ok(states) => report_lost(shared, alone, &states),
            Err(error) => Box::pin(one_by_one(shared, alone, &error)).await,
        }
    }
}

fn report_lost(shared: &Shared, batch: &[Settlement], states: &[LeaseState]) {
    let settled = batch.iter().zip(states);
    for (settlement, _) in settled.filter(|(_, state)| **state == LeaseState::Lost) {
        let id = &settlement.lease.id;
        shared.metrics.lost();
        // A result that is repeated after an error finds itself; what goes back to the queue anyway loses nothing.
        if !matches!(settlement.outcome, JobOutcome::Released) {
            tracing::warn!(%id, "the job's lease had run out when it ended; its result counts for nothing");
        }
    }
}
