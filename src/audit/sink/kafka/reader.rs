//! Reads the topic of predictions back. It belongs to no consumer group and leaves no trace.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use uuid::Uuid;

use super::client::connection_config;
use super::config::Config;
use super::format;
use super::log::Log;
use super::message::{Begin, End, ReadError, TopicEvent};
use super::topic::said;
use crate::types::timestamp::Timestamp;

const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a reader that expects more waits for it before it tells that the brokers are gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// After so long it asks anew from where it is. Rarely, about once in hundreds of topics that were just made, librdkafka 2.12.1
/// never fetches what it was assigned.
const ASK_ANEW: Duration = Duration::from_secs(5);

type Cause = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Reader {
    place: String,
    topic: String,
    consumer: BaseConsumer<Log>,
    /// Where each partition is read next.
    places: HashMap<i32, Offset>,
    /// The partitions whose last message was not read yet, and where that is; `None` for a reader that never ends.
    ends: Option<HashMap<i32, i64>>,
    waiting_since: Instant,
    /// When the brokers were asked last, or gave something.
    asked: Instant,
    is_broken: bool,
}

impl Reader {
    pub(super) fn open(
        config: &Config,
        partition: Option<i32>,
        begin: Begin,
        end: End,
    ) -> Result<Self, ReadError> {
        let failed = |source: Cause| ReadError::Kafka {
            place: config.place(),
            source,
        };
        let mut client: ClientConfig = connection_config(config);
        client
            // librdkafka wants one; nothing is ever committed.
            .set("group.id", "terrarium-audit-reader")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer<Log> = client
            .create_with_context(Log::default())
            .map_err(|error| failed(error.into()))?;
        let mut partitions = partitions(&consumer, &config.topic).map_err(failed)?;
        if let Some(partition) = partition {
            partitions.retain(|other| *other == partition);
            if partitions.is_empty() {
                return Err(failed(format!("it has no partition {partition}").into()));
            }
        }
        let mut ends = HashMap::new();
        let mut places = TopicPartitionList::new();
        for &partition in &partitions {
            let (low, high) = consumer
                .fetch_watermarks(&config.topic, partition, TIMEOUT)
                .map_err(|error| failed(error.into()))?;
            let start = match begin {
                Begin::Oldest | Begin::Ago(_) | Begin::Since(_) => low,
                Begin::Offset(offset) => offset.clamp(low, high),
                Begin::Now => high,
            };
            let end = match end {
                End::Last | End::Never => high,
                End::Offset(offset) => offset.min(high),
            };
            places
                .add_partition_offset(&config.topic, partition, Offset::Offset(start))
                .map_err(|error| failed(error.into()))?;
            if start < end && begin != Begin::Now {
                ends.insert(partition, end);
            }
        }
        let time = match begin {
            Begin::Ago(ago) => {
                let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
                Some(Timestamp::now().as_micros().saturating_sub(micros))
            }
            Begin::Since(time) => Some(time.as_micros()),
            Begin::Oldest | Begin::Now | Begin::Offset(_) => None,
        };
        if let Some(time) = time {
            places = since(
                &consumer,
                &config.topic,
                &partitions,
                time.max(0),
                &mut ends,
            )
            .map_err(|error| failed(error.into()))?;
        }
        consumer
            .assign(&places)
            .map_err(|error| failed(error.into()))?;
        let places = places.elements();
        let places = places
            .iter()
            .map(|place| (place.partition(), place.offset()));
        Ok(Self {
            place: config.place(),
            topic: config.topic.clone(),
            places: places.collect(),
            consumer,
            ends: (end != End::Never).then_some(ends),
            waiting_since: Instant::now(),
            asked: Instant::now(),
            is_broken: false,
        })
    }

    /// Drops what librdkafka is about and begins anew with what was not read yet.
    fn ask_anew(&mut self) -> Result<(), KafkaError> {
        self.asked = Instant::now();
        let mut places = TopicPartitionList::new();
        for (&partition, &place) in &self.places {
            places.add_partition_offset(&self.topic, partition, place)?;
        }
        self.consumer.unassign()?;
        self.consumer.assign(&places)
    }

    fn failed(&mut self, source: Cause) -> ReadError {
        self.is_broken = true;
        ReadError::Kafka {
            place: self.place.clone(),
            source,
        }
    }
}

impl Iterator for Reader {
    type Item = Result<TopicEvent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.waiting_since = Instant::now();
        self.asked = self.waiting_since;
        while !self.is_broken && self.ends.as_ref().is_none_or(|ends| !ends.is_empty()) {
            let event = match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => event(&message),
                // Brokers that are away come back; librdkafka tries again by itself.
                Some(Err(error)) if is_passing(&error) => continue,
                Some(Err(error)) => return Some(Err(self.failed(error.into()))),
                None if self.ends.is_some() && self.waiting_since.elapsed() > PATIENCE => {
                    let silent = format!("nothing came within {PATIENCE:?}");
                    return Some(Err(self.failed(silent.into())));
                }
                None if self.ends.is_some() && self.asked.elapsed() > ASK_ANEW => {
                    match self.ask_anew() {
                        Ok(()) => continue,
                        Err(error) => return Some(Err(self.failed(error.into()))),
                    }
                }
                None => continue,
            };
            self.asked = Instant::now();
            let next = Offset::Offset(event.position + 1);
            self.places.insert(event.partition, next);
            if let Some(ends) = &mut self.ends {
                let end = ends.get(&event.partition).copied();
                if end.is_none_or(|end| event.position + 1 >= end) {
                    ends.remove(&event.partition);
                }
                // What came after the beginning.
                if end.is_none_or(|end| event.position >= end) {
                    continue;
                }
            }
            return Some(Ok(event));
        }
        None
    }
}

fn partitions(consumer: &BaseConsumer<Log>, topic: &str) -> Result<Vec<i32>, Cause> {
    let metadata = consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .map_err(|error| {
            // It tells its context while it is polled.
            let _nothing = consumer.poll(Duration::from_millis(100));
            format!("{error}{}", said(consumer.context()))
        })?;
    let Some(found) = metadata.topics().first() else {
        return Err("the brokers say nothing about it".into());
    };
    if let Some(error) = found.error() {
        return Err(RDKafkaErrorCode::from(error).into());
    }
    Ok(found
        .partitions()
        .iter()
        .map(|partition| partition.id())
        .collect())
}

/// The first message of each partition from that time (microseconds since the epoch) on; a partition that has none is read from its end.
fn since(
    consumer: &BaseConsumer<Log>,
    topic: &str,
    partitions: &[i32],
    time: i64,
    ends: &mut HashMap<i32, i64>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut times = TopicPartitionList::new();
    for &partition in partitions {
        times.add_partition_offset(topic, partition, Offset::Offset(time.div_euclid(1000)))?;
    }
    let found = consumer.offsets_for_times(times, TIMEOUT)?;
    let mut places = TopicPartitionList::new();
    for element in found.elements() {
        let place = match element.offset() {
            Offset::Offset(offset) => {
                let is_over = |end: &i64| offset >= *end;
                if ends.get(&element.partition()).is_some_and(is_over) {
                    ends.remove(&element.partition());
                }
                Offset::Offset(offset)
            }
            _ => {
                ends.remove(&element.partition());
                Offset::End
            }
        };
        places.add_partition_offset(topic, element.partition(), place)?;
    }
    Ok(places)
}

fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// Headers say which event it is; a message that lost them on its way is asked itself.
fn event(message: &BorrowedMessage<'_>) -> TopicEvent {
    let json = message.payload().and_then(format::decode);
    let field = |name: &str| json.as_ref().and_then(|event| event.get(name));
    let writer = header(message, "ce_writer")
        .or_else(|| field("writer").and_then(Value::as_str))
        .and_then(|writer| Uuid::try_parse(writer).ok());
    let sequence = match header(message, "ce_sequence") {
        Some(sequence) => sequence.parse().ok(),
        None => field("sequence").and_then(Value::as_u64),
    };
    TopicEvent {
        partition: message.partition(),
        position: message.offset(),
        writer,
        sequence,
        json,
    }
}

fn header<'a>(message: &'a BorrowedMessage<'_>, key: &str) -> Option<&'a str> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == key)?;
    std::str::from_utf8(header.value?).ok()
}
