//! How far a sink has come with one writer: a number in a file, overwritten in place.
//!
//! It may be behind after a crash, then events are sent again; it is never ahead. One that does not read counts as none.
//! It has its place on the disk before the first event: a disk that the spool has filled still takes it.

use fs_err::os::unix::fs::FileExt;
use std::io;
use std::path::Path;

use fs_err::{File, OpenOptions};

/// 20 digits, a space, 8 hexadecimal digits of their checksum, a line feed.
const LENGTH: usize = 30;

/// Before the name of the sink.
const PREFIX: &str = "shipped.";

#[derive(Debug)]
pub(super) struct Shipped {
    file: File,
}

impl Shipped {
    /// Opens the number of a sink, and reads it: 0 if there is none.
    pub(super) fn open(writer: &Path, sink: &str) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(writer.join(format!("{PREFIX}{sink}")))?;
        let mut bytes = [0; LENGTH];
        let sequence = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        let shipped = Self { file };
        if sequence.is_none() {
            // Where there is no room even now, saving fails until there is some.
            let _ = shipped.save(0);
        }
        Ok((shipped, sequence.unwrap_or(0)))
    }

    /// How far the sink has come that came furthest; changes nothing.
    pub(super) fn furthest(writer: &Path) -> io::Result<u64> {
        let mut furthest = 0;
        for entry in fs_err::read_dir(writer)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
                continue;
            }
            let bytes = fs_err::read(entry.path())?;
            let sequence = bytes.first_chunk().and_then(decode);
            furthest = furthest.max(sequence.unwrap_or(0));
        }
        Ok(furthest)
    }

    pub(super) fn save(&self, sequence: u64) -> io::Result<()> {
        self.file.write_all_at(encode(sequence).as_bytes(), 0)
    }
}

fn encode(sequence: u64) -> String {
    let digits = format!("{sequence:020}");
    format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()))
}

fn decode(bytes: &[u8; LENGTH]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let sequence = text.get(..20)?.parse().ok()?;
    (encode(sequence) == text).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_saved_sequence_comes_back_and_a_damaged_one_counts_as_none() {
        let directory = TempDir::new().unwrap();
        let (shipped, sequence) = Shipped::open(directory.path(), "file").unwrap();
        assert_eq!(sequence, 0);
        let n_bytes = shipped.file.metadata().unwrap().len();
        assert_eq!(n_bytes, LENGTH as u64, "its place is taken");
        for sequence in [7, u64::MAX, 12] {
            shipped.save(sequence).unwrap();
            let (_, read) = Shipped::open(directory.path(), "file").unwrap();
            assert_eq!(read, sequence);
            assert_eq!(Shipped::furthest(directory.path()).unwrap(), sequence);
        }
        assert_eq!(Shipped::open(directory.path(), "kafka").unwrap().1, 0);
        shipped.file.write_all_at(b"9", 3).unwrap();
        assert_eq!(Shipped::open(directory.path(), "file").unwrap().1, 0);
    }
}
