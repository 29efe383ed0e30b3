//! One event by the id of its prediction: in the spool, then in the files.
//!
//! An event goes from the spool into the files, never back, so looking in that order misses none. Ids tell when they were
//! made: files that were finished before that are not read.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fs_err::File;
use uuid::Uuid;

use super::event;
use super::sink;
use super::spool::{self, Scanned};

/// How many bytes of the spool are read at once.
const BATCH_BYTES: usize = 1 << 20;
/// Clocks of file systems are coarse, and those of machines differ.
const TOLERANCE: Duration = Duration::from_secs(60);

/// The event as it was written, without a line feed; `None` if it is in neither place. Blocks on the disk.
pub(super) fn find(spool: &Path, files: &Path, id: Uuid) -> io::Result<Option<Bytes>> {
    let text = id.hyphenated().to_string();
    match in_spool(spool, &text)? {
        Some(event) => Ok(Some(event)),
        None => in_files(files, id, &text),
    }
}

fn in_spool(spool: &Path, id: &str) -> io::Result<Option<Bytes>> {
    for mut scan in spool::scans(spool)? {
        loop {
            match scan.next(None, BATCH_BYTES) {
                Ok(Scanned::Events(batch)) => {
                    let mut events = batch.into_events().into_iter();
                    if let Some(event) = events.find(|event| is_of(&event.json, id)) {
                        return Ok(Some(event.json));
                    }
                }
                Ok(Scanned::Lost { .. }) => {}
                Ok(Scanned::End) => break,
                // It was shipped just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

fn in_files(directory: &Path, id: Uuid, text: &str) -> io::Result<Option<Bytes>> {
    let made = id.get_timestamp().map(|time| {
        let (seconds, nanoseconds) = time.to_unix();
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    });
    let files = sink::files(directory)?;
    // The newest first: that is what is mostly asked for.
    for path in files.iter().rev() {
        if was_finished_before(path, made)? {
            continue;
        }
        if let Some(event) = in_file(path, text)? {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

fn was_finished_before(path: &PathBuf, made: Option<SystemTime>) -> io::Result<bool> {
    let modified = fs_err::metadata(path)?.modified()?;
    Ok(made.is_some_and(|made| modified + TOLERANCE < made))
}

fn in_file(path: &Path, id: &str) -> io::Result<Option<Bytes>> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        if is_of(&line, id) && line.ends_with(b"\n") {
            line.pop();
            return Ok(Some(line.into()));
        }
        line.clear();
    }
    Ok(None)
}

fn is_of(json: &[u8], id: &str) -> bool {
    event::id_of(json) == Some(id.as_bytes())
}
