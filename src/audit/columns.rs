//! The flat rows of events in Arrow: what Parquet files hold, and what queries read.
//!
//! Texts, ids and JSON are `Utf8`, numbers `Int64`, times microseconds in UTC.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, BooleanBuilder, Int64Builder, RecordBatch,
    RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;

use super::flat::{self, COLUMNS, Cell, Column, Kind};
use super::parts::EventParts;
use crate::types::timestamp::Timestamp;

/// A batch is full with so many rows, or so many bytes of JSON.
const MAX_ROWS: usize = 4_096;
const MAX_BYTES: usize = 4 << 20;

/// Texts of a column are counted by 32 bits.
const MAX_EVENT_BYTES: usize = 1 << 30;

/// The type of all times.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A builder of times.
pub(super) fn time_builder() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

/// RFC 3339 in microseconds since the epoch.
pub(super) fn micros(time: &str) -> Option<i64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_microsecond())
}

/// Where a column stands in `COLUMNS`; `None` for a name that is none.
pub(super) fn place(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name)
}

/// All columns, in their order.
pub(super) fn all() -> Vec<usize> {
    (0..COLUMNS.len()).collect()
}

/// The schema of some columns, by their places.
pub(super) fn schema(columns: &[usize]) -> SchemaRef {
    let field = |at: &usize| {
        let column = &COLUMNS[*at];
        Field::new(column.name, data_type(column.kind), !column.required)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text | Kind::Uuid | Kind::Json => DataType::Utf8,
        Kind::Integer => DataType::Int64,
        Kind::Bool => DataType::Boolean,
        Kind::Timestamp => time_type(),
    }
}

/// Rows that become a batch.
#[derive(Debug)]
pub(super) struct Rows {
    schema: SchemaRef,
    columns: Vec<(&'static Column, Builder)>,
    n_rows: usize,
    n_bytes: usize,
}

#[derive(Debug)]
enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Rows {
    /// Of these columns.
    pub(super) fn new(columns: &[usize]) -> Self {
        let builder = |at: &usize| {
            let column = &COLUMNS[*at];
            let builder = match column.kind {
                Kind::Text | Kind::Uuid | Kind::Json => Builder::Text(StringBuilder::new()),
                Kind::Integer => Builder::Integer(Int64Builder::new()),
                Kind::Bool => Builder::Bool(BooleanBuilder::new()),
                Kind::Timestamp => Builder::Time(time_builder()),
            };
            (column, builder)
        };
        Self {
            schema: schema(columns),
            columns: columns.iter().map(builder).collect(),
            n_rows: 0,
            n_bytes: 0,
        }
    }

    /// Takes an event of so many bytes; `false`, and nothing is taken, if it is too large for a column.
    pub(super) fn append(&mut self, event: &EventParts<'_>, n_bytes: usize) -> bool {
        if n_bytes > MAX_EVENT_BYTES {
            return false;
        }
        for (column, builder) in &mut self.columns {
            builder.append(column.cell(event));
        }
        self.n_rows += 1;
        self.n_bytes += n_bytes;
        true
    }

    /// Whether it is time for `finish`.
    pub(super) fn is_full(&self) -> bool {
        self.n_rows >= MAX_ROWS || self.n_bytes >= MAX_BYTES
    }

    /// The rows since the last call; `None` if there are none.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let n_rows = std::mem::take(&mut self.n_rows);
        self.n_bytes = 0;
        if n_rows == 0 {
            return Ok(None);
        }
        let arrays = self.columns.iter_mut();
        let arrays = arrays.map(|(_, builder)| builder.finish()).collect();
        batch(&self.schema, arrays, n_rows).map(Some)
    }
}

/// A batch, also of no columns.
pub(super) fn batch(
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
    n_rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
}

impl Builder {
    fn append(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Integer(builder), Cell::Integer(integer)) => builder.append_value(integer),
            (Self::Integer(builder), _) => builder.append_null(),
            (Self::Bool(builder), Cell::Bool(value)) => builder.append_value(value),
            (Self::Bool(builder), _) => builder.append_null(),
            (Self::Time(builder), Cell::Text(time)) => builder.append_option(micros(&time)),
            (Self::Time(builder), _) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => ArrayBuilder::finish(builder),
            Self::Integer(builder) => ArrayBuilder::finish(builder),
            Self::Bool(builder) => ArrayBuilder::finish(builder),
            Self::Time(builder) => ArrayBuilder::finish(builder),
        }
    }
}

/// The event of one row of a batch that has all columns; `None` if it is none.
pub(super) fn event(batch: &RecordBatch, row: usize) -> Option<EventParts<'_>> {
    flat::event(|name| match batch.column_by_name(name) {
        Some(column) if column.is_valid(row) => cell(column, row),
        _ => Cell::Null,
    })
}

fn cell(column: &dyn Array, row: usize) -> Cell<'_> {
    match column.data_type() {
        DataType::Utf8 => Cell::Text(Cow::Borrowed(column.as_string::<i32>().value(row))),
        DataType::Int64 => Cell::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => Cell::Bool(column.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            Cell::Text(Cow::Owned(Timestamp::from_micros(micros).to_string()))
        }
        _ => Cell::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../tests/fixtures/audit/events-v1.jsonl");

    #[test]
    fn events_come_back_from_a_batch_to_the_byte() {
        let mut rows = Rows::new(&all());
        for line in SAMPLE.lines() {
            let event = EventParts::parse(line.as_bytes()).unwrap();
            assert!(rows.append(&event, line.len()));
        }
        let batch = rows.finish().unwrap().unwrap();
        assert_eq!(batch.num_rows(), SAMPLE.lines().count());
        for (row, line) in SAMPLE.lines().enumerate() {
            let event = EventParts::parse(line.as_bytes()).unwrap();
            let back = super::event(&batch, row).unwrap();
            assert_eq!(
                serde_json::to_string(&back).unwrap(),
                serde_json::to_string(&event).unwrap()
            );
        }
        assert!(rows.finish().unwrap().is_none());
    }

    #[test]
    fn rows_are_counted_also_without_a_column() {
        let mut rows = Rows::new(&[]);
        let line = SAMPLE.lines().next().unwrap();
        let event = EventParts::parse(line.as_bytes()).unwrap();
        for _ in 0..MAX_ROWS {
            assert!(!rows.is_full());
            rows.append(&event, 1);
        }
        assert!(rows.is_full());
        assert_eq!(rows.finish().unwrap().unwrap().num_rows(), MAX_ROWS);
    }
}
