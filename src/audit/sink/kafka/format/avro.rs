//! The event in Avro's binary encoding (specification 1.11), by the schema of `audit::schema`: fields in its order, nothing
//! between them.
//!
//! ```text
//! boolean    one byte, 0 or 1
//! int, long  zigzag, then seven bits a byte, least first, the high bit set on all but the last
//! string     length in bytes as long, then UTF-8; parts of any shape are JSON text
//! union      index of the branch as long, then the value; here ["null", T], so 0 or 1
//! record     its fields
//! ```

use serde_json::{Map, Value};

use crate::audit::schema::{FIELDS, Field, Kind};
use crate::types::timestamp::Timestamp;

/// Errors, with the field's name, for an event that does not fit the schema.
pub(super) fn encode(event: &Value, bytes: &mut Vec<u8>) -> Result<(), String> {
    write_record(FIELDS, event, bytes)
}

fn write_record(fields: &[Field], record: &Value, bytes: &mut Vec<u8>) -> Result<(), String> {
    for field in fields {
        let value = &record[field.name];
        if field.nullable {
            write_long(bytes, i64::from(!value.is_null()));
            if value.is_null() {
                continue;
            }
        }
        write(field, value, bytes)?;
    }
    Ok(())
}

fn write(field: &Field, value: &Value, bytes: &mut Vec<u8>) -> Result<(), String> {
    let unfit = || format!("`{}` does not fit the schema", field.name);
    match field.kind {
        Kind::Bool => bytes.push(u8::from(value.as_bool().ok_or_else(unfit)?)),
        Kind::Int | Kind::Long => write_long(bytes, value.as_i64().ok_or_else(unfit)?),
        Kind::Text | Kind::Uuid => write_string(bytes, value.as_str().ok_or_else(unfit)?),
        Kind::Time => {
            let time = value
                .as_str()
                .and_then(|time| time.parse::<jiff::Timestamp>().ok());
            write_long(bytes, time.ok_or_else(unfit)?.as_microsecond());
        }
        Kind::Object | Kind::List | Kind::Any => write_string(bytes, &value.to_string()),
        Kind::Record { fields, .. } => write_record(fields, value, bytes)?,
    }
    Ok(())
}

fn write_long(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn write_string(bytes: &mut Vec<u8>, text: &str) {
    write_long(bytes, i64::try_from(text.len()).unwrap_or(i64::MAX));
    bytes.extend_from_slice(text.as_bytes());
}

/// The event of a body that `encode` wrote. `None` if it is cut off or of another schema.
pub(super) fn decode(mut body: &[u8]) -> Option<Value> {
    let event = read_record(FIELDS, &mut body)?;
    body.is_empty().then_some(event)
}

fn read_record(fields: &[Field], body: &mut &[u8]) -> Option<Value> {
    let mut record = Map::new();
    for field in fields {
        let is_null = field.nullable && read_long(body)? == 0;
        let value = if is_null {
            Value::Null
        } else {
            read(field, body)?
        };
        record.insert(field.name.to_owned(), value);
    }
    Some(Value::Object(record))
}

fn read(field: &Field, body: &mut &[u8]) -> Option<Value> {
    Some(match field.kind {
        Kind::Bool => read_byte(body)?.eq(&1).into(),
        Kind::Int | Kind::Long => read_long(body)?.into(),
        Kind::Text | Kind::Uuid => read_string(body)?.into(),
        Kind::Time => Timestamp::from_micros(read_long(body)?).to_string().into(),
        Kind::Object | Kind::List | Kind::Any => serde_json::from_str(read_string(body)?).ok()?,
        Kind::Record { fields, .. } => read_record(fields, body)?,
    })
}

fn read_byte(body: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = body.split_first()?;
    *body = rest;
    Some(*byte)
}

fn read_long(body: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = read_byte(body)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}

fn read_string<'a>(body: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(read_long(body)?).ok()?;
    let (text, rest) = body.split_at_checked(length)?;
    *body = rest;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_specification_shows() {
        let largest = [0xff; 8];
        for (value, expected) in [
            (0, vec![0x00]),
            (-1, vec![0x01]),
            (1, vec![0x02]),
            (-64, vec![0x7f]),
            (64, vec![0x80, 0x01]),
            (i64::MAX, [&[0xfe], &largest[..], &[0x01]].concat()),
            (i64::MIN, [&[0xff], &largest[..], &[0x01]].concat()),
        ] {
            let mut bytes = Vec::new();
            write_long(&mut bytes, value);
            assert_eq!(bytes, expected, "{value}");
            assert_eq!(read_long(&mut &*bytes), Some(value));
        }
    }

    #[test]
    fn a_cut_off_body_is_no_event() {
        assert!(decode(&[]).is_none());
        assert!(decode(&[0x80; 20]).is_none());
        assert!(decode(&[0xfe, 0xff, 0xff, 0xff, 0x0f, b'x']).is_none());
    }

    #[test]
    fn an_event_that_does_not_fit_is_told_with_the_field() {
        let event = serde_json::json!({"schema_version": "one"});
        let error = encode(&event, &mut Vec::new()).unwrap_err();
        assert_eq!(error, "`schema_version` does not fit the schema");
    }
}
