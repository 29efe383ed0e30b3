//! `terrarium features push` and `features write`: rows from a file or standard input into the stores.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::json;

use super::output::{Output, remark};
use super::{Failed, explain};
use crate::features::FeatureStore;
use crate::features::write::load::{self, ColumnTypes, CsvFrames, LoadError};
use crate::features::write::{Frame, PushTarget, Written};

/// Rows that are converted and written at once, unless they go into a file.
const BATCH_ROWS: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Push {
    /// The push source
    source: String,
    #[command(flatten)]
    rows: Rows,
    /// Where the rows go
    #[arg(long, value_enum, default_value_t = Target::Online)]
    to: Target,
}

#[derive(Debug, clap::Args)]
pub(super) struct Write {
    /// The feature view, or an on-demand feature view that is kept in the online store
    view: String,
    #[command(flatten)]
    rows: Rows,
    /// Do not compute an on-demand feature view: the rows have its features already
    #[arg(long)]
    transformed: bool,
}

#[derive(Debug, clap::Args)]
struct Rows {
    /// File with the rows; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// What the file is [default: by its name's ending, JSON for standard input]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    Online,
    /// Append to the views' Parquet files
    Offline,
    OnlineAndOffline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A list of rows, or an object of columns
    Json,
    /// A row per line
    Jsonl,
    /// With a heading; an empty cell is null
    Csv,
    Parquet,
}

pub(super) async fn push(store: &FeatureStore, push: &Push, output: Output) -> Result<(), Failed> {
    let types = store.push_columns(&push.source);
    let types = types.map_err(|error| Failed::command(&error))?;
    let (to, batch_rows) = match push.to {
        Target::Online => (PushTarget::Online, BATCH_ROWS),
        // A file is written anew as a whole, so it is done once.
        Target::Offline => (PushTarget::Offline, usize::MAX),
        Target::OnlineAndOffline => (PushTarget::OnlineAndOffline, usize::MAX),
    };
    let mut progress = Pushed::begin();
    for frame in push.rows.frames(types, batch_rows)? {
        let frame = frame.map_err(|error| progress.failed(&message(&error)))?;
        let n_rows = n_rows(&frame);
        let written = store.push(&push.source, frame, to).await;
        let written = written.map_err(|error| progress.failed(&explain(&error)))?;
        progress.add(n_rows, written);
    }
    progress.report(output)
}

pub(super) async fn write(
    store: &FeatureStore,
    write: &Write,
    output: Output,
) -> Result<(), Failed> {
    let types = store.write_columns(&write.view);
    let types = types.map_err(|error| Failed::command(&error))?;
    let mut progress = Pushed::begin();
    for frame in write.rows.frames(types, BATCH_ROWS)? {
        let frame = frame.map_err(|error| progress.failed(&message(&error)))?;
        let n_rows = n_rows(&frame);
        let written = match write.transformed {
            true => store.write_transformed(&write.view, frame).await,
            false => store.write_to_online_store(&write.view, frame).await,
        };
        let written = written.map_err(|error| progress.failed(&explain(&error)))?;
        progress.add(n_rows, written);
    }
    progress.report(output)
}

fn n_rows(frame: &Frame) -> usize {
    frame.columns.first().map_or(0, |(_, values)| values.len())
}

impl Rows {
    fn frames(&self, types: ColumnTypes, batch_rows: usize) -> Result<Frames, Failed> {
        let failed = |error: io::Error| Failed::Start(error.to_string());
        let is_stdin = self.file == Path::new("-");
        let format = match self.format {
            Some(format) => format,
            None if is_stdin => Format::Json,
            None => by_ending(&self.file)?,
        };
        if format == Format::Parquet {
            if is_stdin {
                let message = "Parquet cannot be read from standard input; name a file";
                return Err(Failed::Start(message.to_owned()));
            }
            return self.parquet(types, batch_rows);
        }
        let mut reader: Box<dyn Read> = match is_stdin {
            true => Box::new(io::stdin().lock()),
            false => Box::new(BufReader::new(
                fs_err::File::open(&self.file).map_err(failed)?,
            )),
        };
        if format == Format::Csv {
            let frames = CsvFrames::new(reader, &types, batch_rows);
            return Ok(Frames::Csv(frames.map_err(|error| self.refused(&error))?));
        }
        let mut text = Vec::new();
        reader.read_to_end(&mut text).map_err(failed)?;
        let frame = match format {
            Format::Jsonl => load::from_json_lines(&text),
            _ => load::from_json(&text),
        };
        let frame = frame.map_err(|error| self.refused(&error))?;
        Ok(Frames::One(Some(frame)))
    }

    fn parquet(&self, types: ColumnTypes, batch_rows: usize) -> Result<Frames, Failed> {
        let file = fs_err::File::open(&self.file);
        let file = file.map_err(|error| Failed::Start(error.to_string()))?;
        let refused = |error| Failed::Start(format!("{}: {error}", self.file.display()));
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file.into_file()).map_err(refused)?;
        let n_rows = builder.metadata().file_metadata().num_rows();
        let n_rows = usize::try_from(n_rows).unwrap_or(usize::MAX).max(1);
        let builder = builder.with_batch_size(batch_rows.min(n_rows));
        let reader = builder.build().map_err(refused)?;
        Ok(Frames::Parquet(Box::new(reader), types))
    }

    fn refused(&self, error: &LoadError) -> Failed {
        let message = message(error);
        Failed::Command(Some(format!("{}: {message}", self.file.display())))
    }
}

fn by_ending(file: &Path) -> Result<Format, Failed> {
    let ending = file.extension().unwrap_or_default().to_string_lossy();
    match ending.as_ref() {
        "json" => Ok(Format::Json),
        "jsonl" | "ndjson" => Ok(Format::Jsonl),
        "csv" => Ok(Format::Csv),
        "parquet" => Ok(Format::Parquet),
        _ => Err(Failed::Start(format!(
            "{}: the name does not tell what it is; say it with `--format`",
            file.display()
        ))),
    }
}

/// An error with its cause.
fn message(error: &LoadError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The frames of a file, one after the other.
enum Frames {
    One(Option<Frame>),
    Csv(CsvFrames<Box<dyn Read>>),
    Parquet(Box<ParquetRecordBatchReader>, ColumnTypes),
}

impl Iterator for Frames {
    type Item = Result<Frame, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(frame) => frame.take().map(Ok),
            Self::Csv(frames) => frames.next(),
            Self::Parquet(reader, types) => Some(match reader.next()? {
                Ok(batch) => load::from_arrow(&batch, types),
                Err(error) => Err(LoadError::Arrow(error)),
            }),
        }
    }
}

/// What was written so far, shown while it goes on.
struct Pushed {
    bar: ProgressBar,
    n_read: usize,
    written: Written,
}

impl Pushed {
    fn begin() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} rows {per_sec} {elapsed}")
        {
            bar.set_style(style);
        }
        Self {
            bar,
            n_read: 0,
            written: Written::default(),
        }
    }

    fn add(&mut self, n_rows: usize, written: Written) {
        self.n_read += n_rows;
        self.bar.set_position(self.n_read as u64);
        self.written.rows += written.rows;
        for view in written.views {
            if !self.written.views.contains(&view) {
                self.written.views.push(view);
            }
        }
    }

    fn failed(&self, message: &str) -> Failed {
        self.bar.finish_and_clear();
        let before = match self.n_read {
            0 => String::new(),
            n_read => format!("; the {n_read} rows before are written"),
        };
        Failed::Command(Some(format!("{message}{before}")))
    }

    fn report(self, output: Output) -> Result<(), Failed> {
        self.bar.finish_and_clear();
        let Written { rows, views } = self.written;
        if output.is_json() {
            return Ok(output.json(&json!({ "rows": rows, "views": views }))?);
        }
        if views.is_empty() {
            remark("nothing to write: no rows, or no feature that is not null");
            return Ok(());
        }
        Ok(output.line(&format!("{rows} rows written to {}", views.join(", ")))?)
    }
}
