//! Pushes against what Feast's server stored for the same bodies.

mod conversions;
mod loading;
mod offline;
mod on_demand;
mod round_trip;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use sqlx::Row as _;

use super::super::testing::{TestRepo, hex, recorded, unhex};
use super::super::{Error as FeatureError, FeatureStore, codec};
use super::*;
use crate::error::{ErrorClass, Failure};
use crate::features::key::KeyVersion;
use crate::features::registry::Registry;
use crate::features::testing::fixture;

fn frame(json: &Json) -> Frame {
    let columns = json.as_object().unwrap().iter();
    columns
        .map(|(name, values)| (name.clone(), values.as_array().unwrap().clone()))
        .collect()
}

/// A push of one row to driver_live.
fn live(driver_id: i64, event_ts: &str, speed: f64) -> Json {
    json!({
        "driver_id": [driver_id], "event_ts": [event_ts], "created_ts": ["2024-03-05T10:00:01"],
        "speed": [speed], "zone": ["w"], "hits": [9],
    })
}

async fn push(store: &FeatureStore, df: &Json) -> Result<Written, FeatureError> {
    store
        .push("driver_live_push", frame(df), PushTarget::Online)
        .await
}

/// Feature to (value in hex, text, event_ts, created_ts) of one key in one table.
type Cells = BTreeMap<String, (String, Json, Json, Json)>;

async fn stored(repo: &TestRepo, view: &str, key: &str) -> Cells {
    let url = format!("sqlite:{}", repo.path("online.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let sql = format!(
        "SELECT feature_name, value, value_text, event_ts, created_ts FROM \"ride_ops_{view}\" WHERE hex(entity_key) = upper('{key}')"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&pool).await;
    let cell = |row: &sqlx::sqlite::SqliteRow| {
        let number = |i: usize| Json::from(row.get_unchecked::<Option<i64>, _>(i));
        let text = Json::from(row.get_unchecked::<Option<String>, _>(2));
        let value = hex(&row.get_unchecked::<Vec<u8>, _>(1));
        let name: String = row.get_unchecked(0);
        (name, (value, text, number(3), number(4)))
    };
    rows.unwrap().iter().map(cell).collect()
}

fn driver(id: i64) -> String {
    let key = &format!(
        "0100000002000000090000006472697665725f69640400000008000000{}",
        hex(&id.to_le_bytes())
    );
    key.clone()
}

/// The write requests of a recording, with their statuses.
fn recorded_writes(file: &str) -> Vec<(String, Json, u64)> {
    let recording = recorded(file);
    let cases = recording["cases"].as_array().unwrap().iter();
    let writes = cases.filter(|case| {
        let path = case["request"]["path"].as_str().unwrap();
        path == "/push" || path == "/write-to-online-store"
    });
    writes
        .map(|case| {
            (
                case["name"].as_str().unwrap().to_owned(),
                case["request"]["body"].clone(),
                case["response"]["status"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn the_recorded_pushes_leave_in_sqlite_what_feast_left() {
    let repo = TestRepo::ride_ops();
    fs_err::copy(fixture("online_store.sqlite.db"), repo.path("online.db")).unwrap();
    let store = repo.open().await;
    for (name, body, status) in recorded_writes("http_sqlite.json") {
        if body["push_source_name"].is_string() {
            assert_eq!(status, 200, "{name}");
            push(&store, &body["df"]).await.unwrap();
        }
    }
    let dump = recorded("sqlite_dump_after_http.json");
    let rows = dump["ride_ops_driver_live"]["rows"].as_array().unwrap();
    let mut keys: BTreeMap<&str, Cells> = BTreeMap::new();
    for row in rows {
        let key = row["entity_key"]["hex"].as_str().unwrap();
        let cell = (
            row["value"]["hex"].as_str().unwrap().to_owned(),
            row["value_text"].clone(),
            row["event_ts"].clone(),
            row["created_ts"].clone(),
        );
        let name = row["feature_name"].as_str().unwrap().to_owned();
        keys.entry(key).or_default().insert(name, cell);
    }
    assert!(keys.len() >= 2);
    for (key, cells) in keys {
        assert_eq!(stored(&repo, "driver_live", key).await, cells);
    }
}

/// Redis as Feast sees it: key to field to value, fields by name.
type Hashes = BTreeMap<Vec<u8>, BTreeMap<String, String>>;

fn hashes(file: &str) -> Hashes {
    let mut hashes = Hashes::new();
    for key in recorded(file)["keys"].as_array().unwrap() {
        let fields = hashes
            .entry(unhex(key["key_hex"].as_str().unwrap()))
            .or_default();
        for field in key["fields"].as_array().unwrap() {
            let name = field["hashed_string"]
                .as_str()
                .or(field["field_text"].as_str());
            let value = field["value_hex"].as_str().unwrap().to_owned();
            fields.insert(name.unwrap().to_owned(), value);
        }
    }
    hashes
}

/// Writes rows as the Redis store does: one that is not newer is passed over.
fn write_to(hashes: &mut Hashes, rows: ViewRows) {
    for row in rows.rows {
        let mut key = row.key;
        key.extend_from_slice(b"ride_ops");
        let fields = hashes.entry(key).or_default();
        let field = format!("_ts:{}", rows.stored.name);
        if let Some(known) = fields.get(&field)
            && codec::decode_timestamp(&unhex(known)).unwrap() >= row.event_timestamp
        {
            continue;
        }
        let mut bytes = Vec::new();
        codec::encode_timestamp(row.event_timestamp, &mut bytes);
        fields.insert(field, hex(&bytes));
        for (feature, value) in rows.stored.features.iter().zip(&row.values) {
            bytes.clear();
            codec::encode(value, &mut bytes);
            fields.insert(format!("{}:{feature}", rows.stored.name), hex(&bytes));
        }
    }
}

fn rules() -> Rules {
    Rules {
        key_version: KeyVersion::V3,
        versioned_views: false,
        serve_while_materializing: false,
    }
}

#[test]
fn the_recorded_writes_leave_in_redis_what_feast_left() {
    let registry = Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap();
    let mut hashes_now = hashes("redis_v3.json");
    let mut n_writes = 0;
    for (name, body, status) in recorded_writes("http_redis.json") {
        let view = match body["feature_view_name"].as_str() {
            Some(view) => registry.feature_view(view),
            None => match body["push_source_name"].as_str() {
                Some("driver_live_push") => registry.feature_view("driver_live"),
                _ => None,
            },
        };
        let (Some(view), true) = (view, body["df"].is_object()) else {
            continue;
        };
        if body["to"] == "offline" || body["to"] == "sideways" {
            continue;
        }
        let frame = frame(&body["df"]);
        let rows = frame
            .n_rows()
            .map_err(FeatureError::from)
            .and_then(|n| match n {
                0 => Ok(None),
                _ => rows::of_view(view, &frame, rules()),
            });
        assert_eq!(rows.is_ok(), status == 200, "{name}: {rows:?}");
        if let Ok(Some(rows)) = rows {
            write_to(&mut hashes_now, rows);
            n_writes += 1;
        }
    }
    assert!(n_writes >= 7, "{n_writes}");
    for (key, fields) in hashes("redis_v3_after_http.json") {
        for (name, value) in fields {
            let view = name.strip_prefix("_ts:").unwrap_or(&name);
            if view.starts_with("driver_live") || view.starts_with("driver_scalars") {
                assert_eq!(hashes_now[&key][&name], value, "{} {name}", hex(&key));
            }
        }
    }
}

#[tokio::test]
async fn what_the_recorded_server_refused_is_refused_with_a_code_of_its_own() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let codes = BTreeMap::from([
        (
            "push with timestamps of mixed text formats",
            "frame_timestamps_mixed",
        ),
        ("push missing feature column", "frame_column_missing"),
        ("push missing created column", "frame_column_missing"),
        ("push unknown source", "push_source_unknown"),
        ("push unequal columns", "frame_columns_unequal"),
        ("write timestamp feature as iso text", "frame_value_invalid"),
        ("push offline", "push_offline_value_invalid"),
        ("write unknown view", "feature_view_unknown"),
    ]);
    let mut n_refused = 0;
    for (name, body, status) in recorded_writes("http_redis.json") {
        if status == 200 || !body["df"].is_object() || body["to"] == "sideways" {
            continue;
        }
        let to = match body["to"].as_str() {
            Some("offline") => PushTarget::Offline,
            _ => PushTarget::Online,
        };
        let frame = frame(&body["df"]);
        let outcome = match body["push_source_name"].as_str() {
            Some(source) => store.push(source, frame, to).await,
            None => {
                let view = body["feature_view_name"].as_str().unwrap();
                store.write_to_online_store(view, frame).await
            }
        };
        assert_eq!(outcome.unwrap_err().code(), codes[name.as_str()], "{name}");
        n_refused += 1;
    }
    assert_eq!(n_refused, codes.len());
    assert!(!repo.path("online.db").exists(), "nothing was written");
}

#[tokio::test]
async fn an_error_names_view_row_column_and_type() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let wrong = |column: &str, values: Json| {
        let mut df = live(1, "2024-03-05T10:00:00", 1.0);
        for (_, values) in df.as_object_mut().unwrap() {
            let again = values[0].clone();
            values.as_array_mut().unwrap().push(again);
        }
        df[column] = values;
        df
    };
    for (df, message) in [
        (
            wrong("hits", json!(["1", "x"])),
            "row 1 of column `hits` of feature view `driver_live`: wanted INT64, got string `x`",
        ),
        (
            wrong("speed", json!([1.5, true])),
            "row 1 of column `speed` has a boolean where the rows before have a number",
        ),
        (
            wrong("driver_id", json!([1, null])),
            "row 1 of join key `driver_id` of feature view `driver_live` is null",
        ),
        (
            wrong("event_ts", json!(["2024-03-05T10:00:00", "soon"])),
            "row 1 of timestamp column `event_ts` of feature view `driver_live` is not a time: string `soon`",
        ),
        (
            wrong("event_ts", json!(["2024-03-05T10:00:00", null])),
            "row 1 of timestamp column `event_ts` of feature view `driver_live` is not a time: null",
        ),
        (
            wrong("created_ts", json!(["2024-03-05", "2024-03-05T10:00:00"])),
            "row 1 of timestamp column `created_ts` of feature view `driver_live` is written in another form than row 0: string `2024-03-05T10:00:00`",
        ),
        (
            wrong("zone", json!(["w"])),
            "column `zone` has 1 values where column `driver_id` has 2",
        ),
    ] {
        let error = push(&store, &df).await.unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.class(), ErrorClass::InvalidInput);
    }
    let mut df = live(1, "2024-03-05T10:00:00", 1.0);
    let speed = df.as_object_mut().unwrap().remove("speed").unwrap();
    df["sped"] = speed;
    let error = push(&store, &df).await.unwrap_err();
    assert!(error.to_string().starts_with(
        "feature view `driver_live` needs column `speed`; there are `driver_id`, `event_ts`"
    ));
    assert_eq!(error.hint().unwrap(), "did you mean `sped`?");
    let error = store
        .push("driver_live_pus", frame(&df), PushTarget::Online)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "push_source_unknown");
    assert_eq!(error.hint().unwrap(), "did you mean `driver_live_push`?");
    assert!(!repo.path("online.db").exists(), "nothing was written");
}

#[tokio::test]
async fn a_frame_without_rows_or_features_writes_nothing() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let mut null = live(1006, "2024-03-05T10:00:00", 1.0);
    for feature in ["speed", "zone", "hits"] {
        null[feature] = json!([null]);
    }
    for df in [json!({}), json!({"nobody": []}), null] {
        assert_eq!(push(&store, &df).await.unwrap(), Written::default());
    }
    assert!(!repo.path("online.db").exists());
}

#[tokio::test]
async fn of_two_columns_with_one_name_the_later_counts() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let mut frame = frame(&live(5, "2024-03-05T10:00:00", 1.0));
    frame.columns.push(("speed".to_owned(), vec![json!(2.0)]));
    let written = store
        .push("driver_live_push", frame, PushTarget::Online)
        .await
        .unwrap();
    assert_eq!(
        (written.rows, written.views),
        (1, vec!["driver_live".to_owned()])
    );
    let cells = stored(&repo, "driver_live", &driver(5)).await;
    assert_eq!(cells["speed"].1, "2.0");
}

#[tokio::test]
async fn a_column_may_have_the_name_that_it_has_in_the_source() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let df = |revenue: &str| {
        json!({
            "store_no": [7], "event_ts": ["2024-03-05T10:00:00Z"], "created_ts": ["2024-03-05T10:00:00Z"],
            revenue: [12.5], "visitors": [3],
        })
    };
    for (name, value) in [("rev_raw", 12.5), ("revenue", 12.5)] {
        let written = store.write_to_online_store("store_daily", frame(&df(name)));
        assert_eq!(
            written.await.unwrap().views,
            ["store_daily"],
            "{name} {value}"
        );
    }
    let key = "01000000020000000800000073746f72655f6e6f030000000400000007000000";
    let cells = stored(&repo, "store_daily", key).await;
    assert_eq!(cells["revenue"].1, "12.5");
}

#[tokio::test]
async fn a_view_without_entities_needs_no_key_column() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let df = json!({"event_ts": ["2024-03-05T10:00:00Z"], "surge_cap": [2], "mode": ["x"]});
    store
        .write_to_online_store("region_cfg", frame(&df))
        .await
        .unwrap();
    let key = "01000000020000000a0000005f5f64756d6d795f69640200000000000000";
    let cells = stored(&repo, "region_cfg", key).await;
    assert_eq!(
        (cells["surge_cap"].1.clone(), &cells["mode"].3),
        (json!("2.0"), &Json::Null)
    );
}

#[tokio::test]
async fn when_the_store_fails_the_error_tells_what_is_written() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    // A directory in the database's place.
    fs_err::create_dir_all(repo.path("online.db")).unwrap();
    let df = live(1, "2024-03-05T10:00:00", 1.0);
    let error = push(&store, &df).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "writing feature view `driver_live` failed; of its 1 rows some may be stored"
    );
    assert_eq!(error.class(), ErrorClass::Unavailable);
    let source = online::Error::Missing { store: "x".into() };
    let done = Written {
        rows: 3,
        views: vec!["a".to_owned(), "b".to_owned()],
    };
    assert_eq!(
        incomplete(&done, "c", 3, source).to_string(),
        "writing feature view `c` failed after `a`, `b` was written; of its 3 rows some may be stored"
    );
}
