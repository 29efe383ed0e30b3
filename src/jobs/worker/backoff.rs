//! How long a job that failed waits for its next attempt: twice as long each time, spread out by chance.
//!
//! Spread out, because what failed together (a store was away) would otherwise come back together.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// Between the attempts of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    /// After the first attempt, at most.
    pub(super) first: Duration,
    /// After any attempt, at most.
    pub(super) longest: Duration,
}

impl Backoff {
    /// The pause after attempt `attempt`, which counts from 1; `chance` from 0 to 1 chooses within its upper half.
    fn pause(self, attempt: u32, chance: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    pub(super) fn after(self, attempt: u32) -> Duration {
        let mut bytes = [0; 4];
        // Without chance the pause is the longest, which does no harm.
        let chance = match SystemRandom::new().fill(&mut bytes) {
            Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        self.pause(attempt, chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
    };

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [1, 2, 3, 7, 40].map(|attempt| BACKOFF.pause(attempt, 1.0).as_secs());
        assert_eq!(pauses, [1, 2, 4, 60, 60]);
    }

    #[test]
    fn chance_takes_away_up_to_a_half() {
        assert_eq!(BACKOFF.pause(2, 0.0), Duration::from_secs(1));
        for attempt in 1..10 {
            let (pause, most) = (BACKOFF.after(attempt), BACKOFF.pause(attempt, 1.0));
            assert!(pause <= most && pause >= most / 2, "{pause:?} of {most:?}");
        }
    }
}
