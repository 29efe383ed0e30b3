//! The topics: whether they are there, making them when that is asked for, and how large a message they take.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::config::{Config, CreateTopic};
use super::log::Log;
use crate::shutdown::run_blocking;

const TIMEOUT: Duration = Duration::from_secs(5);

/// For what is good to know and not needed: not every broker answers it.
const LIMITS_TIMEOUT: Duration = Duration::from_secs(2);
/// For the same of a topic that was just made, which a busy broker takes a while to know.
const LIMITS_PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions for a topic that was just made.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the client cannot be made: {source}")]
    Client { source: KafkaError },
    #[error("no broker answers: {source}{said}")]
    Unreachable {
        source: KafkaError,
        /// What librdkafka says of the connections, behind a separator; empty if nothing.
        said: String,
    },
    #[error(
        "topic `{topic}` is not there (hint: make it, or let `[audit.kafka.create_topics]` make it)"
    )]
    Missing { topic: String },
    #[error("topic `{topic}` cannot be made: {reason}")]
    NotMade { topic: String, reason: String },
    #[error("reading the topic's metadata ended: {source}")]
    Ended { source: tokio::task::JoinError },
}

/// The largest message that each topic takes, compressed; `None` where the brokers do not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) topic: Option<usize>,
    pub(super) dead_letter: Option<usize>,
}

/// Sees that the topics are there. A missing dead-letter topic is only told: it may never be needed.
pub(super) async fn prepare(client: &ClientConfig, config: &Config) -> Result<Limits, Error> {
    let made = |source| Error::Client { source };
    let admin: AdminClient<Log> = client.create_with_context(Log::default()).map_err(made)?;
    // An admin client does not tell why connections fail.
    let asking: BaseProducer<Log> = client.create_with_context(Log::default()).map_err(made)?;
    let (topic, dead_letter) = (config.topic.clone(), config.dead_letter());
    let names = [topic.clone(), dead_letter.clone()];
    let topics = run_blocking(move || existing(&asking, names))
        .await
        .map_err(|source| Error::Ended { source })??;
    let mut patience = Duration::ZERO;
    for (name, exists) in topics {
        match (&config.create_topics, exists) {
            (_, true) => {}
            (Some(create), false) => {
                make(&admin, &name, create).await?;
                patience = LIMITS_PATIENCE;
            }
            (None, false) if name == topic => return Err(Error::Missing { topic: name }),
            (None, false) => tracing::warn!(
                topic = name,
                "the dead-letter topic is not there: an event that `{topic}` does not take would hold up all others"
            ),
        }
    }
    let [topic, dead_letter] = limits(&admin, [&topic, &dead_letter], patience).await;
    Ok(Limits { topic, dead_letter })
}

/// Which of the topics are there. One that may not be described counts: its messages will tell.
fn existing(asking: &BaseProducer<Log>, names: [String; 2]) -> Result<Vec<(String, bool)>, Error> {
    let mut topics = Vec::with_capacity(names.len());
    for name in names {
        let metadata = asking
            .client()
            .fetch_metadata(Some(&name), TIMEOUT)
            .map_err(|source| {
                // It tells its context while it is polled.
                asking.poll(Duration::from_millis(100));
                Error::Unreachable {
                    source,
                    said: said(asking.context()),
                }
            })?;
        let error = metadata.topics().first().and_then(|topic| topic.error());
        let is_missing = error == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        topics.push((name, !is_missing));
    }
    Ok(topics)
}

/// What librdkafka had to say of its connections, to be put behind a sentence.
pub(super) fn said(log: &Log) -> String {
    log.said()
        .map_or_else(String::new, |said| format!("; {said}"))
}

async fn make(admin: &AdminClient<Log>, name: &str, create: &CreateTopic) -> Result<(), Error> {
    // -1 is the cluster's default.
    let copies = create
        .replication_factor
        .map_or(-1, |copies| i32::from(copies.get()));
    let partitions = i32::from(create.partitions.get());
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
    for (key, value) in &create.config {
        topic = topic.set(key, value);
    }
    // The first limits how long the brokers take to make it, the second how long one of them is waited for.
    let options = AdminOptions::new()
        .operation_timeout(Some(TIMEOUT))
        .request_timeout(Some(2 * TIMEOUT));
    let not_made = |reason: String| Error::NotMade {
        topic: name.to_owned(),
        reason,
    };
    let made = admin
        .create_topics([&topic], &options)
        .await
        .map_err(|error| not_made(error.to_string()))?;
    match made.into_iter().next() {
        // Another server may have made it in the meantime.
        Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(()),
        Some(Err((_, code))) => Err(not_made(code.to_string())),
    }
}

/// Asks for so long as a topic is not known: one that was just made takes the brokers a moment to hear of.
async fn limits(
    admin: &AdminClient<Log>,
    names: [&str; 2],
    patience: Duration,
) -> [Option<usize>; 2] {
    let resources = names.map(ResourceSpecifier::Topic);
    let options = AdminOptions::new().request_timeout(Some(LIMITS_TIMEOUT));
    let started = Instant::now();
    let described = loop {
        let described = admin.describe_configs(&resources, &options).await;
        let is_open = match &described {
            Ok(described) => described.iter().any(|topic| {
                let error = topic.as_ref().err();
                error == Some(&RDKafkaErrorCode::UnknownTopicOrPartition)
            }),
            Err(error) => error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut),
        };
        if !is_open || started.elapsed() >= patience {
            // Principals that may write need not be allowed to describe.
            break described.unwrap_or_default();
        }
        tokio::time::sleep(UNKNOWN_PAUSE).await;
    };
    let mut described = described.into_iter();
    names.map(|_| {
        let resource = described.next()?.ok()?;
        let limit = resource.get("max.message.bytes")?.value.as_deref()?;
        limit.parse().ok()
    })
}
