//! A Parquet file, or a directory of them, that takes more rows.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fs_err::File;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use uuid::Uuid;

use super::{Error, cannot_open, unreadable};

/// Rows that are read at once.
const BATCH_ROWS: usize = 8_192;

/// What Arrow keeps of its schema in a file; it is written anew.
const ARROW_SCHEMA: &str = "ARROW:schema";

/// The columns of the file, or of the first file of a directory.
pub(super) fn schema(path: &Path) -> Result<SchemaRef, Error> {
    let file = match path.is_dir() {
        false => path.to_owned(),
        true => first_file(path)?,
    };
    let opened = File::open(&file).map_err(|error| cannot_open(&file, error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened.into_file());
    let builder = builder.map_err(|error| unreadable(&file, error))?;
    Ok(builder.schema().clone())
}

fn first_file(directory: &Path) -> Result<PathBuf, Error> {
    let failed = |error| cannot_open(directory, error);
    let mut files = Vec::new();
    for entry in fs_err::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            let what = format!("{}, a directory with directories", directory.display());
            return Err(Error::OfflineUnsupported { what });
        }
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            files.push(path);
        }
    }
    files
        .into_iter()
        .min()
        .ok_or_else(|| Error::OfflineMissing {
            path: directory.join("*.parquet"),
        })
}

/// Adds rows of the file's own schema; all of them or none.
pub(super) fn append(path: &Path, rows: &RecordBatch) -> io::Result<()> {
    // A link keeps pointing where it points.
    let path = fs_err::canonicalize(path)?;
    if path.is_dir() {
        let file = path.join(format!("part-{}.parquet", Uuid::now_v7()));
        return replace(&file, |out| {
            let mut writer = ArrowWriter::try_new(out, rows.schema(), None)?;
            writer.write(rows)?;
            writer.close()?;
            Ok(())
        });
    }
    let _lock = lock_directory(&path)?;
    replace(&path, |out| copy_behind(&path, rows, out))
}

/// Writes the rows, and behind them those of the file.
fn copy_behind(path: &Path, rows: &RecordBatch, out: &mut File) -> Result<(), ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?.into_file())?;
    if builder.schema() != &rows.schema() {
        let problem = "its columns have changed since the rows were converted";
        return Err(ParquetError::General(problem.to_owned()));
    }
    let properties = properties_of(builder.metadata());
    let mut writer = ArrowWriter::try_new(out, rows.schema(), Some(properties))?;
    writer.write(rows)?;
    for batch in builder.with_batch_size(BATCH_ROWS).build()? {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}

/// Compression and notes of a file, for the one that takes its place.
fn properties_of(metadata: &ParquetMetaData) -> WriterProperties {
    let mut properties = WriterProperties::builder();
    if let Some(column) = metadata
        .row_groups()
        .first()
        .and_then(|group| group.columns().first())
    {
        properties = properties.set_compression(column.compression());
    }
    if let Some(notes) = metadata.file_metadata().key_value_metadata() {
        let mut notes = notes.clone();
        notes.retain(|note| note.key != ARROW_SCHEMA);
        properties = properties.set_key_value_metadata(Some(notes));
    }
    properties.build()
}

/// Holds off everybody else who appends to a file of this directory, until it is dropped.
fn lock_directory(path: &Path) -> io::Result<File> {
    let directory = File::open(parent(path))?;
    directory.lock()?;
    Ok(directory)
}

/// Puts what `write` writes in the place of a file, in one step, once all of it is on disk.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), ParquetError>,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = Unfinished(path.with_file_name(format!(".{name}.{}", Uuid::now_v7())));
    let mut file = File::create_new(&unfinished.0)?;
    if let Ok(old) = fs_err::metadata(path) {
        fs_err::set_permissions(&unfinished.0, old.permissions())?;
    }
    write(&mut file).map_err(io::Error::other)?;
    file.flush()?;
    file.sync_all()?;
    fs_err::rename(&unfinished.0, path)?;
    File::open(parent(path))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// A file that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone if all went well, and nobody is left to be told if not.
        let _ = fs_err::remove_file(&self.0);
    }
}
