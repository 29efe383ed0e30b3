//! How Feast keeps time in SQLite: the UTC wall clock, read as if it were the process's local time.
//!
//! Under `TZ=America/New_York` midnight UTC is stored as the epoch seconds of midnight in New York. Whole seconds only. Run
//! everything with `TZ=UTC` where several programs share a file.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::types::timestamp::Timestamp;

#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// `None` where the rule changes nothing.
    zone: Option<TimeZone>,
}

impl Clock {
    pub(super) fn new(zone: TimeZone) -> Self {
        let is_utc = zone == TimeZone::UTC
            || matches!(zone.iana_name(), Some("UTC" | "Etc/UTC"))
            || zone.to_fixed_offset().is_ok_and(|offset| offset.is_zero());
        Self {
            zone: (!is_utc).then_some(zone),
        }
    }

    /// What is stored for a moment; its fraction is dropped.
    pub(super) fn stored(&self, timestamp: Timestamp) -> i64 {
        let seconds = timestamp.as_seconds();
        let Some(zone) = &self.zone else {
            return seconds;
        };
        shifted(seconds, &TimeZone::UTC, zone)
    }

    /// The moment that something was stored for.
    pub(super) fn moment(&self, stored: i64) -> Timestamp {
        let seconds = match &self.zone {
            None => stored,
            Some(zone) => shifted(stored, zone, &TimeZone::UTC),
        };
        Timestamp::from_seconds(seconds)
    }
}

/// The moment at which `to` shows what `from` shows at `seconds`. Of two such moments the first, as in Python; outside the
/// calendar the same moment.
fn shifted(seconds: i64, from: &TimeZone, to: &TimeZone) -> i64 {
    let shift = || -> Result<i64, jiff::Error> {
        let wall: DateTime = from.to_datetime(jiff::Timestamp::from_second(seconds)?);
        Ok(to.to_ambiguous_timestamp(wall).compatible()?.as_second())
    };
    shift().unwrap_or(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_zone_shift_is_reproduced_both_ways() {
        // Feast under TZ=America/New_York stored 2024-07-01T00:00:00Z as 1719806400.
        let clock = Clock::new(TimeZone::get("America/New_York").unwrap());
        let midnight = Timestamp::from_seconds(1_719_792_000);
        assert_eq!(clock.stored(midnight), 1_719_806_400);
        assert_eq!(clock.moment(1_719_806_400), midnight);
    }

    #[test]
    fn utc_by_any_name_changes_nothing() {
        for name in ["UTC", "Etc/UTC"] {
            let clock = Clock::new(TimeZone::get(name).unwrap());
            assert!(clock.zone.is_none(), "{name}");
            assert_eq!(clock.stored(Timestamp::from_micros(-1)), -1);
        }
    }

    #[test]
    fn moments_outside_the_calendar_stay() {
        let clock = Clock::new(TimeZone::get("Asia/Kolkata").unwrap());
        assert_eq!(clock.moment(i64::MAX).as_micros(), i64::MAX);
    }
}
