//! The contract, and the file that Feast filled.

use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::super::contract::{self, OldRows, keys, row, soon, view};
use super::super::{Error, KeyGroup, OnlineStore, StoredRows};
use super::*;
use crate::features::codec;
use crate::features::testing::{bytes_of, fixture, recorded};
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

fn open(path: &std::path::Path, project: &str, zone: &str) -> SqliteStore {
    let config = Config {
        path: path.to_owned(),
        time_zone: TimeZone::get(zone).unwrap(),
    };
    connect(&config, project)
}

async fn read_one(
    store: &SqliteStore,
    name: &str,
    feature: &str,
    key: &[u8],
) -> Result<StoredRows, Error> {
    let group = KeyGroup {
        views: vec![view(name, &[feature])],
    };
    let mut answer = store
        .prepare(&[group])
        .read(&[keys(&[key])], soon())
        .await?;
    Ok(answer.remove(0))
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    // The directory of the file is made on the first write.
    let path = directory.path().join("data/online.db");
    let store = open(&path, "p", "UTC");
    store.write(&view("first", &[]), &[]).await.unwrap();
    contract::run(Arc::new(store), OldRows::Replace).await;
}

#[tokio::test]
async fn every_row_that_feast_wrote_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("online.db");
    fs_err::copy(fixture("online_store.sqlite.db"), &path).unwrap();
    let store = open(&path, "ride_ops", "UTC");
    let mut n_values = 0;
    for (table, dump) in recorded("sqlite_dump.json").as_object().unwrap() {
        let name = table.strip_prefix("ride_ops_").unwrap();
        for json in dump["rows"].as_array().unwrap() {
            let feature = json["feature_name"].as_str().unwrap();
            let key = bytes_of(&json["entity_key"]);
            let answer = read_one(&store, name, feature, &key).await.unwrap();
            let stored = answer[0].as_ref().unwrap();
            let mut bytes = Vec::new();
            codec::encode(&stored.value, &mut bytes);
            assert_eq!(bytes, bytes_of(&json["value"]), "{table} {feature}");
            let seconds = json["event_ts"].as_i64().unwrap();
            assert_eq!(stored.event_timestamp, Timestamp::from_seconds(seconds));
            n_values += 1;
        }
    }
    assert!(n_values > 100);
}

/// What Feast's dump says about a table, from a database.
async fn dump(path: &std::path::Path, table: &str) -> Vec<Json> {
    use sqlx::{AssertSqlSafe, Row as _};
    let options = SqliteConnectOptions::new().filename(path);
    let pool = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .unwrap();
    let sql = format!(
        "SELECT hex(entity_key), feature_name, hex(value), typeof(value), value_text, vector_value, event_ts, created_ts, \
         typeof(event_ts) FROM \"{table}\" ORDER BY entity_key, feature_name"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&pool)
        .await
        .unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow, i: usize| row.get_unchecked::<Option<String>, _>(i);
    let number = |row: &sqlx::sqlite::SqliteRow, i: usize| row.get_unchecked::<Option<i64>, _>(i);
    let json = |row: &sqlx::sqlite::SqliteRow| {
        serde_json::json!([
            text(row, 0),
            text(row, 1),
            text(row, 2),
            text(row, 3),
            text(row, 4),
            text(row, 5),
            number(row, 6),
            number(row, 7),
            text(row, 8)
        ])
    };
    rows.iter().map(json).collect()
}

#[tokio::test]
async fn what_we_write_is_what_feast_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("online.db");
    let store = open(&path, "ride_ops", "UTC");
    for (table, recorded) in recorded("sqlite_dump.json").as_object().unwrap() {
        let name = table.strip_prefix("ride_ops_").unwrap();
        for json in recorded["rows"].as_array().unwrap() {
            let feature = json["feature_name"].as_str().unwrap();
            let value = codec::decode(&bytes_of(&json["value"])).unwrap();
            let mut row = row(
                &bytes_of(&json["entity_key"]),
                json["event_ts"].as_i64().unwrap(),
                vec![value],
            );
            row.created_timestamp = json["created_ts"].as_i64().map(Timestamp::from_seconds);
            store.write(&view(name, &[feature]), &[row]).await.unwrap();
        }
        // A table is made also where there is nothing to put into it.
        store.write(&view(name, &[]), &[]).await.unwrap();
        let feast = dump(&fixture("online_store.sqlite.db"), table).await;
        assert_eq!(dump(&path, table).await, feast, "{table}");
        assert_eq!(
            schema(&path, table).await,
            schema(&fixture("online_store.sqlite.db"), table).await
        );
    }
}

async fn schema(path: &std::path::Path, table: &str) -> Vec<Option<String>> {
    let options = SqliteConnectOptions::new().filename(path);
    let pool = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .unwrap();
    let query =
        sqlx::query_scalar("SELECT sql FROM sqlite_master WHERE tbl_name = ? ORDER BY name");
    query.bind(table).fetch_all(&pool).await.unwrap()
}

#[tokio::test]
async fn a_view_that_was_never_written_says_to_materialize() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("online.db");
    let store = open(&path, "p", "UTC");
    let hint = |error: &Error| crate::error::Failure::hint(error).unwrap();
    let error = read_one(&store, "trips", "a", b"k").await.unwrap_err();
    assert!(matches!(&error, Error::Missing { .. }), "{error:?}");
    assert!(hint(&error).contains("materialize"));
    assert!(matches!(
        store.ping(soon()).await.unwrap_err(),
        Error::Missing { .. }
    ));
    store.write(&view("other", &["a"]), &[]).await.unwrap();
    let error = read_one(&store, "trips", "a", b"k").await.unwrap_err();
    assert!(
        matches!(&error, Error::NotMaterialized { view, .. } if view == "trips"),
        "{error:?}"
    );
    assert!(hint(&error).contains("materialize"));
    // A reader that came too early finds the table once it is there.
    store
        .write(&view("trips", &["a"]), &[row(b"k", 1, vec![Value::Null])])
        .await
        .unwrap();
    assert!(read_one(&store, "trips", "a", b"k").await.unwrap()[0].is_some());
}

#[tokio::test]
async fn timestamps_go_through_the_local_zone_and_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("online.db");
    let new_york = open(&path, "p", "America/New_York");
    let midnight = 1_719_792_000;
    new_york
        .write(
            &view("v", &["a"]),
            &[row(b"k", midnight, vec![Value::Null])],
        )
        .await
        .unwrap();
    let stored = dump(&path, "p_v").await;
    assert_eq!(
        stored[0][6], 1_719_806_400,
        "as Feast stores it under TZ=America/New_York"
    );
    for (zone, wanted) in [("America/New_York", midnight), ("UTC", 1_719_806_400)] {
        let store = open(&path, "p", zone);
        let answer = read_one(&store, "v", "a", b"k").await.unwrap();
        let stored = answer[0].as_ref().unwrap();
        assert_eq!(
            stored.event_timestamp,
            Timestamp::from_seconds(wanted),
            "{zone}"
        );
    }
}

#[tokio::test]
async fn bytes_that_are_no_value_are_an_error_with_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("online.db");
    let store = open(&path, "p", "UTC");
    store
        .write(&view("v", &["a"]), &[row(b"k", 1, vec![Value::Null])])
        .await
        .unwrap();
    sqlx::query("UPDATE p_v SET value = x'12ff'")
        .execute(&store.writer)
        .await
        .unwrap();
    let error = read_one(&store, "v", "a", b"k").await.unwrap_err();
    assert!(error.to_string().contains("`v:a`"), "{error}");
}
