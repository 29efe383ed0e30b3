//! An event taken apart, as far as its readers need it: what is told apart by name is read, what belongs to the caller stays
//! the text that it is.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The parts of an event in the order of its schema; those that are values of the caller stay as they stand. Serialized, it is
/// the event again, byte for byte, as far as this version knows its fields.
#[derive(Debug, Deserialize, Serialize)]
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
    /// Of events that are none of predictions; those have neither.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<String>,
    pub(super) error: Option<ErrorParts>,
    #[serde(borrow)]
    pub(super) difference: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) timings_us: TimingParts,
    pub(super) cached: Option<bool>,
    #[serde(borrow)]
    pub(super) batch: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct ModelParts {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) requested: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ErrorParts {
    pub(super) class: Option<String>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct TimingParts {
    pub(super) features: Option<i64>,
    pub(super) assemble: Option<i64>,
    pub(super) queue: Option<i64>,
    pub(super) engine: Option<i64>,
    pub(super) total: Option<i64>,
}

impl<'a> EventParts<'a> {
    /// Errors for bytes that are no event of the schema, which neither spool nor files give.
    pub(super) fn parse(event: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(event)
    }

    /// `driver_id=1001` of a call about one entity; `None` for several, and where the call did not tell entities apart.
    pub(super) fn entity_key(&self) -> Option<String> {
        self.entities
            .and_then(|entities| entity_key(entities.get()))
    }
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
