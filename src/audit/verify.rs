//! Proves completeness: of each writer the sequences that are there, those that are missing, and those that came twice.
//!
//! A source tells the verifier of every event that it has, in any order; memory grows with gaps, not with events.
//! What is missing before a writer's first event is no gap: older files may have been deleted, and shipped segments are.
//! Nobody can tell whether anything is missing behind the last one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::batch::Offset;
use super::rows_file;
use super::runs::Runs;
use super::sink;
use super::spool::{self, Scanned};
use super::stored;
use super::topic::{self, Begin, End};

/// How many bytes of the spool are read at once.
const BATCH_BYTES: usize = 1 << 20;

/// What was found, writer by writer, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub writers: Vec<WriterReport>,
    /// What is no event, or one whose checksum is wrong: where it is.
    pub damaged: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriterReport {
    #[serde(serialize_with = "as_text")]
    pub writer: Uuid,
    pub n_events: u64,
    pub first: u64,
    pub last: u64,
    pub gaps: Vec<Gap>,
    /// Events beyond the first of their sequence.
    pub n_duplicates: u64,
}

fn as_text<S: Serializer>(writer: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(writer)
}

/// Sequences that are missing between two that are there, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub first: u64,
    pub last: u64,
}

impl Report {
    /// Nothing is missing and nothing is damaged. Duplicates are allowed: delivery is at least once.
    pub fn is_complete(&self) -> bool {
        self.damaged.is_empty() && self.writers.iter().all(|writer| writer.gaps.is_empty())
    }
}

/// Takes note of events, one by one.
#[derive(Debug, Default)]
pub struct Verifier {
    writers: BTreeMap<Uuid, Seen>,
    damaged: Vec<String>,
}

/// Which sequences of a writer are there.
#[derive(Debug, Default)]
struct Seen {
    runs: Runs,
    n_duplicates: u64,
}

impl Verifier {
    pub fn event(&mut self, offset: Offset) {
        let seen = self.writers.entry(offset.writer).or_default();
        if !seen.runs.add(offset.sequence) {
            seen.n_duplicates += 1;
        }
    }

    /// Something that is no event, or not any more.
    pub fn damaged(&mut self, place: String) {
        self.damaged.push(place);
    }

    pub fn finish(self) -> Report {
        let writers = self
            .writers
            .into_iter()
            .map(|(writer, seen)| seen.report(writer));
        Report {
            writers: writers.collect(),
            damaged: self.damaged,
        }
    }
}

impl Seen {
    fn report(&self, writer: Uuid) -> WriterReport {
        let gaps = self.runs.gaps();
        WriterReport {
            writer,
            n_events: self.runs.n_members() + self.n_duplicates,
            first: self.runs.first().unwrap_or(0),
            last: self.runs.last().unwrap_or(0),
            gaps: gaps.map(|(first, last)| Gap { first, last }).collect(),
            n_duplicates: self.n_duplicates,
        }
    }
}

/// All that is on the topic.
pub fn topic(config: &topic::Config) -> Result<Report, topic::ReadError> {
    let mut verifier = Verifier::default();
    for event in topic::events(config, Begin::Oldest, End::Last)? {
        let event = event?;
        match (event.writer, event.sequence) {
            (Some(writer), Some(sequence)) => verifier.event(Offset { writer, sequence }),
            _ => {
                let (partition, position) = (event.partition, event.position);
                verifier.damaged(format!("partition {partition}, message {position}"));
            }
        }
    }
    Ok(verifier.finish())
}

/// All files of a directory. A last line without a line feed was being written when its process died: it is no event.
pub fn files(directory: &Path) -> io::Result<Report> {
    let mut verifier = Verifier::default();
    for path in sink::files(directory)? {
        let is_whole = rows_file::is_one(&path);
        let told = stored::origins(&path, |origin| match origin {
            Ok(offset) => verifier.event(offset),
            Err(place) => verifier.damaged(format!("{}:{place}", path.display())),
        });
        match told {
            Ok(()) => {}
            // A file that was finished and is not whole any more.
            Err(error) if is_whole => verifier.damaged(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(verifier.finish())
}

/// What waits in a spool, checksums included. Events that are shipped meanwhile may be there no more.
pub fn spool(directory: &Path) -> io::Result<Report> {
    let mut verifier = Verifier::default();
    for mut scan in spool::scans(directory)? {
        loop {
            match scan.next(None, BATCH_BYTES)? {
                Scanned::Events(batch) => {
                    let events = batch.events().iter();
                    events.for_each(|event| verifier.event(event.offset));
                }
                Scanned::Lost { segment, sequences } => {
                    verifier.damaged(format!("{}: {sequences:?}", segment.path.display()));
                }
                Scanned::End => break,
            }
        }
    }
    Ok(verifier.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const WRITER: Uuid = Uuid::from_u128(1);

    fn report(sequences: &[u64]) -> WriterReport {
        let mut verifier = Verifier::default();
        for sequence in sequences {
            verifier.event(Offset {
                writer: WRITER,
                sequence: *sequence,
            });
        }
        verifier.finish().writers.remove(0)
    }

    #[test]
    fn gaps_and_duplicates_are_told_in_whatever_order_events_come() {
        let found = report(&[3, 4, 8, 5, 4, 12, 9]);
        assert_eq!((found.first, found.last), (3, 12));
        assert_eq!(
            found.gaps,
            [
                Gap { first: 6, last: 7 },
                Gap {
                    first: 10,
                    last: 11
                }
            ]
        );
        assert_eq!((found.n_duplicates, found.n_events), (1, 7));
        assert!(report(&[1, 2, 3, 3]).gaps.is_empty());
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(sequences in prop::collection::vec(1..40_u64, 1..80)) {
            let found = report(&sequences);
            let set: std::collections::BTreeSet<u64> = sequences.iter().copied().collect();
            let (first, last) = (*set.first().unwrap(), *set.last().unwrap());
            let missing: Vec<u64> = (first..=last).filter(|n| !set.contains(n)).collect();
            let told: Vec<u64> = found.gaps.iter().flat_map(|gap| gap.first..=gap.last).collect();
            prop_assert_eq!(told, missing);
            prop_assert_eq!((found.first, found.last), (first, last));
            prop_assert_eq!(found.n_duplicates, (sequences.len() - set.len()) as u64);
        }
    }

    #[test]
    fn a_line_that_is_no_event_is_named_and_a_torn_one_is_not() {
        let directory = TempDir::new().unwrap();
        let line = |n: u64| {
            format!("{{\"schema_version\":1,\"writer\":\"{WRITER}\",\"sequence\":{n},\"id\":1}}")
        };
        let text = format!("{}\nno event\n{}\n{}", line(1), line(2), line(3));
        fs_err::write(directory.path().join("predictions-1.jsonl"), text).unwrap();
        let report = files(directory.path()).unwrap();
        assert_eq!((report.writers[0].first, report.writers[0].last), (1, 2));
        assert_eq!(report.damaged.len(), 1);
        assert!(report.damaged[0].ends_with("predictions-1.jsonl:2"));
        assert!(!report.is_complete());
    }
}
