//! One event by the id of its prediction: in the spool, then in the files.
//!
//! An event goes from the spool into the files, never back, so looking in that order misses none. Ids tell when they were
//! made: files that were finished before that are not read.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::event;
use super::sink;
use super::spool::{self, Scanned};
use super::stored;
use crate::types::timestamp::Timestamp;

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
        if is_of_another_hour(path, made) || was_finished_before(path, made)? {
            continue;
        }
        if let Some(event) = stored::find(path, text)? {
            return Ok(Some(event.into()));
        }
    }
    Ok(None)
}

/// Whether the file is for an hour in which the id was not made.
fn is_of_another_hour(path: &Path, made: Option<SystemTime>) -> bool {
    let hour = sink::hour_of(path);
    let Some(((begin, end), made)) = hour.zip(made) else {
        return false;
    };
    let made = Timestamp::from(made);
    let (begin, end) = (Timestamp::from_micros(begin), Timestamp::from_micros(end));
    made.after(TOLERANCE) < begin || end.after(TOLERANCE) <= made
}

fn was_finished_before(path: &PathBuf, made: Option<SystemTime>) -> io::Result<bool> {
    let modified = fs_err::metadata(path)?.modified()?;
    Ok(made.is_some_and(|made| modified + TOLERANCE < made))
}

fn is_of(json: &[u8], id: &str) -> bool {
    event::id_of(json) == Some(id.as_bytes())
}
