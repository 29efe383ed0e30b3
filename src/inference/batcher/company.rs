//! Calls that come at the same moment to one event loop: whether each lets the others come first.
//!
//! A short run happens on its caller's thread, so calls never find its engine busy there, however many are ready: they would
//! run one behind the other. Where runs have a price of their own it pays to let all calls that are ready come in, and to run
//! them as one. Whether there are others is learnt from the calls themselves: after a run for one call alone the next ones
//! run at once, in ever longer stretches; after a run for several each call lets the others come first.
//! So a caller that has the server to itself meets one such pause, of under a microsecond, in `LONGEST_STRETCH` calls.
//!
//! Each event loop keeps to itself: to wake a call of another costs more than a short run does.
//! Not here: what runs, and who runs it (`batcher`).

use std::sync::atomic::{AtomicU32, Ordering};

use super::queue::{Limits, Queue};

/// Calls that run at once before the next one looks for company again.
const LONGEST_STRETCH: u32 = 128;

/// Where the calls of one event loop meet.
pub(super) struct Company {
    pub(super) queue: Queue,
    /// Calls that are still to run at once. Inexact if several threads share this, and harmlessly so.
    at_once: AtomicU32,
    /// How many that will be after the next look that finds nobody.
    stretch: AtomicU32,
}

impl Company {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            queue: Queue::new(limits),
            at_once: AtomicU32::new(0),
            stretch: AtomicU32::new(1),
        }
    }

    /// Whether this call lets others come first.
    pub(super) fn is_expected(&self) -> bool {
        let at_once = self.at_once.load(Ordering::Relaxed);
        if at_once > 0 {
            self.at_once.store(at_once - 1, Ordering::Relaxed);
        }
        at_once == 0
    }

    /// A call that let others come first was run with so many calls, itself among them.
    pub(super) fn met(&self, n_calls: usize) {
        if n_calls > 1 {
            self.stretch.store(1, Ordering::Relaxed);
            return;
        }
        let stretch = self.stretch.load(Ordering::Relaxed);
        self.at_once.store(stretch, Ordering::Relaxed);
        let longer = (stretch * 2).min(LONGEST_STRETCH);
        self.stretch.store(longer, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn who_is_alone_looks_for_company_ever_more_rarely_and_one_meeting_changes_that() {
        let limit = NonZeroUsize::MIN;
        let company = Company::new(Limits {
            calls: limit,
            rows: limit,
        });
        let mut looks = Vec::new();
        for call in 0..1000 {
            if company.is_expected() {
                looks.push(call);
                company.met(1);
            }
        }
        assert_eq!(looks[..6], [0, 2, 5, 10, 19, 36]);
        let longest = looks.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert_eq!(longest, Some(LONGEST_STRETCH as usize + 1));

        while !company.is_expected() {}
        company.met(3);
        assert!(company.is_expected() && company.is_expected());
    }
}
