//! Audit events on a Kafka topic.
//!
//! Invariants:
//! - an event is delivered when the report of the broker says so, with `acks=all`; nothing else counts;
//! - what was sent and not reported when a producer fails (a fatal error of idempotence, a topic that went away) is sent
//!   again by a new one;
//! - an event that the topic never takes (too large, not authorised, invalid topic) goes whole to the dead-letter topic,
//!   with the reason; while that fails, too, nothing behind it counts as delivered;
//! - a topic that is not there is waited for, as brokers are: it may be about to come back.
//!
//! `client` is the sink, `log` hears of its connections, `window` knows what is not delivered yet, `record` makes the message of an event, `format` its
//! value, `registry` speaks to a schema registry, `reader` reads a topic back.
//! Not here: when events are sent and sent again (the shipper).

#[cfg(feature = "kafka")]
mod client;
mod config;
#[cfg(feature = "kafka")]
mod dead_letter;
#[cfg(feature = "kafka")]
mod format;
#[cfg(feature = "kafka")]
mod log;
mod message;
#[cfg(feature = "kafka")]
mod reader;
#[cfg(feature = "kafka")]
mod record;
#[cfg(feature = "kafka")]
mod registry;
#[cfg(test)]
#[cfg(feature = "kafka")]
mod tests;
#[cfg(feature = "kafka")]
mod topic;
#[cfg(feature = "kafka")]
mod window;

pub use config::{Config, CreateTopic, Format, Key, SchemaRegistry};
pub use message::{Begin, End, ReadError, TopicEvent, TopicEvents};

use std::io;

use super::AuditSink;

/// The sink, not connected yet.
#[cfg(feature = "kafka")]
pub(super) fn sink(config: Config) -> io::Result<Box<dyn AuditSink>> {
    Ok(Box::new(client::KafkaSink::new(config)))
}

#[cfg(not(feature = "kafka"))]
pub(super) fn sink(_: Config) -> io::Result<Box<dyn AuditSink>> {
    Err(io::Error::other(ReadError::NotBuilt))
}

/// What is on the topic. Blocks; it is not for the runtime's threads.
pub fn events(config: &Config, begin: Begin, end: End) -> Result<TopicEvents, ReadError> {
    events_of(config, None, begin, end)
}

/// What is on the topic, or on one partition of it. Blocks; it is not for the runtime's threads.
#[cfg(feature = "kafka")]
pub fn events_of(
    config: &Config,
    partition: Option<i32>,
    begin: Begin,
    end: End,
) -> Result<TopicEvents, ReadError> {
    let reader = reader::Reader::open(config, partition, begin, end)?;
    Ok(Box::new(reader))
}

#[cfg(not(feature = "kafka"))]
pub fn events_of(_: &Config, _: Option<i32>, _: Begin, _: End) -> Result<TopicEvents, ReadError> {
    Err(ReadError::NotBuilt)
}
