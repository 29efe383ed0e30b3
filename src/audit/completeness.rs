//! Whether all events of a writer are there, from the pairs of writer and sequence that somebody saw, in any order.
//!
//! A writer counts its events from 1 without a gap, so between the first and the last that was seen none may be missing.
//! What was before the first, and after the last, cannot be told: the oldest may have been deleted as configured.
//! Memory: one bit for each sequence, in blocks, wherever they lie.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use uuid::Uuid;

/// Sequences of one block.
const BLOCK: u64 = 64 * 64;

#[derive(Debug, Default)]
pub struct Completeness {
    writers: BTreeMap<Uuid, Seen>,
    /// Messages and lines that do not say which event they are.
    n_unknown: u64,
}

#[derive(Debug, Default)]
struct Seen {
    blocks: BTreeMap<u64, [u64; 64]>,
    n_events: u64,
    n_duplicates: u64,
}

/// What was seen of one writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterReport {
    pub writer: Uuid,
    pub first: u64,
    pub last: u64,
    /// Different ones.
    pub n_events: u64,
    /// Events that were seen before: at-least-once delivery allows them.
    pub n_duplicates: u64,
    pub n_missing: u64,
    /// Where they are missing, the first of them.
    pub gaps: Vec<RangeInclusive<u64>>,
}

/// Gaps that are told one by one.
const MAX_GAPS: usize = 100;

impl Completeness {
    pub fn see(&mut self, writer: Uuid, sequence: u64) {
        let seen = self.writers.entry(writer).or_default();
        let block = seen.blocks.entry(sequence / BLOCK).or_insert([0; 64]);
        let place = sequence % BLOCK;
        // Both are below 64.
        let (word, bit) = ((place / 64) as usize, place % 64);
        if block[word] & (1 << bit) != 0 {
            seen.n_duplicates += 1;
        } else {
            block[word] |= 1 << bit;
            seen.n_events += 1;
        }
    }

    /// Something that does not say which event it is.
    pub fn see_unknown(&mut self) {
        self.n_unknown += 1;
    }

    pub fn n_unknown(&self) -> u64 {
        self.n_unknown
    }

    /// By writer, which is by the time of their start.
    pub fn reports(&self) -> Vec<WriterReport> {
        let reports = self.writers.iter();
        reports
            .filter_map(|(&writer, seen)| seen.report(writer))
            .collect()
    }
}

impl Seen {
    /// The sequences in their order.
    fn sequences(&self) -> impl Iterator<Item = u64> {
        self.blocks.iter().flat_map(|(number, words)| {
            let start = number * BLOCK;
            (0_u64..).zip(words).flat_map(move |(word, &bits)| {
                (0..64)
                    .filter(move |bit| bits & (1 << bit) != 0)
                    .map(move |bit| start + word * 64 + bit)
            })
        })
    }

    /// `None` if nothing was seen.
    fn report(&self, writer: Uuid) -> Option<WriterReport> {
        let mut sequences = self.sequences();
        let first = sequences.next()?;
        let (mut last, mut gaps) = (first, Vec::new());
        for sequence in sequences {
            if sequence > last + 1 && gaps.len() < MAX_GAPS {
                gaps.push(last + 1..=sequence - 1);
            }
            last = sequence;
        }
        Some(WriterReport {
            writer,
            first,
            last,
            n_events: self.n_events,
            n_duplicates: self.n_duplicates,
            n_missing: last - first + 1 - self.n_events,
            gaps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(sequences: &[u64]) -> Vec<WriterReport> {
        let mut completeness = Completeness::default();
        for &sequence in sequences {
            completeness.see(Uuid::nil(), sequence);
        }
        completeness.reports()
    }

    #[test]
    fn a_writer_in_any_order_without_a_gap_is_complete() {
        let mut sequences: Vec<u64> = (1..=10_000).collect();
        sequences.reverse();
        sequences.swap(17, 9000);
        let report = &reports(&sequences)[0];
        assert_eq!(
            (report.first, report.last, report.n_events),
            (1, 10_000, 10_000)
        );
        assert_eq!((report.n_missing, report.n_duplicates), (0, 0));
        assert!(report.gaps.is_empty());
    }

    #[test]
    fn gaps_and_duplicates_are_told_apart() {
        let report = &reports(&[5, 4, 4096, 4097, 8, 4, 4])[0];
        assert_eq!((report.first, report.last, report.n_events), (4, 4097, 5));
        assert_eq!(report.n_duplicates, 2);
        assert_eq!(report.gaps, [6..=7, 9..=4095]);
        assert_eq!(report.n_missing, 2 + 4087);
    }

    #[test]
    fn a_sequence_of_any_size_costs_no_more_than_a_block() {
        let report = &reports(&[1, u64::MAX - 1])[0];
        assert_eq!(report.last, u64::MAX - 1);
        assert_eq!(report.n_missing, u64::MAX - 3);
        assert!(reports(&[]).is_empty());
    }
}
