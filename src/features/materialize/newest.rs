//! Choosing the newest row of every entity key, and turning the chosen ones into rows for the online store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch, interleave};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use super::source::{Column, Source};
use super::{Error, convert};
use crate::features::definitions::ValueType;
use crate::features::key::{KeyLayout, KeyValue, KeyVersion};
use crate::features::online::Row;
use crate::features::suggest::Known;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// The newest rows of a source within a range.
#[derive(Debug)]
pub(super) struct Newest {
    source: Source,
    /// What lies in the range, in source order.
    batches: Vec<RecordBatch>,
    /// One per entity key, in order of the key's first appearance.
    picks: Vec<Pick>,
}

/// One chosen row.
#[derive(Debug, Clone)]
struct Pick {
    key: Vec<u8>,
    event_timestamp: i64,
    created_timestamp: Option<i64>,
    /// Batch, and row in it.
    place: (usize, usize),
}

impl Newest {
    pub(super) fn select(
        source: Source,
        version: KeyVersion,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Self, Error> {
        let range = start.as_micros()..=end.as_micros();
        let layout = layout(&source, version);
        let mut batches = Vec::new();
        let mut picks: Vec<Pick> = Vec::new();
        let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
        source.read(|batch| {
            let times = micros(&batch, &source.event_timestamp, &source)?;
            let inside = times
                .iter()
                .map(|time| Some(time.is_some_and(|time| range.contains(&time))));
            let inside: BooleanArray = inside.collect();
            if inside.true_count() == 0 {
                return Ok(());
            }
            let batch = filter_record_batch(&batch, &inside).map_err(|error| {
                wrong_value(
                    &source,
                    &source.event_timestamp,
                    ValueType::UnixTimestamp,
                    error,
                )
            })?;
            for pick in candidates(&source, &layout, &batch, batches.len())? {
                match known.entry(pick.key.clone()) {
                    Entry::Occupied(entry) => {
                        let best = &mut picks[*entry.get()];
                        if pick.age() > best.age() {
                            *best = pick;
                        }
                    }
                    Entry::Vacant(entry) => {
                        entry.insert(picks.len());
                        picks.push(pick);
                    }
                }
            }
            batches.push(batch);
            Ok(())
        })?;
        Ok(Self {
            source,
            batches,
            picks,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.picks.len()
    }

    /// At most `limit` rows from the `first` on.
    pub(super) fn rows(&self, first: usize, limit: usize) -> Result<Vec<Row>, Error> {
        let picks: Vec<&Pick> = self.picks.iter().skip(first).take(limit).collect();
        let mut rows: Vec<Row> = Vec::with_capacity(picks.len());
        for pick in &picks {
            rows.push(Row {
                key: pick.key.clone(),
                values: Vec::with_capacity(self.source.features.len()),
                event_timestamp: Timestamp::from_micros(pick.event_timestamp),
                created_timestamp: pick.created_timestamp.map(Timestamp::from_micros),
            });
        }
        let places: Vec<(usize, usize)> = picks.iter().map(|pick| pick.place).collect();
        for column in &self.source.features {
            let values = self.values(column, &places)?;
            for (row, value) in rows.iter_mut().zip(values) {
                row.values.push(value);
            }
        }
        Ok(rows)
    }

    fn values(&self, column: &Column, places: &[(usize, usize)]) -> Result<Vec<Value>, Error> {
        let mut arrays: Vec<&dyn Array> = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            arrays.push(named(batch, &column.name, &self.source)?.as_ref());
        }
        let wanted = column.field.value_type;
        let array = interleave(&arrays, places)
            .map_err(|error| wrong_value(&self.source, &column.name, wanted, error))?;
        values(&array, column, &self.source)
    }
}

impl Pick {
    /// What newness is judged by; a missing created timestamp is older than any.
    fn age(&self) -> (i64, Option<i64>) {
        (self.event_timestamp, self.created_timestamp)
    }
}

fn layout(source: &Source, version: KeyVersion) -> KeyLayout {
    if source.keys.is_empty() {
        return KeyLayout::entityless(version);
    }
    let names: Vec<&str> = source
        .keys
        .iter()
        .map(|column| column.field.name.as_str())
        .collect();
    KeyLayout::new(version, &names)
}

/// All rows of a batch with their keys.
fn candidates(
    source: &Source,
    layout: &KeyLayout,
    batch: &RecordBatch,
    number: usize,
) -> Result<Vec<Pick>, Error> {
    let mut keys: Vec<Vec<KeyValue>> = Vec::with_capacity(source.keys.len());
    for column in &source.keys {
        keys.push(key_values(batch, column, source)?);
    }
    let event = micros(batch, &source.event_timestamp, source)?;
    let created = match &source.created_timestamp {
        Some(name) => Some(micros(batch, name, source)?),
        None => None,
    };
    let mut picks = Vec::with_capacity(batch.num_rows());
    // Every row of the batch lies in the range, so none is without an event timestamp.
    for (row, event_timestamp) in event.values().iter().enumerate() {
        let mut key = Vec::new();
        layout.encode(|i| &keys[i][row], &mut key);
        let created = created.as_ref().filter(|created| created.is_valid(row));
        picks.push(Pick {
            key,
            event_timestamp: *event_timestamp,
            created_timestamp: created.map(|created| created.value(row)),
            place: (number, row),
        });
    }
    Ok(picks)
}

fn key_values(
    batch: &RecordBatch,
    column: &Column,
    source: &Source,
) -> Result<Vec<KeyValue>, Error> {
    let array = named(batch, &column.name, source)?;
    if array.null_count() > 0 {
        return Err(Error::NullKey {
            view: source.view.clone(),
            column: column.name.clone(),
        });
    }
    let mut keys = Vec::with_capacity(array.len());
    for value in values(array, column, source)? {
        keys.push(match value {
            Value::Bytes(bytes) => KeyValue::Bytes(bytes),
            Value::String(text) => KeyValue::String(text),
            Value::Int32(number) => KeyValue::Int32(number),
            Value::Int64(number) => KeyValue::Int64(number),
            Value::UnixTimestamp(seconds) => KeyValue::UnixTimestamp(seconds),
            _ => return Err(wrong_type(source, column, array.data_type())),
        });
    }
    Ok(keys)
}

fn values(array: &ArrayRef, column: &Column, source: &Source) -> Result<Vec<Value>, Error> {
    let wanted = column.field.value_type;
    match convert::values(array, wanted) {
        Ok(Some(values)) => Ok(values),
        Ok(None) => Err(wrong_type(source, column, array.data_type())),
        Err(error) => Err(wrong_value(source, &column.name, wanted, error)),
    }
}

/// A time column as microseconds; naive times are UTC.
fn micros(batch: &RecordBatch, name: &str, source: &Source) -> Result<Int64Array, Error> {
    let array = named(batch, name, source)?;
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let micros = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let cast = cast_with_options(array, &micros, &strict)
        .and_then(|array| cast_with_options(&array, &DataType::Int64, &strict));
    let wanted = ValueType::UnixTimestamp;
    let array = cast.map_err(|error| wrong_value(source, name, wanted, error))?;
    Ok(array.as_primitive::<Int64Type>().clone())
}

fn named<'a>(batch: &'a RecordBatch, name: &str, source: &Source) -> Result<&'a ArrayRef, Error> {
    batch.column_by_name(name).ok_or_else(|| Error::NoColumn {
        view: source.view.clone(),
        path: source.path().to_owned(),
        column: name.to_owned(),
        known: Known::instead_of(name, std::iter::empty()),
    })
}

fn wrong_type(source: &Source, column: &Column, found: &DataType) -> Error {
    Error::WrongType {
        view: source.view.clone(),
        column: column.name.clone(),
        found: Box::new(found.clone()),
        wanted: column.field.value_type,
    }
}

fn wrong_value(
    source: &Source,
    column: &str,
    wanted: ValueType,
    error: arrow::error::ArrowError,
) -> Error {
    Error::WrongValue {
        view: source.view.clone(),
        column: column.to_owned(),
        wanted,
        source: error,
    }
}
