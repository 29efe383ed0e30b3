//! Entity rows from JSON, CSV, Parquet and Arrow.
//!
//! Parquet and Arrow have types of their own. Cells of JSON and CSV get one per column: whole numbers, numbers, booleans,
//! text; the column `event_timestamp`, or where there is none every column of nothing but times, is times in UTC. Of CSV a
//! column stays text where the features want text, so that `007` stays what it is.

mod csv_file;
mod kinds;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;

use self::kinds::{Cell, Seen};
use super::entity_columns::EVENT_TIMESTAMP;
use super::{Entities, Error, plan};
use crate::features::FeatureStore;
use crate::features::definitions::ValueType;
use crate::features::retrieve::{Naming, Wanted, history};
use crate::features::write::Frame;

/// Rows of a Parquet body that are decoded at once: a small body may hold large values again and again.
const BODY_BATCH_ROWS: usize = 1_024;

/// What the features want entity columns to be.
#[derive(Debug, Clone, Default)]
pub struct EntityTypes(HashMap<String, ValueType>);

impl FeatureStore {
    /// The columns that a selection is joined by and computed from.
    pub fn entity_types(&self, wanted: &Wanted, naming: Naming) -> Result<EntityTypes, Error> {
        let snapshot = self.snapshot();
        let registry = snapshot.registry();
        let history = history::resolve(self, registry, wanted, naming)?;
        let types = plan::entity_types(&history, registry);
        Ok(EntityTypes(types.into_iter().collect()))
    }

    /// The join keys of all views. A key that is text in one of them is text.
    pub fn join_key_types(&self) -> EntityTypes {
        let mut types = EntityTypes::default();
        for view in &self.registry().feature_views {
            for key in &view.join_keys {
                if !types.is_text(&key.name) {
                    types.0.insert(key.name.clone(), key.value_type);
                }
            }
        }
        types
    }
}

impl EntityTypes {
    /// The same, and these columns are text.
    pub fn with_texts<'a>(mut self, columns: impl Iterator<Item = &'a str>) -> Self {
        let texts = columns.map(|column| (column.to_owned(), ValueType::String));
        self.0.extend(texts);
        self
    }

    fn is_text(&self, column: &str) -> bool {
        matches!(
            self.0.get(column),
            Some(
                ValueType::String
                    | ValueType::Bytes
                    | ValueType::Json
                    | ValueType::Uuid
                    | ValueType::TimeUuid
                    | ValueType::Decimal
            )
        )
    }
}

impl Entities {
    /// Columns of JSON values, all of one length.
    pub fn of_json(frame: &Frame) -> Result<Self, Error> {
        let mut seen = seen(frame.columns.iter().map(|(name, _)| name.as_str()), |_| {
            false
        });
        let mut n_rows = None;
        for ((name, values), seen) in frame.columns.iter().zip(&mut seen) {
            if *n_rows.get_or_insert(values.len()) != values.len() {
                return Err(Error::Malformed {
                    problem: format!("of different lengths: `{name}` has {}", values.len()),
                });
            }
            for (row, value) in values.iter().enumerate() {
                seen.add(name, row, &cell(value))?;
            }
        }
        let mut fields = Vec::with_capacity(seen.len());
        let mut arrays = Vec::with_capacity(seen.len());
        for ((name, values), seen) in frame.columns.iter().zip(seen) {
            let kind = seen.kind(name)?;
            let mut builder = kind.builder();
            for value in values {
                builder.push(&cell(value));
            }
            fields.push(Field::new(name, kind.data_type(), true));
            arrays.push(builder.finish());
        }
        if fields.is_empty() {
            return Err(Error::NoTime);
        }
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(Error::Entities)?;
        Ok(Self::of_batches(schema, vec![batch]))
    }

    /// A CSV file with a heading; an empty cell is null. The file is read twice, and kept as a temporary file of Parquet.
    /// Blocks.
    pub fn of_csv(path: &Path, types: &EntityTypes) -> Result<Self, Error> {
        csv_file::read(path, types)
    }

    /// A Parquet file that is in memory, of at most `max_rows` rows and `max_bytes` bytes when it is decoded. Blocks.
    pub fn of_parquet_body(body: Bytes, max_rows: usize, max_bytes: usize) -> Result<Self, Error> {
        let failed = |error| Error::Entities(ArrowError::from(error));
        let builder = ParquetRecordBatchReaderBuilder::try_new(body).map_err(failed)?;
        let n_rows = builder.metadata().file_metadata().num_rows();
        check_rows(usize::try_from(n_rows).unwrap_or(usize::MAX), max_rows)?;
        let schema = builder.schema().clone();
        let reader = builder.with_batch_size(BODY_BATCH_ROWS).build();
        let mut batches = Bounded::new(max_rows, max_bytes);
        for batch in reader.map_err(failed)? {
            batches.push(batch.map_err(Error::Entities)?)?;
        }
        Ok(Self::of_batches(schema, batches.batches))
    }

    /// An Arrow IPC stream that is in memory, with the same limits. Blocks.
    pub fn of_arrow_body(body: Bytes, max_rows: usize, max_bytes: usize) -> Result<Self, Error> {
        let mut rest = Buffer::from(body);
        let mut decoder = StreamDecoder::new();
        let mut batches = Bounded::new(max_rows, max_bytes);
        while !rest.is_empty() {
            match decoder.decode(&mut rest).map_err(Error::Entities)? {
                Some(batch) => batches.push(batch)?,
                None => break,
            }
        }
        decoder.finish().map_err(Error::Entities)?;
        let schema = decoder.schema().ok_or_else(|| Error::Malformed {
            problem: "no Arrow stream".to_owned(),
        })?;
        Ok(Self::of_batches(schema, batches.batches))
    }
}

struct Bounded {
    batches: Vec<RecordBatch>,
    n_rows: usize,
    n_bytes: usize,
    max_rows: usize,
    max_bytes: usize,
}

impl Bounded {
    fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self {
            batches: Vec::new(),
            n_rows: 0,
            n_bytes: 0,
            max_rows,
            max_bytes,
        }
    }

    fn push(&mut self, batch: RecordBatch) -> Result<(), Error> {
        self.n_rows += batch.num_rows();
        check_rows(self.n_rows, self.max_rows)?;
        self.n_bytes = self.n_bytes.saturating_add(batch.get_array_memory_size());
        if self.n_bytes > self.max_bytes {
            return Err(Error::Malformed {
                problem: format!("more than {} bytes when they are decoded", self.max_bytes),
            });
        }
        self.batches.push(batch);
        Ok(())
    }
}

fn check_rows(n_rows: usize, limit: usize) -> Result<(), Error> {
    match n_rows > limit {
        true => Err(Error::TooManyRows { n_rows, limit }),
        false => Ok(()),
    }
}

fn cell(value: &Json) -> Cell<'_> {
    match value {
        Json::Null => Cell::Null,
        Json::Bool(value) => Cell::Bool(*value),
        Json::Number(number) => Cell::Number(number),
        Json::String(text) => Cell::Text(text),
        nested => Cell::Nested(nested),
    }
}

/// Nothing seen yet of columns with these names.
fn seen<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    is_text: impl Fn(&str) -> bool,
) -> Vec<Seen> {
    let has_time = names.clone().any(|name| name == EVENT_TIMESTAMP);
    let seen = |name: &str| match name {
        EVENT_TIMESTAMP => Seen::of_times(),
        name if is_text(name) => Seen::of_text(),
        _ => Seen::open(!has_time),
    };
    names.map(seen).collect()
}
