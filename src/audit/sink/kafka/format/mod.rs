//! The value of an event's message.
//!
//! ```text
//! json           the event as it stands in the spool
//! connect_json   {"schema": ..., "payload": the flat row}
//! json_schema    0x00, schema id (4 bytes, big endian), the event as it stands in the spool
//! avro           0x00, schema id (4 bytes, big endian), the event in Avro
//! ```
//! Not here: where ids of schemas come from (`registry`).

mod avro;
mod connect;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::Value;

use super::config::Format;
use crate::audit::batch::SpooledEvent;
use crate::audit::parts::EventParts;
use crate::audit::schema;

/// How Confluent's serializers mark a value that names its schema.
const MAGIC: u8 = 0;

/// A schema as a registry takes it.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    /// The registry's word for its language.
    pub(super) kind: &'static str,
    /// The same at every start, so that a registry gives it one id.
    pub(super) text: String,
}

/// The schema that values of this format name; `None` for formats that carry or need none.
pub(super) fn schema(format: Format) -> Option<Schema> {
    match format {
        Format::Json | Format::ConnectJson => None,
        Format::JsonSchema => Some(Schema {
            kind: "JSON",
            text: schema::json_schema().to_string(),
        }),
        Format::Avro => Some(Schema {
            kind: "AVRO",
            text: schema::avro().to_string(),
        }),
    }
}

pub(super) fn media_type(format: Format) -> &'static str {
    match format {
        Format::Json | Format::ConnectJson | Format::JsonSchema => "application/json",
        Format::Avro => "application/avro",
    }
}

/// The value; `schema_id` is that of `schema`. Errors, with the reason, for what is no event of the schema.
pub(super) fn encode(
    format: Format,
    schema_id: u32,
    event: &SpooledEvent,
    parts: &EventParts<'_>,
) -> Result<Bytes, String> {
    Ok(match format {
        Format::Json => event.json.clone(),
        Format::ConnectJson => connect::encode(parts)
            .map_err(|error| error.to_string())?
            .into(),
        Format::JsonSchema => {
            let mut bytes = framed(schema_id, event.json.len());
            bytes.extend_from_slice(&event.json);
            bytes.into()
        }
        Format::Avro => {
            let mut bytes = framed(schema_id, event.json.len());
            let event = serde_json::from_slice(&event.json).map_err(|error| error.to_string())?;
            avro::encode(&event, &mut bytes)?;
            bytes.into()
        }
    })
}

fn framed(schema_id: u32, n_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + n_bytes);
    bytes.push(MAGIC);
    bytes.extend_from_slice(&schema_id.to_be_bytes());
    bytes
}

/// What a message holds, as JSON: the event, or its flat row. `None` for a value of no format that is written here.
pub(super) fn decode(value: &[u8]) -> Option<Value> {
    if let Some((&MAGIC, rest)) = value.split_first() {
        let (_schema_id, body) = rest.split_at_checked(4)?;
        return match serde_json::from_slice(body) {
            Ok(event) => Some(event),
            Err(_) => avro::decode(body),
        };
    }
    match serde_json::from_slice(value).ok()? {
        Value::Object(mut envelope) if is_connect_envelope(&envelope) => envelope.remove("payload"),
        event => Some(event),
    }
}

fn is_connect_envelope(object: &serde_json::Map<String, Value>) -> bool {
    object.len() == 2 && object.contains_key("schema") && object.contains_key("payload")
}
