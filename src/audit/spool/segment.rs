//! The bytes of a segment: a header, then records one after the other. No I/O.
//!
//! ```text
//! header   magic 8 | version u32 | writer 16 | first sequence u64 | checksum u32           40 bytes
//! record   length of payload u32 | checksum u32 | sequence u64 | payload                   16 bytes and the payload
//! ```
//!
//! Numbers are little endian, checksums CRC-32. That of a record covers the writer, the length, the sequence and the
//! payload, so bytes of another file never pass for a record of this one.

use crc32fast::Hasher;
use uuid::Uuid;

const MAGIC: [u8; 8] = *b"TRRSPOOL";
const VERSION: u32 = 1;

/// Bytes in front of the first record.
pub(super) const HEADER: usize = 40;
/// Bytes in front of each payload.
pub const RECORD_HEADER: usize = 16;
/// The largest payload that is taken or believed.
pub(super) const MAX_PAYLOAD: usize = 1 << 30;

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Ours {
        writer: Uuid,
        first: u64,
    },
    /// Written by a later Terrarium.
    Newer {
        version: u32,
    },
    /// No segment, or a damaged one.
    Unreadable,
}

impl Header {
    pub(super) fn encode(writer: Uuid, first: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..28].copy_from_slice(writer.as_bytes());
        bytes[28..36].copy_from_slice(&first.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            return Self::Unreadable;
        };
        if bytes[..8] != MAGIC {
            return Self::Unreadable;
        }
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return Self::Newer { version };
        }
        if crc32fast::hash(&bytes[..36]) != u32_at(bytes, 36) {
            return Self::Unreadable;
        }
        let mut writer = [0; 16];
        writer.copy_from_slice(&bytes[12..28]);
        Self::Ours {
            writer: Uuid::from_bytes(writer),
            first: u64_at(bytes, 28),
        }
    }
}

/// What stands at a place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Record(Record),
    /// The bytes end before the record does. `length` is what its header claims, all of the record.
    Incomplete {
        length: usize,
    },
    /// No record, or one whose checksum is wrong.
    Damaged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) sequence: u64,
    /// Where the payload begins and where the record ends.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Puts records together and takes them apart, for one writer.
#[derive(Debug, Clone)]
pub(super) struct Codec {
    /// Checksum of the writer's id, which that of every record continues.
    seed: Hasher,
}

impl Codec {
    pub(super) fn of(writer: Uuid) -> Self {
        let mut seed = Hasher::new();
        seed.update(writer.as_bytes());
        Self { seed }
    }

    /// Fills the header in front of the payload: `record` begins with `RECORD_HEADER` bytes of room.
    pub(super) fn seal(&self, sequence: u64, record: &mut [u8]) {
        let (header, payload) = record.split_at_mut(RECORD_HEADER);
        // The caller has checked that it is at most `MAX_PAYLOAD`.
        let length = (payload.len() as u32).to_le_bytes();
        let checksum = self.checksum(length, sequence, payload);
        header[..4].copy_from_slice(&length);
        header[4..8].copy_from_slice(&checksum.to_le_bytes());
        header[8..].copy_from_slice(&sequence.to_le_bytes());
    }

    pub(super) fn find(&self, bytes: &[u8], at: usize) -> Found {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(header) = rest.first_chunk::<RECORD_HEADER>() else {
            return Found::Incomplete {
                length: RECORD_HEADER,
            };
        };
        let n_payload = u32_at(header, 0) as usize;
        if n_payload == 0 || n_payload > MAX_PAYLOAD {
            return Found::Damaged;
        }
        let length = RECORD_HEADER + n_payload;
        let Some(payload) = rest.get(RECORD_HEADER..length) else {
            return Found::Incomplete { length };
        };
        let sequence = u64_at(header, 8);
        let length_bytes = [header[0], header[1], header[2], header[3]];
        if self.checksum(length_bytes, sequence, payload) != u32_at(header, 4) {
            return Found::Damaged;
        }
        Found::Record(Record {
            sequence,
            start: at + RECORD_HEADER,
            end: at + length,
        })
    }

    /// The first whole record behind `at` whose sequence is at least `least`, and plausible.
    pub(super) fn find_behind(&self, bytes: &[u8], at: usize, least: u64) -> Option<usize> {
        // Checksums are only computed where the sequence fits, so this takes about one look per byte.
        let most = least.saturating_add(bytes.len() as u64);
        let last = bytes.len().checked_sub(RECORD_HEADER)?;
        (at + 1..=last).find(|&at| {
            let sequence = u64_at(bytes, at + 8);
            (least..=most).contains(&sequence) && matches!(self.find(bytes, at), Found::Record(_))
        })
    }

    fn checksum(&self, length: [u8; 4], sequence: u64, payload: &[u8]) -> u32 {
        let mut hasher = self.seed.clone();
        let mut covered = [0; 12];
        covered[..4].copy_from_slice(&length);
        covered[4..].copy_from_slice(&sequence.to_le_bytes());
        hasher.update(&covered);
        hasher.update(payload);
        hasher.finalize()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: Uuid = Uuid::from_u128(7);

    fn record(codec: &Codec, sequence: u64, payload: &str) -> Vec<u8> {
        let mut record = vec![0; RECORD_HEADER];
        record.extend_from_slice(payload.as_bytes());
        codec.seal(sequence, &mut record);
        record
    }

    #[test]
    fn a_header_comes_back_and_a_damaged_one_does_not() {
        let bytes = Header::encode(WRITER, 41);
        let ours = Header::Ours {
            writer: WRITER,
            first: 41,
        };
        assert_eq!(Header::decode(&bytes), ours);
        for at in 0..HEADER {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_ne!(Header::decode(&damaged), ours, "byte {at}");
        }
        assert_eq!(Header::decode(&bytes[..39]), Header::Unreadable);
        let mut newer = bytes;
        newer[8] = 9;
        assert_eq!(Header::decode(&newer), Header::Newer { version: 9 });
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let codec = Codec::of(WRITER);
        let bytes = record(&codec, 3, "{\"id\":1}");
        assert!(matches!(codec.find(&bytes, 0), Found::Record(found) if found.sequence == 3));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(codec.find(&damaged, 0), Found::Record(_)),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_record_of_another_writer_is_none() {
        let bytes = record(&Codec::of(Uuid::from_u128(8)), 3, "{}");
        assert_eq!(Codec::of(WRITER).find(&bytes, 0), Found::Damaged);
    }

    #[test]
    fn a_record_that_is_cut_off_says_how_long_it_is() {
        let codec = Codec::of(WRITER);
        let bytes = record(&codec, 3, "{}");
        assert_eq!(
            codec.find(&bytes[..17], 0),
            Found::Incomplete { length: 18 }
        );
        assert_eq!(codec.find(&bytes[..5], 0), Found::Incomplete { length: 16 });
        assert_eq!(codec.find(&[0; 64], 0), Found::Damaged);
    }

    #[test]
    fn records_behind_damage_are_found_again() {
        let codec = Codec::of(WRITER);
        let mut bytes = record(&codec, 1, "{\"a\":1}");
        let second = bytes.len();
        bytes.extend(record(&codec, 2, "{\"b\":2}"));
        let third = bytes.len();
        bytes.extend(record(&codec, 3, "{\"c\":3}"));
        // A length that cannot be: what follows is not where it says.
        bytes[second + 2] = 0xff;
        assert_eq!(codec.find_behind(&bytes, second, 2), Some(third));
        assert_eq!(codec.find_behind(&bytes, third, 4), None);
    }
}
