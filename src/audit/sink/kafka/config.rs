//! Which brokers, which topic, and in which form.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::secret::Secret;

/// Audit events on a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KafkaConfig")]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the cluster is found: `host:port`, several with commas between them.
    pub brokers: String,
    /// The topic of predictions.
    pub topic: String,
    /// Where events go that the topic never takes. Without it `.dead-letter` is appended to the topic's name.
    pub dead_letter_topic: Option<String>,
    /// How an event is written.
    pub format: Format,
    /// Which events share a partition, and so an order.
    pub key: Key,
    /// CloudEvents' `source`: which of several installations this is.
    pub source: String,
    /// Makes topics that are missing. Without it they must be there.
    pub create_topics: Option<CreateTopic>,
    /// Where the formats `json_schema` and `avro` register their schema.
    pub schema_registry: Option<SchemaRegistry>,
    /// librdkafka's `sasl.username`.
    pub username: Option<String>,
    /// librdkafka's `sasl.password`.
    pub password: Option<Secret>,
    /// librdkafka's `ssl.key.password`.
    pub ssl_key_password: Option<Secret>,
    /// Options of librdkafka by their own names, such as `"security.protocol" = "sasl_ssl"`. They win over what is set
    /// here. Secrets have settings of their own above.
    pub options: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            topic: "terrarium.predictions.v1".into(),
            dead_letter_topic: None,
            format: Format::default(),
            key: Key::default(),
            source: "/terrarium".into(),
            create_topics: None,
            schema_registry: None,
            username: None,
            password: None,
            ssl_key_password: None,
            options: BTreeMap::new(),
        }
    }
}

#[cfg(feature = "kafka")]
impl Config {
    /// For messages: brokers and topic, without credentials.
    pub(super) fn place(&self) -> String {
        format!("kafka at {}, topic `{}`", self.brokers, self.topic)
    }

    /// The dead-letter topic's name.
    pub(super) fn dead_letter(&self) -> String {
        match &self.dead_letter_topic {
            Some(topic) => topic.clone(),
            None => format!("{}.dead-letter", self.topic),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KafkaFormat")]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The event as one JSON object.
    #[default]
    Json,
    /// One flat row with Kafka Connect's schema beside it, which sinks for databases take without a schema registry.
    ConnectJson,
    /// The event as one JSON object, framed with the id of its JSON Schema in the registry.
    JsonSchema,
    /// The event in Avro, framed with the id of its schema in the registry.
    Avro,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KafkaKey")]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// The entity of a call about one entity, as in `driver_id=1001`; else the event's id.
    #[default]
    Entity,
    /// The event's id, which spreads events evenly.
    Event,
}

/// How a missing topic is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateTopic {
    /// Partitions of a new topic.
    pub partitions: NonZeroU16,
    /// Copies of each partition; without it the cluster's default.
    pub replication_factor: Option<NonZeroU16>,
    /// The topic's own settings, such as `"retention.ms" = "-1"`.
    pub config: BTreeMap<String, String>,
}

impl Default for CreateTopic {
    fn default() -> Self {
        Self {
            partitions: NonZeroU16::MIN,
            replication_factor: None,
            config: BTreeMap::new(),
        }
    }
}

/// A registry that speaks Confluent's Schema Registry API: Confluent's own, Karapace, Apicurio under `/apis/ccompat/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaRegistry {
    /// Where the API begins.
    pub url: String,
    /// For basic authentication.
    pub username: Option<String>,
    /// For basic authentication.
    pub password: Option<Secret>,
    /// Registers the schema when it is not there; else it must have been registered by somebody.
    pub register: bool,
}

impl Default for SchemaRegistry {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8081".into(),
            username: None,
            password: None,
            register: true,
        }
    }
}
