//! Frames through the store and back.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::features::key::KeyValue;
use crate::features::{EntityRows, KeyColumn, Selection};
use crate::types::deadline::Deadline;
use crate::types::value::Value;

#[derive(Debug, Clone)]
struct Given {
    driver_id: i64,
    seconds: i64,
    speed: Option<f64>,
    zone: Option<String>,
    hits: i32,
}

fn given() -> impl Strategy<Value = Given> {
    (
        0_i64..8,
        0_i64..4_000_000_000,
        prop::option::of(-1e300..1e300),
        prop::option::of(".{0,8}"),
        any::<i32>(),
    )
        .prop_map(|(driver_id, seconds, speed, zone, hits)| Given {
            driver_id,
            seconds,
            speed,
            zone,
            hits,
        })
}

fn column(rows: &[Given], value: impl Fn(&Given) -> Json) -> Json {
    rows.iter().map(value).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_pushed_is_read(rows in prop::collection::vec(given(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(pushed_and_read(rows));
    }
}

async fn pushed_and_read(rows: Vec<Given>) {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let at = |row: &Given| json!(row.seconds * 1_000_000_000);
    let df = json!({
        "driver_id": column(&rows, |row| json!(row.driver_id)), "event_ts": column(&rows, at),
        "created_ts": column(&rows, at), "speed": column(&rows, |row| json!(row.speed)),
        "zone": column(&rows, |row| json!(row.zone)), "hits": column(&rows, |row| json!(row.hits)),
    });
    let written = push(&store, &df).await.unwrap();
    assert_eq!(written.rows, rows.len());
    let names = ["driver_live:speed", "driver_live:zone", "driver_live:hits"];
    let selection = Selection::Features(names.map(|name| name.parse().unwrap()).to_vec());
    let plan = store.plan(&selection).unwrap();
    for id in 0..8 {
        // SQLite keeps the last row that was written.
        let last = rows.iter().rev().find(|row| row.driver_id == id);
        let keys = EntityRows {
            n_rows: 1,
            columns: vec![Some(KeyColumn::Scalar(KeyValue::Int64(id)))],
        };
        let deadline = Deadline::after(std::time::Duration::from_secs(20));
        let read = store.online(&plan, &keys, deadline).await.unwrap();
        let values: Vec<&Value> = (0..3).map(|feature| &read.cell(0, feature).value).collect();
        let Some(last) = last else {
            assert_eq!(values, [&Value::Null; 3]);
            continue;
        };
        let speed = last.speed.map_or(Value::Null, Value::Double);
        let zone = last.zone.clone().map_or(Value::Null, Value::String);
        assert_eq!(values, [&speed, &zone, &Value::Int64(last.hits.into())]);
        let read_at = read.cell(0, 0).event_timestamp.unwrap();
        assert_eq!(read_at.as_seconds(), last.seconds);
    }
}
