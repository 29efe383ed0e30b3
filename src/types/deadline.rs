//! The moment by which an answer must exist; made once at the edge and passed down.

use std::time::Duration;

use tokio::time::Instant;

/// A point in time after which nobody waits for the answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline that lies `budget` from now.
    pub fn after(budget: Duration) -> Self {
        Self(Instant::now() + budget)
    }

    /// Time left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub fn is_past(self) -> bool {
        self.remaining().is_zero()
    }

    /// For `tokio::time::timeout_at`.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The earlier of this deadline and the one that lies `budget` from now.
    pub fn at_most(self, budget: Duration) -> Self {
        self.min(Self::after(budget))
    }
}
