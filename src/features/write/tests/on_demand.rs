//! On-demand feature views that are kept in the online store.

use super::*;

/// What Feast left of a written view, without the moment of the write.
fn recorded_cells() -> BTreeMap<(String, String), (String, Json)> {
    let dump = recorded("sqlite_dump_after_http.json");
    let rows = dump["ride_ops_rev_written"]["rows"].as_array().unwrap();
    let text =
        |row: &Json, pointer: &str| row.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| {
            let place = (text(row, "/entity_key/hex"), text(row, "/feature_name"));
            (place, (text(row, "/value/hex"), row["value_text"].clone()))
        })
        .collect()
}

async fn assert_as_recorded(repo: &TestRepo, before: i64) {
    let cells = recorded_cells();
    assert_eq!(cells.len(), 4);
    for ((key, feature), (value, text)) in cells {
        let stored = stored(repo, "rev_written", &key).await;
        assert_eq!(stored.len(), 2);
        let (own, own_text, event_ts, created_ts) = stored[&feature].clone();
        assert_eq!((own, own_text), (value, text), "{key} {feature}");
        assert!(event_ts.as_i64().unwrap() >= before);
        assert_eq!(event_ts, created_ts);
    }
}

#[tokio::test]
async fn features_that_are_there_already_are_stored_with_the_join_keys() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let before = crate::types::timestamp::Timestamp::now().as_seconds();
    let df = json!({"store_no": [1, 2], "rev_per_visit": [10.0, null], "revenue": [1, 2]});
    let written = store
        .write_transformed("rev_written", frame(&df))
        .await
        .unwrap();
    assert_eq!(
        (written.rows, written.views),
        (2, vec!["rev_written".to_owned()])
    );
    assert_as_recorded(&repo, before).await;
}

#[tokio::test]
async fn the_recorded_write_is_computed_and_stored_as_by_feast() {
    let repo = TestRepo::ride_ops();
    let mut config = repo.config();
    let sql = "SELECT revenue / NULLIF(store_daily__visitors, 0) AS rev_per_visit FROM input";
    let sql = crate::features::transform::OnDemandConfig {
        sql: sql.to_owned(),
    };
    config.on_demand.insert("rev_written".to_owned(), sql);
    let utc = |name: &str| (name == "TZ").then(|| "UTC".to_owned());
    let store = FeatureStore::open(&config, &utc).await.unwrap();
    let writes = recorded_writes("http_sqlite.json");
    let (_, body, _) = writes
        .iter()
        .find(|(name, ..)| name.contains("odfv"))
        .unwrap();
    let before = crate::types::timestamp::Timestamp::now().as_seconds();
    let view = body["feature_view_name"].as_str().unwrap();
    store
        .write_to_online_store(view, frame(&body["df"]))
        .await
        .unwrap();
    assert_as_recorded(&repo, before).await;
}

#[tokio::test]
async fn a_write_that_cannot_be_computed_writes_nothing() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let df = json!({"store_no": [1], "revenue": [1.5], "visitors": [3]});
    let error = store
        .write_to_online_store("rev_written", frame(&df))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("rev_written"), "{error}");
    let error = store
        .write_to_online_store("fare_py", frame(&df))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "feature_view_not_written");
    let error = store
        .write_transformed("rev_written", frame(&df))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "frame_column_missing");
    let nothing = json!({"store_no": [1], "rev_per_visit": [null]});
    let written = store
        .write_transformed("rev_written", frame(&nothing))
        .await
        .unwrap();
    assert_eq!(written, Written::default());
    assert!(!repo.path("online.db").exists());
}
