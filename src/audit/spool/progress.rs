//! What the appending and the reading side of a spool tell each other, without a lock.
//!
//! The reader is woken by the first event after it has seen all, and by no other: a wake-up is a system call on the
//! thread of a request.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The last sequence that was taken.
    appended: AtomicU64,
    /// The last sequence that stands whole in a segment.
    committed: AtomicU64,
    /// The last sequence that the sink has.
    shipped: AtomicU64,
    /// Bytes of all segments of the spool.
    n_bytes: AtomicU64,
    /// The reader has seen all and waits to be told of more.
    is_waiting: AtomicBool,
    more: Notify,
}

impl Progress {
    pub(super) fn append(&self, sequence: u64) {
        // In one order with `is_waiting`, or the last event before a silence could be overlooked.
        self.appended.store(sequence, Ordering::SeqCst);
        if self.is_waiting.load(Ordering::SeqCst) && self.is_waiting.swap(false, Ordering::SeqCst) {
            self.more.notify_one();
        }
    }

    pub(super) fn commit(&self, sequence: u64) {
        self.committed.store(sequence, Ordering::Release);
    }

    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::SeqCst)
    }

    pub(super) fn ship(&self, sequence: u64) {
        self.shipped.store(sequence, Ordering::Release);
    }

    pub(crate) fn shipped(&self) -> u64 {
        self.shipped.load(Ordering::Acquire)
    }

    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn grow(&self, n_bytes: u64) {
        self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
    }

    pub(super) fn shrink(&self, n_bytes: u64) {
        // A segment may be longer than what was counted, where the end of a failed write could not be cut off.
        let less = |n: u64| Some(n.saturating_sub(n_bytes));
        let _ = self
            .n_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Waits until a sequence behind `seen` was taken. For one reader. Cancel safe.
    pub(crate) async fn appended_behind(&self, seen: u64) {
        loop {
            self.is_waiting.store(true, Ordering::SeqCst);
            if self.appended() > seen {
                self.is_waiting.store(false, Ordering::SeqCst);
                return;
            }
            self.more.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_event_is_overlooked_by_a_reader_that_goes_to_sleep() {
        let progress = Arc::new(Progress::default());
        let appending = Arc::clone(&progress);
        let appender = std::thread::spawn(move || {
            for sequence in 1..=20_000 {
                appending.append(sequence);
            }
        });
        let mut seen = 0;
        while seen < 20_000 {
            progress.appended_behind(seen).await;
            seen = progress.appended();
        }
        appender.join().unwrap();
    }
}
