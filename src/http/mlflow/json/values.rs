//! Values as JSON has them, and what may stand under `inputs` and `instances`.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::frame::Rows;
use crate::http::mlflow::literals;
use crate::types::cell::Cell;
use crate::types::names::repeated;

/// The fields of an object in the order they came.
pub(super) type Fielded = Vec<(String, Cell)>;

/// One value: a number, text, boolean, null, or lists of these.
#[derive(Debug)]
pub(super) struct Item(pub(super) Cell);

impl Item {
    pub(super) fn width(&self) -> usize {
        match &self.0 {
            Cell::List(cells) => cells.len(),
            _ => 1,
        }
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor).map(Self)
    }
}

struct ItemVisitor;

macro_rules! scalars {
    ($wrap:path) => {
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok($wrap(Cell::Null))
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
            Ok($wrap(Cell::Bool(value)))
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            Ok($wrap(Cell::Int(value)))
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok($wrap(
                i64::try_from(value).map_or(Cell::UInt(value), Cell::Int),
            ))
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
            Ok($wrap(Cell::Float(value)))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let cell = literals::unmarked(text);
            Ok($wrap(cell.unwrap_or_else(|| Cell::Text(text.to_owned()))))
        }
    };
}

/// The cell itself.
fn itself(cell: Cell) -> Cell {
    cell
}

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, string, boolean, null or a list of these")
    }

    scalars!(itself);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Cell, A::Error> {
        list(Vec::new(), seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(object())
    }
}

/// Stands for an object, which may lie in a column that the model has no use for: lists of unequal depth, which become
/// no value of any type.
fn object() -> Cell {
    Cell::List(vec![Cell::List(Vec::new()), Cell::Null])
}

/// No `with_capacity` from a claimed length: the list grows with what really arrives.
fn list<'de, A: SeqAccess<'de>>(mut cells: Vec<Cell>, mut seq: A) -> Result<Cell, A::Error> {
    while let Some(Item(cell)) = seq.next_element()? {
        cells.push(cell);
    }
    Ok(Cell::List(cells))
}

/// What stands under `inputs` or `instances`.
pub(super) enum Data {
    Columns(Fielded),
    Rows(Rows),
    Array(Cell),
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists, a list, or one value")
    }

    scalars!(Data::Array);

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Data, A::Error> {
        fields(map).map(Data::Columns)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Data, A::Error> {
        match seq.next_element::<Element>()? {
            None => Ok(Data::Array(Cell::List(Vec::new()))),
            Some(Element::Value(first)) => list(vec![first], seq).map(Data::Array),
            Some(Element::Row(first)) => {
                let mut rows = vec![first];
                while let Some(Row(row)) = seq.next_element()? {
                    rows.push(row);
                }
                Ok(Data::Rows(Rows(rows)))
            }
        }
    }
}

/// The first element of a list says what the others are.
enum Element {
    Value(Cell),
    Row(Fielded),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a value")
    }

    scalars!(Element::Value);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Element, A::Error> {
        list(Vec::new(), seq).map(Element::Value)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
        fields(map).map(Element::Row)
    }
}

/// An object of values; of a name that comes twice the last counts, as in Python.
fn fields<'de, A: MapAccess<'de>>(mut map: A) -> Result<Fielded, A::Error> {
    let mut fields: Fielded = Vec::new();
    while let Some((name, Item(cell))) = map.next_entry::<String, Item>()? {
        fields.push((name, cell));
    }
    if repeated(fields.iter().map(|(name, _)| name)).is_some() {
        let mut seen = HashSet::new();
        fields.reverse();
        fields.retain(|(name, _)| seen.insert(name.clone()));
        fields.reverse();
    }
    Ok(fields)
}

pub(super) struct Row(pub(super) Fielded);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor).map(Self)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Fielded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of values")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fielded, A::Error> {
        fields(map)
    }
}
