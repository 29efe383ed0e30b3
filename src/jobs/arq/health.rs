//! The text that workers leave in the health key of their queue.

use std::fmt;

/// What a worker has done since its start, and what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthCheck {
    pub complete: u64,
    pub failed: u64,
    pub retried: u64,
    pub ongoing: u64,
    pub queued: u64,
}

impl HealthCheck {
    /// The text of that local time: `Nov-22 15:08:51 j_complete=0 j_failed=0 j_retried=0 j_ongoing=1 queued=1`.
    pub fn text(&self, now: jiff::civil::DateTime) -> String {
        format!("{} {self}", now.strftime("%b-%d %H:%M:%S"))
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            complete,
            failed,
            retried,
            ongoing,
            queued,
        } = self;
        write!(
            f,
            "j_complete={complete} j_failed={failed} j_retried={retried} j_ongoing={ongoing} queued={queued}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_arq() {
        let health = HealthCheck {
            ongoing: 1,
            queued: 1,
            ..HealthCheck::default()
        };
        assert_eq!(
            health.text(jiff::civil::date(2026, 11, 2).at(15, 8, 51, 0)),
            "Nov-02 15:08:51 j_complete=0 j_failed=0 j_retried=0 j_ongoing=1 queued=1"
        );
    }
}
