//! What was sent and is not delivered yet, in the order in which it was sent.
//!
//! Reports come in any order, one per message; the offset up to which everything is delivered moves when the first of the
//! window is.

use std::collections::VecDeque;

use crate::audit::batch::{Offset, SpooledEvent};

#[derive(Debug, Default)]
pub(super) struct Window {
    /// The number of the first slot; numbers count what was ever sent.
    base: usize,
    slots: VecDeque<Slot>,
    /// Up to which everything is delivered, when that moved since it was asked for.
    delivered: Option<Offset>,
    rejected: VecDeque<Rejected>,
    /// Why this producer is of no use any more; the first reason stays.
    failure: Option<String>,
}

#[derive(Debug)]
struct Slot {
    event: SpooledEvent,
    /// Messages of the event that are not reported.
    pending: usize,
}

/// An event that the topic does not take, ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) number: usize,
    pub(super) reason: String,
}

impl Window {
    /// An event that is about to be sent as one message. The number comes back with its report.
    pub(super) fn push(&mut self, event: SpooledEvent) -> usize {
        self.slots.push_back(Slot { event, pending: 1 });
        self.base + self.slots.len() - 1
    }

    /// One message of the event arrived.
    pub(super) fn acknowledge(&mut self, number: usize) {
        if let Some(slot) = self.slot(number) {
            slot.pending = slot.pending.saturating_sub(1);
        }
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.pending == 0) {
            self.delivered = Some(slot.event.offset);
            self.base += 1;
        }
    }

    /// The topic will never take the event: it waits to be put aside.
    pub(super) fn reject(&mut self, number: usize, reason: String) {
        self.rejected.push_back(Rejected { number, reason });
    }

    /// The next event to put aside; it stays until `put_aside`.
    pub(super) fn rejected(&mut self) -> Option<(Rejected, SpooledEvent)> {
        while let Some(rejected) = self.rejected.front().cloned() {
            if let Some(slot) = self.slot(rejected.number) {
                return Some((rejected, slot.event.clone()));
            }
            self.rejected.pop_front();
        }
        None
    }

    /// The first rejected event is on its way as so many messages.
    pub(super) fn put_aside(&mut self, n_messages: usize) {
        if let Some(rejected) = self.rejected.pop_front()
            && let Some(slot) = self.slot(rejected.number)
        {
            slot.pending = n_messages;
        }
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The offset up to which everything is delivered; `None` if that did not move since the last call.
    pub(super) fn take_delivered(&mut self) -> Option<Offset> {
        self.delivered.take()
    }

    fn slot(&mut self, number: usize) -> Option<&mut Slot> {
        self.slots.get_mut(number.checked_sub(self.base)?)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn event(sequence: u64) -> SpooledEvent {
        let writer = Uuid::nil();
        SpooledEvent {
            offset: Offset { writer, sequence },
            json: Bytes::new(),
        }
    }

    fn window(n: u64) -> Window {
        let mut window = Window::default();
        for sequence in 1..=n {
            window.push(event(sequence));
        }
        window
    }

    fn delivered(window: &mut Window) -> Option<u64> {
        window.take_delivered().map(|offset| offset.sequence)
    }

    #[test]
    fn the_offset_moves_only_when_everything_before_is_delivered() {
        let mut window = window(3);
        window.acknowledge(1);
        assert_eq!(delivered(&mut window), None);
        window.acknowledge(0);
        assert_eq!(delivered(&mut window), Some(2));
        assert_eq!(delivered(&mut window), None);
        window.acknowledge(2);
        assert_eq!(delivered(&mut window), Some(3));
        assert_eq!(window.push(event(4)), 3);
        window.acknowledge(3);
        assert_eq!(delivered(&mut window), Some(4));
    }

    #[test]
    fn a_rejected_event_holds_the_offset_until_all_its_dead_letters_arrived() {
        let mut window = window(2);
        window.reject(0, "too large".into());
        window.acknowledge(1);
        let (rejected, event) = window.rejected().unwrap();
        assert_eq!(
            (rejected.reason.as_str(), event.offset.sequence),
            ("too large", 1)
        );
        // It was not sent: the queue was full.
        assert_eq!(window.rejected().unwrap().0, rejected);
        window.put_aside(2);
        assert!(window.rejected().is_none());
        window.acknowledge(0);
        assert_eq!(delivered(&mut window), None);
        window.acknowledge(0);
        assert_eq!(delivered(&mut window), Some(2));
    }

    #[test]
    fn a_report_for_what_is_delivered_already_changes_nothing() {
        let mut window = window(1);
        window.acknowledge(0);
        window.acknowledge(0);
        window.acknowledge(7);
        window.reject(0, "late".into());
        assert!(window.rejected().is_none());
        assert_eq!(delivered(&mut window), Some(1));
    }

    #[test]
    fn the_first_failure_stays() {
        let mut window = window(1);
        window.fail("fenced".into());
        window.fail("purged".into());
        assert_eq!(window.failure(), Some("fenced"));
    }
}
