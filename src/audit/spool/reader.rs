//! The reading side of a spool: events of dead writers, oldest first, then of the one that lives; each again until it is
//! acknowledged.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::super::batch::{Batch, Offset};
use super::appender::Appender;
use super::directory::{self, SegmentFile, WriterDirectory};
use super::progress::Progress;
use super::scan::{Scan, Scanned};
use super::shipped::Shipped;

/// Events that are lost, and why they cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The segment that is put aside once the rest of it is shipped.
    pub(crate) segment: PathBuf,
    pub(crate) writer: Uuid,
    /// The sequences that are missing; where the end of the last segment is damaged at least one.
    pub(crate) lost: std::ops::Range<u64>,
}

/// Reads for one sink. All calls block on the disk.
#[derive(Debug)]
pub struct Reader {
    spool: PathBuf,
    sink: &'static str,
    progress: Arc<Progress>,
    /// Oldest first; that of this process last.
    logs: VecDeque<WriterLog>,
    damages: Vec<Damage>,
}

impl Reader {
    pub(super) fn open(spool: &Path, sink: &'static str, appender: &Appender) -> io::Result<Self> {
        let own = WriterLog::open(Arc::clone(appender.directory()), sink, true)?;
        let mut reader = Self {
            spool: spool.to_owned(),
            sink,
            progress: Arc::clone(appender.progress()),
            logs: VecDeque::from([own]),
            damages: Vec::new(),
        };
        reader.take_over()?;
        Ok(reader)
    }

    /// Takes over what writers left behind that have died since.
    pub(crate) fn take_over(&mut self) -> io::Result<()> {
        for writer in directory::writers(&self.spool)? {
            if self.logs.iter().any(|log| log.writer() == writer) {
                continue;
            }
            let Some(directory) = WriterDirectory::take_over(&self.spool, writer)? else {
                continue;
            };
            let log = WriterLog::open(Arc::new(directory), self.sink, false)?;
            self.progress.grow(log.n_bytes()?);
            let own = self.logs.len() - 1;
            self.logs.insert(own, log);
        }
        Ok(())
    }

    /// The next events, about `max_bytes` of them and at least one; `None` when there are no more now.
    pub fn next(&mut self, max_bytes: usize) -> io::Result<Option<Batch>> {
        let mut at = 0;
        while let Some(log) = self.logs.get_mut(at) {
            let limit = match log.is_own {
                true => Some(self.progress.committed()),
                false => None,
            };
            if let Some(batch) = log.next(limit, max_bytes, &mut self.damages)? {
                return Ok(Some(batch));
            }
            // Nothing may be left to wait for.
            match self.finish(at)? {
                true => {}
                false => at += 1,
            }
        }
        Ok(None)
    }

    /// The sink has everything up to here. Deletes what is not needed any more.
    pub fn acknowledge(&mut self, offset: Offset) -> io::Result<()> {
        let position = self
            .logs
            .iter()
            .position(|log| log.writer() == offset.writer);
        let Some(at) = position else {
            return Ok(());
        };
        // Everything that was given out before is acknowledged with it.
        for before in (0..at).rev() {
            if self.logs[before].has_ended {
                let last = self.logs[before].last_given;
                self.logs[before].acknowledge(last, &self.spool, &self.progress)?;
                self.finish(before)?;
            }
        }
        let position = self
            .logs
            .iter()
            .position(|log| log.writer() == offset.writer);
        let Some(at) = position else {
            return Ok(());
        };
        self.logs[at].acknowledge(offset.sequence, &self.spool, &self.progress)?;
        self.finish(at)?;
        Ok(())
    }

    /// Begins again with the first event that is not acknowledged.
    pub(crate) fn rewind(&mut self) {
        for log in &mut self.logs {
            log.rewind();
        }
    }

    /// What was found damaged since the last call.
    pub(crate) fn take_damages(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damages)
    }

    /// How many segments were put aside, all in all.
    #[cfg(test)]
    pub(crate) fn n_quarantined(&self) -> io::Result<usize> {
        Ok(directory::quarantined(&self.spool)?.len())
    }

    /// Removes a dead writer whose events are all shipped.
    fn finish(&mut self, at: usize) -> io::Result<bool> {
        let log = &mut self.logs[at];
        if log.is_own || !log.has_ended || log.shipped < log.last_given {
            return Ok(false);
        }
        for segment in log.directory.segments()? {
            log.discard(&segment, &self.spool, &self.progress)?;
        }
        log.directory.remove()?;
        self.logs.remove(at);
        Ok(true)
    }
}

/// What one writer has appended.
#[derive(Debug)]
struct WriterLog {
    directory: Arc<WriterDirectory>,
    is_own: bool,
    offset: Shipped,
    /// The last sequence that the sink has.
    shipped: u64,
    /// The last sequence that was given out.
    last_given: u64,
    scan: Scan,
    /// Of a dead writer: everything was given out.
    has_ended: bool,
    /// Segments, by first sequence, that are put aside in place of being deleted, and the first event lost by each damage.
    damaged: Vec<(u64, u64)>,
}

impl WriterLog {
    fn open(directory: Arc<WriterDirectory>, sink: &str, is_own: bool) -> io::Result<Self> {
        let (offset, shipped) = Shipped::open(&directory.path, sink)?;
        let scan = Scan::behind(directory.writer, &directory.path, shipped);
        Ok(Self {
            directory,
            is_own,
            offset,
            shipped,
            last_given: shipped,
            scan,
            has_ended: false,
            damaged: Vec::new(),
        })
    }

    fn writer(&self) -> Uuid {
        self.directory.writer
    }

    fn n_bytes(&self) -> io::Result<u64> {
        let mut n_bytes = 0;
        for segment in self.directory.segments()? {
            n_bytes += fs_err::metadata(&segment.path)?.len();
        }
        Ok(n_bytes)
    }

    fn next(
        &mut self,
        limit: Option<u64>,
        max_bytes: usize,
        damages: &mut Vec<Damage>,
    ) -> io::Result<Option<Batch>> {
        loop {
            if self.has_ended {
                return Ok(None);
            }
            match self.scan.next(limit, max_bytes)? {
                Scanned::Events(batch) => {
                    self.last_given = batch.last().sequence;
                    return Ok(Some(batch));
                }
                Scanned::Lost { segment, sequences } => {
                    let damage = (segment.first, sequences.start);
                    if !self.damaged.contains(&damage) {
                        self.damaged.push(damage);
                        damages.push(Damage {
                            segment: segment.path,
                            writer: self.directory.writer,
                            lost: sequences,
                        });
                    }
                }
                Scanned::End => {
                    self.has_ended = !self.is_own;
                    return Ok(None);
                }
            }
        }
    }

    fn acknowledge(&mut self, sequence: u64, spool: &Path, progress: &Progress) -> io::Result<()> {
        if sequence <= self.shipped {
            return Ok(());
        }
        self.offset.save(sequence)?;
        self.shipped = sequence;
        if self.is_own {
            progress.ship(sequence);
        }
        let segments = self.directory.segments()?;
        for pair in segments.windows(2) {
            if pair[1].first <= sequence + 1 {
                self.discard(&pair[0], spool, progress)?;
            }
        }
        Ok(())
    }

    fn rewind(&mut self) {
        self.scan = Scan::behind(self.directory.writer, &self.directory.path, self.shipped);
        self.last_given = self.shipped;
        self.has_ended = false;
    }

    /// Deletes a segment, or puts it aside.
    fn discard(&self, segment: &SegmentFile, spool: &Path, progress: &Progress) -> io::Result<()> {
        let n_bytes = fs_err::metadata(&segment.path)?.len();
        if self
            .damaged
            .iter()
            .any(|(first, _)| *first == segment.first)
        {
            let path = directory::quarantine(spool, self.writer(), segment)?;
            tracing::error!(path = %path.display(), "a damaged audit segment was put aside");
        } else {
            fs_err::remove_file(&segment.path)?;
        }
        progress.shrink(n_bytes);
        Ok(())
    }
}
