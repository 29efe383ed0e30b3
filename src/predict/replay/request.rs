//! The call that makes a version answer what was recorded: the columns of the event, its features as overrides.

use serde::Deserialize;
use serde_json::Value;

use crate::predict::plan::ServingPlan;
use crate::types::cell::Cell;
use crate::types::request::{Cells, ColumnPlace, RequestColumn, RequestColumns};

/// In front of what a hash made of a value, and what a mask did (`audit::redact`).
const REDACTED: [&str; 2] = ["hmac-sha256:", "***"];

/// What an event says was asked.
#[derive(Debug)]
pub(super) struct Request {
    columns: Vec<RequestColumn>,
    /// Read, defaulted and overridden ones.
    features: Vec<Feature>,
    n_rows: usize,
}

/// A feature as the model was given it, in all rows.
#[derive(Debug)]
struct Feature {
    /// That no other view shares: `view__feature`.
    long: String,
    short: String,
    cells: Vec<Cell>,
}

impl Request {
    /// Errors, with a reason, for events that cannot be asked again.
    pub(super) fn of(event: &Value) -> Result<Self, String> {
        let n_rows = event["n_rows"].as_u64().unwrap_or(0);
        let n_rows = usize::try_from(n_rows).map_err(|error| error.to_string())?;
        let mut columns = Vec::new();
        for place in [
            ColumnPlace::Entities,
            ColumnPlace::Inputs,
            ColumnPlace::Rows,
        ] {
            for (name, values) in event[place.as_str()].as_object().into_iter().flatten() {
                columns.push(column(place, name, values, n_rows)?);
            }
        }
        let mut features = Vec::new();
        for (name, recorded) in event["features"].as_object().into_iter().flatten() {
            features.extend(feature(name, recorded)?);
        }
        Ok(Self {
            columns,
            features,
            n_rows,
        })
    }

    /// As the plan takes them: features that it has no use for stay away, as they would if they were read.
    pub(super) fn columns(mut self, plan: &ServingPlan) -> Result<RequestColumns, String> {
        for feature in self.features {
            let is_taken = plan
                .slots
                .get(&feature.long)
                .is_some_and(|slot| !slot.features.is_empty());
            if !is_taken {
                continue;
            }
            // The caller's own override says the same under one of the two names; only one may stand.
            self.columns
                .retain(|column| column.name != feature.short && column.name != feature.long);
            self.columns.push(RequestColumn {
                place: ColumnPlace::Inputs,
                name: feature.long,
                cells: Cells::List(feature.cells),
            });
        }
        RequestColumns::with_rows(self.columns, self.n_rows, usize::MAX)
            .map_err(|error| error.to_string())
    }
}

/// A list has one value per row; a scalar counts for every row.
fn column(
    place: ColumnPlace,
    name: &str,
    values: &Value,
    n_rows: usize,
) -> Result<RequestColumn, String> {
    if name.is_empty() {
        return Err("its input is an array without names".into());
    }
    if is_redacted(values) {
        return Err(format!("`{name}` was redacted"));
    }
    let cells = match cell(values)? {
        Cell::List(cells) if cells.len() == n_rows => Cells::List(cells),
        Cell::List(cells) => {
            return Err(format!(
                "`{name}` has {} values for {n_rows} rows",
                cells.len()
            ));
        }
        scalar => Cells::Scalar(scalar),
    };
    Ok(RequestColumn {
        place,
        name: name.to_owned(),
        cells,
    })
}

/// `None` where only some of the versions that answered took it: no value is known for the others' rows.
fn feature(name: &str, recorded: &Value) -> Result<Option<Feature>, String> {
    let values = recorded["values"].as_array();
    let statuses = recorded["statuses"].as_array();
    let (Some(values), Some(statuses)) = (values, statuses) else {
        return Err(format!(
            "feature `{name}` was not recorded with values and statuses"
        ));
    };
    if statuses.iter().any(|status| status == "not_used") {
        return Ok(None);
    }
    if values.iter().any(is_redacted) {
        return Err(format!("feature `{name}` was redacted"));
    }
    let cells = values.iter().map(|value| as_given(name, value));
    Ok(Some(Feature {
        long: name.replacen(':', "__", 1),
        short: name
            .split_once(':')
            .map_or(name, |(_, short)| short)
            .to_owned(),
        cells: cells.collect::<Result<_, _>>()?,
    }))
}

/// A missing number reached the model as NaN, which an override says with null.
fn as_given(feature: &str, value: &Value) -> Result<Cell, String> {
    match value.as_str() {
        Some("NaN") => Ok(Cell::Null),
        Some("Infinity" | "-Infinity") => Err(format!("feature `{feature}` was infinite")),
        _ => cell(value),
    }
}

fn cell(value: &Value) -> Result<Cell, String> {
    Cell::deserialize(value).map_err(|error| error.to_string())
}

/// Whether a rule of `audit.redact` made the value, or values in the list, unreadable.
pub(super) fn is_redacted(value: &Value) -> bool {
    match value {
        Value::String(text) => text == REDACTED[1] || text.starts_with(REDACTED[0]),
        Value::Array(values) => values.iter().any(is_redacted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(request: &Request) -> Vec<(&str, &str)> {
        let columns = request.columns.iter();
        columns
            .map(|column| (column.place.as_str(), column.name.as_str()))
            .collect()
    }

    #[test]
    fn a_request_has_what_was_given_and_the_features_that_were_read() {
        let event = json!({
            "n_rows": 2, "entities": {"driver_id": [1, 2]}, "inputs": {"trip_km": 3.5}, "rows": null,
            "features": {"stats:rate": {"values": [0.25, "NaN"], "statuses": ["present", "not_found"]}},
        });
        let request = Request::of(&event).unwrap();
        assert_eq!(
            names(&request),
            [("entities", "driver_id"), ("inputs", "trip_km")]
        );
        assert_eq!(request.columns[1].cells, Cells::Scalar(Cell::Float(3.5)));
        let [feature] = &request.features[..] else {
            panic!("{request:?}")
        };
        assert_eq!(
            (feature.long.as_str(), feature.short.as_str()),
            ("stats__rate", "rate")
        );
        assert_eq!(feature.cells, [Cell::Float(0.25), Cell::Null]);
    }

    #[test]
    fn a_feature_that_only_some_rows_were_given_counts_as_not_recorded() {
        let event = json!({
            "n_rows": 2, "rows": {"rate": [0.5, 0.5]},
            "features": {"stats:rate": {"values": [0.5, null], "statuses": ["present", "not_used"]}},
        });
        let request = Request::of(&event).unwrap();
        assert_eq!(names(&request), [("rows", "rate")]);
        assert!(request.features.is_empty());
    }

    #[test]
    fn what_cannot_be_asked_again_is_told() {
        let hash = format!("{}{}", REDACTED[0], "0".repeat(64));
        for (event, reason) in [
            (
                json!({"n_rows": 1, "inputs": {"": [[1.0]]}}),
                "array without names",
            ),
            (
                json!({"n_rows": 2, "inputs": {"x": [1.0]}}),
                "1 values for 2 rows",
            ),
            (
                json!({"n_rows": 1, "features": {"v:f": {"values": ["Infinity"], "statuses": ["present"]}}}),
                "was infinite",
            ),
            (
                json!({"n_rows": 1, "rows": {"email": [hash]}}),
                "`email` was redacted",
            ),
            (
                json!({"n_rows": 1, "features": {"v:f": {"values": ["***"], "statuses": ["present"]}}}),
                "feature `v:f` was redacted",
            ),
            (
                json!({"n_rows": 1, "features": {"v:f": {"statuses": ["present"]}}}),
                "not recorded with values",
            ),
        ] {
            let error = Request::of(&event).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
