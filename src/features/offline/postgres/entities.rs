//! Entity rows into a temporary table, by binary COPY: the format that `decode` reads.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::error::ArrowError;

use super::super::history::times;
use super::decode::{EPOCH_SECONDS, HEADER};

/// The table; it belongs to the connection and goes with it.
pub(super) const TABLE: &str = "pg_temp.terrarium_entity_rows";

/// Where the calendar of Postgres begins, in microseconds since 1970; it ends after what 64 bits hold.
const FIRST: i64 = -210_866_803_200_000_000;

/// Makes the table: `n` is the place of a row, `k0`... its keys, `t` its time, `lo` the oldest moment that counts.
pub(super) fn create(chunk: &RecordBatch) -> String {
    let n_keys = chunk.num_columns() - 1;
    let mut columns = vec!["n int8".to_owned()];
    for i in 0..n_keys {
        columns.push(format!("k{i} {}", kind(chunk.column(i).data_type())));
    }
    columns.push("t timestamptz".to_owned());
    columns.push("lo timestamptz".to_owned());
    format!(
        "CREATE TEMPORARY TABLE terrarium_entity_rows ({})",
        columns.join(", ")
    )
}

pub(super) fn copy() -> String {
    format!("COPY {TABLE} FROM STDIN (FORMAT binary)")
}

fn kind(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int32 => "int4",
        DataType::Int64 => "int8",
        DataType::Binary => "bytea",
        _ => "text",
    }
}

pub(super) fn header() -> Vec<u8> {
    [HEADER, &[0; 8]].concat()
}

pub(super) fn end() -> Vec<u8> {
    (-1i16).to_be_bytes().to_vec()
}

/// The rows as COPY takes them. `n_before` rows have gone before.
pub(super) fn encode(
    chunk: &RecordBatch,
    n_before: u64,
    ttl: Option<i64>,
) -> Result<Vec<u8>, ArrowError> {
    let n_keys = chunk.num_columns() - 1;
    let n_fields = i16::try_from(n_keys + 3)
        .map_err(|_| ArrowError::InvalidArgumentError("too many join keys".to_owned()))?;
    let times = times(chunk);
    let mut bytes = Vec::with_capacity(chunk.num_rows() * (32 + 16 * n_keys));
    for (row, &time) in times.iter().enumerate() {
        bytes.extend(n_fields.to_be_bytes());
        field(&mut bytes, &(n_before + row as u64).to_be_bytes())?;
        for key in &chunk.columns()[..n_keys] {
            if key.is_null(row) {
                bytes.extend((-1i32).to_be_bytes());
                continue;
            }
            match key.data_type() {
                DataType::Int32 => {
                    let number = key.as_primitive::<Int32Type>().value(row);
                    field(&mut bytes, &number.to_be_bytes())?;
                }
                DataType::Int64 => {
                    let number = key.as_primitive::<Int64Type>().value(row);
                    field(&mut bytes, &number.to_be_bytes())?;
                }
                DataType::Binary => field(&mut bytes, key.as_binary::<i32>().value(row))?,
                _ => field(&mut bytes, key.as_string::<i32>().value(row).as_bytes())?,
            }
        }
        field(&mut bytes, &moment(time).to_be_bytes())?;
        let oldest = ttl.map_or(i64::MIN, |ttl| time.saturating_sub(ttl));
        field(&mut bytes, &moment(oldest).to_be_bytes())?;
    }
    Ok(bytes)
}

fn field(bytes: &mut Vec<u8>, value: &[u8]) -> Result<(), ArrowError> {
    let length = i32::try_from(value.len())
        .map_err(|_| ArrowError::InvalidArgumentError("a join key of over 2 GiB".to_owned()))?;
    bytes.extend(length.to_be_bytes());
    bytes.extend(value);
    Ok(())
}

/// Microseconds since 2000; a moment before the calendar is its beginning.
fn moment(micros: i64) -> i64 {
    micros.max(FIRST).saturating_sub(EPOCH_SECONDS * 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::super::decode::{Decoder, Wire};
    use super::*;

    #[test]
    fn what_is_sent_reads_back() {
        let chunk = RecordBatch::try_from_iter_with_nullable([
            (
                "k0",
                Arc::new(Int64Array::from(vec![Some(7), None])) as ArrayRef,
                true,
            ),
            ("k1", Arc::new(StringArray::from(vec!["a", ""])), true),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![5, i64::MAX])),
                true,
            ),
        ]);
        let chunk = chunk.unwrap();
        assert_eq!(
            create(&chunk),
            "CREATE TEMPORARY TABLE terrarium_entity_rows (n int8, k0 int8, k1 text, t timestamptz, lo timestamptz)"
        );
        let wires = [
            Wire::Int8,
            Wire::Int8,
            Wire::Text,
            Wire::Timestamp,
            Wire::Timestamp,
        ];
        let mut decoder = Decoder::new(wires.into_iter());
        let rows = encode(&chunk, 3, Some(2)).unwrap();
        decoder.push(&[header(), rows, end()].concat()).unwrap();
        let columns = decoder.columns();
        assert_eq!(columns[0].as_primitive::<Int64Type>().values(), &[3, 4]);
        assert!(columns[1].is_null(1));
        assert_eq!(columns[2].as_string::<i32>().value(1), "");
        let times = |i: usize| {
            columns[i]
                .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
                .values()
                .to_vec()
        };
        assert_eq!(times(3), [5, i64::MAX]);
        assert_eq!(times(4), [3, i64::MAX - 2]);
    }
}
