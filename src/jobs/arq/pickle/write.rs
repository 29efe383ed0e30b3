//! Writing a pickle of protocol 4 without frames or memo: the subset that plain values need.
//!
//! Classes are named only as constants here, never from a value.

use std::fmt::Display;

use num_bigint::BigInt;

use super::super::{Codec, EncodeError};
use crate::jobs::value::{DateTime, Value};

pub(in crate::jobs::arq) fn put_header(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x80, 4]);
}

pub(in crate::jobs::arq) fn put_stop(out: &mut Vec<u8>) {
    out.push(b'.');
}

/// An exception with at most one argument.
pub(in crate::jobs::arq) fn put_exception(
    out: &mut Vec<u8>,
    module: &'static str,
    name: &'static str,
    arg: Option<&str>,
) {
    put_class(out, module, name);
    match arg {
        Some(arg) => {
            put_text(out, arg);
            out.push(0x85);
        }
        None => out.push(b')'),
    }
    out.push(b'R');
}

/// Appends the value, without header and without stop.
pub(in crate::jobs::arq) fn put(out: &mut Vec<u8>, value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::None => out.push(b'N'),
        Value::Bool(true) => out.push(0x88),
        Value::Bool(false) => out.push(0x89),
        Value::Int(value) => put_int(out, *value),
        Value::BigInt(value) => put_long(out, value),
        Value::Float(value) => put_float(out, *value),
        Value::Str(text) => put_text(out, text),
        Value::Bytes(bytes) => put_bytes(out, bytes),
        Value::ByteArray(bytes) => {
            put_class(out, "builtins", "bytearray");
            put_bytes(out, bytes);
            out.extend_from_slice(&[0x85, b'R']);
        }
        Value::List(items) => put_filled(out, b"]", b"e", items)?,
        Value::Tuple(items) if items.is_empty() => out.push(b')'),
        Value::Tuple(items) => put_marked(out, b't', items)?,
        Value::Set(items) => put_filled(out, b"\x8f", b"\x90", items)?,
        Value::FrozenSet(items) => put_marked(out, 0x91, items)?,
        Value::Dict(pairs) => {
            out.push(b'}');
            if !pairs.is_empty() {
                out.push(b'(');
                for (key, value) in pairs {
                    put(out, key)?;
                    put(out, value)?;
                }
                out.push(b'u');
            }
        }
        Value::DateTime(moment) => put_date_time(out, moment),
        Value::Date(date) => put_date(out, *date)?,
        Value::TimeDelta(span) => put_time_delta(
            out,
            span.days().into(),
            span.seconds().into(),
            span.micros().into(),
        ),
        Value::Decimal(text) => {
            put_class(out, "decimal", "Decimal");
            put_text(out, text);
            out.extend_from_slice(&[0x85, b'R']);
        }
        Value::Uuid(uuid) => {
            put_class(out, "uuid", "UUID");
            out.extend_from_slice(&[b')', 0x81, b'}', b'(']);
            put_text(out, "int");
            put_long(out, &BigInt::from(uuid.as_u128()));
            out.extend_from_slice(b"ub");
        }
        Value::Complex { re, im } => {
            put_class(out, "builtins", "complex");
            put_float(out, *re);
            put_float(out, *im);
            out.extend_from_slice(&[0x86, b'R']);
        }
        Value::Object(object) => return no_form(format!("an object of class `{}`", object.name)),
    }
    Ok(())
}

fn no_form(what: impl Display) -> Result<(), EncodeError> {
    Err(EncodeError::NoForm {
        what: what.to_string(),
        codec: Codec::Pickle,
    })
}

fn put_filled(
    out: &mut Vec<u8>,
    empty: &[u8],
    fill: &[u8],
    items: &[Value],
) -> Result<(), EncodeError> {
    out.extend_from_slice(empty);
    if items.is_empty() {
        return Ok(());
    }
    out.push(b'(');
    for item in items {
        put(out, item)?;
    }
    out.extend_from_slice(fill);
    Ok(())
}

fn put_marked(out: &mut Vec<u8>, opcode: u8, items: &[Value]) -> Result<(), EncodeError> {
    out.push(b'(');
    for item in items {
        put(out, item)?;
    }
    out.push(opcode);
    Ok(())
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[b'K', value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(b'M');
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(b'J');
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        put_long(out, &BigInt::from(value));
    }
}

fn put_long(out: &mut Vec<u8>, value: &BigInt) {
    let bytes = value.to_signed_bytes_le();
    match u8::try_from(bytes.len()) {
        Ok(len) => out.extend_from_slice(&[0x8a, len]),
        Err(_) => {
            out.push(0x8b);
            // A length beyond 32 bits is an integer of gigabytes.
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&len.to_le_bytes());
        }
    }
    out.extend_from_slice(&bytes);
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    out.push(b'G');
    out.extend_from_slice(&value.to_be_bytes());
}

pub(in crate::jobs::arq) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_sized(out, [0x8c, b'X', 0x8d], text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_sized(out, [b'C', b'B', 0x8e], bytes);
}

/// Bytes after an opcode for a length of one, four or eight bytes.
fn put_sized(out: &mut Vec<u8>, opcodes: [u8; 3], bytes: &[u8]) {
    let len = bytes.len();
    match (u8::try_from(len), u32::try_from(len)) {
        (Ok(len), _) => out.extend_from_slice(&[opcodes[0], len]),
        (Err(_), Ok(len)) => {
            out.push(opcodes[1]);
            out.extend_from_slice(&len.to_le_bytes());
        }
        (Err(_), Err(_)) => {
            out.push(opcodes[2]);
            out.extend_from_slice(&(len as u64).to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn put_class(out: &mut Vec<u8>, module: &'static str, name: &'static str) {
    put_text(out, module);
    put_text(out, name);
    out.push(0x93);
}

/// The ten bytes of a datetime, and its zone as an offset.
fn put_date_time(out: &mut Vec<u8>, moment: &DateTime) {
    let civil = moment.civil();
    let micros = civil.subsec_nanosecond() / 1_000;
    let [_, us1, us2, us3] = micros.to_be_bytes();
    let [y1, y2] = civil.year().to_be_bytes();
    let [month, day, hour, minute, second] = [
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second(),
    ]
    .map(i8::cast_unsigned);
    let fold = if moment.fold() { 0x80 } else { 0 };
    put_class(out, "datetime", "datetime");
    put_bytes(
        out,
        &[
            y1,
            y2,
            month | fold,
            day,
            hour,
            minute,
            second,
            us1,
            us2,
            us3,
        ],
    );
    match moment.offset_micros() {
        None => out.push(0x85),
        Some(offset) => {
            put_class(out, "datetime", "timezone");
            put_time_delta(out, 0, offset / 1_000_000, offset % 1_000_000);
            out.extend_from_slice(&[0x85, b'R', 0x86]);
        }
    }
    out.push(b'R');
}

fn put_date(out: &mut Vec<u8>, date: jiff::civil::Date) -> Result<(), EncodeError> {
    if date.year() < 1 {
        return no_form(format!("the date {date}"));
    }
    let [y1, y2] = date.year().to_be_bytes();
    put_class(out, "datetime", "date");
    put_bytes(
        out,
        &[
            y1,
            y2,
            date.month().cast_unsigned(),
            date.day().cast_unsigned(),
        ],
    );
    out.extend_from_slice(&[0x85, b'R']);
    Ok(())
}

fn put_time_delta(out: &mut Vec<u8>, days: i64, seconds: i64, micros: i64) {
    put_class(out, "datetime", "timedelta");
    put_int(out, days);
    put_int(out, seconds);
    put_int(out, micros);
    out.extend_from_slice(&[0x87, b'R']);
}
