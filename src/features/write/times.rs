//! Event timestamps: ISO 8601 text or integer nanoseconds, a column in one form.
//!
//! Text without a zone is UTC, an offset is honoured. As in pandas, all text of a column has the form of the first: the same
//! separator, the same precision, all or none with a zone. Fractions keep six digits.

use serde_json::Value as Json;

use crate::types::timestamp::Timestamp;

/// A value that is no moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// Not a moment at all.
    Unreadable {
        row: usize,
    },
    /// Text in another form than that of row `first`.
    OtherForm {
        row: usize,
        first: usize,
    },
    Null {
        row: usize,
    },
}

/// A moment per row.
pub(super) fn timestamps(values: &[Json]) -> Result<Vec<Timestamp>, Problem> {
    let mut timestamps = Vec::with_capacity(values.len());
    let mut first: Option<(usize, Form)> = None;
    for (row, value) in values.iter().enumerate() {
        let form;
        let timestamp = match value {
            Json::Null => return Err(Problem::Null { row }),
            Json::String(text) if text.is_empty() => return Err(Problem::Null { row }),
            Json::Number(number) => {
                form = Form::Nanoseconds;
                nanoseconds(number).map(Timestamp::from_micros)
            }
            Json::String(text) => match parse(text) {
                Some(parsed) => {
                    form = parsed.form;
                    Some(Timestamp::from_micros(parsed.micros))
                }
                None => return Err(Problem::Unreadable { row }),
            },
            Json::Bool(_) | Json::Array(_) | Json::Object(_) => {
                return Err(Problem::Unreadable { row });
            }
        };
        match &first {
            Some((first, own)) if *own != form => {
                return Err(Problem::OtherForm { row, first: *first });
            }
            Some(_) => {}
            None => first = Some((row, form)),
        }
        timestamps.push(timestamp.ok_or(Problem::Unreadable { row })?);
    }
    Ok(timestamps)
}

fn nanoseconds(number: &serde_json::Number) -> Option<i64> {
    if let Some(nanos) = number.as_i64() {
        return Some(nanos.div_euclid(1_000));
    }
    let nanos = number.as_f64().filter(|_| number.is_f64())?;
    // Both bounds are exact in floating point.
    let fits = (-(2f64.powi(63))..2f64.powi(63)).contains(&nanos);
    fits.then_some((nanos as i64).div_euclid(1_000))
}

/// How a moment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Nanoseconds,
    Date,
    DateTime {
        separator: u8,
        precision: Precision,
        has_zone: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    Minutes,
    Seconds,
    Fraction,
}

/// A moment that was read from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features) struct Parsed {
    /// Since the epoch, with naive text taken as UTC.
    pub(in crate::features) micros: i64,
    /// What is below the microseconds.
    pub(super) nanos: i64,
    form: Form,
}

impl Parsed {
    pub(in crate::features) fn has_zone(&self) -> bool {
        matches!(self.form, Form::DateTime { has_zone: true, .. })
    }
}

/// `YYYY-MM-DD`, then perhaps `T` or a blank and `HH:MM[:SS[.fraction]]`, then perhaps `Z` or an offset.
pub(in crate::features) fn parse(text: &str) -> Option<Parsed> {
    let mut rest = Cursor(text.as_bytes());
    let year = rest.number(4)?;
    rest.byte(b'-')?;
    let month = rest.number(2)?;
    rest.byte(b'-')?;
    let day = rest.number(2)?;
    let date = jiff::civil::Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    );
    let days = date
        .ok()?
        .since(jiff::civil::date(1970, 1, 1))
        .ok()?
        .get_days();
    let midnight = i64::from(days) * 86_400;
    if rest.0.is_empty() {
        return Some(Parsed {
            micros: midnight * 1_000_000,
            nanos: 0,
            form: Form::Date,
        });
    }
    let separator = rest.one_of(b"T ")?;
    let hours = rest.number(2).filter(|hours| *hours < 24)?;
    rest.byte(b':')?;
    let minutes = rest.number(2).filter(|minutes| *minutes < 60)?;
    let mut precision = Precision::Minutes;
    let mut seconds = 0;
    let mut fraction = 0;
    if rest.byte(b':').is_some() {
        precision = Precision::Seconds;
        seconds = rest.number(2).filter(|seconds| *seconds < 60)?;
        if rest.byte(b'.').is_some() {
            precision = Precision::Fraction;
            fraction = rest.fraction()?;
        }
    }
    let offset = rest.offset()?;
    let seconds = midnight + hours * 3_600 + minutes * 60 + seconds - offset.unwrap_or(0);
    Some(Parsed {
        micros: seconds * 1_000_000 + fraction / 1_000,
        nanos: fraction % 1_000,
        form: Form::DateTime {
            separator,
            precision,
            has_zone: offset.is_some(),
        },
    })
}

/// The rest of a text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self, wanted: u8) -> Option<u8> {
        self.one_of(&[wanted])
    }

    fn one_of(&mut self, wanted: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        if !wanted.contains(first) {
            return None;
        }
        self.0 = rest;
        Some(*first)
    }

    /// So many digits, exactly.
    fn number(&mut self, n_digits: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(n_digits)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.0 = rest;
        Some(number)
    }

    /// One to nine digits, as nanoseconds.
    fn fraction(&mut self) -> Option<i64> {
        let n_digits = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(1..=9).contains(&n_digits) {
            return None;
        }
        let number = self.number(n_digits)?;
        Some((n_digits..9).fold(number, |number, _| number * 10))
    }

    /// The end, `Z`, `+HH:MM`, `+HHMM` or `+HH`, perhaps behind a blank: seconds east of UTC.
    fn offset(&mut self) -> Option<Option<i64>> {
        if self.0.is_empty() {
            return Some(None);
        }
        // Both are optional here; what is wrong shows below.
        self.byte(b' ');
        let seconds = match self.one_of(b"Z+-")? {
            b'Z' => 0,
            sign => {
                let hours = self.number(2).filter(|hours| *hours < 24)?;
                let mut minutes = 0;
                if !self.0.is_empty() {
                    self.byte(b':');
                    minutes = self.number(2).filter(|minutes| *minutes < 60)?;
                }
                let seconds = hours * 3_600 + minutes * 60;
                if sign == b'-' { -seconds } else { seconds }
            }
        };
        self.0.is_empty().then_some(Some(seconds))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(values: Json) -> Result<Vec<String>, Problem> {
        let timestamps = timestamps(values.as_array().unwrap())?;
        Ok(timestamps.iter().map(Timestamp::to_string).collect())
    }

    #[test]
    fn a_zone_is_honoured_and_none_is_utc() {
        for (text, moment) in [
            ("2024-03-05", "2024-03-05T00:00:00Z"),
            ("2024-03-05T10:00", "2024-03-05T10:00:00Z"),
            ("2024-03-05 10:00:00", "2024-03-05T10:00:00Z"),
            ("2024-03-05T10:00:00Z", "2024-03-05T10:00:00Z"),
            ("2024-03-05T10:00:00+02:00", "2024-03-05T08:00:00Z"),
            ("2024-03-05T10:00:00-0530", "2024-03-05T15:30:00Z"),
            ("2024-03-05T10:00:00 +02", "2024-03-05T08:00:00Z"),
            (
                "2024-03-05T10:00:00.123456789",
                "2024-03-05T10:00:00.123456Z",
            ),
            (
                "1969-12-31T23:59:59.9999999Z",
                "1969-12-31T23:59:59.999999Z",
            ),
        ] {
            assert_eq!(read(json!([text])).unwrap(), [moment], "{text}");
        }
        let two = read(json!(["2024-03-05T10:00:00Z", "2024-03-05T10:00:00+02:00"]));
        assert_eq!(two.unwrap()[1], "2024-03-05T08:00:00Z");
    }

    #[test]
    fn numbers_are_nanoseconds_rounded_down() {
        let moments = read(json!([1_709_856_000_000_000_123_i64, 1_709_856_000, -1]));
        assert_eq!(
            moments.unwrap(),
            [
                "2024-03-08T00:00:00Z",
                "1970-01-01T00:00:01.709856Z",
                "1969-12-31T23:59:59.999999Z"
            ]
        );
    }

    #[test]
    fn text_of_another_form_is_told_with_its_row() {
        for (first, second) in [
            ("2024-03-06T10:00:00.250", "2024-03-06T09:00:00"),
            ("2024-03-05T10:00:00", "2024-03-05T10:00:00Z"),
            ("2024-03-05", "2024-03-05T10:00:00"),
            ("2024-03-05T10:00:00", "2024-03-05 10:00:00"),
        ] {
            let problem = Problem::OtherForm { row: 1, first: 0 };
            assert_eq!(read(json!([first, second])), Err(problem));
        }
        let problem = Problem::OtherForm { row: 1, first: 0 };
        assert_eq!(read(json!([1, "2024-03-05"])), Err(problem));
    }

    #[test]
    fn what_is_no_moment_is_told_with_its_row() {
        for text in [
            "abc",
            "2024-13-01",
            "2024-02-30",
            "2024-03-05T24:00:00",
            "2024-03-05T10:00:60",
            "2024-03-05T10:00:00.",
            "2024-03-05T10:00:00+",
            "2024-03-05T10:00:00Zx",
            "1709856000",
            "2024-03-05T10:00:00.1234567890",
            "2024-3-5",
            "２024-03-05",
        ] {
            let problem = Problem::Unreadable { row: 1 };
            assert_eq!(read(json!(["2024-03-05", text])), Err(problem), "{text}");
        }
        assert_eq!(read(json!([true])), Err(Problem::Unreadable { row: 0 }));
        assert_eq!(read(json!([null])), Err(Problem::Null { row: 0 }));
        assert_eq!(read(json!([""])), Err(Problem::Null { row: 0 }));
    }
}
