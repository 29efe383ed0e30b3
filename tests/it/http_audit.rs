//! Calls of routes that are no predictions: an event for the request, one for the response, and no secret in either.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::Server;

/// The events of a stream once there are `n`, by the id of their calls; polled for until a deadline.
async fn events(server: &Server, stream: &str, n: usize) -> Vec<Value> {
    let directory = server.audit_directory().join("http").join(stream);
    let read = || {
        let events = terrarium::audit::read::events(&directory).unwrap();
        events.collect::<Result<Vec<Value>, _>>().unwrap()
    };
    let mut every = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..2_000 {
        every.tick().await;
        if read().len() >= n {
            break;
        }
    }
    read()
}

/// Everything in the files of a directory and below it.
fn bytes_below(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => bytes.extend(bytes_below(&path)),
            false => bytes.extend(std::fs::read(path).unwrap()),
        }
    }
    bytes
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

const PREDICT: &str = r#"{"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}"#;

#[tokio::test]
async fn a_call_of_a_recorded_route_leaves_a_request_and_a_response_and_others_leave_none() {
    let mut server = Server::start(&[
        "audit.http.routes={'/v1/*' = 'bodies', '/v1/models' = 'headers', '/metrics' = 'off'}",
    ])
    .await;
    let found = server
        .call(
            "GET",
            "/v1/models/driver_ranking?a=1",
            &[("x-request-id", "r-1")],
            "",
        )
        .await;
    server.get("/v1/models").await;
    // Predictions have events of their own, and these are not asked for.
    assert_eq!(server.predict("driver_ranking", PREDICT).await.status, 200);
    server.get("/metrics").await;
    server.get("/healthz").await;
    let missing = server.get("/v1/nothing").await;
    let requests = events(&server, "requests", 3).await;
    let responses = events(&server, "responses", 3).await;
    server.stop().await;
    let ids = |events: &[Value]| -> Vec<Value> {
        events.iter().map(|event| event["id"].clone()).collect()
    };
    assert_eq!(ids(&requests), ids(&responses));
    assert_eq!(requests.len(), 3, "{requests:#?}");
    let routes: Vec<&Value> = requests.iter().map(|event| &event["route"]).collect();
    assert_eq!(
        routes,
        [
            &json!("/v1/models/{model}"),
            &json!("/v1/models"),
            &json!(null)
        ]
    );
    let (request, response) = (&requests[0], &responses[0]);
    assert_eq!(request["request_id"], "r-1");
    assert_eq!(response["request_id"], "r-1");
    assert_eq!(request["path"], "/v1/models/driver_ranking");
    assert_eq!(request["query"], json!({"a": "1"}));
    assert_eq!(response["body"], found.json());
    assert_eq!(response["status_code"], 200);
    assert_eq!(response["outcome"], "answered");
    assert_eq!(
        (&responses[1]["body"], &responses[1]["status_code"]),
        (&json!(null), &json!(200))
    );
    assert!(responses[1]["body_bytes"].as_u64().unwrap() > 0);
    assert_eq!(responses[2]["status_code"], missing.status);
    assert_eq!(
        responses[2]["request_id"],
        missing.json()["request_id"],
        "the id that was made for the call is the answer's"
    );
    for (n, event) in requests.iter().enumerate() {
        assert_eq!(event["sequence"], n + 1);
    }
}

#[tokio::test]
async fn no_secret_of_a_header_a_body_or_a_parameter_touches_the_disk() {
    let mut server = Server::start(&[
        "audit.http.routes={'*' = 'bodies'}",
        "audit.http.headers=['x-api-key', 'content-type']",
        "audit.http.redact={'header.x-api-key' = 'mask', 'body.password' = 'hash', 'query.token' = 'drop'}",
        "audit.redact.key=a-key",
    ])
    .await;
    let headers = [
        ("content-type", "application/json"),
        ("x-api-key", "s3cr3t-header"),
        ("authorization", "Bearer s3cr3t-bearer"),
    ];
    let body = r#"{"features": ["driver_hourly_stats:conv_rate"], "entities": {"driver_id": [1001]}, "password": "s3cr3t-body"}"#;
    for path in [
        "/get-online-features?token=s3cr3t-query",
        "/v1/jobs?token=s3cr3t-query&status=s3cr3t",
        "/v1/nothing?%74oken=s3cr3t-query",
    ] {
        server.call("POST", path, &headers, body).await;
    }
    let requests = events(&server, "requests", 3).await;
    events(&server, "responses", 3).await;
    let event = &requests[0];
    assert_eq!(event["headers"]["x-api-key"], "***");
    assert_eq!(event["body"]["entities"], json!({"driver_id": [1001]}));
    let hash = event["body"]["password"].as_str().unwrap();
    assert!(hash.starts_with("hmac-sha256:"), "{event}");
    for moment in ["while it runs", "after its end"] {
        let bytes = bytes_below(server.audit_directory());
        assert!(has(&bytes, "get-online-features"), "the scan finds nothing");
        for secret in [
            "s3cr3t-header",
            "s3cr3t-body",
            "s3cr3t-query",
            "s3cr3t-bearer",
        ] {
            assert!(!has(&bytes, secret), "{secret} {moment}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_recorded_prediction_answers_as_ever_and_large_bodies_are_left_out() {
    let mut server = Server::start(&[
        "audit.http.routes={'/v1/models/{model}/predict' = 'bodies'}",
        "audit.http.max_body=1kB",
    ])
    .await;
    let small = server.predict("driver_ranking", PREDICT).await.json();
    let rows: Vec<Value> = (0..200)
        .map(|row| json!({"driver_id": 1001 + row, "trip_km": 1}))
        .collect();
    let large = json!({ "rows": rows }).to_string();
    let answer = server.predict("driver_ranking", &large).await;
    assert_eq!(
        (answer.status, &answer.json()["n_rows"]),
        (200, &json!(200))
    );
    let requests = events(&server, "requests", 2).await;
    let responses = events(&server, "responses", 2).await;
    server.stop().await;
    assert_eq!(
        requests[0]["body"],
        serde_json::from_str::<Value>(PREDICT).unwrap()
    );
    assert_eq!(requests[1]["body"], json!(null));
    assert_eq!(requests[1]["body_bytes"], large.len());
    let why = "it is larger than `audit.http.max_body`";
    assert_eq!(
        (
            &requests[1]["body_left_out"],
            &responses[1]["body_left_out"]
        ),
        (&json!(why), &json!(why))
    );
    assert_eq!(responses[1]["body_bytes"], answer.bytes.len());
    assert!(small["outputs"]["score"][0].is_number());
    // Their own events are there as ever.
    assert_eq!(server.events().await.len(), 2);
}

#[tokio::test]
async fn while_events_cannot_be_written_recorded_routes_fail_and_others_do_not() {
    let server = Server::start(&[
        "audit.http.routes={'/v1/models' = 'headers'}",
        "audit.spool.segment_size=1kB",
    ])
    .await;
    assert_eq!(server.get("/v1/models").await.status, 200);
    let spool = server.audit_directory().join("http/requests/spool");
    let moved = spool.with_extension("moved");
    std::fs::rename(&spool, &moved).unwrap();
    std::fs::write(&spool, "in the way").unwrap();
    // The segment has room for one or two more.
    let mut refused = server.get("/v1/models").await;
    for _ in 0..5 {
        refused = server.get("/v1/models").await;
    }
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "audit_unavailable")
    );
    assert_eq!(server.predict("driver_ranking", PREDICT).await.status, 200);
    let ready = server.get("/readyz").await.json();
    assert!(
        ready["reasons"].to_string().contains("audit_unavailable"),
        "{ready}"
    );
    std::fs::remove_file(&spool).unwrap();
    std::fs::rename(&moved, &spool).unwrap();
    assert_eq!(server.get("/v1/models").await.status, 200);
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_end_leaves_an_event() {
    let mut server = Server::start(&[
        "audit.http.routes={'/v1/jobs/*' = 'headers'}",
        "jobs.worker.in_server=false",
    ])
    .await;
    let path = "/v1/models/driver_ranking/jobs";
    let queued = server.post(path, PREDICT).await.json();
    let id = queued["id"].as_str().unwrap_or_else(|| panic!("{queued}"));
    // Nobody runs the job: one call waits for its end before there is an answer, the other is answered with a stream.
    let waiting = get(&server, &format!("/v1/jobs/{id}?wait=60s")).await;
    events(&server, "requests", 1).await;
    let mut streaming = get(&server, &format!("/v1/jobs/{id}/events")).await;
    let mut begin = [0; 12];
    streaming.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    drop(streaming);
    let streamed = &events(&server, "responses", 1).await[0];
    assert_eq!(streamed["route"], "/v1/jobs/{id}/events");
    let ended = |event: &Value| (event["outcome"].clone(), event["status_code"].clone());
    assert_eq!(ended(streamed), (json!("cancelled"), json!(200)));
    drop(waiting);
    let responses = events(&server, "responses", 2).await;
    server.stop().await;
    assert_eq!(responses[1]["route"], "/v1/jobs/{id}");
    assert_eq!(ended(&responses[1]), (json!("cancelled"), json!(499)));
}

/// Asks on a connection of its own.
async fn get(server: &Server, path: &str) -> tokio::net::TcpStream {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut connection = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}
