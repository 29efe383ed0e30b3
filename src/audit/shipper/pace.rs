//! How much is shipped at once while calls are answered: after an outage a backlog would else take the cores from them.
//!
//! Who asks the sink for all it can take encodes, compresses and sends as fast as the machine allows; for the seconds that takes, calls
//! feel it. So as long as events come in, each read takes at most half more than what comes in until the next one: a backlog is gone
//! after about twice as long as it took to grow, and shipping it costs calls half of what shipping costs them anyway. When nothing
//! comes in there is no limit.

use std::time::Duration;

use tokio::time::Instant;

use super::{BATCH_BYTES, LINGER};
use crate::audit::batch::Batch;

/// Over how long it is counted what comes in.
const SAMPLE: Duration = Duration::from_secs(1);
/// Shipped to what comes in.
const FACTOR: f64 = 1.5;
/// Events per second that are shipped beside however few calls.
const AT_LEAST: f64 = 3_000.0;
/// Of an event, until one was seen.
const EVENT_BYTES: usize = 1024;

#[derive(Debug)]
pub(super) struct Pace {
    /// When the sample began, and how many events there had been by then.
    since: Instant,
    n_events: u64,
    n_shipped: u64,
    /// Events per second that came in the last sample.
    rate: f64,
    /// More came than were shipped, and nobody was told.
    falls_behind: bool,
    /// As in the last batch.
    event_bytes: usize,
}

impl Pace {
    /// `n_events` were appended so far.
    pub(super) fn new(now: Instant, n_events: u64) -> Self {
        Self {
            since: now,
            n_events,
            n_shipped: 0,
            rate: 0.0,
            falls_behind: false,
            event_bytes: EVENT_BYTES,
        }
    }

    /// How many bytes may be read now, and how long to wait afterwards. `n_events` were appended so far and `n_shipped` delivered.
    pub(super) fn next(
        &mut self,
        now: Instant,
        n_events: u64,
        n_shipped: u64,
    ) -> (usize, Duration) {
        let elapsed = now.duration_since(self.since);
        if elapsed >= SAMPLE {
            let n_came = n_events.saturating_sub(self.n_events);
            self.rate = n_came as f64 / elapsed.as_secs_f64();
            let is_late =
                n_events.saturating_sub(n_shipped) as f64 > self.rate * SAMPLE.as_secs_f64();
            // After a longer time without a look the sink was away: that says nothing of how fast it is.
            let is_at_work = elapsed < SAMPLE * 2;
            self.falls_behind =
                is_at_work && is_late && n_came > n_shipped.saturating_sub(self.n_shipped);
            (self.since, self.n_events, self.n_shipped) = (now, n_events, n_shipped);
        }
        if self.rate == 0.0 {
            return (BATCH_BYTES, Duration::ZERO);
        }
        let n_events = (self.rate * FACTOR).max(AT_LEAST) * LINGER.as_secs_f64();
        let n_bytes = n_events * self.event_bytes as f64;
        match n_bytes / BATCH_BYTES as f64 {
            n_batches if n_batches > 1.0 => (BATCH_BYTES, LINGER.div_f64(n_batches)),
            _ => (n_bytes.ceil() as usize, LINGER),
        }
    }

    /// Whether more may be sent before something is delivered, if it waits for that: always when nothing comes in, else once for each
    /// sample in which more came than was shipped, where that is more than a second late.
    pub(super) fn is_too_slow(&mut self) -> bool {
        self.rate == 0.0 || std::mem::take(&mut self.falls_behind)
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self) {
        self.rate = 0.0;
    }

    pub(super) fn sent(&mut self, batch: &Batch) {
        self.event_bytes = batch.n_bytes() / batch.events().len();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::audit::batch::{Offset, SpooledEvent};

    const BYTES: usize = 1_200;

    fn batch() -> Batch {
        let event = |sequence| SpooledEvent {
            offset: Offset {
                writer: Uuid::nil(),
                sequence,
            },
            json: Bytes::from(vec![b'x'; BYTES]),
        };
        Batch::new(vec![event(1), event(2)]).unwrap()
    }

    /// Seconds until a backlog is shipped beside `rate` events a second; `None` if it is not within an hour.
    fn drain(backlog: f64, rate: f64) -> Option<f64> {
        let begun = Instant::now();
        let mut pace = Pace::new(begun, backlog as u64);
        pace.sent(&batch());
        let mut now = begun + SAMPLE;
        let mut n_shipped = 0.0;
        while now < begun + Duration::from_secs(3600) {
            let n_events = backlog + (now - begun).as_secs_f64() * rate;
            if n_shipped > n_events {
                return Some((now - begun).as_secs_f64());
            }
            let (n_bytes, pause) = pace.next(now, n_events as u64, n_shipped as u64);
            n_shipped += (n_bytes / BYTES) as f64;
            now += pause;
        }
        None
    }

    #[test]
    fn a_backlog_is_gone_after_about_twice_as_long_as_it_took_to_grow() {
        for rate in [2_000.0, 10_000.0, 100_000.0] {
            let seconds = drain(rate * 60.0, rate).unwrap();
            assert!((90.0..130.0).contains(&seconds), "{seconds} s at {rate}/s");
        }
        let few_calls = drain(60_000.0, 1.0).unwrap();
        assert!((15.0..25.0).contains(&few_calls), "{few_calls} s");
    }

    #[test]
    fn there_is_no_limit_where_nothing_comes_in() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun, 7);
        let no_limit = (BATCH_BYTES, Duration::ZERO);
        assert_eq!(pace.next(begun + SAMPLE, 7, 0), no_limit);
        assert_ne!(pace.next(begun + SAMPLE * 2, 8, 0), no_limit);
        // One call long ago is none.
        assert_eq!(pace.next(begun + SAMPLE * 3, 8, 0), no_limit);
    }
    #[test]
    fn more_is_sent_at_once_only_where_shipping_is_too_slow() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun, 0);
        assert!(pace.is_too_slow(), "nothing comes in");
        let mut look = |second: u32, n_events, n_shipped| {
            let _ = pace.next(begun + SAMPLE * second, n_events, n_shipped);
            [pace.is_too_slow(), pace.is_too_slow()]
        };
        assert_eq!(look(1, 1_000, 1_000), [false; 2]);
        assert_eq!(look(2, 2_000, 1_500), [false; 2]);
        assert_eq!(look(3, 3_000, 1_800), [true, false]);
        assert_eq!(look(4, 4_000, 2_900), [false; 2]);
        // The sink was away.
        assert_eq!(look(64, 64_000, 2_900), [false; 2]);
        assert_eq!(look(65, 65_000, 4_000), [false; 2]);
        pace.end();
        assert!(pace.is_too_slow(), "nothing comes any more");
    }
}
