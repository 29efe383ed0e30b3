//! JSON as Feast's Python server writes it: shortest float text in Python's form, RFC 3339 timestamps, non-ASCII kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::features::codec::{self, Scalar, WireError};
use crate::features::key::KeyValue;
use crate::types::timestamp::Timestamp;
use crate::types::value::{List, Map, Value};

/// The epoch, as a JSON string.
pub(super) const EPOCH: &[u8] = b"\"1970-01-01T00:00:00Z\"";

/// Writes a stored value; bytes that are no value write nothing.
pub(super) fn put_stored(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), WireError> {
    match codec::scalar(bytes)? {
        Some(scalar) => put_scalar(out, scalar),
        None => put_value(out, &codec::decode(bytes)?),
    }
    Ok(())
}

fn put_scalar(out: &mut Vec<u8>, scalar: Scalar<'_>) {
    match scalar {
        Scalar::Null => out.extend_from_slice(b"null"),
        Scalar::Bytes(bytes) => put_base64(out, bytes),
        Scalar::Text(text) => put_text(out, text),
        Scalar::Int(number) => put_integer(out, number),
        Scalar::Double(number) => put_double(out, number),
        Scalar::Bool(value) => put_bool(out, value),
    }
}

pub(super) fn put_key(out: &mut Vec<u8>, key: &KeyValue) {
    match key {
        KeyValue::Bytes(bytes) => put_base64(out, bytes),
        KeyValue::String(text) => put_text(out, text),
        KeyValue::Int32(number) => put_integer(out, i64::from(*number)),
        KeyValue::Int64(number) | KeyValue::UnixTimestamp(number) => put_integer(out, *number),
    }
}

pub(super) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null | Value::ScalarMap(_) => out.extend_from_slice(b"null"),
        Value::Bytes(bytes) => put_base64(out, bytes),
        Value::String(text) | Value::Text(_, text) => put_text(out, text),
        Value::Int32(number) => put_integer(out, i64::from(*number)),
        Value::Int64(number) | Value::UnixTimestamp(number) => put_integer(out, *number),
        Value::Double(number) => put_double(out, *number),
        Value::Float(number) => put_double(out, f64::from(*number)),
        Value::Bool(value) => put_bool(out, *value),
        Value::List(list) | Value::Set(list) => put_list(out, list),
        Value::Map(map) | Value::Struct(map) => put_map(out, map),
        Value::MapList(maps) | Value::StructList(maps) => {
            put_items(out, maps, put_map)
        }
        Value::TextList(_, texts) | Value::TextSet(_, texts) => {
            put_items(out, texts, |out, text| put_text(out, text));
        }
        Value::Values(values) | Value::ValueSet(values) => put_items(out, values, put_value),
        // Its text is in `types::value`, where the zones are.
        Value::ZonedTimestamp { .. } => put_json(out, value),
    }
}

fn put_list(out: &mut Vec<u8>, list: &List) {
    match list {
        List::Bytes(items) => put_items(out, items, |out, item| put_base64(out, item)),
        List::String(items) => put_items(out, items, |out, item| put_text(out, item)),
        List::Int32(items) => put_items(out, items, |out, item| put_integer(out, i64::from(*item))),
        List::Int64(items) | List::UnixTimestamp(items) => {
            put_items(out, items, |out, item| put_integer(out, *item));
        }
        List::Double(items) => put_items(out, items, |out, item| put_double(out, *item)),
        List::Float(items) => put_items(out, items, |out, item| put_double(out, f64::from(*item))),
        List::Bool(items) => put_items(out, items, |out, item| put_bool(out, *item)),
    }
}

fn put_map(out: &mut Vec<u8>, map: &Map) {
    out.push(b'{');
    for (i, (key, value)) in map.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put_text(out, key);
        out.push(b':');
        put_value(out, value);
    }
    out.push(b'}');
}

/// A JSON array.
pub(super) fn put_items<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put(out, item);
    }
    out.push(b']');
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_json(out, text);
}

fn put_integer(out: &mut Vec<u8>, number: i64) {
    put_json(out, &number);
}

/// What serde_json writes as Python does.
fn put_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Memory takes every byte, and none of our types fails to serialize.
    let _ = serde_json::to_writer(out, value);
}

fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// The shortest digits that read back, with an exponent below 1e-4 and from 1e16.
pub(super) fn put_double(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        out.extend_from_slice(match number {
            f64::INFINITY => b"\"Infinity\"",
            f64::NEG_INFINITY => b"\"-Infinity\"",
            _ => b"\"NaN\"",
        });
        return;
    }
    let start = out.len();
    put_json(out, &number);
    let size = number.abs();
    let is_plain = size == 0.0 || (1e-4..1e16).contains(&size);
    if is_plain == out[start..].contains(&b'e') || !is_plain {
        let text = out.split_off(start);
        put_decimal(out, &text, is_plain);
    }
}

/// Rewrites digits with a point, an exponent or both.
fn put_decimal(out: &mut Vec<u8>, text: &[u8], is_plain: bool) {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let n_zeros = (all.len() - digits.len()) as i32;
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    // Of the first digit.
    let exponent = exponent.parse::<i32>().unwrap_or(0) + whole.len() as i32 - n_zeros - 1;
    out.extend_from_slice(sign.as_bytes());
    if !is_plain {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first.as_bytes());
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest.as_bytes());
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
        return;
    }
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(digits.as_bytes());
        return;
    }
    let n_whole = exponent as usize + 1;
    let padded = format!("{digits:0<n_whole$}");
    let (whole, fraction) = padded.split_at(n_whole);
    out.extend_from_slice(whole.as_bytes());
    out.push(b'.');
    out.extend_from_slice(if fraction.is_empty() {
        b"0"
    } else {
        fraction.as_bytes()
    });
}

/// RFC 3339 in UTC as a JSON string, with 0, 3 or 6 digits of a second.
pub(super) fn put_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    if timestamp == Timestamp::EPOCH {
        out.extend_from_slice(EPOCH);
        return;
    }
    let seconds = timestamp.as_seconds();
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        put_json(out, &timestamp);
        return;
    }
    let mut text = *b"\"0000-00-00T00:00:00";
    put_digits(&mut text[1..5], year as u32);
    put_digits(&mut text[6..8], month);
    put_digits(&mut text[9..11], day);
    put_digits(&mut text[12..14], (of_day / 3_600) as u32);
    put_digits(&mut text[15..17], (of_day / 60 % 60) as u32);
    put_digits(&mut text[18..20], (of_day % 60) as u32);
    out.extend_from_slice(&text);
    let micros = timestamp.as_micros().rem_euclid(1_000_000) as u32;
    if micros != 0 {
        let mut fraction = *b".000000";
        put_digits(&mut fraction[1..], micros);
        let n_digits = if micros.is_multiple_of(1_000) { 4 } else { 7 };
        out.extend_from_slice(&fraction[..n_digits]);
    }
    out.extend_from_slice(b"Z\"");
}

fn put_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar. Years run from March, so that
/// the leap day is the last of its year; eras of 400 years have equal lengths.
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (year + era * 400 + next, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (f64::from(0.1_f32), "0.10000000149011612"),
            (1.0, "1.0"),
            (123456.75, "123456.75"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (-1.5e22, "-1.5e+22"),
            (1e100, "1e+100"),
            (0.0001, "0.0001"),
            (0.000_123_4, "0.0001234"),
            (0.00001, "1e-05"),
            (-0.000_012_3, "-1.23e-05"),
            (1e-300, "1e-300"),
            (5e-324, "5e-324"),
            (f64::from(f32::MAX), "3.4028234663852886e+38"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(written(|out| put_double(out, number)), text);
        }
    }

    #[test]
    fn digits_survive_a_change_of_form() {
        for (text, is_plain, wanted) in [
            ("1.25e2", true, "125.0"),
            ("125e-4", true, "0.0125"),
            ("1e3", true, "1000.0"),
            ("0.000012", false, "1.2e-05"),
            ("12000000000000000000.0", false, "1.2e+19"),
        ] {
            assert_eq!(
                written(|out| put_decimal(out, text.as_bytes(), is_plain)),
                wanted
            );
        }
    }

    #[test]
    fn timestamps_agree_with_the_calendar() {
        for micros in [
            0,
            1,
            1_500_000,
            951_782_400_000_000,
            951_868_800_000_000,
            1_709_210_096_123_456,
            4_107_542_399_999_000,
            -1,
            -86_400_000_000,
            253_402_207_199_999_999,
        ] {
            let timestamp = Timestamp::from_micros(micros);
            assert_eq!(
                written(|out| put_timestamp(out, timestamp)),
                format!("\"{timestamp}\"")
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn every_float_reads_back(bits: u64) {
            let number = f64::from_bits(bits);
            if number.is_finite() {
                let text = written(|out| put_double(out, number));
                proptest::prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{}", text);
            }
        }

        #[test]
        fn every_timestamp_of_four_digit_years_agrees(micros in -62_135_596_800_000_000_i64..253_402_207_200_000_000) {
            let timestamp = Timestamp::from_micros(micros);
            proptest::prop_assert_eq!(written(|out| put_timestamp(out, timestamp)), format!("\"{timestamp}\""));
        }
    }
}
