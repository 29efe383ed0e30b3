//! An answer as bytes: lines of JSON, CSV, a table for people, or Arrow's stream format; a piece for each batch.
//!
//! JSON: 64-bit integers are exact, times RFC 3339 in UTC, what is null or no number is null. A table is as wide as its first
//! batch needs.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::csv::WriterBuilder as CsvBuilder;
use datafusion::arrow::json::WriterBuilder as JsonBuilder;
use datafusion::arrow::json::writer::LineDelimited;

use super::{Error, Format};

/// Writes one answer: `begin`, each `batch`, `end`.
pub(super) enum Renderer {
    Json,
    Csv {
        schema: SchemaRef,
    },
    Table {
        schema: SchemaRef,
        widths: Vec<usize>,
    },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Renderer {
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<Self, Error> {
        Ok(match format {
            Format::Json => Self::Json,
            Format::Csv => Self::Csv {
                schema: schema.clone(),
            },
            Format::Table => Self::Table {
                schema: schema.clone(),
                widths: Vec::new(),
            },
            Format::Arrow => Self::Arrow(Box::new(
                StreamWriter::try_new(Vec::new(), schema).map_err(broken)?,
            )),
        })
    }

    pub(super) fn begin(&mut self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Json | Self::Table { .. } => Ok(Vec::new()),
            Self::Csv { schema } => csv(&RecordBatch::new_empty(Arc::clone(schema)), true),
            Self::Arrow(writer) => Ok(std::mem::take(writer.get_mut())),
        }
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, Error> {
        match self {
            Self::Json => json(batch).map_err(broken),
            Self::Csv { .. } => csv(batch, false),
            Self::Table { widths, .. } => table(batch, widths).map_err(broken),
            Self::Arrow(writer) => {
                writer.write(batch).map_err(broken)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    pub(super) fn end(&mut self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Json | Self::Csv { .. } => Ok(Vec::new()),
            // Also an answer without rows has columns.
            Self::Table { schema, widths } if widths.is_empty() => {
                table(&RecordBatch::new_empty(Arc::clone(schema)), widths).map_err(broken)
            }
            Self::Table { .. } => Ok(Vec::new()),
            Self::Arrow(writer) => {
                writer.finish().map_err(broken)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }
}

fn broken(error: ArrowError) -> Error {
    Error::Encode {
        reason: error.to_string(),
    }
}

fn json(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = JsonBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

fn csv(batch: &RecordBatch, has_header: bool) -> Result<Vec<u8>, Error> {
    let mut writer = CsvBuilder::new().with_header(has_header).build(Vec::new());
    writer.write(batch).map_err(broken)?;
    Ok(writer.into_inner())
}

/// Headings come with the first batch, which also says how wide columns are.
fn table(batch: &RecordBatch, widths: &mut Vec<usize>) -> Result<Vec<u8>, ArrowError> {
    let options = FormatOptions::default().with_null("");
    let columns = batch.columns().iter();
    let columns = columns.map(|column| ArrayFormatter::try_new(column, &options));
    let columns: Vec<ArrayFormatter<'_>> = columns.collect::<Result<_, _>>()?;
    let mut lines: Vec<Vec<String>> = Vec::with_capacity(batch.num_rows() + 1);
    if widths.is_empty() {
        let schema = batch.schema();
        let names = schema.fields().iter();
        lines.push(names.map(|field| field.name().to_uppercase()).collect());
    }
    for row in 0..batch.num_rows() {
        let cells = columns
            .iter()
            .map(|column| column.value(row).try_to_string());
        lines.push(cells.collect::<Result<_, _>>()?);
    }
    if widths.is_empty() {
        widths.resize(columns.len(), 0);
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }
    let mut text = String::new();
    for line in &lines {
        let start = text.len();
        for (cell, width) in line.iter().zip(widths.iter()) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    }
    Ok(text.into_bytes())
}
