//! Parquet: flat rows, compressed with zstd, in a directory for each hour; each file is complete when it has its name.
//!
//! ```text
//! _unfinished/predictions-...parquet.tmp     being written, locked by its process
//! date=2026-11-22/hour=17/predictions-...    synced, then renamed; never changed again
//! ```
//!
//! Events are gathered until the files are old or large enough, the spool wants to get rid of them, or the process ends; then
//! all that are open are finished together. Several are open where events of several hours come, at most `MAX_OPEN`.
//!
//! Invariants:
//! - an event counts as delivered when the file that it is in is finished; until then it is in the spool;
//! - an event that is in a finished file is not written again: before anything of a writer is written for the first time, and
//!   after a failure, the files tell what of it they have. At least once all the same: files may have been moved away;
//! - what a killed process left unfinished is no part of the trail; the next process deletes it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use fs_err::{self as fs, File, OpenOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::{AuditSink, Error, PATIENCE};
use super::Config;
use super::names::{self, PARQUET};
use crate::audit::batch::{Batch, Offset, SpooledEvent};
use crate::audit::columns::{self, Rows, micros};
use crate::audit::parts::EventParts;
use crate::audit::rows_file::RowsFile;
use crate::audit::runs::Runs;
use crate::shutdown::{detach_blocking, run_blocking};
use crate::types::byte_size::ByteSize;
use crate::types::timestamp::Timestamp;

const UNFINISHED: &str = "_unfinished";
const TEMPORARY: &str = ".tmp";
/// In the footer: of each writer the first and the last sequence in the file, as JSON.
const WRITERS: &str = "terrarium.writers";
/// A row group is as large before it is compressed and written: what an open file holds in memory.
const GROUP_BYTES: usize = 8 << 20;
/// Hours whose files are open at a time.
const MAX_OPEN: usize = 4;
/// Clocks of file systems are coarse, and those of machines differ.
const TOLERANCE: Duration = Duration::from_secs(60);

/// Gets ready to write; what dead processes left unfinished is deleted.
pub(super) fn open(config: Config, writer: Uuid, spool_size: ByteSize) -> io::Result<ParquetSink> {
    let place = config.directory.display().to_string();
    // So much may wait in the spool for a file to be finished; the rest of it is for when files cannot be.
    let window = spool_size.as_usize() / 4;
    let max_age = config.max_file_age;
    let unfinished = config.directory.join(UNFINISHED);
    fs::create_dir_all(&unfinished)?;
    delete_left_behind(&unfinished)?;
    names::delete_oldest(&config);
    let files = Files {
        config,
        writer,
        open: BTreeMap::new(),
        n_files: 0,
        named_at: Timestamp::EPOCH,
        last: None,
        present: HashMap::from([(writer, Runs::default())]),
    };
    Ok(ParquetSink {
        place,
        window,
        max_age,
        files: Mutex::new(Some(files)),
        finishing: None,
        due: None,
        delivered: None,
    })
}

fn delete_left_behind(unfinished: &Path) -> io::Result<()> {
    for entry in fs::read_dir(unfinished)? {
        let path = entry?.path();
        let is_written = File::open(&path)?.try_lock().is_err();
        if !is_written {
            tracing::info!(path = %path.display(), "an audit file that was never finished is deleted; its events are in the spool");
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

type Finished = (Files, io::Result<Option<Offset>>);

/// Writes on the blocking pool.
pub(super) struct ParquetSink {
    place: String,
    window: usize,
    max_age: Duration,
    /// Away while they are written to or finished; lost if that panics.
    files: Mutex<Option<Files>>,
    /// Goes on whoever waits for it.
    finishing: Option<oneshot::Receiver<Finished>>,
    /// When what is open is finished at the latest.
    due: Option<Instant>,
    /// Up to where everything is in finished files, when that moved since it was asked for.
    delivered: Option<Offset>,
}

impl ParquetSink {
    fn failed(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error {
            place: self.place.clone(),
            source: source.into(),
        }
    }

    fn files(&mut self) -> &mut Option<Files> {
        self.files.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for files that are being finished. Cancel safe.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(finishing) = &mut self.finishing else {
            return Ok(());
        };
        let finished = finishing.await;
        self.finishing = None;
        let (files, finished) = finished.map_err(|error| self.failed(error))?;
        *self.files() = Some(files);
        match finished {
            Ok(offset) => self.delivered = offset.or(self.delivered),
            Err(error) => return Err(self.failed(error)),
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.due = None;
        if let Some(mut files) = self.files().take() {
            let (sender, receiver) = oneshot::channel();
            self.finishing = Some(receiver);
            detach_blocking(move || {
                let finished = files.finish();
                // The process may be ending.
                let _ = sender.send((files, finished));
            });
        }
    }
}

#[async_trait]
impl AuditSink for ParquetSink {
    fn name(&self) -> &'static str {
        "file"
    }

    /// A file's worth, so that files are not closed for want of events.
    fn window(&self) -> RangeInclusive<usize> {
        self.window..=self.window
    }

    fn patience(&self) -> Duration {
        self.max_age + PATIENCE
    }

    fn hurry(&mut self) {
        if let Some(due) = &mut self.due {
            *due = Instant::now();
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        // What it finished comes again, and is found in the files.
        let _ = self.settle().await;
        (self.due, self.delivered) = (None, None);
        match self.files() {
            Some(files) => {
                files.abandon();
                Ok(())
            }
            None => Err(self.failed("the files that were written are in an unknown state")),
        }
    }

    async fn send(&mut self, batch: Batch) -> Result<(), Error> {
        self.settle().await?;
        let Some(mut files) = self.files().take() else {
            return self.connect().await;
        };
        let writing = run_blocking(move || {
            let written = files.write(&batch);
            (files, written)
        });
        let (files, written) = writing.await.map_err(|error| self.failed(error))?;
        let is_open = !files.open.is_empty();
        *self.files() = Some(files);
        match written.map_err(|error| self.failed(error))? {
            Some(offset) => (self.delivered, self.due) = (Some(offset), None),
            None if is_open => {
                self.due
                    .get_or_insert_with(|| Instant::now() + self.max_age);
            }
            None => {}
        }
        Ok(())
    }

    async fn delivered(&mut self) -> Result<Offset, Error> {
        loop {
            self.settle().await?;
            if let Some(offset) = self.delivered.take() {
                return Ok(offset);
            }
            match self.due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
            self.finish();
        }
    }
}

/// The files of this process.
struct Files {
    config: Config,
    writer: Uuid,
    /// By their hours.
    open: BTreeMap<i64, Open>,
    /// How many files this process has begun.
    n_files: u64,
    /// The time in the name of the file that was begun last.
    named_at: Timestamp,
    /// What was taken last.
    last: Option<Offset>,
    /// What finished files have of writers that were not written by this process, or before a failure.
    present: HashMap<Uuid, Runs>,
}

/// A file that is being written.
struct Open {
    temporary: PathBuf,
    path: PathBuf,
    writer: ArrowWriter<File>,
    rows: Rows,
    /// First and last sequence of each writer.
    writers: BTreeMap<Uuid, (u64, u64)>,
}

impl Files {
    /// Takes events; gives the offset of the last one if that finished the files, or if there was nothing to write.
    fn write(&mut self, batch: &Batch) -> io::Result<Option<Offset>> {
        let last = batch.last();
        if let Some(first) = batch.events().first() {
            self.know(first.offset)?;
        }
        for event in batch.events() {
            let present = self.present.get(&last.writer);
            if !present.is_some_and(|present| present.contains(event.offset.sequence)) {
                self.append(event)?;
            }
        }
        self.last = Some(last);
        let n_bytes: usize = self.open.values().map(Open::n_bytes).sum();
        let is_large = n_bytes as u64 >= self.config.max_file_size.as_bytes();
        if self.open.is_empty() || self.open.len() > MAX_OPEN || is_large {
            return self.finish();
        }
        Ok(None)
    }

    fn append(&mut self, event: &SpooledEvent) -> io::Result<()> {
        let broken = |reason: &str| io::Error::other(format!("event {}: {reason}", event.offset));
        let parts = EventParts::parse(&event.json).map_err(|error| broken(&error.to_string()))?;
        let time = micros(&parts.time).ok_or_else(|| broken("its time is none"))?;
        let hour = names::hour(time);
        if !self.open.contains_key(&hour) {
            let open = self.begin(hour)?;
            self.open.insert(hour, open);
        }
        let Some(open) = self.open.get_mut(&hour) else {
            return Ok(());
        };
        if !open.rows.append(&parts, event.json.len()) {
            return Err(broken("it is too large for a row"));
        }
        let Offset { writer, sequence } = event.offset;
        open.writers.entry(writer).or_insert((sequence, 0)).1 = sequence;
        match open.rows.is_full() {
            true => open.flush(),
            false => Ok(()),
        }
    }

    fn begin(&mut self, hour: i64) -> io::Result<Open> {
        let next = Timestamp::from_micros(self.named_at.as_micros() + 1);
        let named_at = Timestamp::now().max(next);
        let name = names::name(named_at, self.writer, self.n_files + 1, PARQUET)?;
        let temporary = self.config.directory.join(UNFINISHED);
        fs::create_dir_all(&temporary)?;
        let temporary = temporary.join(format!("{name}{TEMPORARY}"));
        let path = names::hour_directory(&self.config.directory, hour)?.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        // A file system without locks is no reason to write no audit trail.
        let _ = file.try_lock();
        let schema = columns::schema(&columns::all());
        let writer = ArrowWriter::try_new(file, schema, Some(properties()?))?;
        (self.n_files, self.named_at) = (self.n_files + 1, named_at);
        Ok(Open {
            temporary,
            path,
            writer,
            rows: Rows::new(&columns::all()),
            writers: BTreeMap::new(),
        })
    }

    /// Finishes what is open. Everything that was taken is then in finished files.
    fn finish(&mut self) -> io::Result<Option<Offset>> {
        let n_open = self.open.len();
        while let Some((_, open)) = self.open.pop_first() {
            let temporary = open.temporary.clone();
            if let Err(error) = open.finish() {
                // It may be the disk that is full.
                let _ = fs::remove_file(temporary);
                return Err(error);
            }
        }
        if n_open > 0 {
            names::delete_oldest(&self.config);
        }
        Ok(self.last)
    }

    /// Forgets what was taken and not finished; it comes again.
    fn abandon(&mut self) {
        while let Some((_, open)) = self.open.pop_first() {
            let temporary = open.temporary.clone();
            drop(open);
            if let Err(error) = fs::remove_file(temporary) {
                tracing::warn!(%error, "an unfinished audit file is left");
            }
        }
        if self.last.take().is_some() {
            // Some of it may be in files that were finished.
            self.present.clear();
        }
    }

    /// Finds out what the finished files have of a writer from that event on, once.
    fn know(&mut self, first: Offset) -> io::Result<()> {
        if !self.present.contains_key(&first.writer) {
            let present = present(&self.config.directory, first)?;
            self.present.insert(first.writer, present);
        }
        Ok(())
    }
}

impl Open {
    /// What is written, and what will be.
    fn n_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(batch) = self.rows.finish().map_err(io::Error::other)? {
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        let writers: BTreeMap<String, (u64, u64)> = self
            .writers
            .iter()
            .map(|(writer, sequences)| (writer.to_string(), *sequences))
            .collect();
        let writers = serde_json::to_string(&writers)?;
        self.writer
            .append_key_value_metadata(KeyValue::new(WRITERS.to_owned(), writers));
        let file = self.writer.into_inner()?;
        file.sync_all()?;
        let hour = self.path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(hour)?;
        fs::rename(&self.temporary, &self.path)?;
        // The name is on the disk as well, and that of the directory.
        for directory in hour.ancestors().take(3) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

fn properties() -> io::Result<WriterProperties> {
    let level = ZstdLevel::try_new(3)?;
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by(concat!("terrarium ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .build())
}

/// The sequences of a writer in finished files, from that event on.
fn present(directory: &Path, first: Offset) -> io::Result<Runs> {
    let writer = first.writer;
    let mut present = Runs::default();
    let began = writer.get_timestamp().map(|time| {
        let (seconds, nanoseconds) = time.to_unix();
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    });
    for path in names::list(directory)? {
        let modified = fs::metadata(&path)?.modified()?;
        if names::hour_of(&path).is_none()
            || began.is_some_and(|began| modified + TOLERANCE < began)
        {
            continue;
        }
        let file = RowsFile::open(&path)?;
        if may_have(file.note(WRITERS), first) {
            file.offsets(|offset| {
                if offset.writer == writer {
                    present.add(offset.sequence);
                }
            })?;
        }
    }
    Ok(present)
}

/// Whether a file has events of a writer from that one on, by its footer's note. Somebody else's file may have none.
fn may_have(note: Option<&str>, first: Offset) -> bool {
    let writers: Option<BTreeMap<String, (u64, u64)>> =
        note.and_then(|note| serde_json::from_str(note).ok());
    writers.is_none_or(|writers| {
        let sequences = writers.get(&first.writer.to_string());
        sequences.is_some_and(|(_, last)| *last >= first.sequence)
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::audit::sink::contract::{self, batch, event};
    use crate::audit::{read, verify};

    fn config(directory: &Path) -> Config {
        Config {
            directory: directory.to_owned(),
            format: super::super::Format::Parquet,
            ..Config::default()
        }
    }

    fn sink(directory: &Path) -> ParquetSink {
        open(
            config(directory),
            Uuid::now_v7(),
            ByteSize::from_mebibytes(64),
        )
        .unwrap()
    }

    fn offsets(directory: &Path) -> Vec<Offset> {
        let mut offsets = Vec::new();
        for path in names::list(directory).unwrap() {
            let file = RowsFile::open(&path).unwrap();
            file.offsets(|offset| offsets.push(offset)).unwrap();
        }
        offsets
    }

    fn sequences(directory: &Path, writer: Uuid) -> Vec<u64> {
        let offsets = offsets(directory).into_iter();
        let its = offsets.filter(|offset| offset.writer == writer);
        its.map(|offset| offset.sequence).collect()
    }

    fn unfinished(directory: &Path) -> usize {
        fs::read_dir(directory.join(UNFINISHED)).unwrap().count()
    }

    /// The same events an hour later.
    fn later(batch: &Batch) -> Batch {
        let events = batch.events().iter().map(|event| SpooledEvent {
            offset: event.offset,
            json: String::from_utf8(event.json.to_vec())
                .unwrap()
                .replace("T17:31:18", "T18:31:18")
                .into(),
        });
        Batch::new(events.collect()).unwrap()
    }

    async fn deliver(sink: &mut ParquetSink, last: u64) {
        sink.hurry();
        while sink.delivered().await.unwrap().sequence != last {}
    }

    #[tokio::test]
    async fn parquet_files_keep_the_contract() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        contract::run(sink(path), async || offsets(path)).await;
    }

    #[tokio::test]
    async fn nothing_is_delivered_before_its_file_is_finished_and_has_its_name() {
        let directory = TempDir::new().unwrap();
        let mut sink = sink(directory.path());
        let writer = Uuid::now_v7();
        sink.connect().await.unwrap();
        sink.send(batch(writer, 1..=3)).await.unwrap();
        let given_up = tokio::time::timeout(Duration::ZERO, sink.delivered()).await;
        assert!(given_up.is_err());
        assert_eq!(
            (
                offsets(directory.path()).len(),
                unfinished(directory.path())
            ),
            (0, 1)
        );
        deliver(&mut sink, 3).await;
        assert_eq!(
            (
                offsets(directory.path()).len(),
                unfinished(directory.path())
            ),
            (3, 0)
        );
        let files = names::list(directory.path()).unwrap();
        let hour = directory.path().join("date=2026-11-22/hour=17");
        assert_eq!(files[0].parent().unwrap(), hour);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_finished_when_it_is_old_or_large_enough() {
        let directory = TempDir::new().unwrap();
        let writer = Uuid::now_v7();
        let mut old = sink(directory.path());
        old.connect().await.unwrap();
        old.send(batch(writer, 1..=3)).await.unwrap();
        let begun = Instant::now();
        assert_eq!(old.delivered().await.unwrap().sequence, 3);
        assert_eq!(begun.elapsed().as_secs(), 300);
        let small = Config {
            max_file_size: ByteSize::from_bytes(1),
            ..config(directory.path())
        };
        let mut large = open(small, Uuid::now_v7(), ByteSize::from_mebibytes(64)).unwrap();
        large.connect().await.unwrap();
        large.send(batch(writer, 4..=5)).await.unwrap();
        assert_eq!(sequences(directory.path(), writer), [1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn hours_have_files_of_their_own_and_are_finished_together() {
        let directory = TempDir::new().unwrap();
        let mut sink = sink(directory.path());
        let writer = Uuid::now_v7();
        sink.connect().await.unwrap();
        sink.send(batch(writer, 1..=2)).await.unwrap();
        sink.send(later(&batch(writer, 3..=4))).await.unwrap();
        sink.send(batch(writer, 5..=5)).await.unwrap();
        deliver(&mut sink, 5).await;
        let files = names::list(directory.path()).unwrap();
        let n_rows = |path: &PathBuf| {
            let mut n_rows = 0;
            let file = RowsFile::open(path).unwrap();
            file.offsets(|_| n_rows += 1).unwrap();
            n_rows
        };
        assert_eq!(files.iter().map(n_rows).collect::<Vec<_>>(), [3, 2]);
        assert!(verify::files(directory.path()).unwrap().is_complete());
    }

    #[tokio::test]
    async fn what_a_killed_process_had_finished_is_not_written_again_and_the_rest_is() {
        let directory = TempDir::new().unwrap();
        let dead = Uuid::now_v7();
        let mut first = sink(directory.path());
        first.connect().await.unwrap();
        // Two hours: one of the files was finished when it was killed.
        first.send(batch(dead, 1..=3)).await.unwrap();
        first.send(later(&batch(dead, 4..=6))).await.unwrap();
        let files = first.files().as_mut().unwrap();
        files.open.pop_last().unwrap().1.finish().unwrap();
        drop(first);
        assert_eq!(
            (
                sequences(directory.path(), dead),
                unfinished(directory.path())
            ),
            (vec![4, 5, 6], 1)
        );
        let mut second = sink(directory.path());
        assert_eq!(unfinished(directory.path()), 0, "what it left is deleted");
        second.connect().await.unwrap();
        second.send(batch(dead, 1..=3)).await.unwrap();
        second.send(later(&batch(dead, 4..=7))).await.unwrap();
        deliver(&mut second, 7).await;
        let mut found = sequences(directory.path(), dead);
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4, 5, 6, 7]);
    }

    #[tokio::test]
    async fn after_a_failure_events_come_again_and_are_there_once() {
        let directory = TempDir::new().unwrap();
        let mut sink = sink(directory.path());
        let writer = Uuid::now_v7();
        sink.connect().await.unwrap();
        sink.send(batch(writer, 1..=2)).await.unwrap();
        sink.send(later(&batch(writer, 3..=3))).await.unwrap();
        // The second file cannot have its name.
        let in_the_way = directory.path().join("date=2026-11-22/hour=18");
        fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
        fs::write(&in_the_way, "in the way").unwrap();
        sink.hurry();
        assert!(sink.delivered().await.is_err());
        assert!(sink.connect().await.is_ok());
        fs::remove_file(&in_the_way).unwrap();
        sink.send(batch(writer, 1..=2)).await.unwrap();
        sink.send(later(&batch(writer, 3..=4))).await.unwrap();
        deliver(&mut sink, 4).await;
        assert_eq!(sequences(directory.path(), writer), [1, 2, 3, 4]);
        assert_eq!(unfinished(directory.path()), 0);
    }

    #[tokio::test]
    async fn events_read_back_are_those_that_were_written() {
        let directory = TempDir::new().unwrap();
        let mut sink = sink(directory.path());
        sink.connect().await.unwrap();
        let sample = include_str!("../../../../tests/fixtures/audit/events-v1.jsonl");
        let writer = Uuid::now_v7();
        let sent: Mutex<Vec<serde_json::Value>> = Mutex::default();
        let events = sample.lines().zip(1..).map(|(line, sequence)| {
            let mut json: serde_json::Value = serde_json::from_str(line).unwrap();
            json["writer"] = writer.to_string().into();
            json["sequence"] = sequence.into();
            let event = SpooledEvent {
                json: json.to_string().into(),
                ..event(writer, sequence)
            };
            json["cached"] = json["cached"].take();
            json["batch"] = json["batch"].take();
            sent.lock().unwrap().push(json);
            event
        });
        let batch = Batch::new(events.collect()).unwrap();
        let last = batch.last().sequence;
        sink.send(batch).await.unwrap();
        deliver(&mut sink, last).await;
        let mut read: Vec<serde_json::Value> = read::events(directory.path())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        read.sort_by_key(|event| event["sequence"].as_u64());
        assert_eq!(read, sent.into_inner().unwrap());
    }

    #[tokio::test]
    async fn only_the_newest_files_are_kept_and_empty_hours_go() {
        let directory = TempDir::new().unwrap();
        let config = Config {
            max_files: 1,
            ..config(directory.path())
        };
        let mut sink = open(config, Uuid::now_v7(), ByteSize::from_mebibytes(64)).unwrap();
        let writer = Uuid::now_v7();
        sink.connect().await.unwrap();
        sink.send(batch(writer, 1..=1)).await.unwrap();
        deliver(&mut sink, 1).await;
        sink.send(later(&batch(writer, 2..=2))).await.unwrap();
        deliver(&mut sink, 2).await;
        assert_eq!(sequences(directory.path(), writer), [2]);
        assert!(!directory.path().join("date=2026-11-22/hour=17").exists());
    }
}
