//! Aborts: which of the running jobs somebody wants to end.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::outage::Outage;
use super::running::Interrupt;

/// How long one question waits for its answer; a job that begins meanwhile is asked for in the next one.
const WAIT: Duration = Duration::from_millis(250);

pub(super) async fn run(shared: Arc<Shared>) {
    let mut outage = Outage::new("running jobs are not aborted");
    loop {
        tokio::select! {
            () = shared.done.cancelled() => return,
            () = shared.running.any() => {}
        }
        let running = shared.running.interruptible();
        let mut pause = Duration::ZERO;
        if running.is_empty() {
            // What is held has ended, and is about to be settled.
            pause = WAIT / 10;
        } else {
            let aborted = tokio::select! {
                () = shared.done.cancelled() => return,
                aborted = shared.queue().aborted(&running, WAIT) => aborted,
            };
            match aborted {
                Ok(aborted) => {
                    outage.over();
                    for id in aborted {
                        shared.running.interrupt(&id, Interrupt::Abort);
                    }
                }
                Err(error) => pause = outage.failed(&error),
            }
        }
        if !pause.is_zero() && !shared.pause(pause).await {
            return;
        }
    }
}
