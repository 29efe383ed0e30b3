//! `dataframe_split` and `dataframe_records`: rows into columns.

use std::collections::HashMap;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny};

use super::diagnosis::not_a_split;
use super::values::{Fielded, Item, Row};
use crate::http::mlflow::failure::Refusal;
use crate::http::mlflow::room::Room;
use crate::types::cell::Cell;
use crate::types::names::repeated;
use crate::types::request::{Cells, ColumnPlace, RequestColumn};
use crate::types::scoring::{Frame, FrameSource};

/// `dataframe_split`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Split {
    #[serde(default)]
    columns: Option<Vec<Label>>,
    #[serde(default, rename = "index")]
    _index: Option<IgnoredAny>,
    data: Vec<Item>,
}

/// The name of a column; pandas also takes numbers.
struct Label(String);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Item::deserialize(deserializer)?.0 {
            Cell::Text(text) => Ok(Self(text)),
            Cell::Int(number) => Ok(Self(number.to_string())),
            Cell::UInt(number) => Ok(Self(number.to_string())),
            other => Err(de::Error::custom(format_args!(
                "a column is named by a {}",
                other.type_name()
            ))),
        }
    }
}

impl Split {
    pub(super) fn frame(self, room: Room) -> Result<Frame, Refusal> {
        let n_rows = self.data.len();
        // A list of plain values is one column.
        let width = self.data.iter().map(Item::width).max().unwrap_or(0);
        let names: Vec<String> = match &self.columns {
            Some(labels) => labels.iter().map(|label| label.0.clone()).collect(),
            None => (0..width).map(|place| place.to_string()).collect(),
        };
        if n_rows > 0 && names.len() != width {
            return Err(not_a_split(format!(
                "{} columns passed, passed data had {width} columns",
                names.len()
            )));
        }
        if let Some(name) = repeated(names.iter()) {
            return Err(not_a_split(format!("column '{name}' is given twice")));
        }
        room.check(n_rows, names.len())?;
        let mut columns: Vec<Vec<Cell>> = Vec::with_capacity(names.len());
        columns.resize_with(names.len(), || Vec::with_capacity(n_rows));
        for row in self.data {
            let mut cells = match row.0 {
                Cell::List(cells) => cells.into_iter(),
                scalar => vec![scalar].into_iter(),
            };
            for column in &mut columns {
                // A short row ends in nulls.
                column.push(cells.next().unwrap_or(Cell::Null));
            }
        }
        let columns = names.into_iter().zip(columns);
        Ok(Frame {
            columns: columns.map(|(name, cells)| column(name, cells)).collect(),
            n_rows,
            named: self.columns.is_some(),
            source: FrameSource::Json,
        })
    }
}

fn column(name: String, cells: Vec<Cell>) -> RequestColumn {
    RequestColumn {
        place: ColumnPlace::Rows,
        name,
        cells: Cells::List(cells),
    }
}

/// Objects, one per row, with their fields in the order they came.
pub(super) struct Rows(pub(super) Vec<Fielded>);

impl Rows {
    /// Columns in the order in which they first come up; a row without one has null there.
    pub(super) fn frame(self, source: FrameSource, room: Room) -> Result<Frame, Refusal> {
        let n_rows = self.0.len();
        let mut columns = transposed(self.0, Some(room))?;
        for (_, cells) in &mut columns {
            cells.resize(n_rows, Cell::Null);
        }
        let columns = columns.into_iter();
        Ok(Frame {
            columns: columns.map(|(name, cells)| column(name, cells)).collect(),
            n_rows,
            named: true,
            source,
        })
    }

    /// Columns of what the rows have: shorter where a row has no such field.
    pub(super) fn columns_as_given(self) -> Result<Fielded, Refusal> {
        let columns = transposed(self.0, None)?.into_iter();
        Ok(columns
            .map(|(name, cells)| (name, Cell::List(cells)))
            .collect())
    }
}

/// Where nulls fill up what rows have not, `room` says how much of that there may be.
fn transposed(rows: Vec<Fielded>, room: Option<Room>) -> Result<Vec<(String, Vec<Cell>)>, Refusal> {
    let n_rows = rows.len();
    let mut columns: Vec<(String, Vec<Cell>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (row, fields) in rows.into_iter().enumerate() {
        for (expected, (name, cell)) in fields.into_iter().enumerate() {
            // Usually each row has the fields of the first, in their order.
            let is_expected = columns
                .get(expected)
                .is_some_and(|(known, _)| *known == name);
            let place = match is_expected {
                true => expected,
                false => *places.entry(name.clone()).or_insert_with(|| {
                    columns.push((name, Vec::new()));
                    columns.len() - 1
                }),
            };
            if let Some(room) = room {
                room.check(n_rows, columns.len())?;
                columns[place].1.resize(row, Cell::Null);
            }
            columns[place].1.push(cell);
        }
    }
    Ok(columns)
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows: Vec<Row> = Vec::deserialize(deserializer)?;
        Ok(Self(rows.into_iter().map(|row| row.0).collect()))
    }
}
