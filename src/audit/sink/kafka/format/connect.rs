//! Kafka Connect's JSON: `{"schema": {...}, "payload": {...}}`, read by its JsonConverter with `schemas.enable=true`.
//!
//! Logical types are Debezium's, whose JDBC sink makes `uuid`, `timestamp with time zone` and `json` of them; other sinks
//! see the text that stands behind them.

use std::sync::LazyLock;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::audit::flat::{COLUMNS, Cell, Column, Kind};
use crate::audit::parts::EventParts;

/// The schema is the same for every event, so its text is made once.
static SCHEMA: LazyLock<String> = LazyLock::new(|| schema().to_string());

/// The name of the row in Kafka Connect.
const NAME: &str = "terrarium.Prediction";

pub(super) fn encode(event: &EventParts<'_>) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(SCHEMA.len() + 1024);
    bytes.extend_from_slice(br#"{"schema":"#);
    bytes.extend_from_slice(SCHEMA.as_bytes());
    bytes.extend_from_slice(br#","payload":"#);
    serde_json::to_writer(&mut bytes, &Row(event))?;
    bytes.push(b'}');
    Ok(bytes)
}

fn schema() -> Value {
    let fields: Vec<Value> = COLUMNS.iter().map(field).collect();
    json!({"type": "struct", "name": NAME, "version": 1, "optional": false, "fields": fields})
}

fn field(column: &Column) -> Value {
    let (kind, logical) = match column.kind {
        Kind::Text => ("string", None),
        Kind::Integer => ("int64", None),
        Kind::Bool => ("boolean", None),
        Kind::Uuid => ("string", Some("io.debezium.data.Uuid")),
        Kind::Timestamp => ("string", Some("io.debezium.time.ZonedTimestamp")),
        Kind::Json => ("string", Some("io.debezium.data.Json")),
    };
    let mut field = json!({"field": column.name, "type": kind, "optional": !column.required});
    if let (Some(logical), Value::Object(field)) = (logical, &mut field) {
        field.insert("name".into(), logical.into());
        field.insert("version".into(), 1.into());
    }
    field
}

/// The row as a JSON object.
pub(super) struct Row<'a>(pub(super) &'a EventParts<'a>);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(COLUMNS.len()))?;
        for column in &COLUMNS {
            match column.cell(self.0) {
                Cell::Null => map.serialize_entry(column.name, &())?,
                Cell::Text(text) => map.serialize_entry(column.name, &text)?,
                Cell::Bool(value) => map.serialize_entry(column.name, &value)?,
                Cell::Integer(integer) => map.serialize_entry(column.name, &integer)?,
            }
        }
        map.end()
    }
}
