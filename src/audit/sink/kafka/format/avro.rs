//! The flat row in Avro's binary encoding (specification 1.11): fields in the schema's order, nothing between them.
//!
//! ```text
//! long    zigzag, then seven bits a byte, least first, the high bit set on all but the last
//! string  length in bytes as long, then UTF-8
//! union   index of the branch as long, then the value; here ["null", T], so 0 or 1
//! ```

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::super::record::EventParts;
use super::flat::{COLUMNS, Cell, Column, Kind};

/// The schema's text, the same at every start, so that a registry gives it one id.
pub(super) static SCHEMA: LazyLock<String> = LazyLock::new(|| schema().to_string());

pub(super) fn encode(event: &EventParts<'_>, bytes: &mut Vec<u8>) {
    for column in &COLUMNS {
        let cell = match column.kind {
            Kind::Timestamp => event.time_micros().map_or(Cell::Null, Cell::Integer),
            Kind::Text | Kind::Integer | Kind::Uuid | Kind::Json => column.cell(event),
        };
        if !column.required {
            write_long(bytes, i64::from(cell != Cell::Null));
        }
        match cell {
            // A required column is never null in an event of the schema; its empty value keeps the row readable.
            Cell::Null if column.required => bytes.push(0),
            Cell::Null => {}
            Cell::Text(text) => write_string(bytes, &text),
            Cell::Integer(integer) => write_long(bytes, integer),
        }
    }
}

fn schema() -> Value {
    let fields: Vec<Value> = COLUMNS.iter().map(field).collect();
    json!({"type": "record", "name": "Prediction", "namespace": "terrarium", "fields": fields})
}

fn field(column: &Column) -> Value {
    let kind = match column.kind {
        Kind::Text | Kind::Json => json!("string"),
        Kind::Integer => json!("long"),
        Kind::Uuid => json!({"type": "string", "logicalType": "uuid"}),
        Kind::Timestamp => json!({"type": "long", "logicalType": "timestamp-micros"}),
    };
    if column.required {
        json!({"name": column.name, "type": kind})
    } else {
        json!({"name": column.name, "type": ["null", kind], "default": null})
    }
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

/// The row of a body that `encode` wrote, as a JSON object; times in RFC 3339. `None` if it is cut off or of another schema.
pub(super) fn decode(mut body: &[u8]) -> Option<serde_json::Map<String, Value>> {
    let mut row = serde_json::Map::new();
    for column in &COLUMNS {
        let is_null = !column.required && read_long(&mut body)? == 0;
        let value = match column.kind {
            _ if is_null => Value::Null,
            Kind::Integer => read_long(&mut body)?.into(),
            Kind::Timestamp => {
                let time = crate::types::timestamp::Timestamp::from_micros(read_long(&mut body)?);
                time.to_string().into()
            }
            Kind::Text | Kind::Uuid | Kind::Json => read_string(&mut body)?.into(),
        };
        row.insert(column.name.into(), value);
    }
    body.is_empty().then_some(row)
}

fn read_long(body: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = body.split_first()?;
        *body = rest;
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
        for (value, expected) in [
            (0, vec![0x00]),
            (-1, vec![0x01]),
            (1, vec![0x02]),
            (-64, vec![0x7f]),
            (64, vec![0x80, 0x01]),
            (
                i64::MAX,
                vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
            (
                i64::MIN,
                vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
        ] {
            let mut bytes = Vec::new();
            write_long(&mut bytes, value);
            assert_eq!(bytes, expected, "{value}");
            assert_eq!(read_long(&mut &*bytes), Some(value));
        }
    }

    #[test]
    fn a_cut_off_body_is_no_row() {
        assert!(decode(&[]).is_none());
        assert!(decode(&[0x80; 20]).is_none());
        assert!(decode(&[0xfe, 0xff, 0xff, 0xff, 0x0f, b'x']).is_none());
    }
}
