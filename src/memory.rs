//! Gives back to the system what was freed, soon after nobody needs it.
//!
//! The binary's allocator, mimalloc, lets freed memory rest for a second, for who needs it again, and looks for what has
//! rested long enough only when a thread frees a page, its unit of some dozen KiB and more. A quiet server may free none, so a page
//! is freed every second here. With another allocator it has no effect. What each of the two measures gives alone was not
//! measured; together they are in docs/benchmarks.md, under MLflow.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::shutdown::Shutdown;

/// How long a thread for blocking work waits for more of it. The allocator keeps what a thread freed for that thread, so an idle
/// one holds what its largest piece of work took.
pub const IDLE_THREAD: Duration = Duration::from_secs(1);

/// As long as the allocator lets freed memory rest.
const PERIOD: Duration = Duration::from_secs(1);

/// Bytes that mimalloc holds on a page of their own, which is free when they are: more than 512 KiB.
const A_PAGE: usize = 1 << 20;

/// Runs until the server stops.
pub async fn give_back(shutdown: Shutdown) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => free_a_page(),
            () = shutdown.stopped() => return,
        }
    }
}

/// Nothing is written to it, so it costs no memory.
fn free_a_page() {
    drop(black_box(Vec::<u8>::with_capacity(A_PAGE)));
}
