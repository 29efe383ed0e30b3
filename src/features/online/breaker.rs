//! A circuit breaker: what happens to requests while a server takes them and answers none.
//!
//! After a few time-outs in a row the breaker is open: requests fail at once instead of one time-out each. One at a time is
//! still sent and waits for its own time-out; the first answer to any request closes the breaker, so that it is noticed the
//! moment it comes. Nothing runs in the background, and a request that is answered costs two looks at an atomic number.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// So many time-outs in a row open the breaker.
const LIMIT: u32 = 3;
/// A request that waited less than this says nothing about the server: its own deadline was too near.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Since the last answer.
    n_timeouts: AtomicU32,
    /// Whether somebody asks whether it answers again.
    probing: AtomicBool,
}

/// A request that may be sent.
pub(super) struct Admitted<'a> {
    /// Set for the one that asks.
    probe: Option<&'a AtomicBool>,
}

impl Drop for Admitted<'_> {
    /// However the request ended, also left by its caller.
    fn drop(&mut self) {
        if let Some(probing) = self.probe {
            probing.store(false, Ordering::Release);
        }
    }
}

impl Breaker {
    /// `None` for a request that must fail at once.
    pub(super) fn admit(&self) -> Option<Admitted<'_>> {
        if !self.is_open() {
            return Some(Admitted { probe: None });
        }
        let is_free = !self.probing.swap(true, Ordering::Acquire);
        is_free.then(|| Admitted {
            probe: Some(&self.probing),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.n_timeouts.load(Ordering::Relaxed) >= LIMIT
    }

    /// The server has answered, whatever it said.
    pub(super) fn answered(&self) {
        // Looked at first: a store by every request would make all cores take turns with the line.
        if self.n_timeouts.load(Ordering::Relaxed) > 0 {
            self.n_timeouts.store(0, Ordering::Relaxed);
        }
    }

    /// The server has not answered a request that waited for so long.
    pub(super) fn timed_out(&self, waited: Duration) {
        if waited >= SHORTEST_WAIT && !self.is_open() {
            self.n_timeouts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITED: Duration = Duration::from_millis(500);

    fn open() -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..LIMIT {
            assert!(
                breaker
                    .admit()
                    .is_some_and(|admitted| admitted.probe.is_none())
            );
            breaker.timed_out(WAITED);
        }
        breaker
    }

    #[test]
    fn time_outs_in_a_row_let_one_request_at_a_time_through() {
        let breaker = open();
        let probe = breaker.admit().unwrap();
        for _ in 0..3 {
            assert!(breaker.admit().is_none());
        }
        breaker.timed_out(WAITED);
        drop(probe);
        assert!(
            breaker
                .admit()
                .is_some_and(|admitted| admitted.probe.is_some())
        );
        assert!(breaker.admit().is_some(), "the probe above was given up");
    }

    #[test]
    fn any_answer_closes_it() {
        let breaker = open();
        breaker.answered();
        let first = breaker.admit().unwrap();
        let second = breaker.admit().unwrap();
        assert!(first.probe.is_none() && second.probe.is_none());
    }

    #[test]
    fn an_answer_between_time_outs_keeps_it_closed() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            breaker.timed_out(WAITED);
            breaker.timed_out(WAITED);
            breaker.answered();
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn requests_in_a_hurry_do_not_open_it() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            breaker.timed_out(Duration::from_millis(2));
        }
        assert!(!breaker.is_open());
    }
}
