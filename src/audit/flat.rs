//! The event as one flat row, for sinks that write tables: scalars are columns, nested parts travel as JSON text.
//!
//! The table below is the one definition of the row, of which Kafka Connect's schema, the columns of Parquet files and those
//! of queries are made. `event` reads a row back.
//! A column is only ever added, at the end and optional, so that old rows stay readable.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::parts::{ErrorParts, EventParts, ModelParts, TimingParts};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Bool,
    Uuid,
    /// RFC 3339 in UTC in the event.
    Timestamp,
    Json,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Never null.
    pub(super) required: bool,
    read: for<'a> fn(&'a EventParts<'_>) -> Cell<'a>,
}

/// The value of a column in one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Bool(bool),
}

impl Column {
    pub(super) fn cell<'a>(&self, event: &'a EventParts<'_>) -> Cell<'a> {
        (self.read)(event)
    }
}

fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Null, |text| Cell::Text(Cow::Borrowed(text)))
}

fn integer<'a>(value: Option<i64>) -> Cell<'a> {
    value.map_or(Cell::Null, Cell::Integer)
}

fn json(value: Option<&RawValue>) -> Cell<'_> {
    text(value.map(RawValue::get))
}

const fn required(
    name: &'static str,
    kind: Kind,
    read: for<'a> fn(&'a EventParts<'_>) -> Cell<'a>,
) -> Column {
    Column {
        name,
        kind,
        required: true,
        read,
    }
}

const fn optional(
    name: &'static str,
    kind: Kind,
    read: for<'a> fn(&'a EventParts<'_>) -> Cell<'a>,
) -> Column {
    Column {
        name,
        kind,
        required: false,
        read,
    }
}

/// Columns of version 1, in their order.
pub(super) static COLUMNS: [Column; 35] = [
    required("id", Kind::Uuid, |event| text(Some(&event.id))),
    required("time", Kind::Timestamp, |event| text(Some(&event.time))),
    required("writer", Kind::Uuid, |event| text(Some(&event.writer))),
    required("sequence", Kind::Integer, |event| {
        integer(i64::try_from(event.sequence).ok())
    }),
    required("schema_version", Kind::Integer, |event| {
        integer(Some(i64::from(event.schema_version)))
    }),
    required("status", Kind::Text, |event| text(Some(&event.status))),
    optional("request_id", Kind::Text, |event| {
        text(event.request_id.as_deref())
    }),
    optional("trace_id", Kind::Text, |event| {
        text(event.trace_id.as_deref())
    }),
    optional("principal", Kind::Text, |event| {
        text(event.principal.as_deref())
    }),
    optional("surface", Kind::Text, |event| {
        text(event.surface.as_deref())
    }),
    optional("model", Kind::Text, |event| {
        text(event.model.name.as_deref())
    }),
    optional("model_version", Kind::Text, |event| {
        text(event.model.version.as_deref())
    }),
    optional("model_alias", Kind::Text, |event| {
        text(event.model.alias.as_deref())
    }),
    optional("model_requested", Kind::Text, |event| {
        text(event.model.requested.as_deref())
    }),
    optional("variants", Kind::Json, |event| json(event.variants)),
    optional("shadow_of", Kind::Uuid, |event| {
        text(event.shadow_of.as_deref())
    }),
    optional("n_rows", Kind::Integer, |event| integer(event.n_rows)),
    optional("entities", Kind::Json, |event| json(event.entities)),
    optional("inputs", Kind::Json, |event| json(event.inputs)),
    optional("rows", Kind::Json, |event| json(event.rows)),
    optional("params", Kind::Json, |event| json(event.params)),
    optional("features", Kind::Json, |event| json(event.features)),
    optional("outputs", Kind::Json, |event| json(event.outputs)),
    optional("error_class", Kind::Text, |event| {
        text(
            event
                .error
                .as_ref()
                .and_then(|error| error.class.as_deref()),
        )
    }),
    optional("error_code", Kind::Text, |event| {
        text(event.error.as_ref().and_then(|error| error.code.as_deref()))
    }),
    optional("error_message", Kind::Text, |event| {
        text(
            event
                .error
                .as_ref()
                .and_then(|error| error.message.as_deref()),
        )
    }),
    optional("difference", Kind::Json, |event| json(event.difference)),
    optional("features_us", Kind::Integer, |event| {
        integer(event.timings_us.features)
    }),
    optional("assemble_us", Kind::Integer, |event| {
        integer(event.timings_us.assemble)
    }),
    optional("queue_us", Kind::Integer, |event| {
        integer(event.timings_us.queue)
    }),
    optional("engine_us", Kind::Integer, |event| {
        integer(event.timings_us.engine)
    }),
    optional("latency_us", Kind::Integer, |event| {
        integer(event.timings_us.total)
    }),
    optional("entity_key", Kind::Text, |event| match event.entity_key() {
        Some(key) => Cell::Text(Cow::Owned(key)),
        None => Cell::Null,
    }),
    optional("cached", Kind::Bool, |event| {
        event.cached.map_or(Cell::Null, Cell::Bool)
    }),
    optional("batch", Kind::Json, |event| json(event.batch)),
];

/// The event of a row whose cells are looked up by name; a column that is missing is null.
///
/// `None` if a required column is, or if what should be JSON is none. JSON must be borrowed from where the row is.
pub(super) fn event<'a>(cell: impl Fn(&str) -> Cell<'a>) -> Option<EventParts<'a>> {
    let text = |name: &str| match cell(name) {
        Cell::Text(text) => Some(text),
        Cell::Null | Cell::Integer(_) | Cell::Bool(_) => None,
    };
    let owned = |name: &str| text(name).map(Cow::into_owned);
    let integer = |name: &str| match cell(name) {
        Cell::Integer(integer) => Some(integer),
        Cell::Null | Cell::Text(_) | Cell::Bool(_) => None,
    };
    let json = |name: &str| match cell(name) {
        Cell::Text(Cow::Borrowed(text)) => serde_json::from_str::<&RawValue>(text).ok().map(Some),
        Cell::Text(Cow::Owned(_)) => None,
        Cell::Null | Cell::Integer(_) | Cell::Bool(_) => Some(None),
    };
    let error = ErrorParts {
        class: owned("error_class"),
        code: owned("error_code"),
        message: owned("error_message"),
    };
    Some(EventParts {
        schema_version: u32::try_from(integer("schema_version")?).ok()?,
        writer: text("writer")?,
        sequence: u64::try_from(integer("sequence")?).ok()?,
        id: text("id")?,
        time: text("time")?,
        request_id: owned("request_id"),
        trace_id: owned("trace_id"),
        principal: owned("principal"),
        surface: owned("surface"),
        model: ModelParts {
            name: owned("model"),
            version: owned("model_version"),
            alias: owned("model_alias"),
            requested: owned("model_requested"),
        },
        variants: json("variants")?,
        shadow_of: owned("shadow_of"),
        n_rows: integer("n_rows"),
        entities: json("entities")?,
        inputs: json("inputs")?,
        rows: json("rows")?,
        params: json("params")?,
        features: json("features")?,
        outputs: json("outputs")?,
        status: text("status")?,
        kind: None,
        route: None,
        error: error.class.is_some().then_some(error),
        difference: json("difference")?,
        timings_us: TimingParts {
            features: integer("features_us"),
            assemble: integer("assemble_us"),
            queue: integer("queue_us"),
            engine: integer("engine_us"),
            total: integer("latency_us"),
        },
        cached: match cell("cached") {
            Cell::Bool(cached) => Some(cached),
            Cell::Null | Cell::Text(_) | Cell::Integer(_) => None,
        },
        batch: json("batch")?,
    })
}

/// The cell of a row that came as JSON.
#[cfg_attr(
    not(feature = "datafusion"),
    expect(dead_code, reason = "nothing asks")
)]
pub(super) fn json_cell(value: Option<&serde_json::Value>) -> Cell<'_> {
    match value {
        Some(serde_json::Value::String(text)) => Cell::Text(Cow::Borrowed(text)),
        Some(serde_json::Value::Bool(value)) => Cell::Bool(*value),
        Some(serde_json::Value::Number(number)) => integer(number.as_i64()),
        Some(
            serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_),
        )
        | None => Cell::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SAMPLE: &str = include_str!("../../tests/fixtures/audit/events-v1.jsonl");

    #[test]
    fn an_event_is_its_row_and_back_to_the_byte() {
        for line in SAMPLE.lines() {
            let event = EventParts::parse(line.as_bytes()).unwrap();
            let again = serde_json::to_string(&event).unwrap();
            let row: HashMap<&str, Cell<'_>> = COLUMNS
                .iter()
                .map(|column| (column.name, column.cell(&event)))
                .collect();
            let back = super::event(|name| row.get(name).cloned().unwrap_or(Cell::Null)).unwrap();
            assert_eq!(serde_json::to_string(&back).unwrap(), again);
            // Fields that were added later are null.
            assert!(
                again.starts_with(line.strip_suffix('}').unwrap()),
                "{again}\n{line}"
            );
        }
    }
}
