//! What only a real broker and a real schema registry show. Each test has topics of its own.

use std::collections::HashMap;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use super::*;
use crate::audit::sink::kafka::config::{Format, SchemaRegistry};
use crate::audit::sink::kafka::format;

/// Incompressible text.
fn noise(n_bytes: usize) -> String {
    let mut text = String::with_capacity(n_bytes + 32);
    while text.len() < n_bytes {
        // The last 74 bits are random.
        text.push_str(&Uuid::now_v7().simple().to_string()[14..]);
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_with_key_time_and_headers_and_each_entity_in_its_order() {
    let config = real_config(&[]);
    let writer = Uuid::now_v7();
    let events = events(writer, 1..=1000);
    let mut sink = KafkaSink::new(config.clone());
    assert_eq!(within(ship(&mut sink, &events)).await, 1);
    let messages = consume(&config.brokers, &config.topic);
    assert_eq!(messages.len(), events.len());
    let mut last: HashMap<Vec<u8>, u64> = HashMap::new();
    for message in &messages {
        let event = value(message);
        let sequence = event["sequence"].as_u64().unwrap();
        let sent = &events[usize::try_from(sequence - 1).unwrap()];
        assert_eq!(message.payload().unwrap(), sent.json);
        assert_eq!(message.timestamp().to_millis(), Some(1_795_368_676_123));
        let key = message.key().unwrap();
        assert_eq!(key, format!("driver_id={}", sequence % 10).as_bytes());
        assert!(last.insert(key.to_vec(), sequence) < Some(sequence));
        let id = event["id"].as_str().unwrap();
        let span = id.replace('-', "")[16..].to_owned();
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", id),
            ("ce_source", "/terrarium"),
            ("ce_type", "terrarium.prediction.v1"),
            ("ce_time", "2026-11-22T17:31:16.123260Z"),
            ("ce_subject", "ranking:3"),
            ("ce_writer", &writer.to_string()),
            ("ce_sequence", &sequence.to_string()),
            ("content-type", "application/json"),
            (
                "traceparent",
                &format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01"),
            ),
        ] {
            assert_eq!(header(message, name), Some(value), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_too_large_for_the_topic_goes_whole_to_the_dead_letter_topic() {
    let config = real_config(&[("max.message.bytes", "20000")]);
    let writer = Uuid::now_v7();
    let mut events = events(writer, 1..=50);
    events[20] = event(writer, 21, &noise(100_000));
    let mut sink = KafkaSink::new(config.clone());
    assert_eq!(within(ship(&mut sink, &events)).await, 1);
    assert_eq!(consume(&config.brokers, &config.topic).len(), 49);
    let letters = consume(&config.brokers, &config.dead_letter());
    assert!(letters.len() > 1);
    let mut whole = Vec::new();
    for (i, letter) in letters.iter().enumerate() {
        whole.extend_from_slice(letter.payload().unwrap());
        let part = format!("{}/{}", i + 1, letters.len());
        assert_eq!(header(letter, "terrarium_part"), Some(&*part));
        assert_eq!(header(letter, "terrarium_topic"), Some(&*config.topic));
        assert_eq!(header(letter, "ce_sequence"), Some("21"));
        let reason = header(letter, "terrarium_reason").unwrap();
        assert!(reason.starts_with("MessageSizeTooLarge"), "{reason}");
    }
    assert_eq!(whole, events[20].json);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_event_that_fits_compressed_arrives() {
    let config = real_config(&[]);
    let writer = Uuid::now_v7();
    let events = [event(writer, 1, &"x".repeat(3_000_000))];
    let mut sink = KafkaSink::new(config.clone());
    assert_eq!(within(ship(&mut sink, &events)).await, 1);
    assert_eq!(consume(&config.brokers, &config.topic).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_nobody_made_is_named_and_waited_for() {
    let config = Config {
        create_topics: None,
        ..real_config(&[])
    };
    let mut sink = KafkaSink::new(config.clone());
    let error = sink.connect().await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("topic `{}` is not there", config.topic)),
        "{error}"
    );
    let with_topic = Config {
        create_topics: Some(CreateTopic::default()),
        ..config
    };
    KafkaSink::new(with_topic).connect().await.unwrap();
    sink.connect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_when_a_topic_was_deleted_goes_to_its_successor() {
    let config = real_config(&[]);
    let writer = Uuid::now_v7();
    let mut sink = KafkaSink::new(config.clone());
    within(ship(&mut sink, &events(writer, 1..=100))).await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .create()
        .unwrap();
    let deleted = admin
        .delete_topics(&[&config.topic], &AdminOptions::new())
        .await
        .unwrap();
    deleted.into_iter().for_each(|topic| drop(topic.unwrap()));
    // The controller has decided it; the broker takes events until it has heard of it.
    within(async {
        while has_topic(&admin, &config.topic) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The producer still thinks that the topic is there.
    let later = events(writer, 101..=200);
    let sent = sink.send(Batch::new(later.clone()).unwrap()).await;
    let mut delivered = 0;
    if sent.is_ok() {
        within(async {
            while sink.delivered().await.is_ok() {
                delivered += 1;
            }
        })
        .await;
    }
    assert_eq!(delivered, 0, "nobody could have taken them");
    within(ship(&mut sink, &later)).await;
    assert_eq!(consume(&config.brokers, &config.topic).len(), 100);
}

fn has_topic(admin: &AdminClient<DefaultClientContext>, topic: &str) -> bool {
    let all = admin.inner().fetch_metadata(None, PATIENCE).unwrap();
    all.topics().iter().any(|found| found.name() == topic)
}

fn with_registry(format: Format, register: bool) -> Config {
    let url = server("TERRARIUM_SCHEMA_REGISTRY");
    let schema_registry = Some(SchemaRegistry {
        url,
        register,
        ..SchemaRegistry::default()
    });
    Config {
        format,
        schema_registry,
        ..real_config(&[])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_name_the_schema_that_the_registry_has() {
    for (format, kind) in [(Format::Avro, "AVRO"), (Format::JsonSchema, "JSON")] {
        let config = with_registry(format, true);
        let events = events(Uuid::now_v7(), 1..=10);
        let mut sink = KafkaSink::new(config.clone());
        within(ship(&mut sink, &events)).await;
        // Another server finds the same id, and needs no right to register.
        let url = config.schema_registry.clone().unwrap().url;
        let registered = reqwest::get(format!("{url}/subjects/{}-value/versions/1", config.topic))
            .await
            .unwrap();
        let registered: Value = registered.json().await.unwrap();
        assert_eq!(registered["schemaType"].as_str().unwrap_or("AVRO"), kind);
        let messages = consume(&config.brokers, &config.topic);
        assert_eq!(messages.len(), 10);
        for message in &messages {
            let value = message.payload().unwrap();
            let id = u32::from_be_bytes(value[1..5].try_into().unwrap());
            assert_eq!(
                (value[0], u64::from(id)),
                (0, registered["id"].as_u64().unwrap())
            );
            let schema = header(message, "ce_dataschema").unwrap();
            assert_eq!(schema, format!("{url}/schemas/ids/{id}"));
            let sequence = header(message, "ce_sequence").unwrap();
            assert_eq!(
                format::decode(value).unwrap()["sequence"].to_string(),
                sequence
            );
        }
        let mut config = config;
        config.schema_registry.as_mut().unwrap().register = false;
        KafkaSink::new(config).connect().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_the_registry_lacks_or_refuses_is_told_clearly() {
    let mut config = with_registry(Format::Avro, false);
    let error = KafkaSink::new(config.clone())
        .connect()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not have the schema of subject"),
        "{error}"
    );

    let registry = config.schema_registry.as_mut().unwrap();
    registry.register = true;
    let subject = format!("{}/subjects/{}-value/versions", registry.url, config.topic);
    let other = json!({"schema": r#"{"type":"record","name":"Prediction","namespace":"terrarium","fields":[{"name":"id","type":"long"}]}"#});
    let client = reqwest::Client::new();
    client
        .post(subject)
        .json(&other)
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let compatibility = format!("{}/config/{}-value", registry.url, config.topic);
    let backward = json!({"compatibility": "BACKWARD"});
    client
        .put(compatibility)
        .json(&backward)
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let error = KafkaSink::new(config)
        .connect()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("incompatible with the versions it has"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_read_back_to_the_message_that_was_last() {
    use crate::audit::sink::kafka::{Begin, End, events as read};
    let read = |config: &Config, begin| {
        let read = read(config, begin, End::Last).unwrap();
        let mut sequences: Vec<u64> = read.map(|event| event.unwrap().sequence.unwrap()).collect();
        sequences.sort_unstable();
        sequences
    };
    for format in [Format::Json, Format::ConnectJson, Format::Avro] {
        let config = with_registry(format, true);
        let writer = Uuid::now_v7();
        let mut sink = KafkaSink::new(config.clone());
        within(ship(&mut sink, &events(writer, 1..=30))).await;
        assert_eq!(read(&config, Begin::Oldest), Vec::from_iter(1..=30));
        // All events of these tests have the same time, in the past.
        assert!(read(&config, Begin::Ago(Duration::from_secs(1))).is_empty());
        assert_eq!(
            read(&config, Begin::Ago(Duration::from_secs(1 << 30))).len(),
            30
        );
        assert!(read(&config, Begin::Now).is_empty());
    }
}
