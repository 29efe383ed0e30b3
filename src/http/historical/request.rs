//! Bodies and query parameters to a request.

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::accept::Format;
use crate::features::historical::{Entities, Error, Request};
use crate::features::retrieve::{Naming, Wanted};
use crate::features::write::load;

/// Of the entity rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_rows: usize,
    pub(super) max_bytes: usize,
}

/// What is wanted; in a body of JSON beside the rows, else in the query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    feature_service: Option<String>,
    features: Option<Vec<String>>,
    full_feature_names: bool,
    filter_by_created_timestamp: bool,
    entities: Option<Map<String, Value>>,
    rows: Option<Vec<Value>>,
}

pub(super) fn read(
    format: Format,
    query: &str,
    body: Bytes,
    limits: Limits,
) -> Result<Request, Error> {
    let Limits {
        max_rows,
        max_bytes,
    } = limits;
    let mut asked = match format {
        Format::Json => {
            serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?
        }
        Format::Parquet | Format::Arrow => of_query(query)?,
    };
    let entities = match format {
        Format::Parquet => Entities::of_parquet_body(body, max_rows, max_bytes)?,
        Format::Arrow => Entities::of_arrow_body(body, max_rows, max_bytes)?,
        Format::Json => rows(&mut asked)?,
    };
    let n_rows = entities.n_rows();
    if n_rows > max_rows {
        let limit = max_rows;
        return Err(Error::TooManyRows { n_rows, limit });
    }
    Ok(Request {
        wanted: wanted(asked.feature_service, asked.features)?,
        naming: match asked.full_feature_names {
            true => Naming::Full,
            false => Naming::Short,
        },
        entities,
        filter_by_created_timestamp: asked.filter_by_created_timestamp,
    })
}

fn malformed(problem: String) -> Error {
    Error::Malformed {
        problem: format!("not valid: {problem}"),
    }
}

fn of_query(query: &str) -> Result<Asked, Error> {
    let mut asked = Asked::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let flag = || match &*value {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(malformed(format!(
                "`{name}` is `{other}`, neither true nor false"
            ))),
        };
        match &*name {
            "feature_service" => asked.feature_service = Some(value.into_owned()),
            "features" => {
                let names = value.split(',').map(|name| name.trim().to_owned());
                asked.features.get_or_insert_default().extend(names);
            }
            "full_feature_names" => asked.full_feature_names = flag()?,
            "filter_by_created_timestamp" => asked.filter_by_created_timestamp = flag()?,
            other => return Err(malformed(format!("there is no parameter `{other}`"))),
        }
    }
    Ok(asked)
}

fn wanted(service: Option<String>, features: Option<Vec<String>>) -> Result<Wanted, Error> {
    match (service, features) {
        (Some(service), None) => Ok(Wanted::Service(service)),
        (None, Some(features)) => Ok(Wanted::Features(features)),
        (None, None) => Ok(Wanted::Features(Vec::new())),
        (Some(_), Some(_)) => Err(malformed(
            "both `feature_service` and `features` are given".to_owned(),
        )),
    }
}

/// Columns or rows.
fn rows(asked: &mut Asked) -> Result<Entities, Error> {
    let value = match (asked.entities.take(), asked.rows.take()) {
        (Some(columns), None) => {
            Value::Object(Map::from_iter([("df".to_owned(), Value::Object(columns))]))
        }
        (None, Some(rows)) => Value::Array(rows),
        _ => {
            return Err(malformed(
                "either `entities`, an object of columns, or `rows` is needed".to_owned(),
            ));
        }
    };
    let frame = load::from_json_value(value).map_err(|error| malformed(error.to_string()))?;
    Entities::of_json(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_rows: 2,
        max_bytes: 1 << 20,
    };

    fn json(body: &'static str) -> Result<Request, Error> {
        read(
            Format::Json,
            "",
            Bytes::from_static(body.as_bytes()),
            LIMITS,
        )
    }

    #[test]
    fn columns_and_rows_are_the_same() {
        let columns = json(
            r#"{"features": ["v:f"], "entities": {"k": [1, 2], "event_timestamp": ["2026-11-01", "2026-11-02"]}}"#,
        );
        let rows = json(
            r#"{"features": ["v:f"], "rows": [{"k": 1, "event_timestamp": "2026-11-01"}, {"k": 2, "event_timestamp": "2026-11-02"}]}"#,
        );
        let (columns, rows) = (columns.unwrap(), rows.unwrap());
        assert_eq!(columns.entities.schema(), rows.entities.schema());
        assert_eq!(columns.entities.n_rows(), 2);
        assert_eq!(columns.wanted, Wanted::Features(vec!["v:f".to_owned()]));
    }

    #[test]
    fn what_a_body_may_not_be_is_told() {
        for (body, wanted) in [
            ("[]", "not valid"),
            (r#"{"features": ["v:f"]}"#, "either `entities`"),
            (r#"{"featuers": []}"#, "unknown field `featuers`"),
            (
                r#"{"feature_service": "s", "features": [], "rows": [{"event_timestamp": "2026-11-01"}]}"#,
                "both",
            ),
            (
                r#"{"entities": {"k": [1], "event_timestamp": []}}"#,
                "of different lengths",
            ),
            (
                r#"{"rows": [{"event_timestamp": "2026-11-01"}, {}, {}]}"#,
                "more than the limit of 2",
            ),
        ] {
            let error = json(body).unwrap_err().to_string();
            assert!(error.contains(wanted), "{body}: {error}");
        }
    }

    #[test]
    fn parameters_of_other_bodies_are_in_the_query() {
        let asked =
            of_query("features=a:b,c:d&full_feature_names=true&filter_by_created_timestamp")
                .unwrap();
        assert_eq!(asked.features.unwrap(), ["a:b", "c:d"]);
        assert!(asked.full_feature_names && asked.filter_by_created_timestamp);
        assert!(of_query("full_feature_names=maybe").is_err());
        assert!(
            of_query("service=s")
                .unwrap_err()
                .to_string()
                .contains("no parameter `service`")
        );
    }
}
