//! Speaks Confluent's Schema Registry API: gives a schema its id.

use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::config::SchemaRegistry;
use super::format::Schema;

const TIMEOUT: Duration = Duration::from_secs(10);
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("`audit.kafka.schema_registry.url` is not a URL: {source}")]
    Url {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the schema registry at {url} does not answer: {source}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("the schema registry at {url} answers {status}: {message}")]
    Refused {
        url: String,
        status: StatusCode,
        message: String,
    },
    #[error(
        "the schema registry at {url} finds the schema of subject `{subject}` incompatible with the versions it has: {message} \
         (hint: give the topic a new name, or set the subject's compatibility to NONE)"
    )]
    Incompatible {
        url: String,
        subject: String,
        message: String,
    },
    #[error(
        "the schema registry at {url} does not have the schema of subject `{subject}` (hint: register it, or set \
         `audit.kafka.schema_registry.register = true`)"
    )]
    Missing { url: String, subject: String },
}

/// A registered schema.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    pub(super) id: u32,
    /// Where the schema is read.
    pub(super) url: String,
}

#[derive(Deserialize)]
struct Answer {
    id: u32,
}

/// The id under which values of a topic name the schema; registers it when it is not there.
pub(super) async fn schema_id(
    config: &SchemaRegistry,
    topic: &str,
    schema: Schema,
) -> Result<Registered, Error> {
    let subject = format!("{topic}-value");
    let below: &[&str] = match config.register {
        true => &["subjects", &subject, "versions"],
        false => &["subjects", &subject],
    };
    let url = address(config, below)?;
    let unreachable = |source: reqwest::Error| Error::Unreachable {
        url: config.url.clone(),
        source: source.without_url(),
    };
    let client = Client::builder()
        .timeout(TIMEOUT)
        .build()
        .map_err(unreachable)?;
    let mut request = client
        .post(url)
        .header("content-type", CONTENT_TYPE)
        .header("accept", CONTENT_TYPE)
        .body(json!({"schemaType": schema.kind, "schema": schema.text}).to_string());
    if let Some(username) = &config.username {
        let password = config.password.as_ref().map(|password| password.reveal());
        request = request.basic_auth(username, password);
    }
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(unreachable)?;
    if status.is_success() {
        return match serde_json::from_slice::<Answer>(&body) {
            Ok(Answer { id }) => Ok(Registered {
                id,
                url: address(config, &["schemas", "ids", &id.to_string()])?.into(),
            }),
            Err(_) => Err(refused(config, status, &body)),
        };
    }
    Err(match status {
        StatusCode::CONFLICT => Error::Incompatible {
            url: config.url.clone(),
            subject,
            message: message(&body),
        },
        StatusCode::NOT_FOUND if !config.register => Error::Missing {
            url: config.url.clone(),
            subject,
        },
        _ => refused(config, status, &body),
    })
}

/// The API's address with these segments behind it; a subject may hold any character.
fn address(config: &SchemaRegistry, below: &[&str]) -> Result<Url, Error> {
    let mut url = Url::parse(&config.url).map_err(|source| Error::Url {
        source: source.into(),
    })?;
    match url.path_segments_mut() {
        Ok(mut segments) => segments.pop_if_empty().extend(below),
        Err(()) => {
            return Err(Error::Url {
                source: "it has no host".into(),
            });
        }
    };
    Ok(url)
}

fn refused(config: &SchemaRegistry, status: StatusCode, body: &[u8]) -> Error {
    Error::Refused {
        url: config.url.clone(),
        status,
        message: message(body),
    }
}

/// The registry's own words; else the beginning of what it answered.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        message: String,
    }
    const SHOWN: usize = 500;
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.message,
        Err(_) => String::from_utf8_lossy(body).chars().take(SHOWN).collect(),
    }
}
