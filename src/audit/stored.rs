//! What stands in one file of the sink, event by event, whichever format it has.
//!
//! A last line without a line feed was being written when its process died; it is no event.

use std::io::{self, BufRead, BufReader};
use std::path::Path;

use fs_err::File;

use super::batch::Offset;
use super::event::Origin;
use super::rows_file::{self, RowsFile};

/// Something that stands where an event should.
#[derive(Debug)]
pub(super) struct Stored {
    /// Its line or row in the file, from 1.
    pub(super) place: usize,
    /// As it was recorded, without a line feed; whether it is an event shows who parses it.
    pub(super) json: Vec<u8>,
}

/// Everything in a file, in its order. After an error there is no more.
pub(super) fn events(path: &Path) -> io::Result<Box<dyn Iterator<Item = io::Result<Stored>>>> {
    if rows_file::is_one(path) {
        return Ok(Box::new(RowsFile::open(path)?.events()?));
    }
    Ok(Box::new(Lines::open(path)?))
}

/// The event of an id, as it was recorded.
pub(super) fn find(path: &Path, id: &str) -> io::Result<Option<Vec<u8>>> {
    if rows_file::is_one(path) {
        return RowsFile::open(path)?.find(id);
    }
    for stored in Lines::open(path)? {
        let Stored { json, .. } = stored?;
        if super::event::id_of(&json) == Some(id.as_bytes()) {
            return Ok(Some(json));
        }
    }
    Ok(None)
}

/// Tells of each event where it is from, in the order of the file; `Err` with the place of what is no event.
pub(super) fn origins(path: &Path, mut tell: impl FnMut(Result<Offset, usize>)) -> io::Result<()> {
    if rows_file::is_one(path) {
        return RowsFile::open(path)?.offsets(|offset| tell(Ok(offset)));
    }
    for stored in Lines::open(path)? {
        let Stored { place, json } = stored?;
        let origin = Origin::of(&json).filter(|_| json.ends_with(b"}"));
        let offset = origin.map(|Origin { writer, sequence }| Offset { writer, sequence });
        tell(offset.ok_or(place));
    }
    Ok(())
}

/// The lines of a file.
#[derive(Debug)]
struct Lines {
    file: BufReader<File>,
    n_lines: usize,
    has_ended: bool,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::with_capacity(1 << 18, File::open(path)?),
            n_lines: 0,
            has_ended: false,
        })
    }
}

impl Iterator for Lines {
    type Item = io::Result<Stored>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let mut json = Vec::new();
        if let Err(error) = self.file.read_until(b'\n', &mut json) {
            self.has_ended = true;
            return Some(Err(error));
        }
        self.n_lines += 1;
        if json.pop() != Some(b'\n') {
            self.has_ended = true;
            return None;
        }
        let place = self.n_lines;
        Some(Ok(Stored { place, json }))
    }
}
