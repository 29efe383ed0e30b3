//! What is read back from a topic.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::error::{ErrorClass, Failure};
use crate::types::timestamp::Timestamp;

/// One message of the topic of predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicEvent {
    pub partition: i32,
    /// Of the message in its partition.
    pub position: i64,
    /// `None` for a message that does not say which event it is.
    pub writer: Option<Uuid>,
    pub sequence: Option<u64>,
    /// The event, or its flat row in `connect_json`; `None` for a value of another format.
    pub json: Option<Value>,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest message that is kept.
    Oldest,
    /// So long ago, by the messages' timestamps.
    Ago(Duration),
    /// At this moment, by the messages' timestamps.
    Since(Timestamp),
    /// With this message of each partition, or the oldest behind it that is kept.
    Offset(i64),
    /// With what comes from now on.
    Now,
}

/// Where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the last message that was there when reading began.
    Last,
    /// Before this message of each partition, or with the last that was there when reading began.
    Offset(i64),
    /// Never: it waits for more.
    Never,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{place} cannot be read: {source}")]
    Kafka {
        /// Brokers and topic.
        place: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("this binary was built without feature `kafka`")]
    NotBuilt,
}

impl Failure for ReadError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Kafka { .. } => ErrorClass::Unavailable,
            Self::NotBuilt => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Kafka { .. } => "audit_topic_unreadable",
            Self::NotBuilt => "audit_kafka_not_built",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Kafka { .. } => Some("`[audit.kafka]` says where brokers and topic are".into()),
            Self::NotBuilt => Some("build it with `cargo build --features kafka`".into()),
        }
    }
}

/// Messages of each partition in their order.
pub type TopicEvents = Box<dyn Iterator<Item = Result<TopicEvent, ReadError>> + Send>;
