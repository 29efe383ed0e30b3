//! A stored value looked at where it lies: scalars without a copy.

use super::decode;
use super::wire::{Content, Reader, WireError};

/// A `feast.types.Value` that is one number, text or nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Bytes(&'a [u8]),
    /// A string, JSON text, UUID or decimal.
    Text(&'a str),
    /// An integer of either width, or the seconds of a timestamp.
    Int(i64),
    /// A number of either precision; single is widened.
    Double(f64),
    Bool(bool),
}

/// Reads a scalar; `None` for any other kind of value, which `decode` reads.
pub fn scalar(bytes: &[u8]) -> Result<Option<Scalar<'_>>, WireError> {
    let mut reader = Reader::new(bytes);
    let Some((field, content)) = reader.field()? else {
        return Ok(Some(Scalar::Null));
    };
    if !reader.is_empty() {
        // Several fields, of which the last counts: nobody writes that, and `decode` knows.
        return Ok(None);
    }
    member(field, content)
}

fn member(field: u32, content: Content<'_>) -> Result<Option<Scalar<'_>>, WireError> {
    Ok(Some(match field {
        1 => Scalar::Bytes(content.bytes(field)?),
        2 | 32 | 36 | 37 | 44 => Scalar::Text(content.text(field)?),
        3 => Scalar::Int(i64::from(content.varint(field)? as i32)),
        4 | 8 => Scalar::Int(content.varint(field)? as i64),
        5 => Scalar::Double(content.double(field)?),
        6 => Scalar::Double(f64::from(content.float(field)?)),
        7 => Scalar::Bool(content.varint(field)? != 0),
        19 => Scalar::Null,
        _ => return Ok(None),
    }))
}

/// Whether the bytes are a value at all, and which they would be if null.
pub fn is_null(bytes: &[u8]) -> Result<bool, WireError> {
    match scalar(bytes)? {
        Some(scalar) => Ok(scalar == Scalar::Null),
        None => Ok(decode(bytes)?.is_null()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;
    use crate::types::value::{List, TextKind, Value};

    fn encoded(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes);
        bytes
    }

    #[test]
    fn scalars_are_read_without_a_copy_and_others_left_to_decode() {
        for (value, wanted) in [
            (Value::Null, Scalar::Null),
            (Value::Int32(-1), Scalar::Int(-1)),
            (Value::Int64(i64::MIN), Scalar::Int(i64::MIN)),
            (Value::UnixTimestamp(7), Scalar::Int(7)),
            (Value::Double(0.1), Scalar::Double(0.1)),
            (Value::Float(0.1), Scalar::Double(f64::from(0.1_f32))),
            (Value::Bool(false), Scalar::Bool(false)),
            (Value::String("é".into()), Scalar::Text("é")),
            (
                Value::Text(TextKind::Decimal, "1.0".into()),
                Scalar::Text("1.0"),
            ),
            (Value::Bytes(vec![0, 255]), Scalar::Bytes(&[0, 255])),
        ] {
            assert_eq!(scalar(&encoded(&value)), Ok(Some(wanted)), "{value:?}");
        }
        let list = Value::List(List::Bool(vec![true]));
        assert_eq!(scalar(&encoded(&list)), Ok(None));
    }

    #[test]
    fn null_val_and_no_bytes_are_null_and_broken_bytes_are_told() {
        assert_eq!(is_null(&[]), Ok(true));
        assert_eq!(is_null(&[0x98, 0x01, 0x00]), Ok(true));
        assert_eq!(is_null(&encoded(&Value::Bool(false))), Ok(false));
        assert!(is_null(&[0x12, 0x05, b'a']).is_err());
        // Of two fields the last counts.
        let mut two = encoded(&Value::Int64(1));
        two.extend([0x98, 0x01, 0x00]);
        assert_eq!(is_null(&two), Ok(true));
    }
}
