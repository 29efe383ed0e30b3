//! How fast a backlog is shipped while calls are answered: after an outage it would else take the cores from them at once.
//!
//! Who asks the sink for all it can take compresses, sends and is answered as fast as the machine allows; for the second or two that
//! takes, calls feel it. So as long as events come in, there is a pause after each full batch. It grows by a step while the backlog
//! shrinks and is halved while it grows, so that shipping keeps up. When nothing comes in there is none.

use std::time::Duration;

const STEP: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Pace {
    pause: Duration,
    /// At the last batch: all events so far, and those that wait.
    n_events: u64,
    n_waiting: u64,
}

impl Pace {
    /// How long to wait after a full batch. `n_events` were appended so far, of which `n_waiting` are not delivered.
    pub(super) fn after(&mut self, n_events: u64, n_waiting: u64) -> Duration {
        let is_idle = n_events == self.n_events;
        let grows = n_waiting > self.n_waiting;
        (self.n_events, self.n_waiting) = (n_events, n_waiting);
        self.pause = match (is_idle, grows) {
            (true, _) => Duration::ZERO,
            (false, true) => self.pause / 2,
            (false, false) => (self.pause + STEP).min(LONGEST),
        };
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses of a shipper that takes `per_batch` events after each, while `rate` come in a second.
    fn drain(backlog: u64, rate: f64, per_batch: u64) -> Vec<Duration> {
        let mut pace = Pace::default();
        let (mut n_events, mut n_waiting) = (backlog as f64, backlog as f64);
        let mut pauses = Vec::new();
        while n_waiting >= per_batch as f64 && pauses.len() < 10_000 {
            n_waiting -= per_batch as f64;
            let pause = pace.after(n_events as u64, n_waiting as u64);
            // What a batch itself takes.
            let came = rate * (pause + Duration::from_millis(2)).as_secs_f64();
            (n_events, n_waiting) = (n_events + came, n_waiting + came);
            pauses.push(pause);
        }
        pauses
    }

    #[test]
    fn a_backlog_behind_calls_is_worked_off_with_pauses() {
        let pauses = drain(100_000, 2_000.0, 1_000);
        assert_eq!(pauses[1..5], [10, 20, 30, 40].map(Duration::from_millis));
        assert!(pauses.contains(&LONGEST));
        let total: Duration = pauses.iter().sum();
        assert!(total > LONGEST / 2 * pauses.len() as u32, "{total:?}");
    }

    #[test]
    fn it_keeps_up_with_more_than_its_pauses_would_leave() {
        // 100 ms for a thousand events would be too slow by far.
        let pauses = drain(100_000, 40_000.0, 1_000);
        assert!(pauses.len() < 10_000, "the backlog never ends");
    }

    #[test]
    fn nobody_waits_where_nothing_comes_in() {
        let pauses = drain(100_000, 0.0, 1_000);
        assert!(pauses[1..].iter().all(Duration::is_zero));
    }
}
