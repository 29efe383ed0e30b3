//! `POST /v1/models/{model}/predict` over HTTP: numbers as Feast and MLflow give them, and refusals that help.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::Server;

#[tokio::test]
async fn every_recorded_case_is_answered_as_feast_and_mlflow_answer() {
    let server = Server::start(&[]).await;
    crate::recorded::check_all(&server).await;
}

#[tokio::test]
async fn explain_tells_statuses_ages_and_timings() {
    let server = Server::start(&[]).await;
    let body = r#"{"entities": {"driver_id": [1001, 1099]}, "inputs": {"trip_km": 3.2, "acc_rate": 0.5}, "explain": true}"#;
    let answer = server.predict("driver_ranking", body).await.json();
    let features = answer["features"].as_object().unwrap();
    let conv_rate = &features["driver_hourly_stats:conv_rate"];
    // The demo's rows are weeks old and their view's ttl is an hour; `on_stale` serves them all the same.
    assert_eq!(
        conv_rate["statuses"],
        json!(["outside_max_age", "not_found"])
    );
    assert!(conv_rate["ages_s"][0].as_f64().unwrap() > 3600.0);
    assert_eq!(conv_rate["ages_s"][1], Value::Null);
    assert_eq!(conv_rate["event_timestamps"][1], Value::Null);
    let acc_rate = &features["driver_hourly_stats:acc_rate"];
    assert_eq!(acc_rate["statuses"], json!(["overridden", "overridden"]));
    assert_eq!(acc_rate["values"], json!([0.5, 0.5]));
    assert_eq!(acc_rate["event_timestamps"], json!([null, null]));
    let timings = answer["timings_us"].as_object().unwrap();
    assert_eq!(
        timings.keys().collect::<Vec<_>>(),
        ["features", "assemble", "queue", "engine", "total"]
    );
    let plain = server
        .predict("driver_ranking", &body.replace(r#", "explain": true"#, ""))
        .await
        .json();
    assert!(plain.get("features").is_none() && plain.get("timings_us").is_none());
}

#[tokio::test]
async fn versions_are_reached_by_name_alias_and_number() {
    let server = Server::start(&[]).await;
    let body = r#"{"entities": {"driver_id": 1001}, "inputs": {"trip_km": 3.2}}"#;
    for (model, version, alias) in [
        ("driver_ranking", "2", json!("champion")),
        ("driver_ranking@champion", "2", json!("champion")),
        ("driver_ranking@challenger", "1", json!("challenger")),
        ("driver_ranking:1", "1", Value::Null),
    ] {
        let answer = server.predict(model, body).await.json();
        assert_eq!(
            answer["model"],
            json!({"name": "driver_ranking", "version": version, "alias": alias}),
            "{model}"
        );
    }
}

#[tokio::test]
async fn bad_input_gets_a_code_a_place_and_a_fix() {
    let server = Server::start(&["http.max_rows=5", "http.max_body=2kB"]).await;
    let cases = [
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1]}, "inputs": {"trip_km": [1]}, "explian": true}"#,
            400,
            "body_malformed",
            "explian",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1, 2]}, "inputs": {"trip_km": [1]}}"#,
            400,
            "column_lengths_unequal",
            "inputs.trip_km",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1, 2]}, "inputs": {"trip_km": [1, "far"]}}"#,
            400,
            "value_type_wrong",
            "row 1 of column `trip_km`: string where float64",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": ["x"]}, "inputs": {"trip_km": [1]}}"#,
            400,
            "entity_key_invalid",
            "row 0 of `entities.driver_id`",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [null]}, "inputs": {"trip_km": [1]}}"#,
            400,
            "entity_key_invalid",
            "null",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1.5]}, "inputs": {"trip_km": [1]}}"#,
            400,
            "entity_key_invalid",
            "driver_id",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1]}, "inputs": {"trip_km": [NaN]}}"#,
            400,
            "body_malformed",
            "JSON has no NaN",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1]}}"#,
            400,
            "input_missing",
            "trip_km",
        ),
        (
            "driver_ranking",
            r#"{"inputs": {"trip_km": [1]}}"#,
            400,
            "entity_missing",
            "driver_id",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1], "rider": [1]}, "inputs": {"trip_km": [1]}}"#,
            400,
            "column_unknown",
            "driver_id",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1]}, "inputs": {"trip_miles": [1]}}"#,
            400,
            "column_unknown",
            "trip_km",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1], "driver_id": [2]}, "inputs": {"trip_km": [1]}}"#,
            400,
            "column_duplicate",
            "given twice",
        ),
        ("driver_ranking", "", 400, "body_empty", "empty"),
        (
            "driver_ranking",
            r#"{"rows": []}"#,
            400,
            "rows_empty",
            "no rows",
        ),
        (
            "driver_ranking",
            r#"{"entities": {"driver_id": [1,2,3,4,5,6]}, "inputs": {"trip_km": 1}}"#,
            413,
            "rows_too_many",
            "limit of 5",
        ),
        (
            "driver_rankings",
            r#"{"rows": [{"driver_id": 1}]}"#,
            404,
            "model_not_found",
            "driver_ranking",
        ),
        (
            "driver_ranking@nobody",
            r#"{"rows": [{"driver_id": 1}]}"#,
            404,
            "model_alias_not_found",
            "nobody",
        ),
        (
            "driver_ranking:9",
            r#"{"rows": [{"driver_id": 1}]}"#,
            404,
            "model_version_not_found",
            "9",
        ),
        (
            "driver_ranking:x",
            r#"{"rows": [{"driver_id": 1}]}"#,
            400,
            "model_reference_malformed",
            "name:version",
        ),
    ];
    for (model, body, status, code, part) in cases {
        let answer = server.predict(model, body).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{model} {body}: {problem}"
        );
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let text = format!("{} {}", problem["detail"], problem["hint"]);
        assert!(text.contains(part), "{model} {body}: {text}");
        assert_eq!(
            problem["request_id"],
            answer.headers["x-request-id"].to_str().unwrap()
        );
    }
    let long = format!(r#"{{"rows": [{{"driver_id": "{}"}}]}}"#, "1".repeat(3_000));
    assert_eq!(
        server.predict("driver_ranking", &long).await.code(),
        "body_too_large"
    );
}

#[tokio::test]
async fn content_type_is_json_or_absent() {
    let server = Server::start(&[]).await;
    let path = "/v1/models/driver_ranking/predict";
    let body = r#"{"entities": {"driver_id": 1001}, "inputs": {"trip_km": 3.2}}"#;
    assert_eq!(server.call("POST", path, &[], body).await.status, 200);
    assert_eq!(
        server
            .call("POST", path, &[("content-type", "text/csv")], body)
            .await
            .status,
        415
    );
    assert_eq!(
        server.call("PUT", path, &[], body).await.code(),
        "method_not_allowed"
    );
    assert_eq!(server.get("/v1/nothing").await.code(), "route_unknown");
}

#[tokio::test]
async fn the_request_id_comes_back_and_into_the_audit_record() {
    let server = Server::start(&[]).await;
    let body = r#"{"entities": {"driver_id": 1001}, "inputs": {"trip_km": 3.2}}"#;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("x-request-id", "abc-1"), ("traceparent", trace)];
    let answer = server
        .call("POST", "/v1/models/driver_ranking/predict", &headers, body)
        .await;
    assert_eq!(answer.headers["x-request-id"], "abc-1");
    let event = &server.events().await[0];
    assert_eq!(event["request_id"], "abc-1");
    assert_eq!(event["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(event["id"], answer.json()["id"]);
}

#[tokio::test]
async fn missing_features_follow_the_models_policy() {
    let body =
        r#"{"entities": {"driver_id": [1001, 1099]}, "inputs": {"trip_km": 3.2}, "explain": true}"#;
    let error = Server::start(&["models.driver_ranking.on_missing=error"]).await;
    let answer = error.predict("driver_ranking", body).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "feature_missing")
    );
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("row 1: feature `driver_hourly_stats:conv_rate` is not_found")
    );

    let defaults = Server::start(&[
        "models.driver_ranking.on_missing=default",
        "models.driver_ranking.defaults={conv_rate = 0.5, driver_hourly_stats__acc_rate = 0.25, avg_daily_trips = 7}",
    ])
    .await;
    let answer = defaults.predict("driver_ranking", body).await.json();
    let conv_rate = &answer["features"]["driver_hourly_stats:conv_rate"];
    assert_eq!(conv_rate["statuses"][1], "default");
    assert_eq!(conv_rate["values"][1], 0.5);
}

#[tokio::test]
async fn stale_features_follow_the_models_policy() {
    let body =
        r#"{"entities": {"driver_id": [1001]}, "inputs": {"trip_km": 3.2}, "explain": true}"#;
    let error = Server::start(&[
        "models.driver_ranking.on_stale=error",
        "models.driver_ranking.max_age=6h",
    ])
    .await;
    let answer = error.predict("driver_ranking", body).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "feature_stale")
    );
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("more than 6h")
    );

    let null = Server::start(&["models.driver_ranking.on_stale=null"]).await;
    let answer = null.predict("driver_ranking", body).await.json();
    assert_eq!(
        answer["features"]["driver_hourly_stats:conv_rate"]["values"],
        json!([null])
    );

    let young = Server::start(&[
        "models.driver_ranking.on_stale=error",
        "models.driver_ranking.max_age=87600h",
    ])
    .await;
    let answer = young.predict("driver_ranking", body).await.json();
    assert_eq!(
        answer["features"]["driver_hourly_stats:conv_rate"]["statuses"],
        json!(["present"])
    );
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let server = Server::start(&["http.request_timeout=50ms"]).await;
    let mut connection = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    let head = "POST /v1/models/driver_ranking/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("body_late"), "{answer}");
}
