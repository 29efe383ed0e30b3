//! The message of an event: its key and its headers.
//!
//! Headers are CloudEvents 1.0 in Kafka's binary mode (`ce_id`, `ce_source`, ...), with `ce_writer` and `ce_sequence` as
//! extensions, and W3C's `traceparent` where the caller sent one. They are the same whatever the format of the value, so
//! that completeness can be checked without decoding it.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};

use super::config::Key;
use crate::audit::parts::EventParts;

impl EventParts<'_> {
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

    pub(super) fn headers(&self, source: &str, content: &ContentType) -> OwnedHeaders {
        let is_shadow = self.shadow_of.is_some();
        let kind = match self.kind.as_deref() {
            Some("http_request") => "terrarium.http.request.v1",
            Some("http_response") => "terrarium.http.response.v1",
            _ if is_shadow => "terrarium.shadow_run.v1",
            _ if self.batch.is_some() => "terrarium.batch.v1",
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
