//! A moment in UTC with microsecond precision, as Feast keeps event timestamps.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// Microseconds since the Unix epoch; negative before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Saturates far outside any calendar.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The moment that much later; saturates far outside any calendar.
    pub fn after(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long before `now` this was; zero for a moment still to come.
    pub fn age_at(self, now: Self) -> Duration {
        let micros = now.0.saturating_sub(self.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            Err(before) => Self(-i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX)),
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many fractional digits as are needed: none, 3 or 6.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Rfc3339::of(*self) {
            Some(text) => f.write_str(text.as_str()),
            None => match jiff::Timestamp::from_microsecond(self.0) {
                Ok(timestamp) => write!(f, "{timestamp:.*}", n_fractional_digits(*self)),
                Err(_) => write!(f, "{}us", self.0),
            },
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Rfc3339::of(*self) {
            Some(text) => serializer.serialize_str(text.as_str()),
            None => serializer.collect_str(self),
        }
    }
}

fn n_fractional_digits(timestamp: Timestamp) -> usize {
    match timestamp.0.rem_euclid(1_000_000) {
        0 => 0,
        micros if micros % 1_000 == 0 => 3,
        _ => 6,
    }
}

/// The text of a moment of the years 0 to 9999, without the general formatter: answers and audit events have one for each feature.
struct Rfc3339 {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Rfc3339 {
    const LONGEST: usize = "2026-11-30T12:34:56.123456Z".len();

    fn of(timestamp: Timestamp) -> Option<Self> {
        let jiff = jiff::Timestamp::from_microsecond(timestamp.0).ok()?;
        let civil = jiff::tz::Offset::UTC.to_datetime(jiff);
        let mut bytes = *b"0000-00-00T00:00:00.000000Z";
        put(&mut bytes[..4], u32::try_from(civil.year()).ok()?);
        let pairs = [
            (5, civil.month()),
            (8, civil.day()),
            (11, civil.hour()),
            (14, civil.minute()),
            (17, civil.second()),
        ];
        for (at, number) in pairs {
            put(&mut bytes[at..at + 2], u32::from(number.unsigned_abs()));
        }
        let micros = timestamp.0.rem_euclid(1_000_000);
        put(&mut bytes[20..26], u32::try_from(micros).ok()?);
        let end = match n_fractional_digits(timestamp) {
            0 => 19,
            n_digits => 20 + n_digits,
        };
        bytes[end] = b'Z';
        let length = end + 1;
        Some(Self { bytes, length })
    }

    fn as_str(&self) -> &str {
        // It is ASCII.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// Fills the place with the number's last digits.
fn put(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_shortest_fraction_that_is_exact() {
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(
            Timestamp::from_micros(1_500_000).to_string(),
            "1970-01-01T00:00:01.500Z"
        );
        assert_eq!(
            Timestamp::from_micros(1_000_001).to_string(),
            "1970-01-01T00:00:01.000001Z"
        );
        assert_eq!(
            Timestamp::from_micros(-1).to_string(),
            "1969-12-31T23:59:59.999999Z"
        );
    }

    #[test]
    fn texts_are_those_of_the_general_formatter() {
        let mut micros = -70_000_000_000_000_000_i64;
        while micros < 250_000_000_000_000_000 {
            for micros in [
                micros,
                micros / 1_000 * 1_000,
                micros / 1_000_000 * 1_000_000,
            ] {
                let timestamp = Timestamp::from_micros(micros);
                let general = jiff::Timestamp::from_microsecond(micros).unwrap();
                let general = format!("{general:.*}", n_fractional_digits(timestamp));
                assert_eq!(timestamp.to_string(), general);
                let json = serde_json::to_string(&timestamp).unwrap();
                assert_eq!(json, format!("\"{general}\""));
            }
            micros += 1_234_567_891_234;
        }
        assert_eq!(
            Timestamp::from_micros(i64::MAX).to_string(),
            "9223372036854775807us"
        );
    }

    #[test]
    fn a_moment_to_come_has_age_zero() {
        assert_eq!(
            Timestamp::from_seconds(10).age_at(Timestamp::from_seconds(3)),
            Duration::ZERO
        );
        assert_eq!(
            Timestamp::from_seconds(3).age_at(Timestamp::from_seconds(10)),
            Duration::from_secs(7)
        );
    }
}
