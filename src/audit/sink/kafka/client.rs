//! The sink: an idempotent producer, the reports of its brokers, and a new producer when one is of no use any more.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::Notify;

use super::config::Config;
use super::log::Log;
use super::record::ContentType;
use super::topic::Limits;
use super::window::Window;
use super::{dead_letter, format, registry, topic};
use crate::audit::batch::{Batch, Offset, SpooledEvent};
use crate::audit::parts::EventParts;
use crate::audit::sink::{AuditSink, Error};
use crate::shutdown::detach_blocking;

/// A batch of librdkafka holds no more bytes than this, uncompressed; a larger message goes alone. It is below the limit that
/// brokers have by default, so that a message is never refused for the size of its neighbours.
const MAX_BATCH_BYTES: usize = 1_000_000;

/// Without any broker for so long the sink tells that events cannot be delivered. A shorter outage passes unnoticed: the
/// same producer goes on, and nothing is sent twice.
const GIVE_UP: Duration = Duration::from_secs(15);

/// How often that is looked at while nothing else happens.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct KafkaSink {
    config: Config,
    dead_letter_topic: String,
    /// Asked for once, and kept when the brokers are connected to again.
    schema: Option<registry::Registered>,
    connected: Option<Connected>,
}

struct Connected {
    producer: ThreadedProducer<Reports>,
    state: Arc<State>,
    limits: Limits,
}

/// A message that is ready to be sent.
struct Encoded {
    /// Of its event in the window.
    number: usize,
    key: String,
    headers: OwnedHeaders,
    /// When the request was taken up, since the epoch.
    micros: Option<i64>,
    value: Bytes,
}

/// What the sink shares with the thread that takes the reports.
#[derive(Debug, Default)]
struct State {
    window: Mutex<Window>,
    /// Something in the window changed. There is one waiter, the sink.
    changed: Notify,
    log: Log,
}

impl State {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KafkaSink {
    pub(super) fn new(config: Config) -> Self {
        Self {
            dead_letter_topic: config.dead_letter(),
            config,
            schema: None,
            connected: None,
        }
    }

    fn error(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error {
            place: self.config.place(),
            source: source.into(),
        }
    }

    async fn register_schema(&mut self) -> Result<(), Error> {
        let Some(schema) = format::schema(self.config.format) else {
            return Ok(());
        };
        if self.schema.is_some() {
            return Ok(());
        }
        let Some(registry) = &self.config.schema_registry else {
            return Err(self.error(
                "`audit.kafka.format` needs a schema registry (hint: set `audit.kafka.schema_registry.url`)",
            ));
        };
        let registered = registry::schema_id(registry, &self.config.topic, schema).await;
        self.schema = Some(registered.map_err(|error| self.error(error))?);
        Ok(())
    }

    fn content_type(&self) -> ContentType {
        ContentType {
            media_type: format::media_type(self.config.format),
            schema_url: self.schema.as_ref().map(|schema| schema.url.clone()),
        }
    }

    fn connected(&self) -> Result<&Connected, Error> {
        let not_connected = || self.error("events were sent before `connect`");
        self.connected.as_ref().ok_or_else(not_connected)
    }

    /// The message of an event; `None` of one that is none, which is put aside.
    fn encode(
        &self,
        event: &SpooledEvent,
        content: &ContentType,
        state: &State,
    ) -> Option<Encoded> {
        let number = state.window().push(event.clone());
        let schema_id = self.schema.as_ref().map_or(0, |schema| schema.id);
        let parts = EventParts::parse(&event.json).map_err(|error| error.to_string());
        let encoded = parts.and_then(|parts| {
            let value = format::encode(self.config.format, schema_id, event, &parts)?;
            Ok(Encoded {
                number,
                key: parts.message_key(self.config.key),
                headers: parts.headers(&self.config.source, content),
                micros: parts.time_micros(),
                value,
            })
        });
        let rejected = |error| {
            let reason = format!("it is no audit event: {error}");
            state.window().reject(number, reason);
        };
        encoded.map_err(rejected).ok()
    }

    async fn produce(&self, encoded: Encoded, connected: &Connected) -> Result<(), Error> {
        let Connected {
            producer, state, ..
        } = connected;
        let mut record = BaseRecord::with_opaque_to(&self.config.topic, encoded.number)
            .key(&encoded.key)
            .payload(&*encoded.value)
            .headers(encoded.headers);
        if let Some(micros) = encoded.micros {
            record = record.timestamp(micros.div_euclid(1000));
        }
        loop {
            record = match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(code), refused)) => match Fault::of(code) {
                    Fault::Full => refused,
                    Fault::OfTheEvent => {
                        let reason = reason(code, encoded.value.len());
                        state.window().reject(encoded.number, reason);
                        return Ok(());
                    }
                    Fault::OfTheProducer => return Err(self.error(code)),
                },
                Err((error, _)) => return Err(self.error(error)),
            };
            // A report makes room; a failure ends the wait, too.
            state.changed.notified().await;
            if let Some(failure) = state.window().failure() {
                return Err(self.error(failure));
            }
        }
    }

    /// Sends what the topic does not take to the dead-letter topic, as far as there is room.
    fn put_rejected_aside(&self) -> Result<(), Error> {
        let Connected {
            producer,
            state,
            limits,
        } = self.connected()?;
        loop {
            let Some((rejected, event)) = state.window().rejected() else {
                return Ok(());
            };
            let letters = dead_letter::parts(event.json.len(), limits.dead_letter);
            if !self.has_room(producer, letters.len()) {
                return Ok(());
            }
            let key = event.offset.to_string();
            let offset = event.offset;
            tracing::warn!(
                topic = self.config.topic, %offset, reason = rejected.reason,
                "an audit event goes to the dead-letter topic"
            );
            state.window().put_aside(letters.len());
            for (i, part) in letters.iter().enumerate() {
                let value: Bytes = event.json.slice(part.clone());
                let headers = self.dead_letter_headers(&event);
                let headers = dead_letter::explained(
                    headers,
                    &rejected.reason,
                    &self.config.topic,
                    i + 1,
                    letters.len(),
                );
                let record = BaseRecord::with_opaque_to(&self.dead_letter_topic, rejected.number)
                    .key(&key)
                    .payload(&*value)
                    .headers(headers);
                producer
                    .send(record)
                    .map_err(|(error, _)| self.dead_letter_error(&error))?;
            }
        }
    }

    /// Whether the producer's queue takes so many messages more, whatever their size: then none of an event's parts is left.
    fn has_room(&self, producer: &ThreadedProducer<Reports>, n_messages: usize) -> bool {
        let queued = usize::try_from(producer.in_flight_count()).unwrap_or(0);
        queued == 0 || queued + n_messages < QUEUE_MESSAGES / 2
    }

    fn dead_letter_headers(&self, event: &SpooledEvent) -> OwnedHeaders {
        let content = ContentType {
            media_type: "application/json",
            schema_url: None,
        };
        match EventParts::parse(&event.json) {
            Ok(parts) => parts.headers(&self.config.source, &content),
            Err(_) => OwnedHeaders::new(),
        }
    }

    fn dead_letter_error(&self, error: &KafkaError) -> Error {
        self.error(format!(
            "dead-letter topic `{}`: {error}",
            self.dead_letter_topic
        ))
    }
}

/// What librdkafka keeps at most; the shipper's own limit on what is not delivered is meant to be lower.
const QUEUE_MESSAGES: usize = 200_000;

/// What all clients of the cluster have in common: where it is, and who we are.
pub(super) fn connection_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "terrarium")
        .set_log_level(RDKafkaLogLevel::Warning);
    let secret = |secret: &Option<crate::types::secret::Secret>| {
        secret.as_ref().map(|secret| secret.reveal().to_owned())
    };
    let named = [
        ("sasl.username", config.username.clone()),
        ("sasl.password", secret(&config.password)),
        ("ssl.key.password", secret(&config.ssl_key_password)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            client.set(name, value);
        }
    }
    for (name, value) in &config.options {
        if is_of_connections(name) {
            client.set(name, value);
        }
    }
    client
}

/// Whether an option is about reaching brokers, not about producing.
fn is_of_connections(option: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "security.",
        "sasl.",
        "ssl.",
        "socket.",
        "broker.",
        "client.",
        "bootstrap.",
        "enable.sasl.",
        "enable.ssl.",
    ];
    PREFIXES.iter().any(|prefix| option.starts_with(prefix))
}

fn client_config(config: &Config) -> ClientConfig {
    let mut client = connection_config(config);
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "zstd")
        .set("linger.ms", "5")
        // A connection that swallows everything is given up after so long.
        .set("socket.timeout.ms", "30000")
        // For ever: an event waits in the spool as long as it must.
        .set("message.timeout.ms", "0")
        // The broker judges what arrives compressed; here only what no topic takes is refused.
        .set("message.max.bytes", "67108864")
        .set("queue.buffering.max.messages", QUEUE_MESSAGES.to_string())
        .set("queue.buffering.max.kbytes", "262144")
        // A topic that was deleted shall be missed soon, so that its events are sent again to its successor.
        .set("topic.metadata.propagation.max.ms", "5000");
    for (name, value) in &config.options {
        client.set(name, value);
    }
    client
}

#[async_trait]
impl AuditSink for KafkaSink {
    fn name(&self) -> &'static str {
        "kafka"
    }

    /// Enough for a batch to each of many partitions while the reports of others are on their way.
    fn window(&self) -> RangeInclusive<usize> {
        1..=32 << 20
    }

    async fn connect(&mut self) -> Result<(), Error> {
        if let Some(before) = self.connected.take() {
            // Its threads end when the brokers' answers are in, or given up.
            detach_blocking(move || drop(before));
        }
        self.register_schema().await?;
        let mut client = client_config(&self.config);
        // A mistake in the options shows without any broker.
        client
            .create_native_config()
            .map_err(|error| self.error(error))?;
        let limits = topic::prepare(&connection_config(&self.config), &self.config)
            .await
            .map_err(|error| self.error(error))?;
        if let Some(limit) = limits.topic
            && !self.config.options.contains_key("batch.size")
        {
            client.set("batch.size", limit.min(MAX_BATCH_BYTES).to_string());
        }
        let state = Arc::new(State::default());
        let reports = Reports {
            state: Arc::clone(&state),
            dead_letter_topic: self.dead_letter_topic.clone(),
        };
        let producer = ThreadedProducer::from_config_and_context(&client, reports)
            .map_err(|error| self.error(error))?;
        self.connected = Some(Connected {
            producer,
            state,
            limits,
        });
        Ok(())
    }

    async fn send(&mut self, batch: Batch) -> Result<(), Error> {
        let connected = self.connected()?;
        // Messages that come one right after the other go as one: what came later would wait for the answer, and librdkafka's
        // thread looks at messages that wait for one of their partition again and again without a pause (2.12).
        let content = self.content_type();
        let encoded = batch.events().iter();
        let encoded = encoded.filter_map(|event| self.encode(event, &content, &connected.state));
        let encoded: Vec<Encoded> = encoded.collect();
        for encoded in encoded {
            self.produce(encoded, connected).await?;
        }
        Ok(())
    }

    async fn delivered(&mut self) -> Result<Offset, Error> {
        loop {
            self.put_rejected_aside()?;
            let state = &self.connected()?.state;
            {
                let mut window = state.window();
                if let Some(offset) = window.take_delivered() {
                    return Ok(offset);
                }
                if let Some(failure) = window.failure() {
                    return Err(self.error(failure));
                }
            }
            // Without a report nothing changes: then only the time tells that nobody is there.
            let _passed = tokio::time::timeout(LOOK, state.changed.notified()).await;
            if let Some(trouble) = state.log.lasting(GIVE_UP) {
                return Err(self.error(trouble));
            }
        }
    }
}

/// Takes the reports of the brokers.
struct Reports {
    state: Arc<State>,
    dead_letter_topic: String,
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut window = self.state.window();
        match result {
            Ok(_) => window.acknowledge(number),
            Err((error, message)) => {
                let code = error.rdkafka_error_code();
                let is_of_the_event = code.is_some_and(|code| Fault::of(code) == Fault::OfTheEvent);
                if message.topic() == self.dead_letter_topic {
                    window.fail(format!(
                        "dead-letter topic `{}`: {error}",
                        self.dead_letter_topic
                    ));
                } else if let Some(code) = code.filter(|_| is_of_the_event) {
                    window.reject(number, reason(code, message.payload_len()));
                } else {
                    window.fail(error.to_string());
                }
            }
        }
        drop(window);
        if result.is_ok() {
            self.state.log.works();
        }
        self.state.changed.notify_one();
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.state.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            tracing::warn!(reason, "the Kafka producer failed; another one takes over");
            self.state
                .window()
                .fail(format!("fatal error of the producer: {reason}"));
            self.state.changed.notify_one();
        } else {
            self.state.log.error(error, reason);
        }
    }
}

/// Whose fault an error code is, which says what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nobody's: the queue has no room now.
    Full,
    /// Sending the event again would end the same way, and others may arrive.
    OfTheEvent,
    /// A producer that is made anew may do better.
    OfTheProducer,
}

impl Fault {
    fn of(code: RDKafkaErrorCode) -> Self {
        match code {
            RDKafkaErrorCode::QueueFull => Self::Full,
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::UnsupportedForMessageFormat
            | RDKafkaErrorCode::InvalidRecord => Self::OfTheEvent,
            // Many codes, and new ones with every version; all the rest is about brokers, network and rights.
            _ => Self::OfTheProducer,
        }
    }
}

fn reason(code: RDKafkaErrorCode, n_bytes: usize) -> String {
    format!("{code:?}: {code} (the value has {n_bytes} bytes)")
}
