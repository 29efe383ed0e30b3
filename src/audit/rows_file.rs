//! A Parquet file of flat rows, read back: its events, or only some columns of them.
//!
//! Columns are found by their names; one that a file does not have yet is null. Batches are as large as memory allows, by
//! what the footer says of the size of rows.

use std::io;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use fs_err::File;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
};
use uuid::Uuid;

use super::batch::Offset;
use super::columns;
use super::stored::Stored;

const SUFFIX: &str = "parquet";

/// A batch has no more rows, and about no more bytes.
const MAX_ROWS: u64 = 4_096;
const MAX_BYTES: u64 = 4 << 20;

/// Whether a file of the sink has this format, by its name.
pub(super) fn is_one(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == SUFFIX)
}

#[expect(
    clippy::disallowed_types,
    reason = "Parquet's reader takes no other; errors name the file here"
)]
type Builder = ParquetRecordBatchReaderBuilder<std::fs::File>;

pub(super) struct RowsFile {
    path: PathBuf,
    builder: Builder,
}

impl RowsFile {
    /// Reads the footer.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?.into_file();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|error| unreadable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            builder,
        })
    }

    /// What the writer of the file noted in its footer.
    pub(super) fn note(&self, key: &str) -> Option<&str> {
        let notes = self.builder.metadata().file_metadata().key_value_metadata();
        let note = notes?.iter().find(|note| note.key == key)?;
        note.value.as_deref()
    }

    /// Some columns, by their places in the flat row and in that order.
    pub(super) fn batches(
        self,
        columns: &[usize],
    ) -> io::Result<impl Iterator<Item = io::Result<RecordBatch>> + use<>> {
        let schema = columns::schema(columns);
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let path = self.path.clone();
        let reader = self.reader(&names, None)?;
        Ok(reader.map(move |batch| {
            let batch = batch.map_err(|error| unreadable(&path, &error))?;
            let n_rows = batch.num_rows();
            let arrays =
                schema
                    .fields()
                    .iter()
                    .map(|field| match batch.column_by_name(field.name()) {
                        Some(array) => arrow::compute::cast(array, field.data_type()),
                        None => Ok(new_null_array(field.data_type(), n_rows)),
                    });
            let arrays = arrays.collect::<Result<Vec<_>, ArrowError>>();
            arrays
                .and_then(|arrays| columns::batch(&schema, arrays, n_rows))
                .map_err(|error| unreadable(&path, &error))
        }))
    }

    /// Every event, in its order.
    pub(super) fn events(self) -> io::Result<impl Iterator<Item = io::Result<Stored>>> {
        let mut n_before = 0;
        let batches = self.batches(&columns::all())?;
        Ok(batches.flat_map(move |batch| {
            let events = batch.map(|batch| {
                let first = n_before + 1;
                n_before += batch.num_rows();
                (0..batch.num_rows()).map(move |row| Stored {
                    place: first + row,
                    json: json(&batch, row),
                })
            });
            let (events, error) = match events {
                Ok(events) => (Some(events), None),
                Err(error) => (None, Some(Err(error))),
            };
            error
                .into_iter()
                .chain(events.into_iter().flatten().map(Ok))
        }))
    }

    /// The event of an id. Other columns are read where it is only.
    pub(super) fn find(self, id: &str) -> io::Result<Option<Vec<u8>>> {
        let all = columns::schema(&columns::all());
        let names: Vec<String> = all
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let id = id.to_owned();
        let mask = ProjectionMask::columns(self.builder.parquet_schema(), ["id"]);
        let is_it = ArrowPredicateFn::new(mask, move |batch| {
            let ids = batch.column(0).as_string_opt::<i32>().ok_or_else(no_text)?;
            Ok(BooleanArray::from_unary(ids, |other| other == id))
        });
        let path = self.path.clone();
        for batch in self.reader(&names, Some(RowFilter::new(vec![Box::new(is_it)])))? {
            let batch = batch.map_err(|error| unreadable(&path, &error))?;
            if batch.num_rows() > 0 {
                return Ok(Some(json(&batch, 0)));
            }
        }
        Ok(None)
    }

    /// Where each event is from, in the order of the file.
    pub(super) fn offsets(self, mut tell: impl FnMut(Offset)) -> io::Result<()> {
        let places = ["writer", "sequence"]
            .into_iter()
            .filter_map(columns::place);
        let path = self.path.clone();
        for batch in self.batches(&places.collect::<Vec<_>>())? {
            let batch = batch?;
            let writers = batch.column(0).as_string::<i32>();
            let sequences = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let writer = Uuid::try_parse(writers.value(row));
                let sequence = u64::try_from(sequences.value(row));
                let (Ok(writer), Ok(sequence)) = (writer, sequence) else {
                    return Err(unreadable(&path, &"a row does not say where it is from"));
                };
                tell(Offset { writer, sequence });
            }
        }
        Ok(())
    }

    fn reader(
        self,
        names: &[String],
        filter: Option<RowFilter>,
    ) -> io::Result<ParquetRecordBatchReader> {
        let schema = self.builder.parquet_schema();
        let names = names.iter().map(String::as_str);
        let mask = ProjectionMask::columns(schema, names);
        let batch_rows = self.batch_rows();
        let mut builder = self
            .builder
            .with_projection(mask)
            .with_batch_size(batch_rows);
        if let Some(filter) = filter {
            builder = builder.with_row_filter(filter);
        }
        builder
            .build()
            .map_err(|error| unreadable(&self.path, &error))
    }

    fn batch_rows(&self) -> usize {
        let groups = self.builder.metadata().row_groups().iter();
        let widest = groups.map(|group| {
            let n_bytes = u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX);
            let n_rows = u64::try_from(group.num_rows()).unwrap_or(0);
            n_bytes.checked_div(n_rows).unwrap_or(0)
        });
        let widest = widest.max().unwrap_or(0).max(1);
        usize::try_from((MAX_BYTES / widest).clamp(1, MAX_ROWS)).unwrap_or(1)
    }
}

/// The event of a row; nothing if it is none.
fn json(batch: &RecordBatch, row: usize) -> Vec<u8> {
    let event = columns::event(batch, row);
    event
        .and_then(|event| serde_json::to_vec(&event).ok())
        .unwrap_or_default()
}

fn no_text() -> ArrowError {
    ArrowError::SchemaError(format!("`id` is not {}", DataType::Utf8))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
