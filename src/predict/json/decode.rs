//! The JSON body of `/v1` predict calls into columns. No I/O.
//!
//! Two forms, one at a time: column lists under `entities` and `inputs`, or flat objects in `rows`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{Error, FORMS};
use crate::types::cell::Cell;
use crate::types::names::repeated;
use crate::types::request::{Cells, ColumnPlace, ColumnsError, RequestColumn, RequestColumns};

/// A predict body, checked as far as that goes without the model.
#[derive(Debug)]
pub struct PredictBody {
    pub columns: RequestColumns,
    pub params: Option<Arc<RawValue>>,
    pub explain: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    entities: Option<Entries>,
    #[serde(default)]
    inputs: Option<Entries>,
    #[serde(default)]
    rows: Option<Vec<Entries>>,
    #[serde(default)]
    params: Option<Arc<RawValue>>,
    #[serde(default)]
    explain: bool,
}

/// The entries of an object in the order they came, repeated names and all.
struct Entries(Vec<(String, Cell)>);

/// A body of `/v1`, of at most `max_rows` rows.
pub fn predict_body(bytes: &[u8], max_rows: usize) -> Result<PredictBody, Error> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return Err(Error::BodyEmpty),
        Some(b'{') => {}
        Some(_) => return Err(not_an_object()),
    }
    let body: Body = serde_json::from_slice(bytes).map_err(|error| malformed(bytes, &error))?;
    let columns = match (body.rows, body.entities, body.inputs) {
        (Some(_), Some(_), _) => return Err(Error::TwoForms { other: "entities" }),
        (Some(_), None, Some(_)) => return Err(Error::TwoForms { other: "inputs" }),
        (None, None, None) => return Err(Error::NoForm),
        (Some(rows), None, None) => transpose(rows, max_rows)?,
        (None, entities, inputs) => {
            let mut columns = Vec::new();
            push_columns(&mut columns, ColumnPlace::Entities, entities);
            push_columns(&mut columns, ColumnPlace::Inputs, inputs);
            RequestColumns::new(columns, max_rows)?
        }
    };
    Ok(PredictBody {
        columns,
        params: body.params,
        explain: body.explain,
    })
}

fn push_columns(columns: &mut Vec<RequestColumn>, place: ColumnPlace, entries: Option<Entries>) {
    for (name, cell) in entries.map_or_else(Vec::new, |entries| entries.0) {
        let cells = match cell {
            Cell::List(cells) => Cells::List(cells),
            cell => Cells::Scalar(cell),
        };
        columns.push(RequestColumn { place, name, cells });
    }
}

/// Row objects into columns; the first row says which columns there are.
fn transpose(rows: Vec<Entries>, max_rows: usize) -> Result<RequestColumns, Error> {
    let n_rows = rows.len();
    let mut rows = rows.into_iter();
    let Entries(first) = rows.next().ok_or(ColumnsError::NoRows)?;
    let unequal = |row, problem, name| Error::RowColumns { row, problem, name };
    if let Some(name) = repeated(first.iter().map(|(name, _)| name)) {
        return Err(unequal(0, "twice the column", name.clone()));
    }
    let mut columns: Vec<(String, Vec<Cell>)> = Vec::with_capacity(first.len());
    for (name, cell) in first {
        columns.push((name, vec![cell]));
    }
    // Made once a row does not repeat the order of the first one.
    let mut places: Option<HashMap<String, usize>> = None;
    for (row, Entries(entries)) in rows.enumerate() {
        let row = row + 1;
        for (place, (name, cell)) in entries.into_iter().enumerate() {
            let known = match columns.get(place) {
                Some((expected, _)) if *expected == name => Some(place),
                _ => {
                    let places = places.get_or_insert_with(|| places_of(&columns));
                    places.get(&name).copied()
                }
            };
            match known {
                Some(index) if columns[index].1.len() == row => columns[index].1.push(cell),
                Some(_) => return Err(unequal(row, "twice the column", name)),
                None => return Err(unequal(row, "a column that row 0 has not,", name)),
            }
        }
        if let Some((name, _)) = columns.iter().find(|(_, cells)| cells.len() == row) {
            return Err(unequal(row, "no column", name.clone()));
        }
    }
    let columns = columns.into_iter().map(|(name, cells)| RequestColumn {
        place: ColumnPlace::Rows,
        name,
        cells: Cells::List(cells),
    });
    Ok(RequestColumns::with_rows(
        columns.collect(),
        n_rows,
        max_rows,
    )?)
}

fn places_of(columns: &[(String, Vec<Cell>)]) -> HashMap<String, usize> {
    let columns = columns.iter().enumerate();
    columns.map(|(at, (name, _))| (name.clone(), at)).collect()
}

#[cold]
fn not_an_object() -> Error {
    let message = "it does not start like a JSON object".to_owned();
    Error::BodyMalformed {
        path: String::new(),
        message,
        hint: FORMS,
    }
}

/// Says what is wrong and where: reads the body a second time, tracking the path.
#[cold]
fn malformed(bytes: &[u8], error: &serde_json::Error) -> Error {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let path = match serde_path_to_error::deserialize::<_, Body>(&mut deserializer) {
        Ok(_) => String::new(),
        Err(error) => shortened(error.path()),
    };
    let rest = offset(bytes, error.line(), error.column()).map_or(&[][..], |at| &bytes[at..]);
    let names_no_number = ["NaN", "Infinity", "-Infinity", "nan", "inf"];
    let message = error.to_string();
    let hint = if names_no_number
        .iter()
        .any(|word| rest.starts_with(word.as_bytes()))
    {
        "JSON has no NaN and no Infinity; send null for a missing number"
    } else if message.starts_with("number out of range") {
        "numbers go up to about 1.8e308"
    } else if error.is_syntax() || error.is_eof() {
        "send one JSON object"
    } else if message.starts_with("unknown field") || message.starts_with("duplicate field") {
        "the fields are `entities`, `inputs`, `rows`, `params` and `explain`"
    } else {
        FORMS
    };
    Error::BodyMalformed {
        path,
        message,
        hint,
    }
}

/// The path without what the parser did not know yet, and no longer than helps.
fn shortened(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    let path = path.trim_end_matches('?').trim_end_matches('.');
    match path.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &path[..end]),
        None => path.to_owned(),
    }
}

/// Where in the body the parser stopped; it counts lines and columns from 1 and points behind what it read.
fn offset(bytes: &[u8], line: usize, column: usize) -> Option<usize> {
    let mut start = 0;
    for _ in 1..line {
        start += bytes[start..].iter().position(|byte| *byte == b'\n')? + 1;
    }
    let at = start + column.saturating_sub(1);
    // After `-` of `-Infinity` the parser stands one further.
    let at = if at > 0 && bytes.get(at - 1) == Some(&b'-') {
        at - 1
    } else {
        at
    };
    (at <= bytes.len()).then_some(at)
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of columns")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<String, Cell>()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    fn decode(body: &str) -> Result<PredictBody, Error> {
        predict_body(body.as_bytes(), 3)
    }

    fn refused(body: &str) -> (String, String) {
        let error = decode(body).unwrap_err();
        (
            error.code().to_owned(),
            format!("{error} | {}", error.hint().unwrap_or_default()),
        )
    }

    #[test]
    fn columns_and_rows_say_the_same() {
        let columns =
            decode(r#"{"entities": {"id": [1, 2]}, "inputs": {"km": [3.5, null]}}"#).unwrap();
        let rows = decode(r#"{"rows": [{"id": 1, "km": 3.5}, {"km": null, "id": 2}]}"#).unwrap();
        let cells = |body: PredictBody| -> Vec<(String, Cells)> {
            body.columns
                .columns()
                .iter()
                .map(|c| (c.name.clone(), c.cells.clone()))
                .collect()
        };
        assert_eq!(cells(columns), cells(rows));
    }

    #[test]
    fn many_columns_cost_no_more_than_their_bytes() {
        let columns = |open: &str, close: &str| {
            let columns: Vec<String> = (0..50_000).map(|n| format!("\"{n}\":1")).collect();
            format!("{open}{}{close}", columns.join(","))
        };
        assert!(decode(&columns("{\"inputs\":{", "}}")).is_ok());
        let rows = columns("{\"rows\":[{", "}]}");
        let backwards: Vec<String> = (0..50_000).rev().map(|n| format!("\"{n}\":1")).collect();
        let backwards = format!("}},{{{}}}]}}", backwards.join(","));
        assert!(decode(&rows.replace("}]}", &backwards)).is_ok());
    }

    #[test]
    fn a_refusal_names_the_place() {
        let cases = [
            (
                r#"{"entitys": {}}"#,
                "body_malformed",
                "unknown field `entitys`",
            ),
            (
                r#"{"inputs": {"a": {"b": 1}}}"#,
                "body_malformed",
                "at `inputs",
            ),
            (
                r#"{"inputs": {"a": [1, NaN]}}"#,
                "body_malformed",
                "JSON has no NaN",
            ),
            (
                r#"{"inputs": {"a": -Infinity}}"#,
                "body_malformed",
                "JSON has no NaN",
            ),
            (r#"{"inputs": {"a": 1}"#, "body_malformed", "EOF"),
            (
                r#"[{"a": 1}]"#,
                "body_malformed",
                "does not start like a JSON object",
            ),
            ("  ", "body_empty", "empty"),
            ("{}", "body_form_ambiguous", "neither"),
            (
                r#"{"rows": [], "inputs": {}}"#,
                "body_form_ambiguous",
                "beside `inputs`",
            ),
            (r#"{"rows": []}"#, "rows_empty", "no rows"),
            (
                r#"{"inputs": {"a": [1, 2, 3, 4]}}"#,
                "rows_too_many",
                "limit of 3",
            ),
            (
                r#"{"inputs": {"a": [1], "a": [2]}}"#,
                "column_duplicate",
                "`inputs.a` is given twice",
            ),
            (
                r#"{"inputs": {"a": [1], "b": [1, 2]}}"#,
                "column_lengths_unequal",
                "`inputs.b` has 2 values",
            ),
            (
                r#"{"rows": [{"a": 1}, {}]}"#,
                "row_columns_unequal",
                "row 1 has no column `a`",
            ),
            (
                r#"{"rows": [{"a": 1}, {"a": 1, "b": 2}]}"#,
                "row_columns_unequal",
                "row 1",
            ),
            (
                r#"{"rows": [{"a": 1, "a": 2}]}"#,
                "row_columns_unequal",
                "twice",
            ),
        ];
        for (body, code, part) in cases {
            let (actual, text) = refused(body);
            assert_eq!(actual, code, "{body}");
            assert!(text.contains(part), "{body}: {text}");
        }
    }
}
