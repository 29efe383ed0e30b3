//! The call that makes a version answer what was recorded: the rows of the event, its features as overrides.

use serde_json::{Map, Value, json};

/// Rows of a predict call.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    rows: Vec<Value>,
}

impl Request {
    /// Errors, with a reason, for events that cannot be asked again as rows.
    pub(super) fn of(event: &Value) -> Result<Self, String> {
        let n_rows = event["n_rows"].as_u64().unwrap_or(0);
        let n_rows = usize::try_from(n_rows).map_err(|error| error.to_string())?;
        let mut rows = vec![Map::new(); n_rows];
        for part in ["entities", "inputs", "rows"] {
            let Some(columns) = event[part].as_object() else {
                continue;
            };
            for (name, values) in columns {
                if name.is_empty() {
                    return Err("its input is an array without names".into());
                }
                put(&mut rows, name, values)?;
            }
        }
        for (feature, recorded) in event["features"].as_object().into_iter().flatten() {
            put_feature(&mut rows, feature, recorded)?;
        }
        Ok(Self {
            rows: rows.into_iter().map(Value::Object).collect(),
        })
    }

    pub(super) fn body(&self) -> Vec<u8> {
        json!({"rows": self.rows, "explain": true})
            .to_string()
            .into_bytes()
    }

    /// A feature of the answer that was read from a store: the event did not have it.
    pub(super) fn not_recorded(&self, answer: &Value) -> Option<String> {
        let mut features = answer["features"].as_object().into_iter().flatten();
        let read = features.find(|(_, feature)| {
            let statuses = feature["statuses"].as_array().into_iter().flatten();
            let mut statuses = statuses.filter_map(Value::as_str);
            statuses.any(|status| !matches!(status, "overridden" | "not_used" | "default"))
        });
        read.map(|(name, _)| name.clone())
    }
}

/// A list has one value per row; a scalar counts for every row.
fn put(rows: &mut [Map<String, Value>], name: &str, values: &Value) -> Result<(), String> {
    match values {
        Value::Array(values) if values.len() == rows.len() => {
            for (row, value) in rows.iter_mut().zip(values) {
                row.insert(name.to_owned(), value.clone());
            }
            Ok(())
        }
        Value::Array(values) => Err(format!(
            "`{name}` has {} values for {} rows",
            values.len(),
            rows.len()
        )),
        scalar => {
            for row in rows {
                row.insert(name.to_owned(), scalar.clone());
            }
            Ok(())
        }
    }
}

/// Overrides a feature by its long name, which no other view shares, with what the model was given.
fn put_feature(
    rows: &mut [Map<String, Value>],
    feature: &str,
    recorded: &Value,
) -> Result<(), String> {
    let name = feature.replacen(':', "__", 1);
    let short = feature.split_once(':').map_or(feature, |(_, short)| short);
    let values = recorded["values"].as_array();
    let statuses = recorded["statuses"].as_array();
    let (Some(values), Some(statuses)) = (values, statuses) else {
        return Err(format!(
            "feature `{feature}` was not recorded with values and statuses"
        ));
    };
    for ((row, value), status) in rows.iter_mut().zip(values).zip(statuses) {
        if status == "not_used" {
            continue;
        }
        // The caller's own override says the same under one of the two names; only one may stand.
        row.remove(short);
        row.insert(name.clone(), as_given(feature, value)?);
    }
    Ok(())
}

/// A missing number reached the model as NaN, which an override says with null.
fn as_given(feature: &str, value: &Value) -> Result<Value, String> {
    match value.as_str() {
        Some("NaN") => Ok(Value::Null),
        Some("Infinity" | "-Infinity") => Err(format!("feature `{feature}` was infinite")),
        _ => Ok(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_what_the_request_gave_and_the_features_that_were_read() {
        let event = json!({
            "n_rows": 2, "entities": {"driver_id": [1, 2]}, "inputs": {"trip_km": 3.5}, "rows": null,
            "features": {"stats:rate": {"values": [0.25, "NaN"], "statuses": ["present", "not_found"]}},
        });
        let request = Request::of(&event).unwrap();
        assert_eq!(
            request.rows,
            [
                json!({"driver_id": 1, "trip_km": 3.5, "stats__rate": 0.25}),
                json!({"driver_id": 2, "trip_km": 3.5, "stats__rate": null}),
            ]
        );
    }

    #[test]
    fn an_override_of_the_caller_stands_once() {
        let event = json!({
            "n_rows": 1, "inputs": {"rate": [0.5]},
            "features": {"stats:rate": {"values": [0.5], "statuses": ["overridden"]}},
        });
        assert_eq!(
            Request::of(&event).unwrap().rows,
            [json!({"stats__rate": 0.5})]
        );
    }

    #[test]
    fn what_cannot_be_asked_again_is_told() {
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
        ] {
            let error = Request::of(&event).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_feature_that_was_read_from_a_store_is_found() {
        let request = Request { rows: Vec::new() };
        let answer = json!({"features": {"v:a": {"statuses": ["overridden"]}, "v:b": {"statuses": ["overridden", "present"]}}});
        assert_eq!(request.not_recorded(&answer).as_deref(), Some("v:b"));
    }
}
