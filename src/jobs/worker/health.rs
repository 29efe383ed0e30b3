//! The health-check key, in arq's words, which `arq --check` looks for.
//!
//! All workers of a queue write the same key. It is never deleted, since others may live; it ends soon by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Zoned;

use super::Shared;
use super::outage::Outage;
use crate::jobs::arq::HealthCheck;

pub(super) async fn run(shared: Arc<Shared>) {
    let mut outage = Outage::new("the worker's health is not reported");
    let every = shared.config.health_interval;
    loop {
        match report(&shared, every).await {
            Ok(()) => outage.over(),
            Err(error) => {
                outage.failed(&error);
            }
        }
        if !shared.pause(every).await {
            return;
        }
    }
}

async fn report(shared: &Shared, every: Duration) -> Result<(), crate::jobs::Error> {
    let queue = shared.queue().health().await?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let health = HealthCheck {
        complete: count(&shared.counts.complete),
        failed: count(&shared.counts.failed),
        retried: count(&shared.counts.retried),
        ongoing: shared.running.len() as u64,
        // arq counts everything that waits or runs.
        queued: queue.n_queued + queue.n_deferred + queue.n_running,
    };
    let line = health.text(Zoned::now().datetime());
    let lasts = every + Duration::from_secs(1);
    shared.queue().report(&line, lasts).await
}
