//! The newest predictions of one model that this server recorded: out of the spool, then out of the files, and where the sink
//! is a topic out of that.
//!
//! Bounded by rows, by bytes kept, by bytes read and by a deadline; whichever is reached first ends the reading, and what was
//! found by then is what there is. An event that stands in several places is taken once.
//! Not here: what is done with the events (`predict`).

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use fs_err::File;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Config;
use super::read::Error;
use super::redact::{self, Action};
use super::rows_file::{self, RowsFile};
use super::sink;
use super::spool::{self, Scanned};
use super::stored::Stored;
use super::topic::{self, Begin, End};
use crate::types::timestamp::Timestamp;

/// How many bytes of the spool are read at once.
const BATCH_BYTES: usize = 1 << 20;
/// All events that are kept together.
const MAX_KEPT: usize = 64 << 20;
/// A longer event is passed over.
const MAX_EVENT: usize = 8 << 20;
/// Clocks of file systems are coarse, and those of machines differ.
const TOLERANCE: Duration = Duration::from_secs(60);

/// Where this server's events are.
#[derive(Debug, Clone)]
pub struct Trail {
    spool: PathBuf,
    files: PathBuf,
    topic: Option<topic::Config>,
    redact: redact::Config,
}

/// Which events are wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Answered predictions of this model; runs of shadow versions answered nobody, and files hold their rows themselves.
    pub model: String,
    /// And not of this version.
    pub other_than: Option<String>,
    pub since: Timestamp,
    pub max_rows: usize,
    /// Bytes that are read at most; of a file its end.
    pub max_read: u64,
    pub deadline: Instant,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Recent {
    /// Events as they were written.
    pub events: Vec<Vec<u8>>,
    pub n_rows: usize,
    /// Nothing that was wanted was left out for a limit.
    pub is_complete: bool,
}

impl Trail {
    pub fn of(config: &Config) -> Self {
        Self {
            spool: config.spool_directory(),
            files: config.file.directory.clone(),
            topic: config.kafka.clone(),
            redact: config.redact.clone(),
        }
    }

    /// Whether events are written without this column of requests.
    pub fn drops(&self, column: &str) -> bool {
        self.redact.action_on(column) == Some(Action::Drop)
    }

    /// The newest wanted events, without those that only a topic has. Blocks on the disk.
    pub fn on_disk(&self, wanted: Wanted) -> Result<Recent, Error> {
        let mut search = Search::new(wanted);
        search.spool(&self.spool)?;
        search.files(&self.files)?;
        Ok(search.done())
    }

    /// The newest wanted events, wherever they went. Blocks on the disk and, where the sink is a topic, on its brokers.
    pub fn everywhere(&self, wanted: Wanted) -> Result<Recent, Error> {
        let Some(topic) = &self.topic else {
            return self.on_disk(wanted);
        };
        let mut search = Search::new(wanted);
        search.spool(&self.spool)?;
        search.topic(topic)?;
        Ok(search.done())
    }
}

/// The fields that decide whether an event is wanted.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    model: HeadModel<'a>,
    #[serde(borrow)]
    shadow_of: Option<Cow<'a, str>>,
    batch: Option<IgnoredAny>,
    n_rows: usize,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

#[derive(Deserialize)]
struct HeadModel<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    version: Option<Cow<'a, str>>,
}

struct Search {
    wanted: Wanted,
    /// Of the events that were found.
    ids: HashSet<String>,
    found: Found,
    n_read: u64,
    is_complete: bool,
}

struct Event {
    id: String,
    n_rows: usize,
    json: Vec<u8>,
}

/// The newest events of one place come last.
#[derive(Default)]
struct Found {
    events: VecDeque<Event>,
    n_rows: usize,
    n_bytes: usize,
}

impl Search {
    fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            ids: HashSet::new(),
            found: Found::default(),
            n_read: 0,
            is_complete: true,
        }
    }

    fn done(self) -> Recent {
        Recent {
            n_rows: self.found.n_rows,
            events: self
                .found
                .events
                .into_iter()
                .map(|event| event.json)
                .collect(),
            is_complete: self.is_complete,
        }
    }

    /// Whether there is a reason to read no further.
    fn is_over(&mut self) -> bool {
        let is_over = self.n_read >= self.wanted.max_read || Instant::now() >= self.wanted.deadline;
        self.is_complete &= !is_over;
        is_over
    }

    fn spool(&mut self, directory: &Path) -> Result<(), Error> {
        let mut newest = Found::default();
        let scans = match spool::scans(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            scans => scans?,
        };
        for mut scan in scans {
            while !self.is_over() {
                match scan.next(None, BATCH_BYTES) {
                    Ok(Scanned::Events(batch)) => {
                        for event in batch.into_events() {
                            self.n_read += event.json.len() as u64;
                            self.take(&event.json, &mut newest);
                        }
                    }
                    Ok(Scanned::Lost { .. }) => {}
                    Ok(Scanned::End) => break,
                    // It was shipped just now.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.keep_older(newest);
        Ok(())
    }

    /// The newest file first, until there are rows enough.
    fn files(&mut self, directory: &Path) -> Result<(), Error> {
        let files = match sink::files(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files?,
        };
        for path in files.iter().rev() {
            if self.is_before(path)? {
                continue;
            }
            if self.found.n_rows >= self.wanted.max_rows {
                self.is_complete = false;
                return Ok(());
            }
            if self.is_over() {
                return Ok(());
            }
            match rows_file::is_one(path) {
                true => self.rows(path)?,
                false => self.lines(path)?,
            }
        }
        Ok(())
    }

    /// Whether everything in the file is too old.
    fn is_before(&self, path: &Path) -> io::Result<bool> {
        let micros = u64::try_from(self.wanted.since.as_micros()).unwrap_or(0);
        let since = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        Ok(fs_err::metadata(path)?.modified()? + TOLERANCE < since)
    }

    /// A Parquet file, from its first row as far as may be read.
    fn rows(&mut self, path: &Path) -> io::Result<()> {
        let mut newest = Found::default();
        for stored in RowsFile::open(path)?.events()? {
            let Stored { json, .. } = stored?;
            self.n_read += json.len() as u64;
            self.take(&json, &mut newest);
            if self.is_over() {
                break;
            }
        }
        self.keep_older(newest);
        Ok(())
    }

    /// A file of JSON lines, or as much of its end as may be read.
    fn lines(&mut self, path: &Path) -> io::Result<()> {
        let mut newest = Found::default();
        let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
        let mut line = Vec::new();
        let size = file.get_ref().metadata()?.len();
        let left = self.wanted.max_read.saturating_sub(self.n_read);
        if size > left {
            self.is_complete = false;
            file.seek(SeekFrom::Start(size - left))?;
            // What remains of the line in which that is.
            file.skip_until(b'\n')?;
        }
        let mut n_lines = 0_u32;
        while read_line(&mut file, &mut line)? {
            self.n_read += line.len() as u64;
            self.take(&line, &mut newest);
            line.clear();
            n_lines += 1;
            if n_lines.is_multiple_of(1024) && Instant::now() >= self.wanted.deadline {
                self.is_complete = false;
                break;
            }
        }
        self.keep_older(newest);
        Ok(())
    }

    fn topic(&mut self, config: &topic::Config) -> Result<(), Error> {
        let failed = |error: topic::ReadError| Error::Io {
            source: io::Error::other(error),
        };
        let mut newest = Found::default();
        let since = self.wanted.since.age_at(Timestamp::now());
        for event in topic::events(config, Begin::Ago(since), End::Last).map_err(failed)? {
            if let Some(event) = event.map_err(failed)?.json {
                let line = event.to_string().into_bytes();
                self.n_read += line.len() as u64;
                self.take(&line, &mut newest);
            }
            if self.is_over() {
                break;
            }
        }
        self.keep_older(newest);
        Ok(())
    }

    /// Takes an event if it is wanted. What is none is passed over: `audit verify` tells of it.
    fn take(&mut self, json: &[u8], newest: &mut Found) {
        let json = json.strip_suffix(b"\n").unwrap_or(json);
        if json.len() > MAX_EVENT {
            self.is_complete = false;
            return;
        }
        let Ok(head) = serde_json::from_slice::<Head<'_>>(json) else {
            return;
        };
        if !self.wanted.takes(&head) || self.ids.contains(&*head.id) {
            return;
        }
        self.ids.insert(head.id.clone().into_owned());
        newest.push(Event {
            id: head.id.into_owned(),
            n_rows: head.n_rows,
            json: json.to_vec(),
        });
        let (max_rows, max_bytes) = self.found.room(self.wanted.max_rows);
        while newest.n_rows > max_rows || newest.n_bytes > max_bytes {
            self.is_complete = false;
            if let Some(oldest) = newest.pop() {
                self.ids.remove(&oldest.id);
            }
        }
    }

    /// Puts events of an older place before those that were found.
    fn keep_older(&mut self, older: Found) {
        self.found.n_rows += older.n_rows;
        self.found.n_bytes += older.n_bytes;
        for event in older.events.into_iter().rev() {
            self.found.events.push_front(event);
        }
    }
}

impl Wanted {
    fn takes(&self, head: &Head<'_>) -> bool {
        let time = head.time.parse::<jiff::Timestamp>().ok();
        head.status == "ok"
            && head.shadow_of.is_none()
            && head.batch.is_none()
            && head.model.name.as_deref() == Some(&*self.model)
            && (self.other_than.is_none()
                || self.other_than.as_deref() != head.model.version.as_deref())
            && time.is_some_and(|time| time.as_microsecond() >= self.since.as_micros())
    }
}

impl Found {
    fn push(&mut self, event: Event) {
        self.n_rows += event.n_rows;
        self.n_bytes += event.json.len();
        self.events.push_back(event);
    }

    /// Takes the oldest away.
    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.n_rows -= event.n_rows;
        self.n_bytes -= event.json.len();
        Some(event)
    }

    /// What may come beside it: rows and bytes.
    fn room(&self, max_rows: usize) -> (usize, usize) {
        (
            max_rows.saturating_sub(self.n_rows),
            MAX_KEPT.saturating_sub(self.n_bytes),
        )
    }
}

/// The next whole line; a last one without a line feed was being written.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    file.read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn event(n: u32, name: &str, version: &str, status: &str) -> String {
        format!(
            "{{\"id\":\"{n}\",\"time\":\"2026-11-22T14:00:{n:02}Z\",\"model\":{{\"name\":\"{name}\",\"version\":\"{version}\"}},\
             \"shadow_of\":null,\"n_rows\":2,\"status\":\"{status}\"}}\n"
        )
    }

    fn wanted(max_rows: usize, max_read: u64) -> Wanted {
        Wanted {
            model: "m".to_owned(),
            other_than: Some("3".to_owned()),
            since: Timestamp::from_micros(1_795_356_001_000_000),
            max_rows,
            max_read,
            deadline: Instant::now() + Duration::from_secs(60),
        }
    }

    fn trail(files: &[(&str, String)]) -> (TempDir, Trail) {
        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            fs_err::write(directory.path().join(name), text).unwrap();
        }
        let trail = Trail {
            spool: directory.path().join("spool"),
            files: directory.path().to_owned(),
            topic: None,
            redact: redact::Config::default(),
        };
        (directory, trail)
    }

    fn ids(recent: &Recent) -> Vec<String> {
        let events = recent.events.iter();
        let events =
            events.map(|event| serde_json::from_slice::<serde_json::Value>(event).unwrap());
        events
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn only_answers_of_the_model_by_other_versions_since_then_are_taken_and_each_once() {
        let text = [
            // Too old, of another model, of the version itself, a failure, cut off.
            event(0, "m", "2", "ok"),
            event(2, "other", "2", "ok"),
            event(3, "m", "3", "ok"),
            event(4, "m", "2", "error"),
            event(5, "m", "2", "ok"),
            "no event\n".to_owned(),
            event(6, "m", "1", "ok"),
            event(7, "m", "2", "ok").trim_end().to_owned(),
        ];
        let (_directory, trail) = trail(&[
            ("predictions-1.jsonl", text.concat()),
            ("predictions-2.jsonl", event(6, "m", "1", "ok")),
            ("notes.txt", event(8, "m", "2", "ok")),
        ]);
        let recent = trail.on_disk(wanted(100, u64::MAX)).unwrap();
        assert_eq!(ids(&recent), ["5", "6"]);
        assert_eq!((recent.n_rows, recent.is_complete), (4, true));
    }

    #[test]
    fn the_newest_rows_are_kept_and_a_limit_is_told() {
        let older: String = (10..20).map(|n| event(n, "m", "2", "ok")).collect();
        let newer: String = (20..22).map(|n| event(n, "m", "2", "ok")).collect();
        let files = [
            ("predictions-1.jsonl", older),
            ("predictions-2.jsonl", newer),
        ];
        let (_directory, trail) = trail(&files);
        let recent = trail.on_disk(wanted(7, u64::MAX)).unwrap();
        assert_eq!(ids(&recent), ["19", "20", "21"]);
        assert!(!recent.is_complete);
        // The end of the older file, from the first whole line on.
        let n_bytes = (event(10, "m", "2", "ok").len() * 4 + 3) as u64;
        let recent = trail.on_disk(wanted(100, n_bytes)).unwrap();
        assert_eq!(ids(&recent), ["18", "19", "20", "21"]);
        assert!(!recent.is_complete);
    }

    #[test]
    fn where_nothing_was_recorded_nothing_is_found() {
        let (directory, mut trail) = trail(&[]);
        trail.files = directory.path().join("missing");
        let recent = trail.on_disk(wanted(7, u64::MAX)).unwrap();
        assert_eq!((recent.n_rows, recent.is_complete), (0, true));
    }
}
