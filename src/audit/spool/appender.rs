//! The writing side of a spool: one writer's segments, the newest of which grows.

use fs_err::os::unix::fs::FileExt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::{File, OpenOptions};
use uuid::Uuid;

use super::directory::WriterDirectory;
use super::group::Group;
use super::progress::Progress;
use super::segment::{Codec, HEADER, Header, MAX_PAYLOAD, RECORD_HEADER};
use super::sync::{Syncer, Syncing};
use super::{Config, Durability, Error};

/// Beyond this much, events that are only in memory are written by whoever brings the next one.
const MAX_PENDING: usize = 256 * 1024;

/// What a probe writes and cuts off again: enough to need a new block on a full disk.
const PROBE: [u8; 4096] = [b' '; 4096];

/// When an event is as safe as the configuration asks.
#[derive(Debug)]
#[must_use = "an event is not safe before it is waited for"]
pub enum Safe {
    /// It is already.
    Now,
    /// With the next write, which any of its group may do: [`Appender::write_group`].
    Written(Group),
    /// With the next sync.
    Synced(Syncing),
}

/// Appends the events of one writer.
#[derive(Debug)]
pub struct Appender {
    spool: PathBuf,
    directory: Arc<WriterDirectory>,
    codec: Codec,
    durability: Durability,
    max_size: u64,
    segment_size: u64,
    /// The next event's.
    sequence: u64,
    current: Current,
    /// Bytes of the record that was refused last for want of room; 0 once there was room for one.
    n_refused: usize,
    /// The current segment is full, and the next one could not be made.
    is_stuck: bool,
    /// Whole records that are not in the segment yet: with `memory`, or those of `group`.
    pending: Vec<u8>,
    /// The events that go with the next write, and are waited for.
    group: Option<Group>,
    /// Only with `fsync`.
    syncer: Option<Syncer>,
    progress: Arc<Progress>,
}

/// The segment that is being written.
#[derive(Debug)]
struct Current {
    file: Arc<File>,
    /// Header and whole records. Whatever stands behind is overwritten.
    size: u64,
}

impl Appender {
    /// Begins the writer's first segment. Errors when it cannot be made.
    pub(super) fn start(config: &Config, spool: &Path, writer: Uuid) -> io::Result<Self> {
        let directory = Arc::new(WriterDirectory::create(spool, writer)?);
        let syncer = match config.durability {
            Durability::Fsync => Some(Syncer::start()?),
            Durability::Written | Durability::Memory => None,
        };
        let progress = Arc::new(Progress::default());
        let current = Current::create(&directory, 1, &progress)?;
        let appender = Self {
            spool: spool.to_owned(),
            directory,
            codec: Codec::of(writer),
            durability: config.durability,
            max_size: config.max_size.as_bytes(),
            segment_size: config.segment_size.as_bytes(),
            sequence: 1,
            current,
            n_refused: 0,
            is_stuck: false,
            pending: Vec::new(),
            group: None,
            syncer,
            progress,
        };
        appender.tell_syncer();
        Ok(appender)
    }

    /// The sequence of the event that is appended next.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Room for the process that comes after this one.
    pub(super) fn keep_reserve(&self) {
        self.directory.keep_reserve();
    }

    pub(super) fn directory(&self) -> &Arc<WriterDirectory> {
        &self.directory
    }

    /// Appends the event that carries `sequence()`: `RECORD_HEADER` bytes of room, then the payload.
    ///
    /// Errors: nothing of it counts as an event, and the next one carries the same sequence.
    pub fn append(&mut self, record: &mut [u8]) -> Result<Safe, Error> {
        self.write_group()?;
        self.seal(record)?;
        match self.durability {
            Durability::Memory => self.keep(record)?,
            Durability::Written | Durability::Fsync => self.write(record)?,
        }
        let sequence = self.sequence;
        self.sequence += 1;
        if self.durability != Durability::Memory {
            self.progress.commit(sequence);
        }
        self.progress.append(sequence);
        Ok(match &self.syncer {
            Some(syncer) => syncer.appended(sequence),
            None => Safe::Now,
        })
    }

    /// The same with `written`, but it is `write_group` that writes it, together with the others that come until then. Whoever
    /// appends has to see to that call.
    ///
    /// Errors: as `append`. When the write fails, that counts for all events of the group.
    pub fn append_to_group(&mut self, record: &mut [u8]) -> Result<Safe, Error> {
        if self.durability != Durability::Written {
            return self.append(record);
        }
        if self.pending.len() + record.len() > MAX_PENDING {
            self.write_group()?;
        }
        self.seal(record)?;
        self.pending.extend_from_slice(record);
        self.sequence += 1;
        let group = self.group.get_or_insert_default();
        Ok(Safe::Written(group.clone()))
    }

    /// Writes the events of the group that wait. Errors: as its events are told.
    pub(crate) fn write_group(&mut self) -> io::Result<()> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let mut pending = std::mem::take(&mut self.pending);
        let written = self.write(&pending);
        pending.clear();
        self.pending = pending;
        group.decide(&written);
        match &written {
            Ok(()) => {
                let last = self.sequence - 1;
                self.progress.commit(last);
                self.progress.append(last);
            }
            Err(_) => self.sequence = self.progress.committed() + 1,
        }
        written
    }

    /// Writes what `memory` has kept. Errors: it stays in memory.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        // A group is written by those who wait for it.
        if self.pending.is_empty() || self.group.is_some() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let written = self.write(&pending);
        self.pending = pending;
        written?;
        self.pending.clear();
        self.progress.commit(self.sequence - 1);
        Ok(())
    }

    /// Finds out whether `append` would work, without leaving an event.
    pub(crate) fn probe(&mut self) -> Result<(), Error> {
        self.check_room(self.n_refused)?;
        self.flush()?;
        self.make_room(0)?;
        let written = self.current.write(&PROBE);
        let cut_off = self.current.cut_off();
        written.and(cut_off).map_err(Error::from)
    }

    /// Puts the header of the next event before its payload, if there is room for it.
    fn seal(&mut self, record: &mut [u8]) -> Result<(), Error> {
        let n_payload = record.len().saturating_sub(RECORD_HEADER);
        if n_payload == 0 || n_payload > MAX_PAYLOAD {
            return Err(Error::Size { actual: n_payload });
        }
        if let Err(error) = self.check_room(record.len()) {
            self.n_refused = record.len();
            return Err(error);
        }
        self.codec.seal(self.sequence, record);
        self.n_refused = 0;
        Ok(())
    }

    fn check_room(&self, n_bytes: usize) -> Result<(), Error> {
        if let Some(syncer) = &self.syncer {
            syncer.check()?;
        }
        let used = self.progress.n_bytes() + self.pending.len() as u64;
        match used + n_bytes as u64 > self.max_size {
            true => Err(Error::Full {
                spool: self.spool.clone(),
                used,
                limit: self.max_size,
            }),
            false => Ok(()),
        }
    }

    fn keep(&mut self, record: &[u8]) -> Result<(), Error> {
        if self.pending.len() + record.len() > MAX_PENDING {
            self.flush()?;
        }
        self.pending.extend_from_slice(record);
        Ok(())
    }

    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        self.make_room(records.len())?;
        if let Err(error) = self.current.write(records) {
            // Where even this fails, the next record overwrites what is left.
            let _ = self.current.cut_off();
            return Err(error);
        }
        self.current.size += records.len() as u64;
        self.progress.grow(records.len() as u64);
        Ok(())
    }

    /// Begins a new segment where the current one is full.
    fn make_room(&mut self, n_bytes: usize) -> io::Result<()> {
        let size = self.current.size;
        let is_full = size > HEADER as u64 && size + n_bytes as u64 > self.segment_size;
        if is_full || self.is_stuck {
            self.is_stuck = true;
            let first = self.progress.committed() + 1;
            self.current = Current::create(&self.directory, first, &self.progress)?;
            self.is_stuck = false;
            self.directory.keep_reserve();
            self.tell_syncer();
        }
        Ok(())
    }

    fn tell_syncer(&self) {
        if let Some(syncer) = &self.syncer {
            let directories = [self.directory.path.clone(), self.spool.clone()];
            syncer.begin(Arc::clone(&self.current.file), directories);
        }
    }
}

impl Drop for Appender {
    /// Writes what is in memory, and leaves no directory behind if everything was shipped.
    fn drop(&mut self) {
        let written = self.write_group().map_err(Error::from);
        if let Err(error) = written.and_then(|()| self.flush()) {
            tracing::error!(%error, "audit events in memory are lost");
        }
        if self.progress.shipped() == self.sequence - 1
            && let Err(error) = self.directory.remove()
        {
            // The next process does it.
            tracing::debug!(%error, "an empty spool is left behind");
        }
    }
}

impl Current {
    fn create(directory: &WriterDirectory, first: u64, progress: &Progress) -> io::Result<Self> {
        let path = directory.segment(first);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directory.make()?;
                options.open(&path)?
            }
            file => file?,
        };
        if let Err(error) = file.write_all_at(&Header::encode(directory.writer, first), 0) {
            drop(file);
            // It would count as a damaged segment.
            let _ = fs_err::remove_file(&path);
            return Err(error);
        }
        progress.grow(HEADER as u64);
        Ok(Self {
            file: Arc::new(file),
            size: HEADER as u64,
        })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.size)
    }

    /// Removes whatever stands behind the last whole record.
    fn cut_off(&self) -> io::Result<()> {
        self.file.set_len(self.size)
    }
}
