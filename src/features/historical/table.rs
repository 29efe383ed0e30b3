//! A table on its way into a file: under another name beside its place until it is whole.
//!
//! Parquet or CSV. A file that is dropped before it has its name is deleted, and what was at its place stays.
//! Not here: what the rows are (`historical`, `predict/score`).

use std::io::{self, BufWriter, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use ring::digest::{Context, SHA256};
use tempfile::NamedTempFile;

use super::fingerprint::hexadecimal;

/// Of a row group that is not written yet; it bounds the memory.
const MAX_GROUP_BYTES: usize = 64 * 1024 * 1024;

/// Of the dictionary of a column of numbers that are no integers, within a row group: either a few come again and again, or nearly all
/// differ, and then looking each of them up is for nothing.
const FLOAT_DICTIONARY_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    Parquet,
    /// With a heading; a null is an empty cell.
    Csv,
}

impl FileFormat {
    /// By the ending of a file's name.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// A file that takes rows. All methods block.
pub struct TableFile {
    file: NamedTempFile,
    rows: Rows,
}

enum Rows {
    Parquet(Box<ArrowWriter<Summed>>),
    Csv(Box<csv::Writer<Summed>>),
}

impl TableFile {
    /// Begins a file that is to be at `path`. Notes are the metadata of the schema.
    pub fn create(path: &Path, format: FileFormat, schema: &SchemaRef) -> io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{name}.");
        builder.prefix(&prefix);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any other new file, under the process's umask.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(directory)?;
        let out = Summed::new(fs_err::File::from_parts(file.reopen()?, file.path()));
        let rows = match format {
            FileFormat::Parquet => {
                let writer =
                    ArrowWriter::try_new(out, schema.clone(), Some(parquet_properties(schema)));
                Rows::Parquet(Box::new(writer.map_err(io::Error::other)?))
            }
            FileFormat::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(schema.fields().iter().map(|field| field.name()))?;
                Rows::Csv(Box::new(writer))
            }
        };
        Ok(Self { file, rows })
    }

    /// Rows of the schema.
    pub fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        match &mut self.rows {
            Rows::Parquet(writer) => {
                writer.write(batch).map_err(io::Error::other)?;
                if writer.in_progress_size() > MAX_GROUP_BYTES {
                    writer.flush().map_err(io::Error::other)?;
                }
                Ok(())
            }
            Rows::Csv(writer) => csv_rows(writer, batch),
        }
    }

    /// The end of the rows. Afterwards everything is on disk, still under the other name.
    pub fn finish(self) -> io::Result<WholeFile> {
        let out = match self.rows {
            Rows::Parquet(writer) => writer.into_inner().map_err(io::Error::other)?,
            Rows::Csv(writer) => writer.into_inner().map_err(|error| error.into_error())?,
        };
        let (sha256, n_bytes) = out.finish()?;
        self.file.as_file().sync_all()?;
        Ok(WholeFile {
            file: self.file,
            sha256,
            n_bytes,
        })
    }
}

/// A file that has all its rows and not yet its name.
#[derive(Debug)]
pub struct WholeFile {
    file: NamedTempFile,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: String,
    pub n_bytes: u64,
}

impl WholeFile {
    /// Gives it its name, in place of what was there.
    pub fn publish(self, path: &Path) -> io::Result<()> {
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Sums up what is written, once it leaves the buffer.
struct Summed {
    out: BufWriter<fs_err::File>,
    sum: Context,
    n_bytes: u64,
}

impl Summed {
    fn new(file: fs_err::File) -> Self {
        Self {
            out: BufWriter::new(file),
            sum: Context::new(&SHA256),
            n_bytes: 0,
        }
    }

    fn finish(mut self) -> io::Result<(String, u64)> {
        self.out.flush()?;
        Ok((hexadecimal(&self.sum.finish()), self.n_bytes))
    }
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_written = self.out.write(bytes)?;
        self.sum.update(&bytes[..n_written]);
        self.n_bytes += n_written as u64;
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// How features are written as Parquet: what they were made of stands in the file's own notes as well as in Arrow's schema.
pub fn parquet_properties(schema: &SchemaRef) -> WriterProperties {
    let mut notes: Vec<KeyValue> = schema
        .metadata()
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    notes.sort_by(|a, b| a.key.cmp(&b.key));
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(notes));
    for field in schema.fields() {
        if field.data_type().is_floating() {
            let column = ColumnPath::new(vec![field.name().clone()]);
            properties =
                properties.set_column_dictionary_page_size_limit(column, FLOAT_DICTIONARY_BYTES);
        }
    }
    properties.build()
}

fn csv_rows<W: Write>(writer: &mut csv::Writer<W>, batch: &RecordBatch) -> io::Result<()> {
    let options = FormatOptions::default().with_null("");
    let columns = batch.columns().iter();
    let columns = columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let columns = columns
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    for row in 0..batch.num_rows() {
        for column in &columns {
            let text = column
                .value(row)
                .try_to_string()
                .map_err(io::Error::other)?;
            writer.write_field(text)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(())
}
