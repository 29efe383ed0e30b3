//! One loosely typed value of a request: what JSON can say and nothing more.
//!
//! A cell is turned into a strict type (entity key, tensor element) exactly once, by the serving plan.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// One request value. Integers keep all 64 bits; text is never looked into.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Cell>),
}

impl Cell {
    /// The word for this cell's type in an error message.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::UInt(_) => "integer",
            Self::Float(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "list",
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, string, boolean, null or a list of these")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Cell, E> {
        Ok(i64::try_from(value).map_or(Cell::UInt(value), Cell::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Cell, E> {
        Ok(Cell::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
        // No `with_capacity` from a claimed length: the list grows with what really arrives.
        let mut cells = Vec::new();
        while let Some(cell) = seq.next_element()? {
            cells.push(cell);
        }
        Ok(Cell::List(cells))
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::UInt(value) => serializer.serialize_u64(*value),
            Self::Float(value) => super::value::serialize_f64(*value, serializer),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(cells) => serializer.collect_seq(cells),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cell;

    #[test]
    fn integers_keep_all_64_bits() {
        let cells: Vec<Cell> = serde_json::from_str(
            "[9223372036854775807, 18446744073709551615, -9223372036854775808]",
        )
        .unwrap();
        assert_eq!(
            cells,
            [
                Cell::Int(i64::MAX),
                Cell::UInt(u64::MAX),
                Cell::Int(i64::MIN)
            ]
        );
    }

    #[test]
    fn an_object_is_not_a_cell() {
        let error = serde_json::from_str::<Cell>(r#"{"a": 1}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("expected a number, string, boolean, null or a list of these"),
            "{error}"
        );
    }
}
