//! Python's `datetime` and `timedelta`: what they can hold, and how Python writes them.

use std::fmt;

/// A date and a time of day, with the offset of its time zone where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    civil: jiff::civil::DateTime,
    offset_micros: Option<i64>,
    fold: bool,
}

const DAY_MICROS: i64 = 86_400_000_000;

impl DateTime {
    /// `None` where Python has no such moment: years are 1 to 9999, time of day is whole microseconds, and an
    /// offset is less than a day.
    pub fn new(
        civil: jiff::civil::DateTime,
        offset_micros: Option<i64>,
        fold: bool,
    ) -> Option<Self> {
        let offset_fits = offset_micros.is_none_or(|offset| offset.abs() < DAY_MICROS);
        let fits = civil.year() >= 1 && civil.subsec_nanosecond() % 1_000 == 0 && offset_fits;
        fits.then_some(Self {
            civil,
            offset_micros,
            fold,
        })
    }

    pub fn civil(&self) -> jiff::civil::DateTime {
        self.civil
    }

    /// Microseconds east of UTC; `None` of a time without a zone.
    pub fn offset_micros(&self) -> Option<i64> {
        self.offset_micros
    }

    /// The second of two equal times of day, where a clock was put back.
    pub fn fold(&self) -> bool {
        self.fold
    }
}

impl fmt::Display for DateTime {
    /// As `datetime.isoformat()`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = self.civil;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second()
        )?;
        let micros = civil.subsec_nanosecond() / 1_000;
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        let Some(offset) = self.offset_micros else {
            return Ok(());
        };
        let sign = if offset < 0 { '-' } else { '+' };
        let (seconds, micros) = (offset.abs() / 1_000_000, offset.abs() % 1_000_000);
        write!(f, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)?;
        if seconds % 60 != 0 || micros != 0 {
            write!(f, ":{:02}", seconds % 60)?;
        }
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        Ok(())
    }
}

/// A span of time as Python keeps it: a negative span has negative days, and the rest is never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeDelta {
    days: i32,
    seconds: u32,
    micros: u32,
}

impl TimeDelta {
    const MAX_DAYS: i128 = 999_999_999;

    /// The sum of the three, each of any sign; `None` beyond Python's range.
    pub fn new(days: i64, seconds: i64, micros: i64) -> Option<Self> {
        let day_micros = i128::from(DAY_MICROS);
        let total =
            i128::from(days) * day_micros + i128::from(seconds) * 1_000_000 + i128::from(micros);
        let days = total.div_euclid(day_micros);
        let rest = total.rem_euclid(day_micros);
        if days.abs() > Self::MAX_DAYS {
            return None;
        }
        Some(Self {
            days: i32::try_from(days).ok()?,
            seconds: u32::try_from(rest / 1_000_000).ok()?,
            micros: u32::try_from(rest % 1_000_000).ok()?,
        })
    }

    pub fn days(&self) -> i32 {
        self.days
    }

    /// Seconds of the last day, below 86,400.
    pub fn seconds(&self) -> u32 {
        self.seconds
    }

    /// Microseconds of the last second.
    pub fn micros(&self) -> u32 {
        self.micros
    }

    /// The whole span in microseconds.
    pub fn total_micros(&self) -> i128 {
        i128::from(self.days) * i128::from(DAY_MICROS)
            + i128::from(self.seconds) * 1_000_000
            + i128::from(self.micros)
    }
}

impl fmt::Display for TimeDelta {
    /// As `str(timedelta)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != 0 {
            let plural = if self.days.abs() == 1 { "" } else { "s" };
            write!(f, "{} day{plural}, ", self.days)?;
        }
        let seconds = self.seconds;
        write!(
            f,
            "{}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )?;
        if self.micros != 0 {
            write!(f, ".{:06}", self.micros)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_python_writes_them() {
        let civil = jiff::civil::date(1, 2, 3).at(4, 5, 6, 7_000);
        let shown = |offset| DateTime::new(civil, offset, false).unwrap().to_string();
        assert_eq!(shown(None), "0001-02-03T04:05:06.000007");
        assert_eq!(shown(Some(0)), "0001-02-03T04:05:06.000007+00:00");
        assert_eq!(
            shown(Some(-5_400_000_000)),
            "0001-02-03T04:05:06.000007-01:30"
        );
        assert_eq!(
            shown(Some(1_000_001)),
            "0001-02-03T04:05:06.000007+00:00:01.000001"
        );
    }

    #[test]
    fn what_python_cannot_hold_is_no_moment() {
        let civil = jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0);
        assert!(DateTime::new(civil, Some(DAY_MICROS), false).is_none());
        assert!(DateTime::new(jiff::civil::date(0, 1, 1).at(0, 0, 0, 0), None, false).is_none());
        assert!(DateTime::new(jiff::civil::date(1, 1, 1).at(0, 0, 0, 1), None, false).is_none());
        assert!(TimeDelta::new(1_000_000_000, 0, 0).is_none());
    }

    #[test]
    fn a_negative_span_has_negative_days() {
        let span = TimeDelta::new(0, 0, -1).unwrap();
        assert_eq!(
            (span.days(), span.seconds(), span.micros()),
            (-1, 86_399, 999_999)
        );
        assert_eq!(span.to_string(), "-1 day, 23:59:59.999999");
        assert_eq!(span.total_micros(), -1);
    }
}
