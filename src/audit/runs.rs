//! A set of sequences as runs: memory grows with gaps, not with members.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    /// The last of each run of sequences, by its first. Runs do not touch.
    runs: BTreeMap<u64, u64>,
}

impl Runs {
    /// Puts a sequence in; `false` if it is there already.
    pub(super) fn add(&mut self, sequence: u64) -> bool {
        let before = self.runs.range(..=sequence).next_back();
        let (first, last) = match before {
            Some((_, last)) if *last >= sequence => return false,
            // It goes on where that run ends.
            Some((first, last)) if *last + 1 == sequence => (*first, sequence),
            _ => (sequence, sequence),
        };
        let behind = last.checked_add(1).and_then(|next| self.runs.remove(&next));
        self.runs.insert(first, behind.unwrap_or(last));
        true
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        let before = self.runs.range(..=sequence).next_back();
        before.is_some_and(|(_, last)| *last >= sequence)
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.runs.keys().next().copied()
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.runs.values().next_back().copied()
    }

    pub(super) fn n_members(&self) -> u64 {
        self.runs.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// What is missing between two members, both ends included.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        let behind = self.runs.keys().skip(1);
        let ends = self.runs.values();
        ends.zip(behind).map(|(end, first)| (end + 1, first - 1))
    }
}
