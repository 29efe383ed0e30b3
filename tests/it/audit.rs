//! One event for every prediction: answered, refused, failed in the model, or abandoned by its caller.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::{Server, root};

#[tokio::test]
async fn a_request_a_model_error_and_a_dropped_connection_each_leave_exactly_one_line() {
    let stalled = Stalled::start().await;
    let mut server = stalled.server().await;
    let answered = server
        .predict("lookup", r#"{"inputs": {"index": [0, 1]}}"#)
        .await;
    assert_eq!(answered.json()["outputs"], json!({"value": [10.0, 20.0]}));
    let failed = server
        .predict("lookup", r#"{"inputs": {"index": [7]}}"#)
        .await;
    assert_eq!(
        (failed.status, failed.code().as_str()),
        (400, "model_inputs_refused"),
        "{:?}",
        failed.bytes
    );
    drop_connection(&server).await;
    let events = server.events_when(3).await;
    server.stop().await;
    assert_eq!(server.events().await.len(), 3, "{events:#?}");
    let told: Vec<_> = events
        .iter()
        .map(|event| (event["status"].clone(), event["error"]["code"].clone()))
        .collect();
    assert_eq!(told[0], (json!("ok"), json!(null)));
    assert_eq!(told[1], (json!("error"), failed.json()["code"].clone()));
    assert_eq!(told[2], (json!("error"), json!("cancelled")));
    let sequences: Vec<_> = events
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert_eq!(events[2]["model"]["name"], "driver_ranking");
}

#[tokio::test]
async fn an_event_tells_what_went_in_and_what_came_out() {
    let server = Server::start(&[]).await;
    let body =
        r#"{"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}, "params": {"a": 1}}"#;
    let answer = server.predict("driver_ranking@champion", body).await.json();
    let event = &server.events().await[0];
    assert_eq!(event["outputs"], answer["outputs"]);
    assert_eq!(event["model"]["version"], answer["model"]["version"]);
    assert_eq!(event["entities"], json!({"driver_id": [1001]}));
    assert_eq!(event["inputs"], json!({"trip_km": [3.2]}));
    assert_eq!(event["params"], json!({"a": 1}));
    assert_eq!(
        event["features"]["driver_hourly_stats:conv_rate"]["statuses"],
        json!(["outside_max_age"])
    );
    assert_eq!(event["surface"], "http");
    assert!(event["timings_us"]["total"].as_u64().is_some());
}

#[tokio::test]
async fn a_prediction_is_read_back_by_its_id() {
    let server = Server::start(&[]).await;
    let body = r#"{"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}"#;
    let answer = server.predict("driver_ranking", body).await.json();
    let path = format!("/v1/predictions/{}", answer["id"].as_str().unwrap());
    let found = server.get(&path).await;
    assert_eq!(found.status, 200, "{:?}", found.bytes);
    assert_eq!(found.json()["outputs"], answer["outputs"]);
    assert_eq!(found.json(), server.events().await[0]);
    assert_eq!(
        server.get(&path).await.json(),
        found.json(),
        "from the files"
    );
    for (id, status, code) in [
        (
            "01a2044f-f2b1-76f5-854f-d4681b3fd762",
            404,
            "prediction_not_found",
        ),
        ("7", 400, "prediction_id_invalid"),
    ] {
        let refused = server.get(&format!("/v1/predictions/{id}")).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code));
    }
}

#[tokio::test]
async fn an_unknown_model_leaves_an_event_too() {
    let server = Server::start(&[]).await;
    server.predict("nobody", r#"{"rows": [{"a": 1}]}"#).await;
    let events = server.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["error"]["code"], "model_not_found");
}

/// Sends a whole predict request whose features never arrive, waits until it is in flight, and hangs up.
async fn drop_connection(server: &Server) {
    let body = r#"{"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}"#;
    let request = format!(
        "POST /v1/models/driver_ranking/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    loop {
        let metrics = server.get("/metrics").await;
        let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
        // This very call for the metrics is in flight as well.
        if text
            .lines()
            .any(|line| line == "terrarium_http_in_flight 2")
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(connection);
}

/// An online store that takes connections and never answers a read.
struct Stalled {
    directory: tempfile::TempDir,
}

impl Stalled {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(crate::stalled_redis::run(listener));
        let directory = tempfile::tempdir().unwrap();
        crate::support::copy(
            &root().join("feature_repo"),
            &directory.path().join("feature_repo"),
        );
        crate::support::copy(
            &root().join("models/driver_ranking"),
            &directory.path().join("models/driver_ranking"),
        );
        crate::support::copy(
            &root().join("tests/fixtures/models/lookup"),
            &directory.path().join("models/lookup"),
        );
        let yaml = format!(
            "project: terrarium_demo\nprovider: local\nregistry: registry.db\nonline_store:\n  type: redis\n  connection_string: 127.0.0.1:{port}\n"
        );
        std::fs::write(
            directory.path().join("feature_repo/feature_store.yaml"),
            yaml,
        )
        .unwrap();
        Self { directory }
    }

    async fn server(&self) -> Server {
        let repo = format!(
            "features.repo={}",
            self.directory.path().join("feature_repo").display()
        );
        let models = format!(
            "registry.local.path={}",
            self.directory.path().join("models").display()
        );
        Server::start_bare(&[
            &repo,
            &models,
            "features.timeout=60s",
            "http.request_timeout=60s",
        ])
        .await
    }
}

#[tokio::test]
async fn while_events_cannot_be_written_predictions_fail_and_readiness_says_so() {
    let mut server = Server::start(&["audit.spool.segment_size=1kB"]).await;
    let body = r#"{"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}"#;
    assert_eq!(server.predict("driver_ranking", body).await.status, 200);
    // The segment is full, and where the next one belongs is no directory any more.
    let in_the_way = InTheWay::of(server.audit_directory().join("spool"));
    let refused = server.predict("driver_ranking", body).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "audit_unavailable")
    );
    assert_eq!(server.get("/readyz").await.status, 503);
    drop(in_the_way);
    assert_eq!(server.predict("driver_ranking", body).await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    server.stop().await;
    assert_eq!(server.events().await.len(), 2, "one for each answer");
}

#[tokio::test]
async fn while_the_sink_is_gone_predictions_go_on_and_readiness_says_what_waits() {
    let elsewhere = tempfile::tempdir().unwrap();
    let spool = format!("audit.spool.directory={}", elsewhere.path().display());
    let mut server = Server::start(&["audit.file.max_file_size=1kB", &spool]).await;
    let body = r#"{"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}"#;
    assert_eq!(server.predict("driver_ranking", body).await.status, 200);
    assert_eq!(server.events().await.len(), 1);
    // The file is full, and the next one cannot be made; the spool is elsewhere.
    let in_the_way = InTheWay::of(server.audit_directory().to_owned());
    for _ in 0..3 {
        assert_eq!(server.predict("driver_ranking", body).await.status, 200);
    }
    let ready = server.ready_when("degraded").await;
    let reasons = ready["reasons"].to_string();
    assert!(reasons.contains("cannot be delivered"), "{reasons}");
    drop(in_the_way);
    server.ready_when("ready").await;
    server.stop().await;
    let events = server.events().await;
    let sequences: Vec<_> = events
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
}

/// A file in the place of a directory, until this is dropped.
struct InTheWay(std::path::PathBuf);

impl InTheWay {
    fn of(directory: std::path::PathBuf) -> Self {
        std::fs::rename(&directory, directory.with_extension("moved")).unwrap();
        std::fs::write(&directory, "in the way").unwrap();
        Self(directory)
    }
}

impl Drop for InTheWay {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
        std::fs::rename(self.0.with_extension("moved"), &self.0).unwrap();
    }
}
