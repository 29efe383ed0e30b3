//! The event's schema, version 1, as data: what formats with a schema of their own are generated from.
//!
//! `FIELDS` is the one definition; `json_schema` and `avro` are made of it and are checked in under `docs/schemas`.
//! It only ever grows: a field is added, and readers of older events find it missing; none is removed or changes its meaning.
//! What depends on the model (columns, features, outputs) is JSON, also where a format is flat: there it is text.

use serde_json::{Map, Value, json};

use super::event::SCHEMA_VERSION;

/// A field of the event, in the order in which fields are written.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
    /// Events of before it was added do not have it.
    pub was_added: bool,
    pub description: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Fits into 32 bits.
    Int,
    Long,
    Bool,
    Text,
    Uuid,
    /// RFC 3339 in UTC, to the microsecond.
    Time,
    Object,
    List,
    /// Any JSON.
    Any,
    Record {
        /// Of the type, where a format names types.
        name: &'static str,
        fields: &'static [Field],
    },
}

const fn field(name: &'static str, kind: Kind, description: &'static str) -> Field {
    Field {
        name,
        kind,
        nullable: false,
        was_added: false,
        description,
    }
}

const fn nullable(name: &'static str, kind: Kind, description: &'static str) -> Field {
    Field {
        nullable: true,
        ..field(name, kind, description)
    }
}

/// A field that the first version 1 did not have. It must be nullable, so that readers have something for older events.
const fn added(name: &'static str, kind: Kind, description: &'static str) -> Field {
    Field {
        was_added: true,
        ..nullable(name, kind, description)
    }
}

/// All fields of an event.
pub const FIELDS: &[Field] = &[
    field("schema_version", Kind::Int, "1"),
    field("writer", Kind::Uuid, "Process that wrote the event"),
    field(
        "sequence",
        Kind::Long,
        "Counts the writer's events from 1 without a gap",
    ),
    field("id", Kind::Uuid, "Of the prediction, as in the answer"),
    field("time", Kind::Time, "When the request was taken up"),
    field("request_id", Kind::Text, "As in the answer"),
    nullable("trace_id", Kind::Text, "W3C trace id"),
    nullable("principal", Kind::Text, "Who called"),
    field(
        "surface",
        Kind::Text,
        "Which door the request came through: http, mlflow, oip, job, cli",
    ),
    field(
        "model",
        Kind::Record {
            name: "Model",
            fields: MODEL,
        },
        "What answered or failed",
    ),
    nullable(
        "variants",
        Kind::List,
        "[{version, alias, rows}] where several versions answered",
    ),
    nullable(
        "shadow_of",
        Kind::Uuid,
        "Of a shadow run the prediction that it shadows",
    ),
    field("n_rows", Kind::Long, "Rows of the request"),
    nullable("entities", Kind::Object, "{column: values} of the request"),
    nullable("inputs", Kind::Object, "{column: values} of the request"),
    nullable("rows", Kind::Object, "{column: values} of the request"),
    nullable("params", Kind::Any, "Scoring parameters of the request"),
    nullable(
        "features",
        Kind::Object,
        "{\"view:feature\": {values, statuses, event_timestamps}}: what the model was given",
    ),
    nullable("outputs", Kind::Object, "{name: values} as in the answer"),
    field("status", Kind::Text, "ok or error"),
    nullable(
        "error",
        Kind::Record {
            name: "Error",
            fields: ERROR,
        },
        "Of a failure",
    ),
    nullable(
        "difference",
        Kind::Object,
        "Of a shadow run {name: {max_abs, n_rows}}",
    ),
    field(
        "timings_us",
        Kind::Record {
            name: "Timings",
            fields: TIMINGS,
        },
        "Microseconds; of a failure only the total",
    ),
    added(
        "cached",
        Kind::Bool,
        "Whether the outputs are those of an earlier run with the same inputs",
    ),
    added(
        "batch",
        Kind::Record {
            name: "Batch",
            fields: BATCH,
        },
        "Of a file that was scored; such an event is no prediction",
    ),
];

const MODEL: &[Field] = &[
    nullable("name", Kind::Text, "Null if none was found"),
    nullable("version", Kind::Text, "Null if none was found"),
    nullable("alias", Kind::Text, "Through which the version was reached"),
    field("requested", Kind::Text, "The model as the caller named it"),
];

const ERROR: &[Field] = &[
    field("class", Kind::Text, "Kind of failure"),
    field("code", Kind::Text, "Stable name of the failure"),
    nullable("message", Kind::Text, "Null where it is redacted"),
];

const TIMINGS: &[Field] = &[
    nullable("features", Kind::Long, "Reading features"),
    nullable("assemble", Kind::Long, "Filling the model's inputs"),
    nullable("queue", Kind::Long, "Waiting for an engine"),
    nullable("engine", Kind::Long, "The model's run"),
    field("total", Kind::Long, "All of it"),
];

const BATCH: &[Field] = &[
    field("source", Kind::Text, "The file of the rows, or the query"),
    field("destination", Kind::Text, "The file with the outputs"),
    field("sha256", Kind::Text, "Of that file, in hexadecimal"),
    field("n_failed", Kind::Long, "Rows that have no outputs"),
    field(
        "features",
        Kind::Text,
        "Where they came from: offline, online, given, none",
    ),
];

/// As JSON Schema, draft 2020-12. Fields that are not in it are allowed: later versions add some.
pub fn json_schema() -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Prediction",
        "description": format!("Terrarium's audit event, schema version {SCHEMA_VERSION}"),
    });
    let object = json_object(FIELDS);
    if let (Some(schema), Value::Object(object)) = (schema.as_object_mut(), object) {
        schema.extend(object);
    }
    schema
}

fn json_object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), json_property(field)))
        .collect();
    let is_required = |field: &&Field| !field.was_added;
    let required = fields.iter().filter(is_required).map(|field| field.name);
    let required: Vec<&str> = required.collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn json_property(field: &Field) -> Value {
    let mut property = match field.kind {
        Kind::Int | Kind::Long => json!({ "type": "integer" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::Object => json!({ "type": "object" }),
        Kind::List => json!({ "type": "array" }),
        Kind::Any => json!({}),
        Kind::Record { fields, .. } => json_object(fields),
    };
    if field.nullable && property["type"].is_string() {
        property["type"] = json!([property["type"], "null"]);
    }
    property["description"] = json!(field.description);
    property
}

/// As an Avro schema. JSON is text in it, times are microseconds.
pub fn avro() -> Value {
    let mut schema = avro_record("Prediction", FIELDS);
    schema["namespace"] = json!("terrarium");
    schema["doc"] = json!(format!(
        "Terrarium's audit event, schema version {SCHEMA_VERSION}"
    ));
    schema
}

fn avro_record(name: &str, fields: &[Field]) -> Value {
    let fields: Vec<Value> = fields.iter().map(avro_field).collect();
    json!({ "type": "record", "name": name, "fields": fields })
}

fn avro_field(field: &Field) -> Value {
    let kind = match field.kind {
        Kind::Int => json!("int"),
        Kind::Long => json!("long"),
        Kind::Bool => json!("boolean"),
        Kind::Text | Kind::Object | Kind::List | Kind::Any => json!("string"),
        Kind::Uuid => json!({ "type": "string", "logicalType": "uuid" }),
        Kind::Time => json!({ "type": "long", "logicalType": "timestamp-micros" }),
        Kind::Record { name, fields } => avro_record(name, fields),
    };
    let is_json = matches!(field.kind, Kind::Object | Kind::List | Kind::Any);
    let doc = match is_json {
        true => format!("JSON: {}", field.description),
        false => field.description.to_owned(),
    };
    match field.nullable {
        true => {
            json!({ "name": field.name, "type": ["null", kind], "default": null, "doc": doc })
        }
        false => json!({ "name": field.name, "type": kind, "doc": doc }),
    }
}

/// What of an event does not fit the schema, as `path: problem`. Fields that the schema does not know are none of it.
pub fn problems(event: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(event, FIELDS, "", &mut found);
    found
}

fn check(value: &Value, fields: &[Field], path: &str, found: &mut Vec<String>) {
    let Some(object) = value.as_object() else {
        found.push(format!("{path}: not an object"));
        return;
    };
    for field in fields {
        let path = format!("{path}.{}", field.name);
        let Some(value) = object.get(field.name) else {
            if field.was_added {
                continue;
            }
            found.push(format!("{path}: missing"));
            continue;
        };
        if value.is_null() && field.nullable {
            continue;
        }
        let fits = match field.kind {
            Kind::Int | Kind::Long => value.is_u64(),
            Kind::Bool => value.is_boolean(),
            Kind::Text => value.is_string(),
            Kind::Uuid => value
                .as_str()
                .is_some_and(|text| uuid::Uuid::try_parse(text).is_ok()),
            Kind::Time => {
                let time = value.as_str().map(str::parse::<jiff::Timestamp>);
                time.is_some_and(|time| time.is_ok())
            }
            Kind::Object => value.is_object(),
            Kind::List => value.is_array(),
            Kind::Any => true,
            Kind::Record { fields, .. } => {
                check(value, fields, &path, found);
                true
            }
        };
        if !fits {
            found.push(format!("{path}: {value} is not of its type"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON_SCHEMA: &str = include_str!("../../docs/schemas/prediction-v1.schema.json");
    const AVRO: &str = include_str!("../../docs/schemas/prediction-v1.avsc");
    /// Written by the first server that had version 1. Never to be changed.
    const SAMPLE: &str = include_str!("../../tests/fixtures/audit/events-v1.jsonl");

    fn pretty(schema: &Value) -> String {
        serde_json::to_string_pretty(schema).unwrap() + "\n"
    }

    #[test]
    fn the_schemas_that_are_checked_in_are_those_of_the_definition() {
        let hint = "terrarium audit schema --format json-schema|avro > docs/schemas/...";
        assert!(
            JSON_SCHEMA == pretty(&json_schema()),
            "{hint}\n{}",
            pretty(&json_schema())
        );
        assert!(AVRO == pretty(&avro()), "{hint}\n{}", pretty(&avro()));
    }

    #[test]
    fn events_of_version_1_are_readable_for_ever() {
        let events: Vec<Value> = SAMPLE
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(events.len() > 3);
        for event in &events {
            assert_eq!(problems(event), Vec::<String>::new(), "{event}");
        }
        for (line, event) in SAMPLE.lines().zip(&events) {
            let origin = super::super::event::Origin::of(line.as_bytes()).unwrap();
            assert_eq!(event["sequence"], origin.sequence);
            assert_eq!(event["writer"], origin.writer.to_string());
            let id = super::super::event::id_of(line.as_bytes()).unwrap();
            assert_eq!(event["id"].as_str().unwrap().as_bytes(), id);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut event: Value = serde_json::from_str(SAMPLE.lines().next().unwrap()).unwrap();
        event["model"]["requested"] = json!(7);
        event["sequence"] = Value::Null;
        event["timings_us"].as_object_mut().unwrap().remove("total");
        event["later"] = json!("added by a later version");
        let problems = problems(&event);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems[1].starts_with(".model.requested: 7"),
            "{problems:?}"
        );
    }
}
