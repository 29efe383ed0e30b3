//! Leases: extended three times within each lease's length, for as long as a job is held.

use std::sync::Arc;

use super::Shared;
use super::outage::Outage;
use super::running::Interrupt;
use crate::jobs::LeaseState;

pub(super) async fn run(shared: Arc<Shared>) {
    let mut outage = Outage::new("leases of running jobs are not renewed");
    let every = shared.queue().lease_time() / 3;
    let mut pause = every;
    while shared.pause(pause).await {
        pause = every;
        let leases = shared.running.leases();
        if leases.is_empty() {
            continue;
        }
        match shared.queue().extend(&leases).await {
            Ok(states) => {
                outage.over();
                let lost = leases.iter().zip(states);
                for (lease, _) in lost.filter(|(_, state)| *state == LeaseState::Lost) {
                    // One that has ended in the meantime is no longer there to be interrupted.
                    shared.running.interrupt(&lease.id, Interrupt::Lost);
                }
            }
            Err(error) => pause = outage.failed(&error).min(every),
        }
    }
}
