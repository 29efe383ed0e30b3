//! MessagePack as Python's `msgpack.packb` writes it and `msgpack.unpackb` reads it, with their defaults.
//!
//! Tuples are written as arrays. Of the extension types only the timestamp is known; it is a datetime in UTC.

use jiff::civil;
use rmp::Marker;
use rmp::encode;

use super::accept::{Budget, deeper};
use super::{Accept, Codec, DecodeError, EncodeError};
use crate::jobs::value::{DateTime, Value};

pub(super) fn decode(bytes: &[u8], accept: &Accept) -> Result<Value, DecodeError> {
    let mut reader = Reader {
        bytes,
        at: 0,
        accept,
        budget: Budget::new(accept),
    };
    let value = reader.value(0)?;
    if reader.at < bytes.len() {
        return Err(reader.error("something after the value"));
    }
    Ok(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    accept: &'a Accept,
    budget: Budget,
}

impl<'a> Reader<'a> {
    fn error(&self, what: impl Into<String>) -> DecodeError {
        DecodeError::Malformed {
            codec: Codec::MsgPack,
            what: what.into(),
            offset: self.at,
        }
    }

    fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(n_bytes);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += n_bytes;
                Ok(bytes)
            }
            None => Err(self.error(format!("{n_bytes} bytes are claimed and not there"))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn len8(&mut self) -> Result<usize, DecodeError> {
        Ok(usize::from(u8::from_be_bytes(self.array()?)))
    }

    fn len16(&mut self) -> Result<usize, DecodeError> {
        Ok(usize::from(u16::from_be_bytes(self.array()?)))
    }

    fn len32(&mut self) -> Result<usize, DecodeError> {
        let len = u32::from_be_bytes(self.array()?);
        usize::try_from(len).map_err(|_| self.error("a length beyond this machine"))
    }

    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        self.budget.take_values::<Value>(1)?;
        let [first] = self.array()?;
        Ok(match Marker::from_u8(first) {
            Marker::Null => Value::None,
            Marker::True => Value::Bool(true),
            Marker::False => Value::Bool(false),
            Marker::FixPos(value) => Value::Int(value.into()),
            Marker::FixNeg(value) => Value::Int(value.into()),
            Marker::U8 => Value::Int(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Value::Int(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Value::Int(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Value::from(u64::from_be_bytes(self.array()?)),
            Marker::I8 => Value::Int(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => Value::Int(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => Value::Int(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => Value::Int(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Value::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Value::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(len) => self.text(usize::from(len))?,
            Marker::Str8 => self.len8().and_then(|len| self.text(len))?,
            Marker::Str16 => self.len16().and_then(|len| self.text(len))?,
            Marker::Str32 => self.len32().and_then(|len| self.text(len))?,
            Marker::Bin8 => self.len8().and_then(|len| self.binary(len))?,
            Marker::Bin16 => self.len16().and_then(|len| self.binary(len))?,
            Marker::Bin32 => self.len32().and_then(|len| self.binary(len))?,
            Marker::FixArray(len) => self.list(usize::from(len), depth)?,
            Marker::Array16 => self.len16().and_then(|len| self.list(len, depth))?,
            Marker::Array32 => self.len32().and_then(|len| self.list(len, depth))?,
            Marker::FixMap(len) => self.dict(usize::from(len), depth)?,
            Marker::Map16 => self.len16().and_then(|len| self.dict(len, depth))?,
            Marker::Map32 => self.len32().and_then(|len| self.dict(len, depth))?,
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.len8().and_then(|len| self.extension(len))?,
            Marker::Ext16 => self.len16().and_then(|len| self.extension(len))?,
            Marker::Ext32 => self.len32().and_then(|len| self.extension(len))?,
            Marker::Reserved => return Err(self.error("the reserved byte c1")),
        })
    }

    fn text(&mut self, len: usize) -> Result<Value, DecodeError> {
        let bytes = self.take(len)?;
        self.budget.take(len)?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => Err(self.error("text that is not UTF-8")),
        }
    }

    fn binary(&mut self, len: usize) -> Result<Value, DecodeError> {
        let bytes = self.take(len)?;
        self.budget.take(len)?;
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn list(&mut self, len: usize, depth: usize) -> Result<Value, DecodeError> {
        let depth = deeper(depth, self.accept)?;
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(self.value(depth)?);
        }
        Ok(Value::List(items))
    }

    fn dict(&mut self, len: usize, depth: usize) -> Result<Value, DecodeError> {
        let depth = deeper(depth, self.accept)?;
        let mut pairs = Vec::new();
        for _ in 0..len {
            let key = self.value(depth)?;
            pairs.push((key, self.value(depth)?));
        }
        Value::dict(pairs).map_err(|error| self.error(error.to_string()))
    }

    /// `len` bytes of data after a byte for the type.
    fn extension(&mut self, len: usize) -> Result<Value, DecodeError> {
        const TIMESTAMP: i8 = -1;
        let kind = i8::from_be_bytes(self.array()?);
        let data = self.take(len)?;
        let moment = if kind == TIMESTAMP {
            timestamp(data)
        } else {
            None
        };
        match moment {
            Some(moment) => Ok(Value::DateTime(Box::new(moment))),
            None => Err(self.error(format!("extension type {kind} of {len} bytes"))),
        }
    }
}

/// The timestamp extension, in its three lengths. Python's datetime has whole microseconds and the years 1 to 9999.
fn timestamp(data: &[u8]) -> Option<DateTime> {
    let (seconds, nanos) = match data.len() {
        4 => (i64::from(u32::from_be_bytes(data.try_into().ok()?)), 0),
        8 => {
            let packed = u64::from_be_bytes(data.try_into().ok()?);
            let seconds = i64::try_from(packed & 0x3_ffff_ffff).ok()?;
            (seconds, u32::try_from(packed >> 34).ok()?)
        }
        12 => {
            let (nanos, seconds) = data.split_at(4);
            let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
            (seconds, u32::from_be_bytes(nanos.try_into().ok()?))
        }
        _ => return None,
    };
    let nanos = i32::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    let moment = jiff::Timestamp::new(seconds, nanos).ok()?;
    DateTime::new(
        moment.to_zoned(jiff::tz::TimeZone::UTC).datetime(),
        Some(0),
        false,
    )
}

/// The data of a timestamp extension. `None` of a time without a zone, which is no moment.
fn timestamp_data(moment: &DateTime) -> Option<[u8; 12]> {
    let civil: civil::DateTime = moment.civil();
    let offset = jiff::SignedDuration::from_micros(moment.offset_micros()?);
    let utc = civil.checked_sub(offset).ok()?;
    let moment = utc.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    let nanos = moment.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    let nanos = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?;
    let mut data = [0; 12];
    data[..4].copy_from_slice(&nanos.to_be_bytes());
    data[4..].copy_from_slice(&seconds.to_be_bytes());
    Some(data)
}

pub(super) fn put(out: &mut Vec<u8>, value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::None => written(encode::write_nil(out)),
        Value::Bool(flag) => written(encode::write_bool(out, *flag)),
        Value::Int(value) => written(encode::write_sint(out, *value)),
        Value::BigInt(value) => match u64::try_from(value.as_ref()) {
            Ok(value) => written(encode::write_uint(out, value)),
            Err(_) => no_form("an integer of more than 64 bits"),
        },
        Value::Float(value) => written(encode::write_f64(out, *value)),
        Value::Str(text) => put_text(out, text),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => {
            length(bytes.len())?;
            written(encode::write_bin(out, bytes))
        }
        Value::List(items) | Value::Tuple(items) => {
            put_array_len(out, items.len())?;
            items.iter().try_for_each(|item| put(out, item))
        }
        Value::Dict(pairs) => {
            put_map_len(out, pairs.len())?;
            for (key, value) in pairs {
                // `unpackb` reads no other keys unless it is told to.
                if !matches!(key, Value::Str(_) | Value::Bytes(_)) {
                    return no_form(format!("a dict with a key of type {}", key.type_name()));
                }
                put(out, key)?;
                put(out, value)?;
            }
            Ok(())
        }
        Value::DateTime(moment) => match timestamp_data(moment) {
            Some(data) => {
                written(encode::write_ext_meta(out, 12, -1))?;
                out.extend_from_slice(&data);
                Ok(())
            }
            None => no_form("a datetime without a time zone"),
        },
        other => no_form(format!("a value of type {}", other.type_name())),
    }
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    length(text.len())?;
    written(encode::write_str(out, text))
}

pub(super) fn put_array_len(out: &mut Vec<u8>, len: usize) -> Result<(), EncodeError> {
    written(encode::write_array_len(out, length(len)?))
}

pub(super) fn put_map_len(out: &mut Vec<u8>, len: usize) -> Result<(), EncodeError> {
    written(encode::write_map_len(out, length(len)?))
}

/// What writing to a vector says; it has no way to fail.
fn written<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Result<(), EncodeError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) => no_form(error.to_string()),
    }
}

fn length(len: usize) -> Result<u32, EncodeError> {
    match u32::try_from(len) {
        Ok(len) => Ok(len),
        Err(_) => Err(EncodeError::NoForm {
            what: format!("a value of length {len}"),
            codec: Codec::MsgPack,
        }),
    }
}

fn no_form(what: impl Into<String>) -> Result<(), EncodeError> {
    Err(EncodeError::NoForm {
        what: what.into(),
        codec: Codec::MsgPack,
    })
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Value, String> {
        decode(bytes, &Accept::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn claimed_lengths_allocate_nothing() {
        for (bytes, wanted) in [
            (
                &b"\xdb\xff\xff\xff\xffabc"[..],
                "msgpack: 4294967295 bytes are claimed and not there at byte 5",
            ),
            (
                b"\xc6\xff\xff\xff\xffabc",
                "msgpack: 4294967295 bytes are claimed and not there at byte 5",
            ),
            (
                b"\xdd\xff\xff\xff\xff\xc0",
                "msgpack: 1 bytes are claimed and not there at byte 6",
            ),
            (
                b"\xdf\xff\xff\xff\xff\xa1a",
                "msgpack: 1 bytes are claimed and not there at byte 7",
            ),
            (b"\xc1", "msgpack: the reserved byte c1 at byte 1"),
            (
                b"\xd4\x05x",
                "msgpack: extension type 5 of 1 bytes at byte 3",
            ),
            (b"\xa1\xff", "msgpack: text that is not UTF-8 at byte 2"),
            (
                b"\x81\x90\xc0",
                "msgpack: a list cannot be a key of a dict or an item of a set at byte 3",
            ),
            (b"\xc0\xc0", "msgpack: something after the value at byte 1"),
            (b"", "msgpack: 1 bytes are claimed and not there at byte 0"),
        ] {
            assert_eq!(read(bytes).unwrap_err(), wanted);
        }
        assert_eq!(
            read(&[0x91; 4000]).unwrap_err(),
            "nested more than 160 levels deep"
        );
    }

    #[test]
    fn timestamps_of_all_lengths_are_datetimes() {
        let shown = |bytes: &[u8]| match read(bytes).unwrap() {
            Value::DateTime(moment) => moment.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            shown(b"\xd6\xff\x00\x00\x00\x01"),
            "1970-01-01T00:00:01+00:00"
        );
        assert_eq!(
            shown(b"\xd7\xff\x00\x00\x0f\xa0\x00\x00\x00\x01"),
            "1970-01-01T00:00:01.000001+00:00"
        );
        let before = b"\xc7\x0c\xff\x3b\x9a\xc6\x18\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(shown(before), "1969-12-31T23:59:59.999999+00:00");
        let mut out = Vec::new();
        put(&mut out, &read(before).unwrap()).unwrap();
        assert_eq!(out, before);
    }

    #[test]
    fn integers_beyond_64_bits_and_other_keys_have_no_form() {
        let big = Value::from(BigInt::from(u64::MAX) + 1);
        let keyed = Value::Dict(vec![(Value::Int(1), Value::None)]);
        for (value, wanted) in [
            (
                big,
                "an integer of more than 64 bits cannot be written as msgpack",
            ),
            (
                keyed,
                "a dict with a key of type int cannot be written as msgpack",
            ),
            (
                Value::Set(Vec::new()),
                "a value of type set cannot be written as msgpack",
            ),
        ] {
            assert_eq!(
                put(&mut Vec::new(), &value).unwrap_err().to_string(),
                wanted
            );
        }
    }
}
