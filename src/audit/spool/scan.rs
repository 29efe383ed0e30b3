//! Reads the segments of one writer from a sequence on, past whatever is damaged. Changes nothing.

use fs_err::os::unix::fs::FileExt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fs_err::File;
use uuid::Uuid;

use super::super::batch::{Batch, Offset, SpooledEvent};
use super::directory::{self, SegmentFile};
use super::segment::{Codec, Found, HEADER, Header};

/// What comes next.
#[derive(Debug)]
pub(crate) enum Scanned {
    Events(Batch),
    /// These events cannot be read; the segment tells where the damage is. Events behind it follow.
    Lost {
        segment: SegmentFile,
        sequences: Range<u64>,
    },
    /// Nothing more now.
    End,
}

#[derive(Debug)]
pub(crate) struct Scan {
    writer: Uuid,
    directory: PathBuf,
    codec: Codec,
    /// The sequence that is read next.
    next: u64,
    /// Where the first segment begins says which event is the first, whatever was deleted before.
    starts_anywhere: bool,
    current: Option<Current>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Current {
    segment: SegmentFile,
    file: File,
    /// Where the next record begins.
    at: u64,
}

/// What became of a look at the current segment.
enum Look {
    Found(Scanned),
    /// Nothing more in this segment; `torn` if something stands at its end that is no record.
    Over {
        torn: Option<Torn>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Torn {
    /// As a write leaves it that was cut off.
    CutOff,
    /// A record of full length whose checksum is wrong.
    Damaged,
}

impl Scan {
    /// Everything behind `sequence`; 0 for whatever there is.
    pub(crate) fn behind(writer: Uuid, directory: &Path, sequence: u64) -> Self {
        Self {
            writer,
            directory: directory.to_owned(),
            codec: Codec::of(writer),
            next: sequence + 1,
            starts_anywhere: sequence == 0,
            current: None,
        }
    }

    /// The next events up to the sequence `limit`, about `max_bytes` of them and at least one.
    ///
    /// With a limit, everything up to there must stand in the segments; without one the writer is dead.
    pub(crate) fn next(&mut self, limit: Option<u64>, max_bytes: usize) -> io::Result<Scanned> {
        let limit_or_all = limit.unwrap_or(u64::MAX);
        loop {
            if self.next > limit_or_all {
                return Ok(Scanned::End);
            }
            let Some(mut current) = self.current()? else {
                return Ok(Scanned::End);
            };
            match self.look(&mut current, limit_or_all, max_bytes)? {
                Look::Found(scanned) => {
                    self.current = Some(current);
                    return Ok(scanned);
                }
                Look::Over { torn } => {
                    if let Some(scanned) = self.leave(current, limit, torn)? {
                        return Ok(scanned);
                    }
                }
            }
        }
    }

    /// The segment where the next event is, or should be.
    fn current(&mut self) -> io::Result<Option<Current>> {
        if let Some(current) = self.current.take() {
            return Ok(Some(current));
        }
        let segments = directory::segments(&self.directory)?;
        let Some(first) = segments.first() else {
            return Ok(None);
        };
        if self.starts_anywhere {
            self.next = self.next.max(first.first);
            self.starts_anywhere = false;
        }
        let before = segments
            .iter()
            .rev()
            .find(|segment| segment.first <= self.next);
        let segment = before.unwrap_or(first).clone();
        Ok(Some(Current::open(segment, self.writer)?))
    }

    fn look(&mut self, current: &mut Current, limit: u64, max_bytes: usize) -> io::Result<Look> {
        let mut n_wanted = max_bytes;
        loop {
            let rest = current.rest()?;
            let n_bytes = usize::try_from(rest).unwrap_or(usize::MAX).min(n_wanted);
            let bytes = Bytes::from(current.read(n_bytes)?);
            if bytes.is_empty() {
                return Ok(Look::Over { torn: None });
            }
            let (events, stop) = self.parse(current, &bytes, limit);
            if let Some(batch) = Batch::new(events) {
                return Ok(Look::Found(Scanned::Events(batch)));
            }
            match stop {
                Stop::Limit => return Ok(Look::Found(Scanned::End)),
                Stop::Lost(sequences) => return Ok(Look::Found(current.lost(sequences))),
                // Only older events in this piece.
                Stop::Behind => n_wanted = max_bytes,
                Stop::Short { length } if length as u64 <= current.rest()? => {
                    n_wanted = length.max(max_bytes);
                }
                Stop::Short { .. } => return self.pass_damage(current, Torn::CutOff),
                Stop::Damaged => return self.pass_damage(current, Torn::Damaged),
            }
        }
    }

    /// Takes records off `bytes`, which stand at the place of `current`, as far as they are the next ones.
    fn parse(
        &mut self,
        current: &mut Current,
        bytes: &Bytes,
        limit: u64,
    ) -> (Vec<SpooledEvent>, Stop) {
        let mut events = Vec::new();
        let start = current.at;
        let mut at = 0;
        let stop = loop {
            if self.next > limit {
                break Stop::Limit;
            }
            if at == bytes.len() {
                break Stop::Behind;
            }
            match self.codec.find(bytes, at) {
                Found::Incomplete { length } => break Stop::Short { length },
                Found::Damaged => break Stop::Damaged,
                Found::Record(record) if record.sequence > self.next => {
                    if events.is_empty() {
                        let lost = self.next..record.sequence;
                        self.next = record.sequence;
                        break Stop::Lost(lost);
                    }
                    break Stop::Behind;
                }
                Found::Record(record) => {
                    if record.sequence == self.next {
                        events.push(SpooledEvent {
                            offset: Offset {
                                writer: self.writer,
                                sequence: record.sequence,
                            },
                            json: bytes.slice(record.start..record.end),
                        });
                        self.next += 1;
                    }
                    at = record.end;
                    current.at = start + at as u64;
                }
            }
        };
        (events, stop)
    }

    /// Goes to the next whole record of the segment, if there is one.
    fn pass_damage(&mut self, current: &mut Current, torn: Torn) -> io::Result<Look> {
        let n_bytes = usize::try_from(current.rest()?).unwrap_or(usize::MAX);
        let bytes = current.read(n_bytes)?;
        match self.codec.find_behind(&bytes, 0, self.next) {
            Some(at) => {
                current.at += at as u64;
                let Found::Record(record) = self.codec.find(&bytes, at) else {
                    return Ok(Look::Over { torn: Some(torn) });
                };
                let lost = self.next..record.sequence;
                self.next = record.sequence;
                Ok(Look::Found(current.lost(lost)))
            }
            None => {
                let is_empty = bytes.iter().all(|byte| *byte == 0);
                let torn = if is_empty { Torn::CutOff } else { torn };
                Ok(Look::Over { torn: Some(torn) })
            }
        }
    }

    /// Goes on to the segment behind this one; tells if anything is missing between them.
    fn leave(
        &mut self,
        current: Current,
        limit: Option<u64>,
        torn: Option<Torn>,
    ) -> io::Result<Option<Scanned>> {
        let segments = directory::segments(&self.directory)?;
        let behind = segments
            .into_iter()
            .find(|segment| segment.first > current.segment.first);
        let from = self.next;
        let lost = match (&behind, limit) {
            (Some(behind), _) => from..behind.first.max(from),
            (None, Some(limit)) => from..limit + 1,
            (None, None) if torn == Some(Torn::Damaged) => from..from + 1,
            (None, None) => return Ok(Some(self.end(current))),
        };
        if let Some(behind) = behind {
            self.current = Some(Current::open(behind, self.writer)?);
        } else {
            self.next = lost.end;
            self.current = None;
            if limit.is_none() {
                let lost = Scanned::Lost {
                    segment: current.segment.clone(),
                    sequences: lost,
                };
                self.end(current);
                return Ok(Some(lost));
            }
        }
        if lost.is_empty() {
            return Ok(None);
        }
        self.next = lost.end;
        Ok(Some(Scanned::Lost {
            segment: current.segment,
            sequences: lost,
        }))
    }

    /// Stays behind the last record, whatever stands there.
    fn end(&mut self, mut current: Current) -> Scanned {
        current.at = u64::MAX;
        self.current = Some(current);
        Scanned::End
    }
}

/// Why no more records were taken.
enum Stop {
    /// All were; or older ones only.
    Behind,
    Limit,
    Short {
        length: usize,
    },
    Damaged,
    Lost(Range<u64>),
}

impl Current {
    /// Behind the header; at the very beginning if that is damaged, so that what follows is looked for.
    fn open(segment: SegmentFile, writer: Uuid) -> io::Result<Self> {
        let file = File::open(&segment.path)?;
        let mut header = [0; HEADER];
        let mut n_read = 0;
        while n_read < HEADER {
            match file.read_at(&mut header[n_read..], n_read as u64)? {
                0 => break,
                n => n_read += n,
            }
        }
        let at = match Header::decode(&header[..n_read]) {
            Header::Ours {
                writer: found,
                first,
            } if found == writer && first == segment.first => HEADER as u64,
            Header::Ours { .. } | Header::Unreadable => 0,
            Header::Newer { version } => {
                let path = segment.path.display();
                let message = format!(
                    "{path} has version {version} of the spool's format, which a later Terrarium wrote"
                );
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        Ok(Self { segment, file, at })
    }

    /// Bytes from here to the end.
    fn rest(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(self.at))
    }

    /// Up to `n_bytes`, which are there.
    fn read(&self, n_bytes: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; n_bytes];
        let mut n_read = 0;
        while n_read < n_bytes {
            match self
                .file
                .read_at(&mut bytes[n_read..], self.at + n_read as u64)
            {
                Ok(0) => break,
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(n_read);
        Ok(bytes)
    }

    fn lost(&self, sequences: Range<u64>) -> Scanned {
        Scanned::Lost {
            segment: self.segment.clone(),
            sequences,
        }
    }
}
