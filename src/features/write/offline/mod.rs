//! Appending a frame to the Parquet file of a source, as Feast's file offline store does it.
//!
//! * The columns of the frame are those of the file, no more and no less; a column may also go by the name that the source
//!   maps it to. Values are cast to the file's Arrow types; text becomes a time of a column with a zone only if it has one too.
//! * A file is written anew with the new rows first, beside the old one, and then takes its place in one step: readers see the
//!   old file or the new one, a crash leaves the old one. Who appends to files of one directory waits for whoever is at it,
//!   in this process or another. Rows are streamed; memory holds the frame and one row group.
//! * A directory of files takes a new file.
//!
//! Not here: object stores, Postgres; they are refused.

mod arrays;
mod parquet_file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{Error, Frame};
use crate::features::Error as FeatureError;
use crate::features::definitions::{DataSource, SourceKind};
use crate::shutdown::run_blocking;

/// Rows in the form of the file they go to.
#[derive(Debug)]
pub(super) struct Append {
    path: PathBuf,
    rows: RecordBatch,
}

/// Converts the frame for a source. Nothing is written yet.
pub(super) async fn prepare(
    source: &DataSource,
    directory: &Path,
    frame: Arc<Frame>,
) -> Result<Append, FeatureError> {
    let path = local_path(source, directory)?;
    let source = source.clone();
    let append = run_blocking(move || {
        let schema = parquet_file::schema(&path)?;
        let rows = rows(&source, &path, schema, &frame)?;
        Ok::<_, Error>(Append { path, rows })
    });
    Ok(append.await.map_err(FeatureError::Panicked)??)
}

impl Append {
    /// Adds the rows to the source; all or none. `done` are the views that are written already, for the error.
    ///
    /// Cancel safety: once begun it runs to its end.
    pub(super) async fn run(self, done: &[String]) -> Result<(), FeatureError> {
        let path = self.path.clone();
        let appended = run_blocking(move || parquet_file::append(&self.path, &self.rows));
        let outcome = appended.await.map_err(FeatureError::Panicked)?;
        outcome.map_err(|source| {
            let done = done.to_vec();
            Error::OfflineWrite { path, done, source }.into()
        })
    }
}

fn local_path(source: &DataSource, directory: &Path) -> Result<PathBuf, Error> {
    let unsupported = |what: String| Err(Error::OfflineUnsupported { what });
    let uri = match &source.kind {
        SourceKind::File { uri, .. } => uri,
        SourceKind::Postgres { .. } => return unsupported("a source in Postgres".to_owned()),
        SourceKind::Other(kind) => return unsupported(format!("a source of kind {kind}")),
    };
    match uri.split_once("://") {
        None => Ok(directory.join(uri)),
        Some(("file", path)) => Ok(PathBuf::from(path)),
        Some((scheme, _)) => unsupported(format!("a source at {scheme}://")),
    }
}

/// The frame as rows of the file.
fn rows(
    source: &DataSource,
    path: &Path,
    schema: SchemaRef,
    frame: &Frame,
) -> Result<RecordBatch, Error> {
    let mut missing = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let own = field.name().as_str();
        let mapping = source.field_mapping.iter();
        let mapped = mapping.clone().find(|(column, _)| column == own);
        let names = [Some(own), mapped.map(|(_, feature)| feature.as_str())];
        let found = names
            .into_iter()
            .flatten()
            .find_map(|name| frame.column(name).map(|values| (name, values)));
        match found {
            Some((name, values)) => {
                used.push(name);
                columns.push((field, values));
            }
            None => missing.push(own.to_owned()),
        }
    }
    let unexpected = frame.names().filter(|name| !used.contains(name));
    let unexpected: Vec<String> = unexpected.map(str::to_owned).collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        return Err(Error::OfflineColumns {
            path: path.to_owned(),
            missing,
            unexpected,
        });
    }
    let mut arrays = Vec::with_capacity(columns.len());
    for (field, values) in columns {
        let values: Vec<_> = values.iter().collect();
        let array = arrays::array(&values, field.data_type());
        let array = array.and_then(|array| arrays::check_nulls(array, field));
        arrays.push(array.map_err(|problem| {
            Error::offline_value(path, field.name(), field.data_type(), problem)
        })?);
    }
    RecordBatch::try_new(schema, arrays).map_err(|source| Error::OfflineRead {
        path: path.to_owned(),
        source: source.into(),
    })
}

fn unreadable(path: &Path, error: parquet::errors::ParquetError) -> Error {
    Error::OfflineRead {
        path: path.to_owned(),
        source: error,
    }
}

/// A missing file is told apart: its path is wrong.
fn cannot_open(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::OfflineMissing {
            path: path.to_owned(),
        },
        _ => unreadable(path, error.into()),
    }
}
