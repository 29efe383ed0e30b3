//! The sink against librdkafka's own mock cluster, and what needs a real broker, at `TERRARIUM_KAFKA` (host:port).

use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset as Place, TopicPartitionList};
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::KafkaSink;
use super::config::{Config, CreateTopic};
use super::{Begin, End};
use crate::audit::batch::{Batch, Offset, SpooledEvent};
use crate::audit::sink::AuditSink;
use crate::shutdown::run_blocking;

#[cfg(feature = "test-services")]
mod services;

const PATIENCE: Duration = Duration::from_secs(60);

fn event(writer: Uuid, sequence: u64, padding: &str) -> SpooledEvent {
    let id = Uuid::now_v7();
    let json = json!({
        "schema_version": 1, "writer": writer.to_string(), "sequence": sequence, "id": id.to_string(),
        "time": "2026-11-22T17:31:16.123260Z", "request_id": format!("request-{sequence}"),
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "principal": null, "surface": "http",
        "model": {"name": "ranking", "version": "3", "alias": "champion", "requested": "ranking"},
        "variants": null, "shadow_of": null, "n_rows": 1,
        "entities": {"driver_id": [sequence % 10]}, "inputs": {"note": [padding]}, "rows": null, "params": null,
        "features": null, "outputs": {"score": [0.5]}, "status": "ok", "error": null, "difference": null,
        "timings_us": {"features": 1, "assemble": 1, "queue": 0, "engine": 1, "total": 3},
    });
    SpooledEvent {
        offset: Offset { writer, sequence },
        json: Bytes::from(json.to_string()),
    }
}

fn events(writer: Uuid, sequences: std::ops::RangeInclusive<u64>) -> Vec<SpooledEvent> {
    sequences
        .map(|sequence| event(writer, sequence, ""))
        .collect()
}

/// Does what the shipper does, until everything is delivered; gives how often it had to connect.
async fn ship(sink: &mut KafkaSink, events: &[SpooledEvent]) -> usize {
    let last = events.last().unwrap().offset;
    let mut done = 0;
    for n_connects in 1.. {
        let outcome = ship_once(sink, events, &mut done).await;
        match outcome {
            Ok(()) => return n_connects,
            Err(error) if n_connects < 200 => {
                eprintln!("{last}: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

async fn ship_once(
    sink: &mut KafkaSink,
    events: &[SpooledEvent],
    done: &mut usize,
) -> Result<(), crate::audit::sink::Error> {
    sink.connect().await?;
    for chunk in events[*done..].chunks(100) {
        sink.send(Batch::new(chunk.to_vec()).unwrap()).await?;
    }
    while *done < events.len() {
        let offset = sink.delivered().await?;
        let place = events
            .iter()
            .position(|event| event.offset == offset)
            .unwrap();
        assert!(place >= *done, "an offset was returned twice");
        *done = place + 1;
    }
    Ok(())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it takes too long")
}

/// Everything on a topic from which nothing was deleted, partition by partition.
fn consume(brokers: &str, topic: &str) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "tests")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut all = TopicPartitionList::new();
    let mut n_messages = 0;
    for partition in 0..i32::try_from(partitions).unwrap() {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition, PATIENCE)
            .unwrap();
        n_messages += usize::try_from(end).unwrap();
        all.add_partition_offset(topic, partition, Place::Beginning)
            .unwrap();
    }
    let mut messages = Vec::new();
    let begun = Instant::now();
    let mut asked = None;
    while messages.len() < n_messages {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} of {n_messages}",
            messages.len()
        );
        // As the reader does: once in a while librdkafka never fetches what it was assigned.
        if asked.is_none_or(|asked: Instant| asked.elapsed() > Duration::from_secs(5)) {
            messages.clear();
            consumer.unassign().unwrap();
            consumer.assign(&all).unwrap();
            asked = Some(Instant::now());
        }
        // `None` is an event of the client that is no message, too.
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            messages.push(message.unwrap().detach());
            asked = Some(Instant::now());
        }
    }
    messages.sort_by_key(|message| (message.partition(), message.offset()));
    messages
}

fn header<'a>(message: &'a OwnedMessage, key: &str) -> Option<&'a str> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == key)?;
    std::str::from_utf8(header.value?).ok()
}

fn value(message: &OwnedMessage) -> Value {
    serde_json::from_slice(message.payload().unwrap()).unwrap()
}

fn mock_config(cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>) -> Config {
    cluster.create_topic("events", 2, 1).unwrap();
    cluster.create_topic("events.dead-letter", 1, 1).unwrap();
    Config {
        brokers: cluster.bootstrap_servers(),
        topic: "events".into(),
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_pass_are_waited_out_without_a_new_producer() {
    let cluster = MockCluster::new(1).unwrap();
    let config = mock_config(&cluster);
    let passing = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &passing);
    let events = events(Uuid::now_v7(), 1..=200);
    let mut sink = KafkaSink::new(config.clone());
    assert_eq!(within(ship(&mut sink, &events)).await, 1);
    assert_eq!(consume(&config.brokers, "events").len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_lost_its_place_is_replaced_and_what_it_left_is_sent_again() {
    let cluster = MockCluster::new(1).unwrap();
    let config = mock_config(&cluster);
    // librdkafka cannot know whether the batch is there: fatal for an idempotent producer.
    let lost = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];
    cluster.request_errors(RDKafkaApiKey::Produce, &lost);
    let events = events(Uuid::now_v7(), 1..=200);
    let mut sink = KafkaSink::new(config.clone());
    within(ship(&mut sink, &events)).await;
    let mut ids: Vec<String> = consume(&config.brokers, "events")
        .iter()
        .map(|message| value(message)["id"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_topic_never_takes_goes_to_the_dead_letter_topic_and_others_arrive() {
    let cluster = MockCluster::new(1).unwrap();
    let mut config = mock_config(&cluster);
    config
        .options
        .insert("message.max.bytes".into(), "5000".into());
    config.options.insert("batch.size".into(), "5000".into());
    let writer = Uuid::now_v7();
    let mut events = events(writer, 1..=3);
    events[1] = event(writer, 2, &"x".repeat(6000));
    // It stays below what the dead letter's own message may hold.
    let mut sink = KafkaSink::new(config.clone());
    let error = within(async {
        sink.connect().await.unwrap();
        sink.send(Batch::new(events.clone()).unwrap())
            .await
            .unwrap();
        loop {
            if let Err(error) = sink.delivered().await {
                return error;
            }
        }
    });
    // This client refuses the dead letter, too: nothing may count as delivered that is in neither topic.
    let error = error.await.to_string();
    assert!(error.contains("events.dead-letter"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_event_goes_to_the_dead_letter_topic_as_it_is() {
    let cluster = MockCluster::new(1).unwrap();
    let config = mock_config(&cluster);
    let writer = Uuid::now_v7();
    let mut events = events(writer, 1..=3);
    events[1].json = Bytes::from_static(b"{\"id\": 7}");
    let mut sink = KafkaSink::new(config.clone());
    assert_eq!(within(ship(&mut sink, &events)).await, 1);
    assert_eq!(consume(&config.brokers, "events").len(), 2);
    let letters = consume(&config.brokers, "events.dead-letter");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].payload().unwrap(), b"{\"id\": 7}");
    let reason = header(&letters[0], "terrarium_reason").unwrap();
    assert!(reason.starts_with("it is no audit event"), "{reason}");
    assert_eq!(header(&letters[0], "terrarium_part"), Some("1/1"));
}

#[tokio::test]
async fn options_of_librdkafka_are_checked_when_it_connects() {
    let mut config = Config::default();
    config.options.insert("compression.typo".into(), "x".into());
    let mut sink = KafkaSink::new(Config {
        brokers: "127.0.0.1:1".into(),
        ..config
    });
    let error = sink.connect().await.unwrap_err().to_string();
    assert!(error.contains("compression.typo"), "{error}");
}

/// Nobody listens there.
fn gone() -> Config {
    Config {
        brokers: "127.0.0.1:1".into(),
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_away_are_told_with_the_reason() {
    let error = KafkaSink::new(gone()).connect().await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("kafka at 127.0.0.1:1, topic `terrarium.predictions.v1`: no broker answers"),
        "{error}"
    );
    assert!(error.contains("Connection refused"), "{error}");
    let read = run_blocking(|| super::events(&gone(), Begin::Oldest, End::Last).err());
    let error = read.await.unwrap().unwrap().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn credentials_stay_out_of_what_is_shown() {
    let config: Config = serde_json::from_value(json!({
        "username": "audit", "password": "hunter2", "ssl_key_password": "hunter2",
    }))
    .unwrap();
    let shown = format!(
        "{config:?} {} {}",
        config.place(),
        serde_json::to_string(&config).unwrap()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// Where a server is that `dev/services up` started.
#[cfg(feature = "test-services")]
fn server(variable: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the test's servers are, is not configuration"
    )]
    std::env::var(variable).unwrap()
}

/// A topic of the test's own on the real broker.
#[cfg(feature = "test-services")]
fn real_config(settings: &[(&str, &str)]) -> Config {
    let settings = settings
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()));
    Config {
        brokers: server("TERRARIUM_KAFKA"),
        topic: format!("test-{}", Uuid::now_v7()),
        create_topics: Some(CreateTopic {
            partitions: 2.try_into().unwrap(),
            config: settings.collect(),
            ..CreateTopic::default()
        }),
        ..Config::default()
    }
}
