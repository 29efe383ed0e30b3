//! The events of an HTTP call: one JSON object on one line for the request, one for the response.
//!
//! Version 1, as predictions are. All fields are always there; one that does not apply is null.
//!
//! | field | in | what it holds |
//! |---|---|---|
//! | `schema_version`, `writer`, `sequence` | both | as in the events of predictions; each stream counts by itself |
//! | `id` | both | UUIDv7 of the call, the same in both events |
//! | `kind` | both | `http_request`, `http_response` |
//! | `time` | both | when the request was taken up, when the answer was: RFC 3339, UTC |
//! | `request_id`, `trace_id` | both | of the request, as in its answer; W3C trace id |
//! | `method`, `route` | both | the template of the route; null where there is none |
//! | `path` | request | as it came, without the query |
//! | `query` | request | `{name: value}`, decoded; a list where a name came several times |
//! | `headers` | both | `{name: value}` of those that `audit.http.headers` allows |
//! | `body` | both | JSON as it is, other text as a string; null where there is none, or it is left out |
//! | `body_left_out` | both | why a body is not there: larger than `max_body`, no text, ... |
//! | `status_code` | response | of HTTP |
//! | `outcome` | response | `answered`; `cancelled` where the caller went away before the end of the body |
//! | `body_bytes` | both | bytes of the body: those that came, those that were handed over; null where nobody counted |
//! | `duration_us` | response | from the request's `time` on, in microseconds |

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::redact::Rules;
use crate::audit::event::Text;
use crate::types::timestamp::Timestamp;

#[derive(Serialize)]
pub(super) struct RequestEvent<'a> {
    pub(super) id: Text<Uuid>,
    pub(super) kind: &'static str,
    pub(super) time: Timestamp,
    pub(super) request_id: &'a str,
    pub(super) trace_id: Option<&'a str>,
    pub(super) method: &'a str,
    pub(super) route: Option<&'a str>,
    pub(super) path: Option<Cow<'a, str>>,
    pub(super) query: Option<Map<String, Value>>,
    pub(super) headers: Headers<'a>,
    #[serde(flatten)]
    pub(super) body: Body,
}

#[derive(Serialize)]
pub(super) struct ResponseEvent<'a> {
    pub(super) id: Text<Uuid>,
    pub(super) kind: &'static str,
    pub(super) time: Timestamp,
    pub(super) request_id: &'a str,
    pub(super) trace_id: Option<&'a str>,
    pub(super) method: &'a str,
    pub(super) route: Option<&'a str>,
    pub(super) status_code: u16,
    pub(super) outcome: &'static str,
    pub(super) headers: Headers<'a>,
    pub(super) body: Option<Value>,
    pub(super) body_left_out: Option<&'static str>,
    pub(super) body_bytes: u64,
    pub(super) duration_us: u64,
}

/// What is there of a body to be recorded.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// Bodies are not asked for; how long it is, where that is known.
    Unasked(Option<u64>),
    Whole(&'a [u8]),
    /// Why not, and how long it is, where that is known.
    LeftOut(&'static str, Option<u64>),
}

/// The three fields of a body.
#[derive(Debug, Serialize)]
pub(super) struct Body {
    pub(super) body: Option<Value>,
    pub(super) body_left_out: Option<&'static str>,
    pub(super) body_bytes: Option<u64>,
}

impl Body {
    pub(super) fn left_out(content: &Content<'_>, reason: &'static str) -> Self {
        let (reason, body_bytes) = match content {
            Content::Unasked(n_bytes) => (None, *n_bytes),
            Content::Whole([]) => (None, Some(0)),
            Content::Whole(bytes) => (Some(reason), Some(bytes.len() as u64)),
            Content::LeftOut(reason, n_bytes) => (Some(*reason), *n_bytes),
        };
        Self {
            body: None,
            body_left_out: reason,
            body_bytes,
        }
    }

    pub(super) fn of(content: &Content<'_>, rules: &Rules) -> Self {
        let Content::Whole(bytes) = content else {
            return Self::left_out(content, "");
        };
        if bytes.is_empty() {
            return Self::left_out(content, "");
        }
        let body = match (
            serde_json::from_slice::<Value>(bytes),
            std::str::from_utf8(bytes),
        ) {
            (Ok(json), _) => rules.json(json),
            (Err(_), _) if rules.has_members() => {
                return Self::left_out(
                    content,
                    "it is no JSON, and members of bodies are redacted (`audit.http.redact`)",
                );
            }
            (Err(_), Ok(text)) => rules.body_text(text),
            (Err(_), Err(_)) => return Self::left_out(content, "it is no text"),
        };
        match body {
            Some(body) => Self {
                body: Some(body),
                body_left_out: None,
                body_bytes: Some(bytes.len() as u64),
            },
            None => Self::left_out(content, "it is redacted (`audit.http.redact`)"),
        }
    }
}

/// Those headers of a message that may be kept.
pub(super) struct Headers<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Headers<'a> {
    /// `allowed` are in lower case, as names of headers are.
    pub(super) fn of(
        headers: &'a [(&'a str, &'a [u8])],
        allowed: &[String],
        rules: &Rules,
    ) -> Self {
        let allowed = headers
            .iter()
            .filter(|(name, _)| allowed.iter().any(|allowed| allowed == name));
        let kept = allowed.filter_map(|(name, value)| {
            let value = String::from_utf8_lossy(value);
            Some((*name, rules.header(name, value)?))
        });
        Self(kept.collect())
    }
}

impl Serialize for Headers<'_> {
    /// One that came several times is one value with commas, as HTTP reads it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (place, (name, value)) in self.0.iter().enumerate() {
            if self.0[..place].iter().any(|(other, _)| other == name) {
                continue;
            }
            let later = self.0[place + 1..]
                .iter()
                .filter(|(other, _)| other == name);
            let mut whole = Cow::Borrowed(&**value);
            for (_, value) in later {
                let whole = whole.to_mut();
                whole.push_str(", ");
                whole.push_str(value);
            }
            map.serialize_entry(name, &whole)?;
        }
        map.end()
    }
}
