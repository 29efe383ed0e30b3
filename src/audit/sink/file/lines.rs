//! JSON lines, rotated by size.
//!
//! Layout: `predictions-<UTC time>-<writer>-<n>.jsonl`, one event per line. `n` counts the writer's files from 1. The file
//! that is being written has its final name, so a reader just takes `*.jsonl`.
//!
//! Invariants:
//! - names of one process sort in the order in which it wrote, also when the clock is set back;
//! - a line that ends in a line feed is a whole event;
//! - a batch is in the page cache before `delivered` tells of it, with `fsync` on the disk;
//! - an event that a killed process had written, and not yet acknowledged, is not written again: before anything of a dead
//!   writer is written, the files tell how far it came. At least once all the same: files may have been moved away.
//!
//! Recovery: what a failed write left behind is cut off; where even that fails the file is left and the next one begun.
//! So only the last line of a file can be torn, and it then has no line feed.
//!
//! Several processes may share a directory. Each holds a lock on the file that it writes, and only files without a lock
//! are deleted for `max_files`.
//!
//! Not here: a file that somebody else deletes or renames while it is written is not noticed before the next rotation.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use fs_err::{self as fs, File, OpenOptions};
use uuid::Uuid;

use super::super::{AuditSink, Error};
use super::Config;
use super::names::{self, LINES, list, process_of};
use crate::audit::batch::{Batch, Offset};
use crate::audit::event::Origin;
use crate::shutdown::run_blocking;
use crate::types::timestamp::Timestamp;

/// Begins the first file of the process that writes as `writer`.
pub(super) fn open(config: Config, writer: Uuid, should_sync: bool) -> io::Result<FileSink> {
    let place = config.directory.display().to_string();
    Ok(FileSink {
        files: Some(Files::open(config, writer, should_sync)?),
        place,
        written: None,
    })
}

/// Writes batches on the blocking pool.
pub(super) struct FileSink {
    /// Away while they are written to; lost if that panics.
    files: Option<Files>,
    place: String,
    /// The end of what was written since `delivered` told of it.
    written: Option<Offset>,
}

impl FileSink {
    fn failed(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error {
            place: self.place.clone(),
            source: source.into(),
        }
    }
}

#[async_trait]
impl AuditSink for FileSink {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn connect(&mut self) -> Result<(), Error> {
        self.written = None;
        match self.files {
            Some(_) => Ok(()),
            None => Err(self.failed("the file that was written is in an unknown state")),
        }
    }

    async fn send(&mut self, batch: Batch) -> Result<(), Error> {
        let Some(mut files) = self.files.take() else {
            return self.connect().await;
        };
        let last = batch.last();
        let writing = run_blocking(move || {
            let written = files.write(&batch);
            (files, written)
        });
        let (files, written) = writing.await.map_err(|error| self.failed(error))?;
        self.files = Some(files);
        written.map_err(|error| self.failed(error))?;
        self.written = Some(last);
        Ok(())
    }

    async fn delivered(&mut self) -> Result<Offset, Error> {
        match self.written.take() {
            Some(offset) => Ok(offset),
            None => std::future::pending().await,
        }
    }
}

/// The files of this process.
struct Files {
    config: Config,
    writer: Uuid,
    should_sync: bool,
    current: Current,
    /// How many files this process has begun.
    n_files: u64,
    /// The time in the name of the current file.
    named_at: Timestamp,
    /// The current file cannot be used any more.
    abandoned: bool,
    /// The last sequence that was written, by writer.
    written: HashMap<Uuid, u64>,
}

/// The file that is being written.
struct Current {
    file: File,
    /// Bytes of whole events.
    size: u64,
}

impl Files {
    fn open(config: Config, writer: Uuid, should_sync: bool) -> io::Result<Self> {
        let named_at = Timestamp::now();
        let current = Current::create(&config, writer, named_at, 1)?;
        let sink = Self {
            config,
            writer,
            should_sync,
            current,
            n_files: 1,
            named_at,
            abandoned: false,
            written: HashMap::from([(writer, 0)]),
        };
        names::delete_oldest(&sink.config);
        Ok(sink)
    }

    /// Writes what was not written before, as many lines at once as fit into a file.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let writer = batch.last().writer;
        let written = match self.written.get(&writer) {
            Some(written) => *written,
            None => last_of(&self.config.directory, writer)?,
        };
        self.written.insert(writer, written);
        let mut lines = Vec::with_capacity(batch.n_bytes() + batch.events().len());
        let mut last = written;
        for event in batch.events() {
            if event.offset.sequence <= written {
                continue;
            }
            let n_bytes = (lines.len() + event.json.len() + 1) as u64;
            if !lines.is_empty()
                && self.current.size + n_bytes > self.config.max_file_size.as_bytes()
            {
                self.append(&lines)?;
                self.written.insert(writer, last);
                lines.clear();
            }
            lines.extend_from_slice(&event.json);
            lines.push(b'\n');
            last = event.offset.sequence;
        }
        if !lines.is_empty() {
            self.append(&lines)?;
            self.written.insert(writer, last);
        }
        if self.should_sync {
            self.current.file.sync_data()?;
        }
        Ok(())
    }

    /// `lines` are whole.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.make_room(lines.len())?;
        let written = self.current.file.write_all(lines);
        if written.is_err() {
            self.abandoned = self.current.cut_off().is_err();
        } else {
            self.current.size += lines.len() as u64;
        }
        written
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.should_sync {
            self.current.file.sync_data()?;
        }
        self.abandoned = true;
        let next = Timestamp::from_micros(self.named_at.as_micros() + 1);
        let named_at = Timestamp::now().max(next);
        let n_files = self.n_files + 1;
        self.current = Current::create(&self.config, self.writer, named_at, n_files)?;
        self.abandoned = false;
        self.named_at = named_at;
        self.n_files = n_files;
        names::delete_oldest(&self.config);
        Ok(())
    }

    /// Begins a new file where the current one cannot take the line.
    fn make_room(&mut self, n_bytes: usize) -> io::Result<()> {
        let size = self.current.size;
        let full = size > 0 && size + n_bytes as u64 > self.config.max_file_size.as_bytes();
        if full || self.abandoned {
            self.rotate()?;
        }
        Ok(())
    }
}

impl Current {
    fn create(
        config: &Config,
        writer: Uuid,
        named_at: Timestamp,
        n_files: u64,
    ) -> io::Result<Self> {
        fs::create_dir_all(&config.directory)?;
        let name = names::name(named_at, writer, n_files, LINES)?;
        let path = config.directory.join(name);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)?;
        // A file system without locks is no reason to write no audit trail.
        let _ = file.try_lock();
        Ok(Self { file, size: 0 })
    }

    /// Removes whatever stands behind the last whole event.
    fn cut_off(&self) -> io::Result<()> {
        self.file.set_len(self.size)
    }
}

/// How far a writer that died came in the files: its last whole line in its own, then what others wrote for it.
fn last_of(directory: &Path, writer: Uuid) -> io::Result<u64> {
    let mut files = list(directory)?;
    files.retain(|path| names::hour_of(path).is_none());
    let is_its = |path: &&PathBuf| process_of(path) == Some(writer);
    let Some(own) = files.iter().rposition(|path| is_its(&path)) else {
        return Ok(0);
    };
    let mut last = 0;
    for path in &files[own + 1..] {
        last = last.max(last_in(path, writer)?);
    }
    // The very last one may have been begun and not written to.
    for path in files[..=own].iter().rev().filter(is_its) {
        if last > 0 {
            break;
        }
        last = last_in(path, writer)?;
    }
    Ok(last)
}

/// The last sequence of a writer in one file.
fn last_in(path: &Path, writer: Uuid) -> io::Result<u64> {
    let process = process_of(path);
    let mut file = BufReader::new(File::open(path)?);
    let (mut last, mut line) = (0, Vec::new());
    while file.read_until(b'\n', &mut line)? > 0 {
        let is_whole = line.ends_with(b"\n");
        let origin = Origin::of(&line).filter(|_| is_whole);
        line.clear();
        let Some(origin) = origin else { continue };
        if origin.writer == writer {
            last = last.max(origin.sequence);
        } else if Some(origin.writer) == process {
            // Whoever takes over ships what was left behind before anything of its own.
            break;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;
    use crate::audit::sink::contract::{self, batch};
    use crate::types::byte_size::ByteSize;

    fn sink(directory: &Path, max_file_size: u64, max_files: usize) -> Files {
        let config = Config {
            directory: directory.to_owned(),
            max_file_size: ByteSize::from_bytes(max_file_size),
            max_files,
            ..Config::default()
        };
        Files::open(config, Uuid::now_v7(), false).unwrap()
    }

    /// What stands in each file, oldest first.
    fn contents(directory: &Path) -> Vec<String> {
        let files = list(directory).unwrap();
        files
            .iter()
            .map(|path| fs::read_to_string(path).unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_never_larger_than_the_limit_unless_one_event_is() {
        let directory = TempDir::new().unwrap();
        let mut sink = sink(directory.path(), 10, 0);
        for line in ["1234\n", "1234\n", "5\n", "123456789abc\n", "6\n"] {
            sink.append(line.as_bytes()).unwrap();
        }
        assert_eq!(
            contents(directory.path()),
            ["1234\n1234\n", "5\n", "123456789abc\n", "6\n"]
        );
    }

    #[test]
    fn names_sort_in_the_order_of_events_also_when_the_clock_is_set_back() {
        let directory = TempDir::new().unwrap();
        let mut sink = sink(directory.path(), 1, 0);
        sink.append(b"1\n").unwrap();
        sink.named_at = Timestamp::from_micros(sink.named_at.as_micros() + 3_600_000_000);
        for line in ["2\n", "3\n"] {
            sink.append(line.as_bytes()).unwrap();
        }
        assert_eq!(contents(directory.path()), ["1\n", "2\n", "3\n"]);
    }

    #[test]
    fn a_name_tells_time_writer_and_number() {
        let directory = TempDir::new().unwrap();
        let sink = sink(directory.path(), 1, 0);
        let files = list(directory.path()).unwrap();
        let name = files[0].file_name().unwrap().to_str().unwrap();
        let (time, rest) = name
            .strip_prefix("predictions-")
            .unwrap()
            .split_once('-')
            .unwrap();
        assert_eq!(rest, format!("{}-1.jsonl", sink.writer));
        assert_eq!(time.len(), "20261122T140000.000000Z".len(), "{time}");
    }

    #[test]
    fn only_the_newest_files_are_kept() {
        let directory = TempDir::new().unwrap();
        let mut sink = sink(directory.path(), 1, 2);
        for line in ["1\n", "2\n", "3\n", "4\n"] {
            sink.append(line.as_bytes()).unwrap();
        }
        assert_eq!(contents(directory.path()), ["3\n", "4\n"]);
    }

    #[test]
    fn a_file_that_another_process_writes_is_not_deleted() {
        let directory = TempDir::new().unwrap();
        let mut other = sink(directory.path(), 100, 0);
        other.append(b"other 1\n").unwrap();
        let mut sink = sink(directory.path(), 1, 1);
        for line in ["1\n", "2\n"] {
            sink.append(line.as_bytes()).unwrap();
        }
        other.append(b"other 2\n").unwrap();
        assert_eq!(contents(directory.path()), ["other 1\nother 2\n", "2\n"]);
        drop(other);
        sink.append(b"3\n").unwrap();
        assert_eq!(contents(directory.path()), ["3\n"]);
    }

    #[test]
    fn a_file_that_cannot_be_begun_is_tried_again() {
        let directory = TempDir::new().unwrap();
        let audit = directory.path().join("audit");
        let mut sink = sink(&audit, 1, 0);
        sink.append(b"1\n").unwrap();
        fs::remove_dir_all(&audit).unwrap();
        fs::write(&audit, "in the way").unwrap();
        assert!(sink.append(b"2\n").is_err());
        fs::remove_file(&audit).unwrap();
        sink.append(b"2\n").unwrap();
        assert_eq!(contents(&audit), ["2\n"]);
    }

    /// Sequences of a writer in all files.
    fn sequences(directory: &Path, writer: Uuid) -> Vec<u64> {
        let text = contents(directory).concat();
        let origins = text.lines().filter_map(|line| Origin::of(line.as_bytes()));
        let its = origins.filter(|origin| origin.writer == writer);
        its.map(|origin| origin.sequence).collect()
    }

    #[test]
    fn a_batch_is_split_where_a_file_is_full() {
        let directory = TempDir::new().unwrap();
        let mut sink = sink(directory.path(), 2_000, 0);
        let writer = sink.writer;
        sink.write(&batch(writer, 1..=7)).unwrap();
        let n_lines: Vec<usize> = contents(directory.path())
            .iter()
            .map(|text| text.lines().count())
            .collect();
        assert_eq!(n_lines, [3, 3, 1]);
        assert_eq!(sequences(directory.path(), writer), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn what_a_killed_process_had_written_is_not_written_again() {
        let directory = TempDir::new().unwrap();
        let mut first = sink(directory.path(), 300, 0);
        let dead = first.writer;
        first.write(&batch(dead, 1..=8)).unwrap();
        first.append(b"{\"schema_version\":1,\"wri").unwrap();
        drop(first);
        // It had acknowledged 5 of them. Who takes over is killed, too.
        let mut second = sink(directory.path(), 300, 0);
        second.write(&batch(dead, 6..=10)).unwrap();
        let other = second.writer;
        second.write(&batch(other, 1..=2)).unwrap();
        drop(second);
        let mut third = sink(directory.path(), 300, 0);
        third.write(&batch(dead, 6..=12)).unwrap();
        third.write(&batch(other, 2..=3)).unwrap();
        assert_eq!(
            sequences(directory.path(), dead),
            (1..=12).collect::<Vec<u64>>()
        );
        assert_eq!(sequences(directory.path(), other), [1, 2, 3]);
    }

    #[tokio::test]
    async fn files_of_json_lines_keep_the_contract() {
        for should_sync in [false, true] {
            let directory = TempDir::new().unwrap();
            let config = Config {
                directory: directory.path().to_owned(),
                max_file_size: ByteSize::from_bytes(5_000),
                ..Config::default()
            };
            let sink = open(config, Uuid::now_v7(), should_sync).unwrap();
            contract::run(sink, async || {
                let text = contents(directory.path()).concat();
                let origins = text
                    .lines()
                    .map(|line| Origin::of(line.as_bytes()).unwrap());
                origins
                    .map(|Origin { writer, sequence }| Offset { writer, sequence })
                    .collect()
            })
            .await;
        }
    }

    /// Runs in a process whose files cannot grow beyond 2048 bytes, in a directory of its own.
    #[test]
    #[ignore = "run by `a_full_disk_tears_no_line`"]
    fn writes_until_a_file_cannot_grow() {
        let line = [[b'x'; 299].as_slice(), b"\n"].concat();
        let mut sink = sink(Path::new("audit"), 1 << 20, 0);
        let n_written = (0..10).take_while(|_| sink.append(&line).is_ok()).count();
        assert_eq!(n_written, 6);
        sink.append(b"short\n").unwrap();
    }

    #[test]
    fn a_full_disk_tears_no_line() {
        let directory = TempDir::new().unwrap();
        // 4 blocks of 512 bytes; a signal that is ignored makes the write fail instead.
        let script = r#"trap "" XFSZ; ulimit -f 4; exec "$0" --ignored --exact "$1""#;
        let output = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg("audit::sink::file::lines::tests::writes_until_a_file_cannot_grow")
            .current_dir(directory.path())
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && stdout.contains("1 passed"),
            "{stdout}"
        );
        let text = &contents(&directory.path().join("audit"))[0];
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [299, 299, 299, 299, 299, 299, 5]);
        assert!(text.ends_with('\n'));
    }
}
