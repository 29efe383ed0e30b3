//! What the spool gives and a sink takes: events in the order in which they were recorded.

use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

/// Where an event stands in the spool: which writer's, and the how-manyth of that writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset {
    pub writer: Uuid,
    /// Counts the writer's events from 1 without a gap.
    pub sequence: u64,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.writer, self.sequence)
    }
}

/// An event as it stands in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledEvent {
    pub offset: Offset,
    /// One JSON object of the schema in `event`, without a line feed. Shares memory with the events read with it.
    pub json: Bytes,
}

/// Events that were read together: at least one, of one writer, in the order of their sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    events: Vec<SpooledEvent>,
    last: Offset,
}

impl Batch {
    /// `None` for no events.
    pub fn new(events: Vec<SpooledEvent>) -> Option<Self> {
        let last = events.last()?.offset;
        Some(Self { events, last })
    }

    pub fn events(&self) -> &[SpooledEvent] {
        &self.events
    }

    pub fn into_events(self) -> Vec<SpooledEvent> {
        self.events
    }

    /// The offset of the last event: who acknowledges it acknowledges the batch and everything before.
    pub fn last(&self) -> Offset {
        self.last
    }

    /// All events together.
    pub fn n_bytes(&self) -> usize {
        self.events.iter().map(|event| event.json.len()).sum()
    }
}
