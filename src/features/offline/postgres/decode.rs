//! Postgres's binary COPY format to Arrow columns.
//!
//! ```text
//! header   "PGCOPY\n\xff\r\n\0", i32 flags, i32 length of an extension, the extension
//! row      i16 number of fields, then for each: i32 length (-1 for null), value
//! end      i16 -1
//! ```
//! Numbers are big endian. Times are microseconds, dates days since 2000-01-01; the infinite ones are null.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, ListBuilder, RecordBatch,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;

/// Seconds between 1970-01-01 and 2000-01-01.
pub(super) const EPOCH_SECONDS: i64 = 946_684_800;
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// How the values of a column come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Text,
    /// Text behind a byte that says which version.
    Jsonb,
    Bytes,
    Uuid,
    Date,
    Timestamp,
    Bools,
    Int2s,
    Int4s,
    Int8s,
    Float4s,
    Float8s,
    Texts,
    Byteses,
    Timestamps,
}

impl Wire {
    /// Of a type by its name in sqlx; `None` for one that must be cast.
    pub(super) fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "BOOL" => Self::Bool,
            "INT2" => Self::Int2,
            "INT4" => Self::Int4,
            "INT8" => Self::Int8,
            "FLOAT4" => Self::Float4,
            "FLOAT8" => Self::Float8,
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "JSON" => Self::Text,
            "JSONB" => Self::Jsonb,
            "BYTEA" => Self::Bytes,
            "UUID" => Self::Uuid,
            "DATE" => Self::Date,
            "TIMESTAMP" | "TIMESTAMPTZ" => Self::Timestamp,
            "BOOL[]" => Self::Bools,
            "INT2[]" => Self::Int2s,
            "INT4[]" => Self::Int4s,
            "INT8[]" => Self::Int8s,
            "FLOAT4[]" => Self::Float4s,
            "FLOAT8[]" => Self::Float8s,
            "TEXT[]" | "VARCHAR[]" => Self::Texts,
            "BYTEA[]" => Self::Byteses,
            "TIMESTAMP[]" | "TIMESTAMPTZ[]" => Self::Timestamps,
            _ => return None,
        })
    }
}

/// Bytes that are not what the format says.
#[derive(Debug, thiserror::Error)]
#[error("the database sent {0}")]
pub(super) struct Malformed(&'static str);

/// Collects rows of whole messages into batches.
pub(super) struct Decoder {
    columns: Vec<Builder>,
    header_is_read: bool,
}

impl Decoder {
    pub(super) fn new(wires: impl Iterator<Item = Wire>) -> Self {
        Self {
            columns: wires.map(Builder::new).collect(),
            header_is_read: false,
        }
    }

    /// Reads the rows of a message. Postgres never cuts a row into two messages.
    pub(super) fn push(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let mut rest = Bytes(message);
        if !self.header_is_read {
            rest.skip_header()?;
            self.header_is_read = true;
        }
        while !rest.0.is_empty() {
            let n_fields = rest.i16()?;
            if n_fields == -1 {
                return Ok(());
            }
            if usize::try_from(n_fields) != Ok(self.columns.len()) {
                return Err(Malformed("a row with another number of fields"));
            }
            for column in &mut self.columns {
                match rest.value()? {
                    None => column.null(),
                    Some(value) => column.push(value)?,
                }
            }
        }
        Ok(())
    }

    /// What was collected, and an empty start.
    pub(super) fn batch(
        &mut self,
        schema: &SchemaRef,
    ) -> Result<RecordBatch, arrow::error::ArrowError> {
        let columns = self.columns.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new(schema.clone(), columns)
    }

    /// The columns' types.
    pub(super) fn columns(&mut self) -> Vec<ArrayRef> {
        self.columns.iter_mut().map(Builder::finish).collect()
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(n)
            .ok_or(Malformed("less than it announced"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(fixed(self.take(2)?)?))
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(fixed(self.take(4)?)?))
    }

    fn value(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("a negative length"))?;
                self.take(length).map(Some)
            }
        }
    }

    fn skip_header(&mut self) -> Result<(), Malformed> {
        if self.take(HEADER.len())? != HEADER {
            return Err(Malformed("no binary COPY"));
        }
        self.i32()?;
        self.value()?;
        Ok(())
    }
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value
        .try_into()
        .map_err(|_| Malformed("a value of another length"))
}

fn text(value: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(value).map_err(|_| Malformed("text that is not UTF-8"))
}

fn moment(value: &[u8]) -> Result<Option<i64>, Malformed> {
    let micros = i64::from_be_bytes(fixed(value)?);
    let infinite = micros == i64::MAX || micros == i64::MIN;
    Ok((!infinite).then(|| micros.saturating_add(EPOCH_SECONDS * 1_000_000)))
}

fn uuid(value: &[u8]) -> Result<String, Malformed> {
    Ok(uuid::Uuid::from_bytes(fixed(value)?).to_string())
}

/// A column that grows.
enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Text(StringBuilder),
    Jsonb(StringBuilder),
    Bytes(BinaryBuilder),
    Uuid(StringBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    List(Box<ListBuilder<Builder>>),
}

impl Builder {
    fn new(wire: Wire) -> Self {
        let list = |items| Self::List(Box::new(ListBuilder::new(Self::new(items))));
        match wire {
            Wire::Bool => Self::Bool(BooleanBuilder::new()),
            Wire::Int2 => Self::Int2(Int16Builder::new()),
            Wire::Int4 => Self::Int4(Int32Builder::new()),
            Wire::Int8 => Self::Int8(Int64Builder::new()),
            Wire::Float4 => Self::Float4(Float32Builder::new()),
            Wire::Float8 => Self::Float8(Float64Builder::new()),
            Wire::Text => Self::Text(StringBuilder::new()),
            Wire::Jsonb => Self::Jsonb(StringBuilder::new()),
            Wire::Bytes => Self::Bytes(BinaryBuilder::new()),
            Wire::Uuid => Self::Uuid(StringBuilder::new()),
            Wire::Date => Self::Date(Date32Builder::new()),
            Wire::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            Wire::Bools => list(Wire::Bool),
            Wire::Int2s => list(Wire::Int2),
            Wire::Int4s => list(Wire::Int4),
            Wire::Int8s => list(Wire::Int8),
            Wire::Float4s => list(Wire::Float4),
            Wire::Float8s => list(Wire::Float8),
            Wire::Texts => list(Wire::Text),
            Wire::Byteses => list(Wire::Bytes),
            Wire::Timestamps => list(Wire::Timestamp),
        }
    }

    fn null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int2(builder) => builder.append_null(),
            Self::Int4(builder) => builder.append_null(),
            Self::Int8(builder) => builder.append_null(),
            Self::Float4(builder) => builder.append_null(),
            Self::Float8(builder) => builder.append_null(),
            Self::Text(builder) | Self::Jsonb(builder) | Self::Uuid(builder) => {
                builder.append_null()
            }
            Self::Bytes(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::List(builder) => builder.append(false),
        }
    }

    fn push(&mut self, value: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::Bool(builder) => builder.append_value(fixed::<1>(value)?[0] != 0),
            Self::Int2(builder) => builder.append_value(i16::from_be_bytes(fixed(value)?)),
            Self::Int4(builder) => builder.append_value(i32::from_be_bytes(fixed(value)?)),
            Self::Int8(builder) => builder.append_value(i64::from_be_bytes(fixed(value)?)),
            Self::Float4(builder) => builder.append_value(f32::from_be_bytes(fixed(value)?)),
            Self::Float8(builder) => builder.append_value(f64::from_be_bytes(fixed(value)?)),
            Self::Text(builder) => builder.append_value(text(value)?),
            Self::Jsonb(builder) => builder.append_value(text(value.get(1..).unwrap_or_default())?),
            Self::Bytes(builder) => builder.append_value(value),
            Self::Uuid(builder) => builder.append_value(uuid(value)?),
            Self::Date(builder) => match i32::from_be_bytes(fixed(value)?) {
                i32::MAX | i32::MIN => builder.append_null(),
                days => builder.append_value(days.saturating_add((EPOCH_SECONDS / 86_400) as i32)),
            },
            Self::Timestamp(builder) => builder.append_option(moment(value)?),
            Self::List(builder) => {
                let items = builder.values();
                let mut rest = Bytes(value);
                let n_dimensions = rest.i32()?;
                rest.take(8)?; // whether there are nulls; the items' type
                if n_dimensions > 1 {
                    return Err(Malformed("an array of arrays, which no feature can hold"));
                }
                let n_items = match n_dimensions {
                    0 => 0,
                    _ => {
                        let n_items = rest.i32()?;
                        rest.take(4)?; // where the array's indices begin
                        n_items
                    }
                };
                for _ in 0..n_items {
                    match rest.value()? {
                        None => items.null(),
                        Some(item) => items.push(item)?,
                    }
                }
                builder.append(true);
            }
        }
        Ok(())
    }
}

impl ArrayBuilder for Builder {
    fn len(&self) -> usize {
        self.inner().len()
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int2(builder) => Arc::new(builder.finish()),
            Self::Int4(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Float4(builder) => Arc::new(builder.finish()),
            Self::Float8(builder) => Arc::new(builder.finish()),
            Self::Text(builder) | Self::Jsonb(builder) | Self::Uuid(builder) => {
                Arc::new(builder.finish())
            }
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::List(builder) => Arc::new(builder.finish()),
        }
    }

    fn finish_cloned(&self) -> ArrayRef {
        self.inner().finish_cloned()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }

    fn into_box_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

impl Builder {
    fn inner(&self) -> &dyn ArrayBuilder {
        match self {
            Self::Bool(builder) => builder,
            Self::Int2(builder) => builder,
            Self::Int4(builder) => builder,
            Self::Int8(builder) => builder,
            Self::Float4(builder) => builder,
            Self::Float8(builder) => builder,
            Self::Text(builder) | Self::Jsonb(builder) | Self::Uuid(builder) => builder,
            Self::Bytes(builder) => builder,
            Self::Date(builder) => builder,
            Self::Timestamp(builder) => builder,
            Self::List(builder) => &**builder,
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

    use super::*;

    fn field(value: &[u8]) -> Vec<u8> {
        [&(value.len() as i32).to_be_bytes(), value].concat()
    }

    fn header() -> Vec<u8> {
        [HEADER, &[0; 8]].concat()
    }

    #[test]
    fn rows_of_several_messages_become_columns() {
        let mut decoder = Decoder::new([Wire::Int4s, Wire::Timestamp].into_iter());
        let null = (-1i32).to_be_bytes();
        let array = [
            &1i32.to_be_bytes()[..],
            &[0; 4],
            &23i32.to_be_bytes(),
            &2i32.to_be_bytes(),
            &1i32.to_be_bytes(),
            &field(&7i32.to_be_bytes()),
            &null,
        ]
        .concat();
        let first = [
            &2i16.to_be_bytes()[..],
            &field(&array),
            &field(&0i64.to_be_bytes()),
        ]
        .concat();
        let second = [
            &2i16.to_be_bytes()[..],
            &null,
            &field(&i64::MAX.to_be_bytes()),
        ]
        .concat();
        decoder.push(&[header(), first].concat()).unwrap();
        decoder.push(&second).unwrap();
        decoder.push(&(-1i16).to_be_bytes()).unwrap();
        let columns = decoder.columns();
        let lists = columns[0].as_list::<i32>();
        assert_eq!(
            lists
                .value(0)
                .as_primitive::<Int32Type>()
                .iter()
                .collect::<Vec<_>>(),
            [Some(7), None]
        );
        assert!(lists.is_null(1));
        let times = columns[1].as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.value(0), 946_684_800_000_000);
        assert!(times.is_null(1));
    }

    #[test]
    fn cut_off_and_foreign_bytes_are_refused() {
        let row = [&1i16.to_be_bytes()[..], &field(&[1, 2, 3, 4])].concat();
        let whole = [header(), row].concat();
        for length in 0..whole.len() {
            let mut decoder = Decoder::new([Wire::Int4].into_iter());
            let outcome = decoder.push(&whole[..length]);
            assert_eq!(outcome.is_ok(), length == header().len(), "{length}");
        }
        let mut decoder = Decoder::new([Wire::Int8].into_iter());
        assert!(decoder.push(&whole).is_err());
        assert!(
            Decoder::new([Wire::Int4].into_iter())
                .push(b"PGCOPX\n\xff\r\n\0--------")
                .is_err()
        );
    }
}
