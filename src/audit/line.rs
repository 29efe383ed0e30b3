//! One event as the record that is spooled: encoded before it has its number, numbered in place.
//!
//! An event is encoded outside of any lock with room left in front; once the sequence is known, its digits and the
//! writer's head are put into that room, and before them there is room for the record's own header. The bytes then stand
//! in one piece and go out in one write.
//! Buffers are reused per thread.

use std::cell::Cell;
use std::io::{self, Write};

use serde::Serialize;
use uuid::Uuid;

use super::event::SCHEMA_VERSION;
use super::spool::RECORD_HEADER;

/// Digits of the largest sequence.
const MAX_DIGITS: usize = 20;

/// Buffers that grew beyond this are not kept.
const MAX_SPARE_BYTES: usize = 1 << 20;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The beginning of every line of one writer, up to the sequence.
#[derive(Debug)]
pub(super) struct Head(String);

impl Head {
    pub(super) fn of(writer: Uuid) -> Self {
        Self(format!(
            r#"{{"schema_version":{SCHEMA_VERSION},"writer":"{writer}","sequence":"#
        ))
    }

    /// Bytes that are kept free in front of the fields.
    fn room(&self) -> usize {
        RECORD_HEADER + self.0.len() + MAX_DIGITS
    }
}

/// An event is an object with at least one field.
#[derive(Debug)]
pub(super) struct Line<'a> {
    head: &'a Head,
    /// `head.room()` bytes, then the fields behind the sequence.
    bytes: Vec<u8>,
}

impl<'a> Line<'a> {
    pub(super) fn encode<T: Serialize>(head: &'a Head, event: &T) -> serde_json::Result<Self> {
        let mut bytes = SPARE.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        bytes.resize(head.room(), 0);
        serde_json::to_writer(&mut bytes, event)?;
        // The fields follow the sequence in the object that the head opens.
        bytes[head.room()] = b',';
        Ok(Self { head, bytes })
    }

    /// The whole event under this number, and room for a record's header in front of it.
    pub(super) fn numbered(&mut self, sequence: u64) -> io::Result<&mut [u8]> {
        let n_digits = sequence.checked_ilog10().map_or(1, |log| log as usize + 1);
        let room = self.head.room();
        let start = MAX_DIGITS - n_digits;
        let mut head = &mut self.bytes[start + RECORD_HEADER..room];
        write!(head, "{}{sequence}", self.head.0)?;
        Ok(&mut self.bytes[start..])
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() <= MAX_SPARE_BYTES {
            // Fails only while the thread ends; the buffer is then freed.
            let _ = SPARE.try_with(|spare| spare.set(bytes));
        }
    }
}
