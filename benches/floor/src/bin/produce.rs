//! The floor of shipping audit events: the messages of one topic, held in memory, produced to another with the settings that
//! Terrarium's sink has, by librdkafka and nothing around it: no spool, no checksums, no parsing, no offset that is kept.
//!
//! `produce BROKERS FROM TO N_MESSAGES` prints one line of JSON: messages, bytes of their values, and the seconds from the first
//! one that was sent to the last that was acknowledged.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_secs(30);

struct Kept {
    key: Vec<u8>,
    value: Vec<u8>,
    headers: OwnedHeaders,
    timestamp: i64,
}

#[derive(Clone, Default)]
struct Reports {
    n_arrived: Arc<AtomicUsize>,
    n_failed: Arc<AtomicUsize>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = match result {
            Ok(_) => &self.n_arrived,
            Err(_) => &self.n_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, from, to, n_messages] = <[String; 4]>::try_from(arguments)
        .map_err(|_| "usage: produce BROKERS FROM TO N_MESSAGES")?;
    let messages = read(&brokers, &from, n_messages.parse()?)?;
    let (n_messages, n_bytes) = (
        messages.len(),
        messages
            .iter()
            .map(|message| message.value.len())
            .sum::<usize>(),
    );
    let reports = Reports::default();
    let producer: BaseProducer<Reports> = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "zstd")
        .set("linger.ms", "5")
        .set("message.timeout.ms", "0")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "262144")
        .create_with_context(reports.clone())?;
    // It knows its brokers before the clock starts.
    producer.client().fetch_metadata(Some(&to), TIMEOUT)?;
    let begun = Instant::now();
    for message in messages {
        let mut record = BaseRecord::to(&to)
            .key(&message.key)
            .payload(&message.value)
            .headers(message.headers)
            .timestamp(message.timestamp);
        while let Err((error, refused)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(1));
            record = refused;
        }
        producer.poll(Duration::ZERO);
    }
    while reports.n_arrived.load(Ordering::Relaxed) + reports.n_failed.load(Ordering::Relaxed)
        < n_messages
    {
        producer.poll(Duration::from_millis(1));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let n_failed = reports.n_failed.load(Ordering::Relaxed);
    if n_failed > 0 {
        return Err(format!("{n_failed} messages were not delivered").into());
    }
    println!(
        "{}",
        json!({"messages": n_messages, "bytes": n_bytes, "seconds": seconds})
    );
    Ok(())
}

/// The first messages of a topic, in the order in which its partitions give them.
fn read(brokers: &str, topic: &str, n_messages: usize) -> Result<Vec<Kept>, Box<dyn Error>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "floor")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let mut places = TopicPartitionList::new();
    for partition in metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
    {
        places.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&places)?;
    let mut messages = Vec::with_capacity(n_messages);
    while messages.len() < n_messages {
        let message = consumer.poll(TIMEOUT).ok_or("nothing comes any more")??;
        messages.push(Kept {
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: message
                .headers()
                .map_or_else(OwnedHeaders::new, |headers| headers.detach()),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
        });
    }
    Ok(messages)
}
