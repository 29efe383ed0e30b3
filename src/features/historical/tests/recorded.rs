//! `pit_joins.json`: entity rows in, rows out, as Feast's Postgres store gave them.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::*;
use crate::features::testing::recorded;

/// Where Feast's Postgres store is wrong: it repeats rows. What is right stands in the recording, too.
const REPEATED_BY_FEAST: [&str; 2] = [
    "keys whose texts concatenate to the same string",
    "exact duplicate source rows",
];
/// Has no entity rows: a scan, and no join.
const NO_JOIN: &str = "time range without entities";

/// Every recorded case: the same columns, the same rows, in the order of the entity rows.
pub(super) async fn every_case_is_as_feasts_postgres_store_has_it(store: &FeatureStore) {
    let recorded = recorded("pit_joins.json");
    let mut n_joined = 0;
    let mut n_refused = 0;
    for case in recorded["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if name == NO_JOIN || (name == "on demand view" && cfg!(not(feature = "datafusion"))) {
            continue;
        }
        let entities = entities_of(&case["entity_df"]);
        let outcome = table(store, request_of(case, entities.clone())).await;
        if let Some(error) = case["pg"]["error"].as_str() {
            let refused = outcome.unwrap_err();
            assert!(
                refused.code().starts_with(code_of(error)),
                "{name}: {refused}"
            );
            n_refused += 1;
            continue;
        }
        let table = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        let columns: Vec<&str> = columns(&case["pg"]).collect();
        let schema = table.schema();
        let found: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(found, columns, "{name}");
        let found = rows(&table);
        assert_eq!(found.len(), entities.n_rows(), "{name}");
        the_entity_rows_are_in_their_order(name, &entities, &table);
        let mut wanted = rows_of(&case["pg"]);
        let mut found = found;
        found.sort();
        wanted.sort();
        if REPEATED_BY_FEAST.contains(&name) {
            assert!(wanted.len() > found.len(), "{name}");
            assert!(
                found.iter().all(|row| wanted.contains(row)),
                "{name}: {found:?}"
            );
            if name == REPEATED_BY_FEAST[0] {
                wanted = rows_of(&case["file"]);
                wanted.sort();
                assert_eq!(found, wanted, "{name}");
            } else {
                // Of equal rows the first in the source, as in materialization.
                assert_eq!(found[0][2], "1", "{name}");
            }
        } else {
            assert_eq!(found, wanted, "{name}");
        }
        n_joined += 1;
    }
    let n_on_demand = usize::from(cfg!(feature = "datafusion"));
    assert_eq!((n_joined, n_refused), (18 + n_on_demand, 4));
}

fn request_of(case: &Json, entities: Entities) -> Request {
    let option = |name: &str| case["options"][name].as_bool().unwrap_or(false);
    let wanted = match case["feature_service"].as_str() {
        Some(service) => Wanted::Service(service.to_owned()),
        None => {
            let names = case["features"].as_array().unwrap().iter();
            Wanted::Features(
                names
                    .map(|name| name.as_str().unwrap().to_owned())
                    .collect(),
            )
        }
    };
    Request {
        wanted,
        naming: match option("full_feature_names") {
            true => Naming::Full,
            false => Naming::Short,
        },
        entities,
        filter_by_created_timestamp: option("filter_by_created_timestamp"),
    }
}

fn code_of(error: &str) -> &'static str {
    match error {
        "feast.errors.FeatureNameCollisionError" => "feature_names_collide",
        "psycopg.errors.UndefinedColumn" => "entity_key_missing",
        _ => "entity_time_",
    }
}

fn columns(frame: &Json) -> impl Iterator<Item = &str> {
    let names = frame["columns"].as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap())
}

/// A recorded frame as pandas had it.
fn entities_of(frame: &Json) -> Entities {
    let rows = frame["rows"].as_array().unwrap();
    let arrays = columns(frame).enumerate().map(|(i, name)| {
        let cells: Vec<&Json> = rows.iter().map(|row| &row[i]).collect();
        let array: ArrayRef = match frame["dtypes"][name].as_str().unwrap() {
            "int64" | "Int64" => Arc::new(
                cells
                    .iter()
                    .map(|cell| cell.as_i64())
                    .collect::<Int64Array>(),
            ),
            "float64" => Arc::new(
                cells
                    .iter()
                    .map(|cell| cell.as_f64())
                    .collect::<Float64Array>(),
            ),
            "object" => Arc::new(
                cells
                    .iter()
                    .map(|cell| cell.as_str())
                    .collect::<StringArray>(),
            ),
            "datetime64[ns]" => Arc::new(nanoseconds(&cells)),
            "datetime64[ns, UTC]" => Arc::new(nanoseconds(&cells).with_timezone("UTC")),
            "datetime64[ns, Europe/Paris]" => {
                Arc::new(nanoseconds(&cells).with_timezone("Europe/Paris"))
            }
            other => panic!("{other}"),
        };
        (name, array)
    });
    entities(arrays.collect())
}

fn nanoseconds(cells: &[&Json]) -> TimestampNanosecondArray {
    let nanos = |cell: &&Json| cell.as_str().map(|text| micros(text) * 1_000);
    cells.iter().map(nanos).collect()
}

fn micros(text: &str) -> i64 {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.as_microsecond(),
        Err(_) => {
            let naive: jiff::civil::DateTime = text.parse().unwrap();
            naive
                .to_zoned(jiff::tz::TimeZone::UTC)
                .unwrap()
                .timestamp()
                .as_microsecond()
        }
    }
}

fn the_entity_rows_are_in_their_order(name: &str, entities: &Entities, table: &RecordBatch) {
    let places: Vec<usize> = (0..entities.schema().fields().len()).collect();
    let given = entities.read(&places).unwrap().next().unwrap().unwrap();
    let found = table.project(&places).unwrap();
    assert_eq!(rows(&found), rows(&given), "{name}");
}

/// Cells as text: numbers of one value are equal whatever their type, NaN is a null, and times are microseconds.
fn rows(table: &RecordBatch) -> Vec<Vec<String>> {
    let cell = |column: &ArrayRef, row: usize| {
        if column.is_null(row) {
            return "null".to_owned();
        }
        match column.data_type() {
            DataType::Timestamp(..) => {
                let array = crate::features::offline::utc_micros(column).unwrap();
                array
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row)
                    .to_string()
            }
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            _ => arrow::util::display::array_value_to_string(column, row)
                .unwrap()
                .trim_end_matches(".0")
                .to_owned(),
        }
    };
    let row = |row| {
        table
            .columns()
            .iter()
            .map(|column| cell(column, row))
            .collect()
    };
    (0..table.num_rows()).map(row).collect()
}

fn rows_of(frame: &Json) -> Vec<Vec<String>> {
    let kinds: BTreeMap<&str, &str> = columns(frame)
        .map(|name| (name, frame["dtypes"][name].as_str().unwrap()))
        .collect();
    let names: Vec<&str> = columns(frame).collect();
    let cell = |(name, cell): (&&str, &Json)| match cell {
        Json::Null => "null".to_owned(),
        Json::String(text) if text == "NaN" => "null".to_owned(),
        Json::String(text) if kinds[name].starts_with("datetime64") => micros(text).to_string(),
        Json::String(text) => text.clone(),
        other => other.to_string().trim_end_matches(".0").to_owned(),
    };
    let rows = frame["rows"].as_array().unwrap().iter();
    rows.map(|row| {
        names
            .iter()
            .zip(row.as_array().unwrap())
            .map(cell)
            .collect()
    })
    .collect()
}
