//! Batches to bytes, as they come.

use std::io;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value, json};

use super::accept::Format;
use crate::features::historical::{Error, json_values, parquet_properties};

/// Of a Parquet row group that is not in the answer yet.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;

pub(super) enum Encoder {
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    /// Columns cannot be written before all of them are there.
    Json {
        columns: Vec<(String, Vec<Value>)>,
        metadata: Map<String, Value>,
    },
}

fn failed(error: impl Into<io::Error>) -> Error {
    Error::Encode(error.into())
}

impl Encoder {
    pub(super) fn new(format: Format, schema: &SchemaRef, n_rows: usize) -> Result<Self, Error> {
        Ok(match format {
            Format::Arrow => {
                let writer = StreamWriter::try_new(Vec::new(), schema);
                Self::Arrow(Box::new(writer.map_err(io::Error::other).map_err(failed)?))
            }
            Format::Parquet => {
                let properties = Some(parquet_properties(schema));
                let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), properties);
                Self::Parquet(Box::new(writer.map_err(io::Error::other).map_err(failed)?))
            }
            Format::Json => {
                let fields = schema.fields().iter();
                let column = |name: &String| (name.clone(), Vec::with_capacity(n_rows));
                let notes = schema.metadata().iter();
                Self::Json {
                    columns: fields.map(|field| column(field.name())).collect(),
                    metadata: notes
                        .map(|(key, value)| (key.clone(), json!(value)))
                        .collect(),
                }
            }
        })
    }

    /// The bytes that are there; perhaps none yet. Blocks.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, Error> {
        match self {
            Self::Arrow(writer) => {
                writer
                    .write(batch)
                    .map_err(io::Error::other)
                    .map_err(failed)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(writer) => {
                writer
                    .write(batch)
                    .map_err(io::Error::other)
                    .map_err(failed)?;
                if writer.in_progress_size() > MAX_GROUP_BYTES {
                    writer.flush().map_err(io::Error::other).map_err(failed)?;
                    writer.sync().map_err(io::Error::other).map_err(failed)?;
                }
                Ok(std::mem::take(writer.inner_mut()))
            }
            Self::Json { columns, .. } => {
                for ((_, values), array) in columns.iter_mut().zip(batch.columns()) {
                    values.extend(json_values(array)?);
                }
                Ok(Vec::new())
            }
        }
    }

    /// The rest. Blocks.
    pub(super) fn finish(self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Arrow(mut writer) => {
                writer.finish().map_err(io::Error::other).map_err(failed)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(writer) => {
                let rest = writer.into_inner();
                rest.map_err(io::Error::other).map_err(failed)
            }
            Self::Json { columns, metadata } => {
                let n_rows = columns.first().map_or(0, |(_, values)| values.len());
                let columns = columns.into_iter();
                let columns: Map<String, Value> = columns
                    .map(|(name, values)| (name, Value::Array(values)))
                    .collect();
                let answer = json!({ "n_rows": n_rows, "columns": columns, "metadata": metadata });
                let mut bytes = Vec::new();
                serde_json::to_writer(&mut bytes, &answer).map_err(failed)?;
                Ok(bytes)
            }
        }
    }
}
