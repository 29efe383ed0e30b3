//! The event as one flat row, for sinks that write tables: scalars are columns, nested parts travel as JSON text.
//!
//! The table below is the one definition of the row, of which Kafka Connect's schema is made.
//! A column is only ever added, at the end and optional, so that old rows stay readable.

use std::borrow::Cow;

use super::super::record::EventParts;

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

fn json(value: Option<&serde_json::value::RawValue>) -> Cell<'_> {
    text(value.map(serde_json::value::RawValue::get))
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
pub(super) const COLUMNS: [Column; 34] = [
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
];
