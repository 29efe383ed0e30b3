//! The statements: which columns, which rows, in whose order.

use super::super::Error;
use super::super::pull::{Column, PullLatest};
use super::decode::Wire;
use crate::features::definitions::{SourceKind, ValueType};
use crate::types::timestamp::Timestamp;

/// What stands behind FROM.
pub(super) fn source(pull: &PullLatest) -> Result<String, Error> {
    let SourceKind::Postgres { query, table } = &pull.source.kind else {
        return Err(pull.unsupported("a source that is not in Postgres".to_owned()));
    };
    if query.trim().is_empty() {
        return match is_table_name(table) {
            true => Ok(table.clone()),
            false => Err(pull.unsupported(format!("the table `{table}`, which is not a name"))),
        };
    }
    let query = query.trim().trim_end_matches(';');
    // A comment at the query's end must not swallow the bracket.
    Ok(format!("({query}\n)"))
}

/// Names, each with quotes or without, between dots.
fn is_table_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut rest = text;
    loop {
        let length = match rest.strip_prefix('"') {
            Some(quoted) => match quoted.find('"') {
                Some(0) | None => return false,
                Some(length) => length + 2,
            },
            None => rest.find(|c| !is_plain(c)).unwrap_or(rest.len()),
        };
        if length == 0 {
            return false;
        }
        rest = &rest[length..];
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None => return rest.is_empty(),
        }
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A statement that has every column of the source, and no rows: to learn their types.
pub(super) fn probe(source: &str) -> String {
    format!("SELECT * FROM {source} AS source LIMIT 0")
}

/// A column of the pull in the database: its expression, and how its values come over the wire.
#[derive(Debug, Clone)]
pub(super) struct Selected {
    pub(super) sql: String,
    pub(super) wire: Wire,
}

impl Selected {
    /// A join key, in the type that its entity keys are made of: keys that are equal in the store must be equal here.
    /// `kind` is the name of the column's type.
    pub(super) fn key(column: &Column, kind: &str) -> Self {
        let name = quoted(&column.name);
        let is_fraction = matches!(kind, "FLOAT4" | "FLOAT8" | "NUMERIC");
        let whole = |to: &str| match is_fraction {
            true => format!("trunc({name})::{to}"),
            false => format!("{name}::{to}"),
        };
        let (sql, wire) = match column.field.value_type {
            ValueType::Int32 => (whole("int4"), Wire::Int4),
            ValueType::Int64 => (whole("int8"), Wire::Int8),
            ValueType::Bytes if kind == "BYTEA" => (name, Wire::Bytes),
            ValueType::UnixTimestamp if matches!(kind, "TIMESTAMP" | "TIMESTAMPTZ" | "DATE") => (
                format!("floor(extract(epoch FROM {name}))::int8"),
                Wire::Int8,
            ),
            ValueType::UnixTimestamp => (whole("int8"), Wire::Int8),
            // Byte order is the fastest, and tells apart what a collation might not.
            _ => (format!("({name}::text COLLATE \"C\")"), Wire::Text),
        };
        Self { sql, wire }
    }

    /// A feature as it is, where its type is one that `Wire` knows; a number of any size as floating point, whole where
    /// whole numbers are wanted; else as the database writes it.
    pub(super) fn feature(column: &Column, kind: &str) -> Self {
        let name = quoted(&column.name);
        if let Some(wire) = Wire::of(kind) {
            return Self { sql: name, wire };
        }
        let wanted = column.field.value_type;
        let (sql, wire) = match (kind, wanted) {
            ("NUMERIC", ValueType::Double | ValueType::Float) => {
                (format!("{name}::float8"), Wire::Float8)
            }
            ("NUMERIC", ValueType::Int32 | ValueType::Int64 | ValueType::UnixTimestamp) => {
                (format!("trunc({name})::int8"), Wire::Int8)
            }
            (
                "NUMERIC[]",
                ValueType::DoubleList
                | ValueType::FloatList
                | ValueType::DoubleSet
                | ValueType::FloatSet,
            ) => (format!("{name}::float8[]"), Wire::Float8s),
            (
                "NUMERIC[]",
                ValueType::Int32List
                | ValueType::Int64List
                | ValueType::Int32Set
                | ValueType::Int64Set,
            ) => (format!("{name}::int8[]"), Wire::Int8s),
            (kind, _) if kind.ends_with("[]") => (format!("{name}::text[]"), Wire::Texts),
            _ => (format!("{name}::text"), Wire::Text),
        };
        Self { sql, wire }
    }

    pub(super) fn time(name: &str) -> Self {
        Self {
            sql: format!("{}::timestamptz", quoted(name)),
            wire: Wire::Timestamp,
        }
    }
}

/// The newest row of every key. `columns` are those of the pull, in order.
pub(super) fn newest(pull: &PullLatest, source: &str, columns: &[Selected]) -> String {
    let n_keys = pull.keys.len();
    let mut inner = Vec::with_capacity(columns.len() + 1);
    let mut outer = Vec::with_capacity(columns.len());
    for (i, column) in columns.iter().enumerate() {
        inner.push(format!("{} AS c{i}", column.sql));
        outer.push(format!("c{i}"));
    }
    let positions = pull.position();
    let mut order: Vec<String> = (0..n_keys).map(|i| format!("c{i} NULLS FIRST")).collect();
    order.push(format!("c{} DESC", positions.event_timestamp));
    if let Some(created) = positions.created_timestamp {
        order.push(format!("c{created} DESC NULLS LAST"));
    }
    // The source order: the window has no order of its own, so it numbers rows as they are read.
    inner.push("row_number() OVER () AS source_order".to_owned());
    order.push("source_order".to_owned());
    let time = quoted(&pull.source.timestamp_field);
    let (distinct, limit) = match n_keys {
        0 => (String::new(), " LIMIT 1"),
        n => {
            let keys: Vec<String> = (0..n).map(|i| format!("c{i}")).collect();
            (format!("DISTINCT ON ({}) ", keys.join(", ")), "")
        }
    };
    format!(
        "SELECT {distinct}{} FROM (SELECT {} FROM {source} AS source WHERE {time} >= {} AND {time} <= {}) AS numbered \
         ORDER BY {}{limit}",
        outer.join(", "),
        inner.join(", "),
        literal(pull.start),
        literal(pull.end),
        order.join(", "),
    )
}

/// A moment; far outside the calendar of Postgres it is infinite.
fn literal(moment: Timestamp) -> String {
    const YEAR_1: i64 = -62_135_596_800_000_000;
    const YEAR_9999: i64 = 253_402_214_400_000_000;
    let text = match moment.as_micros() {
        micros if micros < YEAR_1 => "-infinity".to_owned(),
        micros if micros > YEAR_9999 => "infinity".to_owned(),
        _ => moment.to_string(),
    };
    format!("'{text}'::timestamptz")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::definitions::Field;

    #[test]
    fn a_table_is_a_name_and_nothing_else() {
        for name in [
            "trips",
            "public.trips",
            "\"Odd name\".\"t.t\"",
            "a.b.c",
            "größe",
        ] {
            assert!(is_table_name(name), "{name}");
        }
        for text in [
            "",
            ".",
            "a.",
            "a b",
            "a; DROP TABLE b",
            "\"\"",
            "\"a\"b",
            "a--",
        ] {
            assert!(!is_table_name(text), "{text}");
        }
    }

    #[test]
    fn keys_are_compared_as_the_store_compares_them() {
        let key = |value_type, kind| {
            let field = Field {
                name: "k".into(),
                value_type,
            };
            Selected::key(
                &Column {
                    field,
                    name: "k".into(),
                },
                kind,
            )
            .sql
        };
        assert_eq!(key(ValueType::Int64, "INT4"), "\"k\"::int8");
        assert_eq!(key(ValueType::Int64, "FLOAT8"), "trunc(\"k\")::int8");
        assert_eq!(
            key(ValueType::String, "citext"),
            "(\"k\"::text COLLATE \"C\")"
        );
    }

    #[test]
    fn a_moment_outside_the_calendar_is_infinite() {
        assert_eq!(
            literal(Timestamp::EPOCH),
            "'1970-01-01T00:00:00Z'::timestamptz"
        );
        assert_eq!(
            literal(Timestamp::from_micros(i64::MAX)),
            "'infinity'::timestamptz"
        );
        assert_eq!(
            literal(Timestamp::from_micros(i64::MIN)),
            "'-infinity'::timestamptz"
        );
    }
}
