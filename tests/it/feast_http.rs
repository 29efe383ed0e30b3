//! Feast's feature-server API over an SQLite store, against what the real one answered.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Row};

use crate::feast_replay::{fixture, recorded, replay, repo, serve, unhex};
use crate::support::Server;

const YAML: &str = "project: ride_ops\nregistry: registry.db\nonline_store:\n  path: online.db\n";

/// A server over a copy of the recorded repository and store.
pub(crate) async fn ride_ops(settings: &[&str]) -> (tempfile::TempDir, Server) {
    let repo = repo(YAML);
    std::fs::copy(
        fixture("online_store.sqlite.db"),
        repo.path().join("online.db"),
    )
    .unwrap();
    let server = serve(repo.path(), settings).await;
    (repo, server)
}

#[tokio::test]
async fn the_recorded_requests_are_answered_as_feast_answered_them() {
    let (repo, server) = ride_ops(&[]).await;
    replay(&server, "http_sqlite.json").await;
    compare_store(&repo.path().join("online.db")).await;
}

/// Table by table against `sqlite_dump_after_http.json`.
async fn compare_store(path: &std::path::Path) {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let wanted = recorded("sqlite_dump_after_http.json");
    for (table, wanted) in wanted.as_object().unwrap() {
        let query = format!(
            "SELECT entity_key, feature_name, value, value_text, event_ts, created_ts FROM \"{table}\""
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .fetch_all(&pool)
            .await
            .unwrap();
        let mut found = BTreeMap::new();
        for row in rows {
            let key: (Vec<u8>, String) = (row.get(0), row.get(1));
            let value: Vec<u8> = row.get(2);
            let text: Option<String> = row.get(3);
            let times: (Option<i64>, Option<i64>) = (row.get(4), row.get(5));
            found.insert(key, (value, text, times));
        }
        let rows = wanted["rows"].as_array().unwrap();
        assert_eq!(found.len(), rows.len(), "{table}");
        for row in rows {
            let feature = row["feature_name"].as_str().unwrap();
            let key = (
                unhex(row["entity_key"]["hex"].as_str().unwrap()),
                feature.to_owned(),
            );
            let (value, text, times) = &found[&key];
            let wanted = unhex(row["value"]["hex"].as_str().unwrap());
            // Maps and sets of several entries are stored in any order.
            assert!(
                *value == wanted || value.len() == wanted.len(),
                "{table} {key:?}"
            );
            assert_eq!(json!(text), row["value_text"], "{table} {key:?}");
            // An on-demand view that is written has the time of the write.
            if table != "ride_ops_rev_written" {
                assert_eq!(json!(times.0), row["event_ts"], "{table} {key:?}");
                assert_eq!(json!(times.1), row["created_ts"], "{table} {key:?}");
            }
        }
    }
}

#[tokio::test]
async fn exact_statuses_tell_missing_null_and_outdated_values() {
    let (_repo, server) = ride_ops(&["features.statuses=exact"]).await;
    let body = json!({ "features": ["driver_scalars:label", "driver_rich:uid"], "entities": { "driver_id": [1001, 1003, 5, 1002] } });
    let answer = server
        .post("/get-online-features", &body.to_string())
        .await
        .json();
    // driver_scalars has a ttl of two hours, driver_rich none.
    assert_eq!(
        answer["results"][1]["statuses"],
        json!([
            "OUTSIDE_MAX_AGE",
            "NULL_VALUE",
            "NOT_FOUND",
            "OUTSIDE_MAX_AGE"
        ])
    );
    assert_eq!(
        answer["results"][1]["values"],
        json!(["café ☃", null, null, ""])
    );
    assert_eq!(
        answer["results"][2]["statuses"],
        json!(["PRESENT", "NOT_FOUND", "NOT_FOUND", "NULL_VALUE"])
    );
}

/// Breaks one stored value.
async fn break_value(repo: &tempfile::TempDir) {
    let options = SqliteConnectOptions::new().filename(repo.path().join("online.db"));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let broken = "UPDATE ride_ops_driver_scalars SET value = x'12ff' WHERE feature_name = 'label'";
    sqlx::query(broken).execute(&pool).await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn bytes_that_are_no_value_leave_the_other_features_of_the_request_alone() {
    let (repo, server) = ride_ops(&[]).await;
    break_value(&repo).await;
    let body = r#"{"features": ["driver_scalars:label", "driver_scalars:i64"], "entities": {"driver_id": [1001]}}"#;
    let answer = server.post("/get-online-features", body).await;
    assert_eq!(answer.status, 200);
    let results = &answer.json()["results"];
    assert_eq!(
        (&results[1]["values"], &results[1]["statuses"]),
        (&json!([null]), &json!(["INVALID"]))
    );
    assert_eq!(
        (&results[2]["values"], &results[2]["statuses"]),
        (&json!([42]), &json!(["PRESENT"]))
    );
}

#[tokio::test]
async fn bytes_that_are_no_value_fail_the_request_where_the_policy_says_so() {
    let (repo, server) = ride_ops(&["features.invalid_values=error"]).await;
    break_value(&repo).await;
    let body = r#"{"features": ["driver_scalars:label"], "entities": {"driver_id": [1001]}}"#;
    let answer = server.post("/get-online-features", body).await;
    let text: String = serde_json::from_slice(&answer.bytes).unwrap();
    assert_eq!(answer.status, 500, "{text}");
    let key = "010000000200000009000000 6472697665725f6964 0400000008000000 e903000000000000"
        .replace(' ', "");
    assert!(
        text.contains("`driver_scalars:label`") && text.contains(&key),
        "{text}"
    );
}

#[tokio::test]
async fn paths_that_are_nobodys_are_answered_as_feast_does_and_ours_with_a_problem() {
    let (_repo, server) = ride_ops(&[]).await;
    for path in ["/nope", "/v10", "/"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status, answer.json()),
            (404, json!({ "detail": "Not Found" })),
            "{path}"
        );
    }
    for path in ["/v1/nope", "/v1"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "route_unknown"),
            "{path}"
        );
    }
    let answer = server.get("/push").await;
    assert_eq!(answer.json(), json!({ "detail": "Method Not Allowed" }));
    assert_eq!(answer.headers["allow"], "POST");
    let answer = server.post("/v1/models", "").await;
    assert_eq!(answer.code(), "method_not_allowed");
}

#[tokio::test]
async fn a_body_without_a_content_type_is_json() {
    let (_repo, server) = ride_ops(&[]).await;
    let body = r#"{"features": ["driver_scalars:i64"], "entities": {"driver_id": [1001]}}"#;
    for headers in [
        &[][..],
        &[("content-type", "application/x-www-form-urlencoded")],
    ] {
        let answer = server
            .call("POST", "/get-online-features", headers, body)
            .await;
        assert_eq!(answer.json()["results"][1]["values"], json!([42]));
    }
}

#[tokio::test]
async fn a_server_without_features_says_so() {
    let nothing = tempfile::tempdir().unwrap();
    let models = format!("registry.local.path={}", nothing.path().display());
    let server = Server::start_bare(&["features.repo=", &models]).await;
    assert_eq!(server.get("/health").await.status, 503);
    let answer = server
        .post("/get-online-features", r#"{"entities": {}}"#)
        .await;
    assert_eq!(answer.status, 503);
    assert!(matches!(answer.json(), Value::String(text) if text.contains("features.repo")));
}
