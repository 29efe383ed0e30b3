//! The messages of an event that its topic never takes: the whole event as it stands in the spool, with the reason.
//!
//! An event that is too large for one message goes as several, in order and with the same key: the values together are the
//! event. Headers, beside those that the event would have had where it is one:
//! `terrarium_reason`, `terrarium_topic` (where it should have gone), `terrarium_part` (`1/3`).

use std::ops::Range;

use rdkafka::message::{Header, OwnedHeaders};

/// What a message holds beside its value; generous, as the limit is on the whole.
const OVERHEAD: usize = 16 * 1024;

/// Kafka's own default for topics.
const DEFAULT_LIMIT: usize = 1_048_588;

/// The parts of a value of so many bytes: at least one, each fitting into a message of the dead-letter topic.
pub(super) fn parts(n_bytes: usize, limit: Option<usize>) -> Vec<Range<usize>> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT).min(DEFAULT_LIMIT);
    let part = limit.saturating_sub(OVERHEAD).max(limit / 2).max(1);
    let mut parts = Vec::with_capacity(n_bytes / part + 1);
    let mut start = 0;
    loop {
        let end = n_bytes.min(start + part);
        parts.push(start..end);
        start = end;
        if start == n_bytes {
            return parts;
        }
    }
}

/// Adds why the event is here.
pub(super) fn explained(
    headers: OwnedHeaders,
    reason: &str,
    topic: &str,
    part: usize,
    n_parts: usize,
) -> OwnedHeaders {
    let part = format!("{part}/{n_parts}");
    let mut headers = headers;
    for (key, value) in [
        ("terrarium_reason", reason),
        ("terrarium_topic", topic),
        ("terrarium_part", &part),
    ] {
        headers = headers.insert(Header {
            key,
            value: Some(value),
        });
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_fit() {
        assert_eq!(parts(10, None), vec![Range { start: 0, end: 10 }]);
        assert_eq!(parts(0, None).len(), 1);
        let parts = parts(100_000, Some(30_000));
        assert_eq!(parts.first().map(|part| part.start), Some(0));
        assert_eq!(parts.last().map(|part| part.end), Some(100_000));
        for pair in parts.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
        assert!(
            parts
                .iter()
                .all(|part| part.len() <= 30_000 - OVERHEAD.min(15_000))
        );
    }

    #[test]
    fn a_tiny_limit_still_gives_parts() {
        assert_eq!(parts(3, Some(1)).len(), 3);
    }
}
