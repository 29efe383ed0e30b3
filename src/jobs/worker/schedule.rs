//! When a cron job is due: the five fields of crontab, or six with seconds first.
//!
//! `*`, numbers, ranges (`1-5`), steps (`*/15`, `10-40/10`), lists of these, and three letters of English names of months
//! and week days; 0 and 7 are Sunday. As in Vixie's cron a day counts if either day field says so, once both say something;
//! a time that a change of clocks leaves out is left out, one that comes twice comes once.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{ToSpan, Zoned};

use crate::types::timestamp::Timestamp;

/// The moments at which a cron job is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Bit 0 is Sunday.
    weekdays: u64,
    /// Whether the day field, the week day field says something.
    restricts: (bool, bool),
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("`{text}` has {n_fields} fields, not the five of crontab, or six with seconds first")]
    Fields { text: String, n_fields: usize },
    #[error("`{part}` is no {field} from {first} to {last}")]
    Field {
        part: String,
        field: &'static str,
        first: u8,
        last: u8,
    },
    #[error("`{text}` is never due")]
    Never { text: String },
}

struct Field {
    name: &'static str,
    first: u8,
    last: u8,
    names: &'static [&'static str],
}

const SECOND: Field = Field::new("second", 0, 59, &[]);
const MINUTE: Field = Field::new("minute", 0, 59, &[]);
const HOUR: Field = Field::new("hour", 0, 23, &[]);
const DAY: Field = Field::new("day", 1, 31, &[]);
const MONTH: Field = Field::new(
    "month",
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
const WEEKDAY: Field = Field::new(
    "week day",
    0,
    7,
    &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
);

/// A leap day that is also a certain week day may be 40 years away.
const DAYS_LOOKED_AT: i32 = 366 * 41;

impl Field {
    const fn new(name: &'static str, first: u8, last: u8, names: &'static [&'static str]) -> Self {
        Self {
            name,
            first,
            last,
            names,
        }
    }

    /// The set of numbers that a list of ranges names, as bits.
    fn parse(&self, text: &str) -> Result<u64, ScheduleError> {
        let mut set = 0;
        for part in text.split(',') {
            let wrong = || ScheduleError::Field {
                part: part.to_owned(),
                field: self.name,
                first: self.first,
                last: self.last,
            };
            let (range, step) = match part.split_once('/') {
                None => (part, None),
                Some((range, step)) => {
                    let step = step.parse::<u8>().ok().filter(|step| *step > 0);
                    (range, Some(step.ok_or_else(wrong)?))
                }
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (self.first, self.last),
                Some((from, to)) => (
                    self.number(from).ok_or_else(wrong)?,
                    self.number(to).ok_or_else(wrong)?,
                ),
                None => {
                    let from = self.number(range).ok_or_else(wrong)?;
                    // `5/15` means from 5 on.
                    (from, if step.is_some() { self.last } else { from })
                }
            };
            if from > to {
                return Err(wrong());
            }
            let numbers = (from..=to).step_by(usize::from(step.unwrap_or(1)));
            set |= numbers.fold(0, |set, number| set | 1 << number);
        }
        Ok(set)
    }

    fn number(&self, text: &str) -> Option<u8> {
        let place = self
            .names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        let number = match place {
            Some(place) => self.first + u8::try_from(place).ok()?,
            None => text.parse().ok()?,
        };
        (self.first..=self.last).contains(&number).then_some(number)
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let (second, fields) = match fields.len() {
            5 => ("0", &fields[..]),
            6 => (fields[0], &fields[1..]),
            n_fields => {
                return Err(ScheduleError::Fields {
                    text: text.to_owned(),
                    n_fields,
                });
            }
        };
        let weekdays = WEEKDAY.parse(fields[4])?;
        let schedule = Self {
            text: text.to_owned(),
            seconds: SECOND.parse(second)?,
            minutes: MINUTE.parse(fields[0])?,
            hours: HOUR.parse(fields[1])?,
            days: DAY.parse(fields[2])?,
            months: MONTH.parse(fields[3])?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            restricts: (!fields[2].starts_with('*'), !fields[4].starts_with('*')),
        };
        if schedule.next(Timestamp::EPOCH, &TimeZone::UTC).is_none() {
            return Err(ScheduleError::Never {
                text: text.to_owned(),
            });
        }
        Ok(schedule)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Schedule {
    /// The first moment after `after` at which it is due, by the clocks of `zone`. `None` outside the calendar.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_microsecond(after.as_micros()).ok()?;
        let begin: Zoned = instant.to_zoned(zone.clone());
        let mut day = begin.date();
        for _ in 0..DAYS_LOOKED_AT {
            if self.has_day(day) {
                let from = (day == begin.date()).then(|| begin.time());
                if let Some(due) = self.within(day, from, instant, zone) {
                    return Some(Timestamp::from_micros(due.as_microsecond()));
                }
            }
            day = day.checked_add(1.day()).ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let is_in = |set: u64, number: i8| set & (1 << number) != 0;
        if !is_in(self.months, date.month()) {
            return false;
        }
        let day = is_in(self.days, date.day());
        let weekday = is_in(self.weekdays, date.weekday().to_sunday_zero_offset());
        match self.restricts {
            (true, true) => day || weekday,
            (true, false) | (false, true) | (false, false) => day && weekday,
        }
    }

    /// The first moment of a day that is later than `instant`; what lies before `from` on that day's clock is not tried,
    /// apart from the hours that a change of clocks may repeat.
    fn within(
        &self,
        day: Date,
        from: Option<Time>,
        instant: jiff::Timestamp,
        zone: &TimeZone,
    ) -> Option<jiff::Timestamp> {
        let first_hour = from.map_or(0, |from| from.hour());
        for hour in bits(self.hours).filter(|hour| *hour >= first_hour) {
            for minute in bits(self.minutes) {
                for second in bits(self.seconds) {
                    let time = DateTime::from_parts(day, Time::new(hour, minute, second, 0).ok()?);
                    let ambiguous = zone.to_ambiguous_timestamp(time);
                    if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
                        continue;
                    }
                    let due = ambiguous.earlier().ok()?;
                    if due > instant {
                        return Some(due);
                    }
                }
            }
        }
        None
    }
}

/// The numbers of a set, ascending.
fn bits(set: u64) -> impl Iterator<Item = i8> {
    (0..=59).filter(move |bit| set & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, after: &str, zone: &str) -> String {
        let after: jiff::Timestamp = after.parse().unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let schedule: Schedule = text.parse().unwrap();
        let next = schedule.next(Timestamp::from_micros(after.as_microsecond()), &zone);
        next.unwrap().to_string()
    }

    #[test]
    fn fields_read_as_crontabs() {
        let cases = [
            (
                "*/15 * * * *",
                "2026-11-23T10:07:30Z",
                "2026-11-23T10:15:00Z",
            ),
            ("0 3 * * *", "2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z"),
            (
                "30 9-17 * * mon-fri",
                "2026-11-20T17:31:00Z",
                "2026-11-23T09:30:00Z",
            ),
            (
                "0 0 1 jan *",
                "2026-11-23T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            ("0 0 29 2 *", "2026-11-23T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 12 * * 7", "2026-11-23T00:00:00Z", "2026-11-29T12:00:00Z"),
            // Either day field counts once both say something.
            (
                "0 0 13 * fri",
                "2026-11-23T00:00:00Z",
                "2026-11-27T00:00:00Z",
            ),
            (
                "*/10 * * * * *",
                "2026-11-23T00:00:55Z",
                "2026-11-23T00:01:00Z",
            ),
            (
                "5/20 * * * *",
                "2026-11-23T00:26:00Z",
                "2026-11-23T00:45:00Z",
            ),
        ];
        for (text, after, expected) in cases {
            assert_eq!(next(text, after, "UTC"), expected, "{text} after {after}");
        }
    }

    #[test]
    fn clocks_that_change_neither_repeat_nor_invent_a_time() {
        // 02:30 does not exist on the last Sunday of March, and comes twice on the last one of October.
        let zone = "Europe/Berlin";
        assert_eq!(
            next("30 2 * * *", "2027-03-27T12:00:00Z", zone),
            "2027-03-29T00:30:00Z"
        );
        let first = next("30 2 * * *", "2026-10-24T12:00:00Z", zone);
        assert_eq!(first, "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", &first, zone), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn what_is_no_schedule_says_which_part() {
        let cases = [
            ("* * * *", "has 4 fields"),
            ("60 * * * *", "`60` is no minute from 0 to 59"),
            ("*/0 * * * *", "`*/0` is no minute"),
            ("0 0 5-1 * *", "`5-1` is no day"),
            ("0 0 * foo *", "`foo` is no month"),
            ("0 0 31 2 *", "is never due"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
