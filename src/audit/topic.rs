//! The topic of predictions, read back: what `audit.kafka` sent, in whatever format.

pub use super::sink::kafka::{
    Begin, Config, End, ReadError, TopicEvent, TopicEvents, events, events_of,
};
