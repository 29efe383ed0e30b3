//! Entity rows: what a point-in-time join is asked for, readable as often as it takes.
//!
//! They are in memory, or a Parquet file that is read batch by batch. A row is what it is by its place; nothing reorders
//! them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::file::reader::ChunkReader;

use super::BATCH_ROWS;

/// Clones share the rows.
#[derive(Clone)]
pub struct Entities {
    schema: SchemaRef,
    n_rows: usize,
    rows: Rows,
}

#[derive(Clone)]
enum Rows {
    Memory(Arc<[RecordBatch]>),
    Parquet {
        path: Arc<PathBuf>,
        /// Deleted with the last clone.
        _temporary: Option<Arc<tempfile::TempPath>>,
    },
}

/// Batches of entity rows.
pub(in crate::features) type Batches =
    Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

impl fmt::Debug for Entities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entities")
            .field("schema", &self.schema)
            .field("n_rows", &self.n_rows)
            .finish_non_exhaustive()
    }
}

impl Entities {
    /// Rows in memory. The batches are of the schema.
    pub fn of_batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self {
            schema,
            n_rows: batches.iter().map(RecordBatch::num_rows).sum(),
            rows: Rows::Memory(batches.into()),
        }
    }

    /// A Parquet file, which nobody may change while it is used. Reads its footer.
    pub fn of_parquet(path: &Path) -> Result<Self, ArrowError> {
        let builder = open(path)?;
        let n_rows = builder.metadata().file_metadata().num_rows();
        Ok(Self {
            schema: builder.schema().clone(),
            n_rows: usize::try_from(n_rows).unwrap_or(0),
            rows: Rows::Parquet {
                path: Arc::new(path.to_owned()),
                _temporary: None,
            },
        })
    }

    /// The same of a file that goes when the rows go.
    pub fn of_temporary(file: tempfile::TempPath) -> Result<Self, ArrowError> {
        let mut entities = Self::of_parquet(&file)?;
        if let Rows::Parquet { _temporary, .. } = &mut entities.rows {
            *_temporary = Some(Arc::new(file));
        }
        Ok(entities)
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The columns at `places`, in that order, of all rows. Blocks.
    pub(in crate::features) fn read(&self, places: &[usize]) -> Result<Batches, ArrowError> {
        let schema = Arc::new(self.schema.project(places)?);
        match &self.rows {
            Rows::Memory(batches) => {
                let batches = Arc::clone(batches);
                let places = places.to_vec();
                let projected =
                    (0..batches.len()).map(move |i| projected(&batches[i], &places, &schema));
                Ok(Box::new(projected))
            }
            Rows::Parquet { path, .. } => {
                let builder = open(path)?;
                let mask = ProjectionMask::roots(builder.parquet_schema(), places.iter().copied());
                let reader = builder
                    .with_projection(mask)
                    .with_batch_size(BATCH_ROWS)
                    .build()?;
                // The reader gives the columns in the file's order, each once.
                let mut sorted = places.to_vec();
                sorted.sort_unstable();
                sorted.dedup();
                let places: Vec<usize> = places
                    .iter()
                    .map(|place| sorted.binary_search(place).unwrap_or(0))
                    .collect();
                Ok(Box::new(
                    reader.map(move |batch| projected(&batch?, &places, &schema)),
                ))
            }
        }
    }
}

/// Also of no columns.
fn projected(
    batch: &RecordBatch,
    places: &[usize],
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let columns = places.iter().map(|&place| batch.column(place).clone());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &options)
}

fn open(
    path: &Path,
) -> Result<ParquetRecordBatchReaderBuilder<impl ChunkReader + use<>>, ArrowError> {
    let file = fs_err::File::open(path).map_err(|error| {
        // The message names the file.
        ArrowError::IoError(error.to_string(), error)
    })?;
    Ok(ParquetRecordBatchReaderBuilder::try_new(file.into_file())?)
}

/// Entity rows that are written to a temporary file while they come, to be read as often as it takes.
pub(in crate::features) struct Spool {
    file: tempfile::NamedTempFile,
    writer: ArrowWriter<fs_err::File>,
}

impl Spool {
    pub(in crate::features) fn new(schema: SchemaRef) -> Result<Self, ArrowError> {
        let file = tempfile::Builder::new().prefix("terrarium-").tempfile()?;
        let out = fs_err::File::from_parts(file.reopen()?, file.path());
        let writer = ArrowWriter::try_new(out, schema, None)?;
        Ok(Self { file, writer })
    }

    /// Blocks.
    pub(in crate::features) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.writer.write(batch)?;
        if self.writer.in_progress_size() > MAX_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Blocks.
    pub(in crate::features) fn finish(self) -> Result<Entities, ArrowError> {
        self.writer.close()?;
        Entities::of_temporary(self.file.into_temp_path())
    }
}

/// Of a row group that is not written yet.
const MAX_GROUP_BYTES: usize = 32 * 1024 * 1024;
