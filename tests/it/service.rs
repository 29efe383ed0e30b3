//! Everything beside predict: health, readiness, models, metrics, OpenAPI, and models that do not load.

use serde_json::Value;

use crate::support::{Server, copy, demo, root};

#[tokio::test]
async fn a_healthy_server_is_alive_and_ready() {
    let server = Server::start(&[]).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 200, "{:?}", ready.bytes);
    assert_eq!(ready.json()["status"], "ready");
}

#[tokio::test]
async fn models_are_listed_with_versions_aliases_and_plans() {
    let server = Server::start(&[]).await;
    let list = server.get("/v1/models").await.json();
    let names: Vec<&str> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["driver_ranking", "trip_acceptance", "trip_eta"]);
    let model = server.get("/v1/models/driver_ranking").await.json();
    let versions = model["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 2);
    let champion = versions
        .iter()
        .find(|version| version["version"] == "2")
        .unwrap();
    assert_eq!(champion["aliases"], serde_json::json!(["champion"]));
    assert_eq!(champion["state"], "loaded");
    let columns: Vec<&str> = champion["plan"]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["source"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["feature", "feature", "feature", "request"]);
    assert_eq!(
        server.get("/v1/models/nobody").await.code(),
        "model_not_found"
    );
}

#[tokio::test]
async fn a_broken_model_stops_only_itself_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let models = directory.path().join("models");
    copy(&demo().await.join("models"), &models);
    std::fs::write(models.join("trip_eta/1/model.onnx"), b"not a graph").unwrap();
    let unbound = models.join("trip_acceptance/1/tags.yaml");
    std::fs::write(unbound, "terrarium.features: no_such_service\n").unwrap();
    let path = format!("registry.local.path={}", models.display());
    let server = Server::start(&[&path]).await;

    let ready = server.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.json()["status"].as_str()),
        (200, Some("degraded"))
    );
    let answer = server
        .predict(
            "trip_eta",
            r#"{"rows": [{"driver_id": 1, "rider_id": "c-2001"}]}"#,
        )
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "model_unavailable")
    );
    let list = server.get("/v1/models").await.json().to_string();
    assert!(list.contains("no_such_service"), "{list}");
    assert_eq!(
        server
            .predict(
                "driver_ranking",
                r#"{"rows": [{"driver_id": 1, "trip_km": 2}]}"#
            )
            .await
            .status,
        200
    );

    let strict = Server::start(&[&path, "serving.ready=all"]).await;
    assert_eq!(strict.get("/readyz").await.status, 503);
}

#[tokio::test]
async fn metrics_count_what_happened_without_labels_from_callers() {
    let server = Server::start(&[]).await;
    server
        .predict(
            "driver_ranking",
            r#"{"rows": [{"driver_id": 1001, "trip_km": 2}]}"#,
        )
        .await;
    server
        .predict("driver_ranking", r#"{"rows": [{"driver_id": 1001}]}"#)
        .await;
    server
        .predict("made_up_name", r#"{"rows": [{"driver_id": 1001}]}"#)
        .await;
    let text = String::from_utf8(server.get("/metrics").await.bytes.to_vec()).unwrap();
    for part in [
        r#"terrarium_predict_requests_total{code="ok",model="driver_ranking",version="2"} 1"#,
        r#"terrarium_predict_requests_total{code="input_missing",model="driver_ranking",version="2"} 1"#,
        r#"terrarium_predict_step_seconds_count{model="driver_ranking",step="engine",version="2"} 1"#,
        "terrarium_audit_events_total 3",
        r#"terrarium_http_requests_total{route="/v1/models/{model}/predict",status="200"} 1"#,
        "terrarium_models_loaded",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("made_up_name"));
}

#[tokio::test]
async fn openapi_has_one_typed_operation_per_model() {
    let server = Server::start(&[]).await;
    let document = server.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    for model in ["driver_ranking", "trip_acceptance", "trip_eta"] {
        let operation = &document["paths"][format!("/v1/models/{model}/predict")]["post"];
        assert_eq!(operation["operationId"], format!("predict_{model}"));
    }
    let request =
        &document["components"]["schemas"]["driver_ranking.Request"]["oneOf"][0]["properties"];
    assert!(request["entities"]["properties"]["driver_id"].is_object());
    assert_eq!(
        request["inputs"]["required"],
        serde_json::json!(["trip_km"])
    );
    check_references(&document, &document);
}

#[tokio::test]
async fn openapi_names_every_column_that_a_request_may_give() {
    let server = Server::start(&[]).await;
    let document = server.get("/openapi.json").await.json();
    let request = &document["components"]["schemas"]["trip_eta.Request"]["oneOf"][0]["properties"];
    let inputs = request["inputs"]["properties"].as_object().unwrap();
    for name in [
        "recent_ratings",
        "driver_profile__recent_ratings",
        "rating",
        "rider__rating",
    ] {
        assert!(inputs.contains_key(name), "{name} is not in {inputs:?}");
    }
}

/// Every `$ref` leads somewhere.
fn check_references(value: &Value, document: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(
                    document.pointer(pointer).is_some(),
                    "{reference} leads nowhere"
                );
            }
            map.values()
                .for_each(|value| check_references(value, document));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|value| check_references(value, document)),
        _ => {}
    }
}

#[tokio::test]
async fn swagger_ui_is_served_from_the_binary() {
    let server = Server::start(&[]).await;
    assert_eq!(server.get("/docs").await.status, 307);
    assert_eq!(server.get("/docs/").await.status, 307);
    let page = server.get("/docs/index.html").await;
    assert!(String::from_utf8_lossy(&page.bytes).contains("swagger-ui"));
    let script = server.get("/docs/swagger-initializer.js").await;
    assert!(String::from_utf8_lossy(&script.bytes).contains("/openapi.json"));
}

#[tokio::test]
async fn models_without_features_are_served_without_a_feature_repository() {
    let models = format!(
        "registry.local.path={}",
        root().join("tests/fixtures/models").display()
    );
    let empty = tempfile::tempdir().unwrap();
    // A repository that was asked for must be there.
    let repo = format!("features.repo={}", empty.path().display());
    let environment = terrarium::config::Environment::default();
    let settings = [
        models.clone(),
        repo,
        "http.listen=127.0.0.1:0".to_owned(),
        "http.grpc_listen=".to_owned(),
    ];
    let config = crate::support::config(&environment, &settings);
    let shutdown = terrarium::shutdown::Shutdown::new();
    let error = terrarium::app::App::serve(config, &environment, &shutdown)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("feature_store.yaml"), "{error}");

    let none = format!("features.repo={}", "");
    let server = Server::start_bare(&[&models, &none]).await;
    let answer = server
        .predict("lookup", r#"{"inputs": {"index": 1}}"#)
        .await;
    assert_eq!(
        answer.json()["outputs"],
        serde_json::json!({"value": [20.0]})
    );
}
