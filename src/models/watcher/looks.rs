//! When the registry is looked at, and what came of the last look.
//!
//! While it cannot be read it is asked again after the poll interval, doubled each time, at least every half minute; the
//! log says when that begins, when the reason becomes another, and when it ends.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Failure;
use crate::models::catalog::{RegistryFailure, RegistryStatus};
use crate::models::registry;
use crate::types::timestamp::Timestamp;

/// Wait after a failure where nothing says how often to look.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// Longest wait after a failure, unless the poll interval is longer.
const SLOWEST_RETRY: Duration = Duration::from_secs(30);
/// Shortest time between two looks, however many deliveries ask for one.
const SHORTEST: Duration = Duration::from_millis(200);

pub(super) struct Looks {
    every: Option<Duration>,
    next: Option<Instant>,
    began: Option<Instant>,
    in_flight: bool,
    status: RegistryStatus,
}

impl Looks {
    pub(super) fn new(location: String, every: Option<Duration>) -> Self {
        Self {
            every,
            next: None,
            began: None,
            in_flight: false,
            status: RegistryStatus {
                location,
                read_at: None,
                from_saved_set: false,
                failure: None,
            },
        }
    }

    pub(super) fn status(&self) -> &RegistryStatus {
        &self.status
    }

    /// When the next look is due; never while one is in flight.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next.filter(|_| !self.in_flight)
    }

    /// Somebody says that there is something new. During a look another follows it: this one may have missed it.
    pub(super) fn ask(&mut self, now: Instant) {
        let earliest = self.began.map_or(now, |began| began + SHORTEST);
        self.next = Some(earliest.max(now));
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.in_flight = true;
        self.began = Some(now);
        self.next = None;
    }

    pub(super) fn succeeded(&mut self, now: Instant) {
        self.ended(now, self.every);
        self.status.read_at = Some(Timestamp::now());
        self.status.from_saved_set = false;
        if let Some(failure) = self.status.failure.take() {
            tracing::info!(
                attempts = failure.n_attempts,
                "the model registry {} is read again",
                self.status.location
            );
        }
    }

    pub(super) fn failed(&mut self, error: &registry::Error, now: Instant) {
        let before = self.status.failure.take();
        let is_new = before
            .as_ref()
            .is_none_or(|before| before.code != error.code());
        let failure = RegistryFailure {
            code: error.code(),
            message: error.to_string(),
            hint: error.hint(),
            since: before
                .as_ref()
                .map_or_else(Timestamp::now, |before| before.since),
            n_attempts: before.map_or(0, |before| before.n_attempts) + 1,
        };
        if is_new {
            tracing::warn!(
                code = failure.code,
                hint = failure.hint,
                "the model registry {} cannot be read: {}; models are served as they were",
                self.status.location,
                failure.message
            );
        }
        let every = self.every.unwrap_or(FIRST_RETRY);
        let doubled = every.saturating_mul(1 << failure.n_attempts.min(8).saturating_sub(1));
        let wait = doubled.min(SLOWEST_RETRY.max(every));
        self.status.failure = Some(failure);
        self.ended(now, Some(wait));
    }

    /// What is served was saved at an earlier time: the registry has failed to answer.
    pub(super) fn fell_back(&mut self, saved_at: Option<Timestamp>) {
        self.status.read_at = saved_at;
        self.status.from_saved_set = true;
    }

    /// A look that was asked for meanwhile stays due.
    fn ended(&mut self, now: Instant, wait: Option<Duration>) {
        self.in_flight = false;
        if self.next.is_none() {
            self.next = wait.map(|wait| now + wait);
        }
    }
}
