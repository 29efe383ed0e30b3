//! The statements: which columns, which rows, in whose order.

use super::super::Error;
use super::super::history::PointInTime;
use super::super::pull::{Column, PullLatest};
use super::decode::Wire;
use super::entities::TABLE;
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
    Ok(bracketed(query))
}

/// A query as it stands behind FROM.
pub(super) fn bracketed(query: &str) -> String {
    let query = query.trim().trim_end_matches(';');
    // A comment at the query's end must not swallow the bracket.
    format!("({query}\n)")
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
    /// The name of the column's own type.
    pub(super) kind: String,
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
        Self {
            sql,
            wire,
            kind: kind.to_owned(),
        }
    }

    /// A feature as it is, where its type is one that `Wire` knows; a number of any size as floating point, whole where
    /// whole numbers are wanted; else as the database writes it.
    pub(super) fn feature(column: &Column, kind: &str) -> Self {
        let name = quoted(&column.name);
        if let Some(wire) = Wire::of(kind) {
            return Self {
                sql: name,
                wire,
                kind: kind.to_owned(),
            };
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
        Self {
            sql,
            wire,
            kind: kind.to_owned(),
        }
    }

    pub(super) fn time(name: &str) -> Self {
        Self {
            sql: format!("{}::timestamptz", quoted(name)),
            wire: Wire::Timestamp,
            kind: String::new(),
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

/// What a tie is decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The place of a row in its table.
    Place,
    /// Nothing: the first that is read.
    AsRead,
}

/// A point-in-time join. `columns` are keys, features, event and created timestamp, as of the pull.
pub(super) struct Join<'a> {
    pub(super) join: &'a PointInTime,
    pub(super) source: &'a str,
    pub(super) columns: &'a [Selected],
    pub(super) order: Order,
    /// The oldest moment that counts for any entity row, and the last time of one, as the database writes them: with what it
    /// would compute itself its planner takes the source for a small one.
    pub(super) range: (String, String),
}

/// Nobody's column, unlike the names in a source.
const ENTITY: &str = "terrarium_entity";

impl Join<'_> {
    /// For each entity row the newest of the source's rows: few rows and an index, or a small source.
    pub(super) fn lateral(&self) -> String {
        let (features, names) = self.features();
        let view = &self.join.view;
        let time = quoted(&view.source.timestamp_field);
        let mut wheres = self.equal_keys();
        wheres.push(format!("{time} <= {ENTITY}.t"));
        wheres.push(format!("{time} >= {ENTITY}.lo"));
        wheres.push(format!("{time} > '-infinity'"));
        let mut order = vec![format!("{time} DESC")];
        if let Some(created) = view.created() {
            let created = quoted(created);
            if self.join.needs_created() {
                wheres.push(format!("{created} <= {ENTITY}.t"));
            }
            order.push(format!("{created} DESC NULLS LAST"));
        }
        if self.order == Order::Place {
            order.push("source.ctid".to_owned());
        }
        format!(
            "SELECT {} FROM {TABLE} AS {ENTITY} LEFT JOIN LATERAL (SELECT {} FROM {} AS source WHERE {} ORDER BY {} \
             LIMIT 1) AS found ON true ORDER BY {ENTITY}.n",
            names.join(", "),
            features.join(", "),
            self.source,
            wheres.join(" AND "),
            order.join(", "),
        )
    }

    /// All rows of both in one order, in which each entity row finds the rank of the newest before it: many rows.
    pub(super) fn window(&self) -> String {
        let view = &self.join.view;
        let n_keys = view.keys.len();
        let (features, names) = self.features();
        let time = quoted(&view.source.timestamp_field);
        let keys: Vec<String> = (0..n_keys).map(|i| format!("k{i}")).collect();
        let selected = (0..n_keys).map(|i| format!("{} AS k{i}", self.columns[i].sql));
        let selected: Vec<String> = selected.collect();
        let created = view
            .created()
            .map(|name| format!("{}::timestamptz", quoted(name)));
        let mut wheres = vec![
            format!("{time} <= '{}'::timestamptz", self.range.1),
            format!("{time} >= '{}'::timestamptz", self.range.0),
            format!("{time} > '-infinity'"),
        ];
        wheres.extend((0..n_keys).map(|i| format!("{} IS NOT NULL", self.columns[i].sql)));
        let mut moment = "found_at".to_owned();
        if let (true, Some(created)) = (self.join.needs_created(), &created) {
            wheres.push(format!("{created} IS NOT NULL"));
            moment = "greatest(found_at, created_at)".to_owned();
        }
        let place = match self.order {
            Order::Place => "source.ctid",
            Order::AsRead => "row_number() OVER ()",
        };
        let created = created.unwrap_or_else(|| "NULL::timestamptz".to_owned());
        let read: Vec<String> = selected
            .iter()
            .chain(&features)
            .cloned()
            .chain([
                format!("{created} AS created_at"),
                format!("{place} AS place"),
            ])
            .collect();
        let by = |columns: &[String]| match columns {
            [] => String::new(),
            columns => format!("PARTITION BY {} ", columns.join(", ")),
        };
        let by_key = by(&keys);
        let listed = |columns: &[String]| -> String {
            columns.iter().map(|column| format!("{column}, ")).collect()
        };
        let columns = listed(&keys);
        let same = (0..n_keys).map(|i| format!("ranked.k{i} = marked.k{i} AND "));
        let same: String = same.collect();
        let entity_keys: Vec<String> = (0..n_keys).map(|i| self.entity_key(i)).collect();
        let entity_columns = listed(&entity_keys);
        let found: Vec<String> = names
            .iter()
            .map(|name| name.replacen("found.", "ranked.", 1))
            .collect();
        format!(
            "WITH ranked AS (SELECT *, row_number() OVER ({by_key}ORDER BY found_at, created_at NULLS FIRST, place DESC) AS newest \
             FROM (SELECT {} FROM {} AS source WHERE {}) AS read), \
             marked AS (SELECT n, {columns}lo, max(newest) OVER ({by_key}ORDER BY moment, is_entity ROWS UNBOUNDED PRECEDING) AS newest \
             FROM (SELECT NULL::int8 AS n, {columns}NULL::timestamptz AS lo, newest, {moment} AS moment, 0 AS is_entity FROM ranked \
             UNION ALL SELECT n, {entity_columns}lo, NULL::int8, t, 1 FROM {TABLE} AS {ENTITY}) AS both_kinds) \
             SELECT {} FROM marked LEFT JOIN ranked ON {same}ranked.newest = marked.newest AND ranked.found_at >= marked.lo \
             WHERE marked.n IS NOT NULL ORDER BY marked.n",
            read.join(", "),
            self.source,
            wheres.join(" AND "),
            found.join(", "),
        )
    }

    /// What is read of a source row, and what it is called then: the features and `found_at`.
    fn features(&self) -> (Vec<String>, Vec<String>) {
        let n_keys = self.join.view.keys.len();
        let n_features = self.join.view.features.len();
        let features = &self.columns[n_keys..n_keys + n_features];
        let mut read: Vec<String> = Vec::with_capacity(n_features + 1);
        let mut names = Vec::with_capacity(n_features + 1);
        for (i, feature) in features.iter().enumerate() {
            read.push(format!("{} AS f{i}", feature.sql));
            names.push(format!("found.f{i}"));
        }
        let time = &self.columns[n_keys + n_features].sql;
        read.push(format!("{time} AS found_at"));
        names.push("found.found_at".to_owned());
        (read, names)
    }

    /// A key of the entity rows as the source's is compared.
    fn entity_key(&self, i: usize) -> String {
        let is_bytes = self.join.view.keys[i].field.value_type == ValueType::Bytes;
        match self.columns[i].wire {
            Wire::Text if is_bytes => {
                format!("(convert_from({ENTITY}.k{i}, 'UTF8') COLLATE \"C\")")
            }
            Wire::Text => format!("({ENTITY}.k{i} COLLATE \"C\")"),
            _ => format!("{ENTITY}.k{i}"),
        }
    }

    /// Written so that an index on the source's own column can be used, where the comparison is the same.
    fn equal_keys(&self) -> Vec<String> {
        let mut equal = Vec::new();
        for (i, (key, column)) in self.join.view.keys.iter().zip(self.columns).enumerate() {
            let name = quoted(&key.name);
            match column.kind.as_str() {
                "INT2" | "INT4" | "INT8" if column.wire != Wire::Text => {
                    equal.push(format!("{name} = {ENTITY}.k{i}"));
                    continue;
                }
                // The column's collation may find more; the exact comparison follows.
                "TEXT" | "VARCHAR" if key.field.value_type != ValueType::Bytes => {
                    equal.push(format!("{name}::text = {ENTITY}.k{i}"))
                }
                _ => {}
            }
            equal.push(format!("{} = {}", column.sql, self.entity_key(i)));
        }
        equal
    }
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
