//! The JSON Schema of the event, as a registry keeps it.
//!
//! The content model is open, so that fields can be added without breaking readers. Parts whose shape is the caller's
//! (`params`) or the model's (`outputs`) take any value.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// The schema's text, the same at every start, so that a registry gives it one id.
pub(super) static SCHEMA: LazyLock<String> = LazyLock::new(|| schema().to_string());

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    let integer = json!({"type": ["integer", "null"]});
    let object = json!({"type": ["object", "null"]});
    let feature = json!({
        "type": "object",
        "properties": {
            "values": {"type": "array"},
            "statuses": {"type": "array", "items": {"type": "string"}},
            "event_timestamps": {"type": "array", "items": text},
        },
        "required": ["values", "statuses", "event_timestamps"],
    });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "terrarium.Prediction",
        "type": "object",
        "properties": {
            "schema_version": {"type": "integer", "const": 1},
            "writer": {"type": "string"},
            "sequence": {"type": "integer", "minimum": 1},
            "id": {"type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "request_id": text,
            "trace_id": text,
            "principal": text,
            "surface": text,
            "model": {
                "type": "object",
                "properties": {"name": text, "version": text, "alias": text, "requested": text},
            },
            "variants": {"type": ["array", "null"]},
            "shadow_of": text,
            "n_rows": integer,
            "entities": object,
            "inputs": object,
            "rows": object,
            "params": {},
            "features": {"type": ["object", "null"], "additionalProperties": feature},
            "outputs": object,
            "status": {"type": "string", "enum": ["ok", "error"]},
            "error": {
                "type": ["object", "null"],
                "properties": {"class": text, "code": text, "message": text},
            },
            "difference": object,
            "timings_us": {
                "type": "object",
                "properties": {
                    "features": integer, "assemble": integer, "queue": integer,
                    "engine": integer, "total": integer,
                },
            },
        },
        "required": ["schema_version", "writer", "sequence", "id", "time", "status"],
    })
}
