//! The deliveries that were taken, as long as their timestamps are good.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::types::timestamp::Timestamp;

/// Most ids that are remembered; the oldest is forgotten for a new one. One that is forgotten could be sent again, which
/// makes the watcher look once more.
const MOST: usize = 10_000;

#[derive(Default)]
pub(super) struct Seen {
    ids: HashSet<Arc<str>>,
    /// In order of arrival.
    arrived: VecDeque<(Arc<str>, Timestamp)>,
}

impl Seen {
    /// Remembers the id; `false` if it was there.
    pub(super) fn is_first(&mut self, id: &str, good_until: Timestamp, now: Timestamp) -> bool {
        if self.ids.contains(id) {
            return false;
        }
        let is_over = |seen: &Self| {
            let oldest = seen.arrived.front();
            oldest.is_some_and(|(_, until)| *until < now) || seen.arrived.len() >= MOST
        };
        while is_over(self) {
            if let Some((oldest, _)) = self.arrived.pop_front() {
                self.ids.remove(&oldest);
            }
        }
        let id: Arc<str> = Arc::from(id);
        self.ids.insert(Arc::clone(&id));
        self.arrived.push_back((id, good_until));
        true
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_forgotten_once_they_are_over_and_never_more_than_so_many_are_remembered() {
        let mut seen = Seen::default();
        let at = Timestamp::from_seconds;
        assert!(seen.is_first("a", at(10), at(0)));
        assert!(!seen.is_first("a", at(10), at(10)));
        assert!(seen.is_first("b", at(20), at(11)));
        assert_eq!(seen.len(), 1);
        for number in 0..2 * MOST {
            assert!(seen.is_first(&number.to_string(), at(20), at(11)));
        }
        assert_eq!(seen.len(), MOST);
        assert!(!seen.is_first(&(2 * MOST - 1).to_string(), at(20), at(11)));
    }
}
