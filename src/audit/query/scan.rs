//! The flat rows of events, batch by batch, from wherever they are kept. Blocks on the disk, or on the brokers.
//!
//! What is no event is left out, counted, and the first is named; `audit verify` tells of all of them.

use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;

use super::super::columns::{Rows, micros, place};
use super::super::parts::EventParts;
use super::super::rows_file::{self, RowsFile};
use super::super::spool::{self, Scanned};
use super::super::stored::{self, Stored};
use super::super::{flat, read, sink, topic};
use super::{Archive, Error, LeftOut, Question, Source};

/// How many bytes of the spool are read at once.
const SPOOL_BYTES: usize = 1 << 20;
/// So often a reader that gives no rows looks whether anybody still waits for some.
const LOOK_EVERY: u32 = 1_024;
/// Clocks of file systems are coarse, and those of machines differ.
const TOLERANCE: Duration = Duration::from_secs(60);

/// Takes what is read.
pub(super) trait Output {
    /// Waits until there is room. `false`: nobody wants more.
    fn take(&mut self, batch: RecordBatch) -> bool;

    fn is_wanted(&self) -> bool;
}

/// The events of a question.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    place: Place,
    question: Arc<Question>,
    left_out: LeftOut,
}

#[derive(Debug, Clone)]
enum Place {
    Files(PathBuf),
    Spool(PathBuf),
    Topic(Box<topic::Config>),
}

impl Scan {
    pub(super) fn of(
        archive: &Archive,
        question: Arc<Question>,
        left_out: LeftOut,
    ) -> Result<Self, Error> {
        let place = match question.source {
            Source::Files => Place::Files(archive.files.clone()),
            Source::Spool => Place::Spool(archive.spool.clone()),
            Source::Topic => Place::Topic(Box::new(archive.topic.clone().ok_or(Error::NoTopic)?)),
        };
        Ok(Self {
            place,
            question,
            left_out,
        })
    }

    /// Reads to the end, or until nobody wants more; `columns` are places in the flat row.
    pub(super) fn run(&self, columns: &[usize], output: &mut dyn Output) -> Result<(), Error> {
        let mut rows = Selected {
            rows: Rows::new(columns),
            columns,
            scan: self,
            output,
            until_look: LOOK_EVERY,
        };
        let goes_on = match &self.place {
            Place::Files(directory) => rows.files(directory)?,
            Place::Spool(directory) => rows.spool(directory)?,
            Place::Topic(config) => rows.topic(config)?,
        };
        if goes_on {
            rows.flush()?;
        }
        Ok(())
    }
}

/// Rows on their way out. Methods tell whether more is wanted.
struct Selected<'a> {
    rows: Rows,
    columns: &'a [usize],
    scan: &'a Scan,
    output: &'a mut dyn Output,
    until_look: u32,
}

impl Selected<'_> {
    fn files(&mut self, directory: &Path) -> Result<bool, Error> {
        for path in sink::files(directory)? {
            match self.file(&path) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                // It was deleted for `max_files` just now.
                Err(Error::Read(read::Error::Io { source })) if source.kind() == NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn file(&mut self, path: &Path) -> Result<bool, Error> {
        if self.is_outside(path)? {
            return Ok(true);
        }
        match rows_file::is_one(path) {
            true => self.rows_file(path),
            false => self.lines(path),
        }
    }

    fn lines(&mut self, path: &Path) -> Result<bool, Error> {
        for stored in stored::events(path)? {
            let Stored { place, json } = stored?;
            if !self.event(&json, || format!("{}:{place}", path.display()))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Rows are there already: only the columns that are wanted are read.
    fn rows_file(&mut self, path: &Path) -> Result<bool, Error> {
        // In the order of the batches before.
        if !self.flush()? {
            return Ok(false);
        }
        let columns: Vec<usize> = self.columns.iter().copied().chain(place("time")).collect();
        for batch in RowsFile::open(path)?.batches(&columns)? {
            let batch = self.in_range(&batch?).map_err(broken)?;
            if batch.num_rows() > 0 && !self.output.take(batch) {
                return Ok(false);
            }
            if !self.output.is_wanted() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows in the range of time, which stands in the last column, and the other columns.
    fn in_range(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let times = batch.column(self.columns.len());
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let question = &self.scan.question;
        let is_taken = BooleanArray::from_unary(times, |micros| question.takes(micros));
        let wanted: Vec<usize> = (0..self.columns.len()).collect();
        filter_record_batch(&batch.project(&wanted)?, &is_taken)
    }

    /// Files of an hour outside of the range, and files that were written to for the last time before it, hold nothing of it.
    fn is_outside(&self, path: &Path) -> Result<bool, Error> {
        let question = &self.scan.question;
        if let Some((begin, end)) = sink::hour_of(path) {
            let is_before = question.since.is_some_and(|since| end <= since.as_micros());
            let is_behind = question
                .until
                .is_some_and(|until| until.as_micros() <= begin);
            return Ok(is_before || is_behind);
        }
        let Some(since) = self.scan.question.since else {
            return Ok(false);
        };
        let Ok(since) = u64::try_from(since.as_micros()) else {
            return Ok(false);
        };
        let since = SystemTime::UNIX_EPOCH + Duration::from_micros(since);
        Ok(fs_err::metadata(path)?.modified()? + TOLERANCE < since)
    }

    fn spool(&mut self, directory: &Path) -> Result<bool, Error> {
        for mut scan in spool::unshipped(directory)? {
            loop {
                match scan.next(None, SPOOL_BYTES) {
                    Ok(Scanned::Events(batch)) => {
                        for event in batch.events() {
                            let place = || format!("event {} of the spool", event.offset);
                            if !self.event(&event.json, place)? {
                                return Ok(false);
                            }
                        }
                    }
                    Ok(Scanned::Lost { segment, .. }) => {
                        self.leave_out(|| segment.path.display().to_string());
                    }
                    Ok(Scanned::End) => break,
                    // It was shipped just now.
                    Err(error) if error.kind() == NotFound => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(true)
    }

    fn topic(&mut self, config: &topic::Config) -> Result<bool, Error> {
        let question = &self.scan.question;
        let (begin, end) = question.topic_range();
        let partition = question.partition;
        for event in topic::events_of(config, partition, begin, end)? {
            let event = event?;
            let place = || format!("message {}/{}", event.partition, event.position);
            let goes_on = match &event.json {
                Some(json) if json.get("latency_us").is_some() => self.row(json, place)?,
                Some(json) => match serde_json::to_vec(json) {
                    Ok(bytes) => self.event(&bytes, place)?,
                    Err(_) => self.leave_out(place),
                },
                None => self.leave_out(place),
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn event(&mut self, json: &[u8], place: impl FnOnce() -> String) -> Result<bool, Error> {
        match EventParts::parse(json) {
            Ok(event) => self.parts(&event, json.len(), place),
            Err(_) => Ok(self.leave_out(place)),
        }
    }

    /// A flat row, as `connect_json` has it.
    fn row(
        &mut self,
        row: &serde_json::Value,
        place: impl FnOnce() -> String,
    ) -> Result<bool, Error> {
        match flat::event(|name| flat::json_cell(row.get(name))) {
            Some(event) => self.parts(&event, 0, place),
            None => Ok(self.leave_out(place)),
        }
    }

    fn parts(
        &mut self,
        event: &EventParts<'_>,
        n_bytes: usize,
        place: impl FnOnce() -> String,
    ) -> Result<bool, Error> {
        let Some(time) = micros(&event.time) else {
            return Ok(self.leave_out(place));
        };
        if !self.scan.question.takes(time) {
            return Ok(self.look());
        }
        if !self.rows.append(event, n_bytes) {
            return Ok(self.leave_out(place));
        }
        if self.rows.is_full() {
            return self.flush();
        }
        Ok(self.look())
    }

    fn flush(&mut self) -> Result<bool, Error> {
        match self.rows.finish().map_err(broken)? {
            Some(batch) => Ok(self.output.take(batch)),
            None => Ok(true),
        }
    }

    fn leave_out(&mut self, place: impl FnOnce() -> String) -> bool {
        self.scan.left_out.add(place);
        self.look()
    }

    /// Whether more is wanted, looked at now and then.
    fn look(&mut self) -> bool {
        self.until_look -= 1;
        if self.until_look > 0 {
            return true;
        }
        self.until_look = LOOK_EVERY;
        self.output.is_wanted()
    }
}

pub(super) fn broken(error: ArrowError) -> Error {
    Error::Stopped {
        reason: error.to_string(),
    }
}
