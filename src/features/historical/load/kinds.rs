//! What kind of values a column has, found out cell by cell, and the array that they become.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use serde_json::{Number, Value as Json};

use super::super::Error;
use super::super::assemble::TIME;
use crate::features::write::times;

/// A value of JSON or CSV; one of CSV is text, and may stand for something else.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Number(&'a Number),
    Text(&'a str),
    /// Text of a file that has nothing but text.
    Written(&'a str),
    Nested(&'a Json),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Float,
    Bool,
    Time,
    Text,
    /// Lists and objects, as JSON.
    Nested,
}

/// What a column can still be.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// In order of preference.
    possible: Vec<Kind>,
    has_values: bool,
    /// The first times with an offset and without.
    with_offset: Option<usize>,
    without_offset: Option<usize>,
}

impl Seen {
    fn of(possible: &[Kind]) -> Self {
        Self {
            possible: possible.to_vec(),
            has_values: false,
            with_offset: None,
            without_offset: None,
        }
    }

    pub(super) fn of_times() -> Self {
        Self::of(&[Kind::Time])
    }

    pub(super) fn of_text() -> Self {
        Self::of(&[Kind::Text])
    }

    pub(super) fn open(may_be_times: bool) -> Self {
        let mut seen = Self::of(&[
            Kind::Int,
            Kind::Float,
            Kind::Bool,
            Kind::Time,
            Kind::Text,
            Kind::Nested,
        ]);
        seen.possible
            .retain(|kind| may_be_times || *kind != Kind::Time);
        seen
    }

    pub(super) fn add(&mut self, column: &str, row: usize, cell: &Cell<'_>) -> Result<(), Error> {
        if matches!(cell, Cell::Null) {
            return Ok(());
        }
        self.has_values = true;
        if self.possible == [Kind::Time] && cell.time().is_none() {
            let column = column.to_owned();
            return Err(Error::UnreadableTime { column, row });
        }
        self.possible.retain(|kind| cell.is(*kind));
        if self.possible.is_empty() {
            let column = column.to_owned();
            return Err(Error::MixedKinds { column, row });
        }
        if self.possible.contains(&Kind::Time)
            && let Some((_, has_offset)) = cell.time()
        {
            let first = match has_offset {
                true => &mut self.with_offset,
                false => &mut self.without_offset,
            };
            first.get_or_insert(row);
        }
        Ok(())
    }

    /// Once all cells were seen. A column without values is text.
    pub(super) fn kind(&self, column: &str) -> Result<Kind, Error> {
        let kind = match self.possible.first() {
            Some(Kind::Time) => Kind::Time,
            Some(kind) if self.has_values => *kind,
            _ => Kind::Text,
        };
        if let (Kind::Time, Some(with), Some(without)) =
            (kind, self.with_offset, self.without_offset)
        {
            let column = column.to_owned();
            return Err(Error::MixedTimes {
                column,
                with,
                without,
            });
        }
        Ok(match kind {
            Kind::Time if !self.has_values && self.possible.len() > 1 => Kind::Text,
            kind => kind,
        })
    }
}

impl Cell<'_> {
    fn is(&self, kind: Kind) -> bool {
        match (kind, self) {
            (_, Self::Null) => true,
            (Kind::Int, Self::Number(number)) => number.is_i64(),
            (Kind::Int, Self::Written(text)) => text.parse::<i64>().is_ok(),
            (Kind::Float, Self::Number(_)) => true,
            (Kind::Float, Self::Written(text)) => text.parse::<f64>().is_ok(),
            (Kind::Bool, Self::Bool(_)) => true,
            (Kind::Bool, Self::Written(text)) => boolean(text).is_some(),
            (Kind::Time, cell) => cell.time().is_some(),
            (Kind::Text, Self::Text(_) | Self::Written(_)) => true,
            (Kind::Nested, Self::Nested(_)) => true,
            _ => false,
        }
    }

    /// Microseconds, and whether there is an offset.
    fn time(&self) -> Option<(i64, bool)> {
        let (Self::Text(text) | Self::Written(text)) = self else {
            return None;
        };
        let parsed = times::parse(text)?;
        Some((parsed.micros, parsed.has_zone()))
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

impl Kind {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Time => TIME.clone(),
            Self::Text | Self::Nested => DataType::Utf8,
        }
    }

    pub(super) fn builder(self) -> Builder {
        match self {
            Self::Int => Builder::Int(Int64Builder::new()),
            Self::Float => Builder::Float(Float64Builder::new()),
            Self::Bool => Builder::Bool(BooleanBuilder::new()),
            Self::Time => {
                Builder::Time(TimestampMicrosecondBuilder::new().with_data_type(TIME.clone()))
            }
            Self::Text | Self::Nested => Builder::Text(StringBuilder::new()),
        }
    }
}

/// A column of one kind. What is of another kind is null: it was seen that there is none.
pub(super) enum Builder {
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Text(StringBuilder),
}

impl Builder {
    pub(super) fn push(&mut self, cell: &Cell<'_>) {
        match self {
            Self::Int(builder) => builder.append_option(match cell {
                Cell::Number(number) => number.as_i64(),
                Cell::Written(text) => text.parse().ok(),
                _ => None,
            }),
            Self::Float(builder) => builder.append_option(match cell {
                Cell::Number(number) => number.as_f64(),
                Cell::Written(text) => text.parse().ok(),
                _ => None,
            }),
            Self::Bool(builder) => builder.append_option(match cell {
                Cell::Bool(value) => Some(*value),
                Cell::Written(text) => boolean(text),
                _ => None,
            }),
            Self::Time(builder) => builder.append_option(cell.time().map(|(micros, _)| micros)),
            Self::Text(builder) => match cell {
                Cell::Text(text) | Cell::Written(text) => builder.append_value(text),
                Cell::Nested(value) => builder.append_value(value.to_string()),
                _ => builder.append_null(),
            },
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
        }
    }
}
