//! The result as a file: written under a temporary name beside its place and renamed when it is whole.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tempfile::NamedTempFile;
use tokio::time::MissedTickBehavior;

use super::{Error, Historical, Progress};
use crate::shutdown::run_blocking;

/// Of a row group that is not written yet; it bounds the memory.
const MAX_GROUP_BYTES: usize = 64 * 1024 * 1024;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

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

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSummary {
    pub path: PathBuf,
    pub n_rows: usize,
    /// In the order of the columns.
    pub features: Vec<FeatureSummary>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureSummary {
    pub name: String,
    /// Rows in which it is null.
    pub n_null: usize,
}

impl Historical {
    /// Writes everything. Until it is whole the file is under another name; if it fails nothing is left, and what was at
    /// `path` stays. Not cancel safe but for that.
    pub async fn write_file(
        mut self,
        path: &Path,
        format: FileFormat,
        progress: &mut (dyn FnMut(Progress, usize) + Send),
    ) -> Result<FileSummary, Error> {
        let failed = |source: io::Error| Error::Write {
            path: path.to_owned(),
            source,
        };
        let fields = self.schema.fields().iter().skip(self.first_feature);
        let features = fields.map(|field| FeatureSummary {
            name: field.name().clone(),
            n_null: 0,
        });
        let mut summary = FileSummary {
            path: path.to_owned(),
            n_rows: 0,
            features: features.collect(),
        };
        let mut writer = Writer::create(path, format, &self.schema).map_err(failed)?;
        let watch = self.watch();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let batch = tokio::select! {
                batch = self.batches.next() => batch,
                _ = ticks.tick() => {
                    progress(watch.progress(), summary.n_rows);
                    continue;
                }
            };
            let Some(batch) = batch.transpose()? else {
                break;
            };
            summary.n_rows += batch.num_rows();
            let columns = batch.columns().iter().skip(self.first_feature);
            for (feature, column) in summary.features.iter_mut().zip(columns) {
                feature.n_null += column.null_count();
            }
            let written = run_blocking(move || writer.write(&batch).map(|()| writer)).await;
            writer = written.map_err(Error::Panicked)?.map_err(failed)?;
        }
        let to = path.to_owned();
        let finished = run_blocking(move || writer.finish(&to)).await;
        finished.map_err(Error::Panicked)?.map_err(failed)?;
        progress(watch.progress(), summary.n_rows);
        Ok(summary)
    }
}

struct Writer {
    file: NamedTempFile,
    rows: Rows,
}

enum Rows {
    Parquet(Box<ArrowWriter<fs_err::File>>),
    Csv(Box<csv::Writer<BufWriter<fs_err::File>>>),
}

impl Writer {
    fn create(path: &Path, format: FileFormat, schema: &SchemaRef) -> io::Result<Self> {
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
        let out = fs_err::File::from_parts(file.reopen()?, file.path());
        let rows = match format {
            FileFormat::Parquet => {
                let writer =
                    ArrowWriter::try_new(out, schema.clone(), Some(parquet_properties(schema)));
                Rows::Parquet(Box::new(writer.map_err(io::Error::other)?))
            }
            FileFormat::Csv => {
                let mut writer = csv::Writer::from_writer(BufWriter::new(out));
                writer.write_record(schema.fields().iter().map(|field| field.name()))?;
                Rows::Csv(Box::new(writer))
            }
        };
        Ok(Self { file, rows })
    }

    fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
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

    /// Everything is on disk before the name is.
    fn finish(self, path: &Path) -> io::Result<()> {
        match self.rows {
            Rows::Parquet(writer) => {
                writer.close().map_err(io::Error::other)?;
            }
            Rows::Csv(mut writer) => writer.flush()?,
        }
        self.file.as_file().sync_all()?;
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(())
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
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(notes))
        .build()
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
