//! The message of an event: its key and its headers.
//!
//! Headers are CloudEvents 1.0 in Kafka's binary mode (`ce_id`, `ce_source`, ...), with `ce_writer` and `ce_sequence` as
//! extensions, and W3C's `traceparent` where the caller sent one. They are the same whatever the format of the value, so
//! that completeness can be checked without decoding it.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::config::Key;
use crate::audit::batch::SpooledEvent;

/// The parts of an event that a message is made of; parts are in the order of the event's schema, and those that are
/// values of the caller stay as they stand.
#[derive(Debug, Deserialize)]
pub(super) struct EventParts<'a> {
    pub(super) schema_version: u32,
    #[serde(borrow)]
    pub(super) writer: Cow<'a, str>,
    pub(super) sequence: u64,
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    pub(super) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) principal: Option<String>,
    pub(super) surface: Option<String>,
    #[serde(default)]
    pub(super) model: ModelParts,
    #[serde(borrow)]
    pub(super) variants: Option<&'a RawValue>,
    pub(super) shadow_of: Option<String>,
    pub(super) n_rows: Option<i64>,
    #[serde(borrow)]
    pub(super) entities: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) inputs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) rows: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) features: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) outputs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) status: Cow<'a, str>,
    /// Of events that are none of predictions.
    #[serde(borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) route: Option<String>,
    pub(super) error: Option<ErrorParts>,
    #[serde(borrow)]
    pub(super) difference: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) timings_us: TimingParts,
    pub(super) cached: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelParts {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) requested: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorParts {
    pub(super) class: Option<String>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct TimingParts {
    pub(super) features: Option<i64>,
    pub(super) assemble: Option<i64>,
    pub(super) queue: Option<i64>,
    pub(super) engine: Option<i64>,
    pub(super) total: Option<i64>,
}

impl<'a> EventParts<'a> {
    /// Errors for bytes that are no event of the schema, which the spool never gives.
    pub(super) fn parse(event: &'a SpooledEvent) -> serde_json::Result<Self> {
        serde_json::from_slice(&event.json)
    }

    /// When the request was taken up, in microseconds since the epoch; `None` for a text that is no time.
    pub(super) fn time_micros(&self) -> Option<i64> {
        let time: jiff::Timestamp = self.time.parse().ok()?;
        Some(time.as_microsecond())
    }

    pub(super) fn message_key(&self, key: Key) -> String {
        let entity = match key {
            Key::Entity => self.entity_key(),
            Key::Event => None,
        };
        entity.unwrap_or_else(|| self.id.clone().into_owned())
    }

    /// `driver_id=1001` of a call about one entity; `None` for several, and where the call did not tell entities apart.
    pub(super) fn entity_key(&self) -> Option<String> {
        self.entities
            .and_then(|entities| entity_key(entities.get()))
    }

    pub(super) fn headers(&self, source: &str, content: &ContentType) -> OwnedHeaders {
        let is_shadow = self.shadow_of.is_some();
        let kind = match self.kind.as_deref() {
            Some("http_request") => "terrarium.http.request.v1",
            Some("http_response") => "terrarium.http.response.v1",
            _ if is_shadow => "terrarium.shadow_run.v1",
            _ => "terrarium.prediction.v1",
        };
        let subject = self.subject();
        let sequence = self.sequence.to_string();
        let traceparent = self.traceparent();
        let headers: [(&str, Option<&str>); 11] = [
            ("ce_specversion", Some("1.0")),
            ("ce_id", Some(&self.id)),
            ("ce_source", Some(source)),
            ("ce_type", Some(kind)),
            ("ce_time", Some(&self.time)),
            ("ce_subject", subject.as_deref()),
            ("ce_dataschema", content.schema_url.as_deref()),
            ("ce_writer", Some(&self.writer)),
            ("ce_sequence", Some(&sequence)),
            ("content-type", Some(content.media_type)),
            ("traceparent", traceparent.as_deref()),
        ];
        let mut message = OwnedHeaders::new_with_capacity(headers.len());
        for (key, value) in headers {
            if value.is_some() {
                message = message.insert(Header { key, value });
            }
        }
        message
    }

    /// The model that answered, as `name:version`; else as it was asked for. Of an HTTP call its route.
    fn subject(&self) -> Option<Cow<'_, str>> {
        if let Some(route) = &self.route {
            return Some(Cow::Borrowed(route));
        }
        match (&self.model.name, &self.model.version) {
            (Some(name), Some(version)) => Some(Cow::Owned(format!("{name}:{version}"))),
            _ => self.model.requested.as_deref().map(Cow::Borrowed),
        }
    }

    /// The prediction stands for the span: the last 16 digits of its id.
    fn traceparent(&self) -> Option<String> {
        let trace_id = self.trace_id.as_deref()?;
        let digits: String = self.id.chars().filter(|c| *c != '-').collect();
        let span = digits.get(digits.len().checked_sub(16)?..)?;
        Some(format!("00-{trace_id}-{span}-01"))
    }
}

/// What the headers say about the value.
#[derive(Debug, Clone)]
pub(super) struct ContentType {
    pub(super) media_type: &'static str,
    /// Where the schema is read.
    pub(super) schema_url: Option<String>,
}

/// Join keys by name, as in Feast's entity keys.
fn entity_key(entities: &str) -> Option<String> {
    let entities: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(entities).ok()?;
    let mut keys = Vec::with_capacity(entities.len());
    for (name, values) in &entities {
        let value = match values {
            serde_json::Value::Array(values) if values.len() == 1 => values.first()?,
            serde_json::Value::Array(_) => return None,
            scalar => scalar,
        };
        match value {
            serde_json::Value::String(text) => keys.push(format!("{name}={text}")),
            value => keys.push(format!("{name}={value}")),
        }
    }
    keys.sort_unstable();
    (!keys.is_empty()).then(|| keys.join(","))
}
