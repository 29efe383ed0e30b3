//! The event of a file that was scored: no prediction, but what tells whose outputs the file holds, and which bytes it has.

use std::time::Duration;

use uuid::Uuid;

use super::event::Event;
use super::stream::Recorded;
use super::{AuditLog, Error};
use crate::types::names::ModelRef;
use crate::types::prediction::ServedBy;
use crate::types::request::RequestContext;
use crate::types::timestamp::Timestamp;

/// A file that is whole and has no name yet.
#[derive(Debug)]
pub struct ScoredFile<'a> {
    /// When its scoring began.
    pub time: Timestamp,
    pub took: Duration,
    pub context: &'a RequestContext,
    pub requested: &'a ModelRef,
    pub served_by: &'a ServedBy,
    pub n_rows: u64,
    /// Rows that have no outputs.
    pub n_failed: u64,
    /// Where its features came from: `offline`, `online`, `given`, `none`.
    pub features: &'a str,
    /// The file of the entity rows, or the query.
    pub source: &'a str,
    pub destination: &'a str,
    /// Of the file, in hexadecimal.
    pub sha256: &'a str,
}

impl AuditLog {
    /// Writes the event. Errors only with `refuse`: the file must then not get its name.
    pub fn record_scored(&self, file: &ScoredFile<'_>) -> Result<Recorded<'_>, Error> {
        if !self.is_enabled {
            return Ok(self.stream.nothing());
        }
        let event = Event::scored(Uuid::now_v7(), file, self.redaction.as_ref());
        self.stream.append(self.stream.encode(&event))
    }
}
