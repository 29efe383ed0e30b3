//! A queue that does not answer: said once, and asked again after growing pauses.

use std::time::Duration;

use crate::error::{Failure, with_causes};
use crate::jobs::Error;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What one part of the worker knows about the queue being away.
pub(super) struct Outage {
    /// What is not done meanwhile.
    what: &'static str,
    n_failed: u32,
}

impl Outage {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, n_failed: 0 }
    }

    /// How long to wait before it is tried again.
    pub(super) fn failed(&mut self, error: &Error) -> Duration {
        if self.n_failed == 0 {
            tracing::warn!(code = error.code(), "{}: {}", self.what, with_causes(error));
        }
        let pause = FIRST_PAUSE * (1 << self.n_failed.min(5));
        self.n_failed = self.n_failed.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }

    pub(super) fn over(&mut self) {
        if self.n_failed > 0 {
            tracing::info!(
                n_failed = self.n_failed,
                "{}: the queue answers again",
                self.what
            );
            self.n_failed = 0;
        }
    }
}
