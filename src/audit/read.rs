//! Reads audit events back: every event of a directory of files, or of a spool, in the order in which it was written.
//!
//! Files are taken by name, so events of one writer come in the order of their sequence. A last line without a line
//! feed was being written when the process died; it is no event.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::batch::{Offset, SpooledEvent};
use super::sink;
use super::spool::{self, Scan, Scanned};
use super::stored::{self, Stored};
use crate::error::{ErrorClass, Failure};

/// How many bytes of the spool are read at once.
const BATCH_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("audit events cannot be read: {source}")]
    Io {
        #[from]
        source: io::Error,
    },
    #[error("{}:{line}: not an audit event: {source}", path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        source: serde_json::Error,
    },
    #[error("event {offset} of the audit spool is not an audit event: {source}")]
    NotAnEvent {
        offset: Offset,
        source: serde_json::Error,
    },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Unavailable,
            Self::Malformed { .. } | Self::NotAnEvent { .. } => ErrorClass::Unprocessable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "audit_unreadable",
            Self::Malformed { .. } | Self::NotAnEvent { .. } => "audit_event_malformed",
        }
    }
}

/// All events of a directory, oldest file first. Errors at once when the directory cannot be listed.
pub fn events(
    directory: &Path,
) -> Result<impl Iterator<Item = Result<Value, Error>> + use<>, Error> {
    let paths = sink::files(directory)?;
    Ok(paths.into_iter().flat_map(|path| {
        let (events, error) = match stored::events(&path) {
            Ok(events) => (Some(events), None),
            Err(error) => (None, Some(Err(Error::from(error)))),
        };
        let events = events.into_iter().flatten();
        error.into_iter().chain(events.map(move |stored| {
            let Stored { place, json } = stored?;
            serde_json::from_slice(&json).map_err(|source| Error::Malformed {
                path: path.clone(),
                line: place,
                source,
            })
        }))
    }))
}

/// All events of a spool, oldest writer first. Errors at once when the directory cannot be listed.
///
/// Events that are shipped meanwhile may be there no more, and are in the sink then.
pub fn spooled(spool: &Path) -> Result<impl Iterator<Item = Result<Value, Error>> + use<>, Error> {
    let scans = spool::scans(spool)?;
    Ok(scans.into_iter().flat_map(Spooled::new))
}

/// The events of one writer in the spool.
struct Spooled {
    scan: Scan,
    /// Read and not yet given.
    events: std::vec::IntoIter<SpooledEvent>,
    has_ended: bool,
}

impl Spooled {
    fn new(scan: Scan) -> Self {
        Self {
            scan,
            events: Vec::new().into_iter(),
            has_ended: false,
        }
    }
}

impl Iterator for Spooled {
    type Item = Result<Value, Error>;

    fn next(&mut self) -> Option<Result<Value, Error>> {
        loop {
            if let Some(event) = self.events.next() {
                let parsed = serde_json::from_slice(&event.json);
                let offset = event.offset;
                return Some(parsed.map_err(|source| Error::NotAnEvent { offset, source }));
            }
            if self.has_ended {
                return None;
            }
            match self.scan.next(None, BATCH_BYTES) {
                Ok(Scanned::Events(batch)) => self.events = batch.into_events().into_iter(),
                Ok(Scanned::Lost { .. }) => {}
                Ok(Scanned::End) => self.has_ended = true,
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn directory(files: &[(&str, &str)]) -> TempDir {
        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            fs_err::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn events_come_in_order_of_the_file_names_without_torn_lines() {
        let directory = directory(&[
            ("predictions-2.jsonl", "{\"n\":3}\n"),
            ("predictions-1.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":"),
            ("notes.txt", "none"),
        ]);
        let events = events(directory.path()).unwrap();
        let numbers: Vec<Value> = events.map(|event| event.unwrap()["n"].clone()).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn a_malformed_line_is_named_and_the_rest_is_read() {
        let directory = directory(&[("predictions-1.jsonl", "{}\nno\n{}\n")]);
        let mut events = events(directory.path()).unwrap();
        assert!(events.next().unwrap().is_ok());
        let error = events.next().unwrap().unwrap_err().to_string();
        assert!(
            error.contains("predictions-1.jsonl:2: not an audit event"),
            "{error}"
        );
        assert!(events.next().unwrap().is_ok());
        assert!(events.next().is_none());
    }
}
