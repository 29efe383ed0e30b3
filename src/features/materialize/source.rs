//! The offline file of a view: where it is, which columns it needs, its rows as Arrow batches.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::Error;
use crate::features::definitions::{DataSource, FeatureView, Field, SourceKind};
use crate::features::suggest::Known;

const BATCH_ROWS: usize = 8_192;

/// A view's source, ready to read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) view: String,
    path: PathBuf,
    /// The key columns; none for an entityless view.
    pub(super) keys: Vec<Column>,
    pub(super) features: Vec<Column>,
    pub(super) event_timestamp: String,
    pub(super) created_timestamp: Option<String>,
}

/// A join key or feature and the source's column that holds it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) field: Field,
    pub(super) name: String,
}

impl Source {
    pub(super) fn of(view: &FeatureView, directory: &Path) -> Result<Self, Error> {
        let unsupported = |what: String| Error::Unsupported {
            view: view.name.clone(),
            what,
        };
        let Some(source) = &view.batch_source else {
            return Err(unsupported("no batch source".to_owned()));
        };
        let uri = match &source.kind {
            SourceKind::File { uri, .. } => uri,
            SourceKind::Postgres { .. } => {
                return Err(unsupported("a source in Postgres".to_owned()));
            }
            SourceKind::Other(kind) => return Err(unsupported(format!("a source of kind {kind}"))),
        };
        let path = match uri.split_once("://") {
            None => directory.join(uri),
            Some(("file", path)) => PathBuf::from(path),
            Some((scheme, _)) => return Err(unsupported(format!("a source at {scheme}://"))),
        };
        let keys: &[Field] = if view.entities.is_empty() {
            &[]
        } else {
            &view.join_keys
        };
        let created = &source.created_timestamp_column;
        Ok(Self {
            view: view.name.clone(),
            path,
            keys: columns(keys, source),
            features: columns(&view.features, source),
            event_timestamp: source.timestamp_field.clone(),
            created_timestamp: Some(created.clone()).filter(|name| !name.is_empty()),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands every batch of every file to `take`, in the order of file names and rows.
    pub(super) fn read(
        &self,
        mut take: impl FnMut(RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for path in self.files()? {
            let reader = self.reader(&path)?;
            for batch in reader {
                let batch = batch.map_err(|error| self.unreadable(&path, error.into()))?;
                take(batch)?;
            }
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.path.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let failed = |error: io::Error| self.unreadable(&self.path, error.into());
        let mut files = Vec::new();
        for entry in fs_err::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "parquet")
            {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn reader(&self, path: &Path) -> Result<ParquetRecordBatchReader, Error> {
        let file = fs_err::File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                view: self.view.clone(),
                path: path.to_owned(),
            },
            _ => self.unreadable(path, error.into()),
        })?;
        let failed = |error| self.unreadable(path, error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.into_file()).map_err(failed)?;
        let columns = self.needed(path, builder.schema())?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
        builder.build().map_err(failed)
    }

    /// The positions of the columns that are needed.
    fn needed(&self, path: &Path, schema: &Arc<Schema>) -> Result<Vec<usize>, Error> {
        let columns = self.keys.iter().chain(&self.features);
        let names = columns.map(|column| &column.name);
        let names = names
            .chain([&self.event_timestamp])
            .chain(&self.created_timestamp);
        let fields = schema.fields().iter().map(|field| field.name().as_str());
        let mut positions = Vec::new();
        for name in names {
            let position = schema.index_of(name).map_err(|_| Error::NoColumn {
                view: self.view.clone(),
                path: path.to_owned(),
                column: name.clone(),
                known: Known::instead_of(name, fields.clone()),
            })?;
            positions.push(position);
        }
        Ok(positions)
    }

    fn unreadable(&self, path: &Path, source: ParquetError) -> Error {
        Error::Read {
            view: self.view.clone(),
            path: path.to_owned(),
            source,
        }
    }
}

fn columns(fields: &[Field], source: &DataSource) -> Vec<Column> {
    let column = |field: &Field| Column {
        name: source.column_of(&field.name).to_owned(),
        field: field.clone(),
    };
    fields.iter().map(column).collect()
}
