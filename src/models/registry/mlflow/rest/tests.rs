//! Calls as they go over the wire, and what becomes of answers that are none.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::super::testing::{Fault, TestServer, patience};
use super::*;
use crate::error::{ErrorClass, Failure};
use crate::inference::test_models::fixture;

const SEARCH: &str = "api/2.0/mlflow/registered-models/search";
const CREATE: &str = "api/2.0/mlflow/model-versions/create";

fn access(variables: &[(&str, &str)]) -> Access {
    Access::read(&|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
    .unwrap()
}

fn client(uri: &str, variables: &[(&str, &str)]) -> Rest {
    Rest::connect(uri, access(variables), patience()).unwrap()
}

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(status, Vec::new(), body.to_owned())
}

async fn search(rest: &Rest) -> Result<Value, Error> {
    rest.get(SEARCH, &[]).await
}

#[tokio::test]
async fn calls_carry_prefix_credentials_and_workspace() {
    let server = TestServer::start().await;
    server.json(
        "GET /mlflow/api/2.0/mlflow/registered-models/search?name=a b&x=ü/?",
        &json!({}),
    );
    server.json(
        "DELETE /mlflow/api/2.0/mlflow/registered-models/alias",
        &json!({}),
    );
    let rest = client(
        &format!("{}/mlflow/", server.uri),
        &[
            ("MLFLOW_TRACKING_TOKEN", "hush"),
            ("MLFLOW_WORKSPACE", "team-a"),
        ],
    );
    let _: Value = rest
        .get(SEARCH, &[("name", "a b"), ("x", "ü/?")])
        .await
        .unwrap();
    let body = json!({"name": "m", "alias": "a"});
    let _: Value = rest
        .delete("api/2.0/mlflow/registered-models/alias", &body)
        .await
        .unwrap();
    let asked = server.asked();
    for asked in &asked {
        assert_eq!(asked.headers["authorization"], "Bearer hush");
        assert_eq!(asked.headers["x-mlflow-workspace"], "team-a");
        assert!(
            asked.headers["user-agent"]
                .to_str()
                .unwrap()
                .starts_with("terrarium/")
        );
    }
    assert_eq!(asked[1].headers["content-type"], "application/json");
    assert_eq!(
        serde_json::from_slice::<Value>(&asked[1].body).unwrap(),
        body
    );
    let basic = client(&server.uri.replace("http://", "http://us%40er:pass@"), &[]);
    assert!(search(&basic).await.is_err());
    // `us@er:pass`
    assert_eq!(
        server.asked()[0].headers["authorization"],
        "Basic dXNAZXI6cGFzcw=="
    );
    assert_eq!(basic.origin(), server.uri);
}

#[tokio::test]
async fn what_passes_is_tried_again_unless_it_may_have_been_done() {
    let server = TestServer::start().await;
    server.json(&format!("GET /{SEARCH}"), &json!({}));
    server.json(&format!("POST /{CREATE}"), &json!({}));
    let rest = client(&server.uri, &[]);
    for passing in [408, 429, 500, 502, 503, 504] {
        server.fault(SEARCH, status(passing, "<html>"));
        search(&rest).await.unwrap();
        assert_eq!(server.asked().len(), 2, "{passing}");
    }
    for (passing, n_asked) in [(429, 2), (503, 2), (500, 1), (502, 1), (504, 1)] {
        server.fault(CREATE, status(passing, ""));
        let _ = rest.post::<Value>(CREATE, &json!({})).await;
        assert_eq!(server.asked().len(), n_asked, "{passing}");
    }
    for _ in 0..4 {
        server.fault(
            SEARCH,
            status(
                500,
                r#"{"error_code": "INTERNAL_ERROR", "message": "no\n  disk"}"#,
            ),
        );
    }
    let error = search(&rest).await.unwrap_err();
    assert_eq!(server.asked().len(), 4, "once and three times more");
    assert_eq!(error.code(), "model_registry_failing");
    assert!(error.to_string().ends_with("with 500: no disk"), "{error}");
}

#[test]
fn retry_after_makes_the_pause_longer_up_to_a_limit() {
    let patience = Patience::default();
    let within = |pause: Duration, low: u64, high: u64| {
        (Duration::from_millis(low)..=Duration::from_millis(high)).contains(&pause)
    };
    assert!(within(patience.pause(1, None), 250, 375));
    assert!(within(patience.pause(3, None), 1000, 1500));
    let asked_for = Some(Duration::from_secs(7));
    assert_eq!(patience.pause(1, asked_for), Duration::from_secs(7));
    let asked_for = Some(Duration::from_secs(3600));
    assert_eq!(patience.pause(1, asked_for), patience.longest_pause);
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again_and_the_remedy_is_told() {
    let server = TestServer::start().await;
    let text =
        "You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth/index.html";
    server.text(
        &format!("GET /{SEARCH}"),
        401,
        "text/html; charset=utf-8",
        text,
    );
    let rest = client(&server.uri, &[("MLFLOW_TRACKING_TOKEN", "hush")]);
    let error = search(&rest).await.unwrap_err();
    assert_eq!(server.asked().len(), 1);
    assert_eq!(error.code(), "model_registry_unauthenticated");
    let origin = &server.uri;
    assert_eq!(
        error.to_string(),
        format!("the model registry at {origin} does not accept the token")
    );
    assert!(error.hint().unwrap().contains("MLFLOW_TRACKING_TOKEN"));
    assert!(!format!("{error:?}").contains("hush"));
}

#[tokio::test]
async fn a_renewed_password_in_the_credentials_file_is_found() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".mlflow/credentials");
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    let text = "[mlflow]\nmlflow_tracking_username = u\nmlflow_tracking_password = ";
    fs_err::write(&file, format!("{text}old")).unwrap();
    let server = TestServer::start().await;
    server.json(&format!("GET /{SEARCH}"), &json!({}));
    let rest = client(&server.uri, &[("HOME", home.path().to_str().unwrap())]);
    server.fault(SEARCH, status(401, ""));
    assert_eq!(
        search(&rest).await.unwrap_err().code(),
        "model_registry_unauthenticated"
    );
    fs_err::write(&file, format!("{text}new")).unwrap();
    search(&rest).await.unwrap();
    let sent: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| asked.headers["authorization"].clone())
        .collect();
    assert_eq!(sent, ["Basic dTpvbGQ=", "Basic dTpuZXc="]);
}

/// `{method, path, status, body}` as the transcripts of one JSON document have them.
fn recorded(file: &str) -> Vec<Value> {
    let text = fs_err::read_to_string(fixture("transcripts").join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn recorded_refusals_have_their_class() {
    let server = TestServer::start().await;
    let rest = client(&server.uri, &[]);
    let mut codes = std::collections::BTreeSet::new();
    for call in recorded("auth.json") {
        let (code, body) = (call["status"].as_u64().unwrap(), call["body"].as_str());
        if code < 400 {
            continue;
        }
        server.fault(
            "",
            status(u16::try_from(code).unwrap(), body.unwrap_or_default()),
        );
        let error = search(&rest).await.unwrap_err();
        codes.insert((code, error.code()));
    }
    assert!(
        codes.contains(&(401, "model_registry_unauthenticated")),
        "{codes:?}"
    );
    assert!(
        codes.contains(&(403, "model_registry_forbidden")),
        "{codes:?}"
    );
    for (answer, code, class, part) in [
        (
            status(
                404,
                r#"{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Registered Model with name=x not found", "sqlstate": "KAM00"}"#,
            ),
            "model_registry_refused",
            ErrorClass::NotFound,
            "RESOURCE_DOES_NOT_EXIST: Registered Model",
        ),
        (
            status(
                400,
                r#"{"error_code": "RESOURCE_ALREADY_EXISTS", "message": "it is there"}"#,
            ),
            "model_registry_refused",
            ErrorClass::InvalidInput,
            "RESOURCE_ALREADY_EXISTS",
        ),
        (
            status(404, "<!doctype html>\n<title>404 Not Found</title>"),
            "model_registry_not_mlflow",
            ErrorClass::Unavailable,
            "404 Not Found",
        ),
        (
            status(403, "Permission denied"),
            "model_registry_forbidden",
            ErrorClass::Unavailable,
            "Permission denied",
        ),
        (
            status(200, "<html>a proxy's log-in page"),
            "model_registry_not_mlflow",
            ErrorClass::Unavailable,
            "expected value",
        ),
    ] {
        server.fault("", answer);
        let error = search(&rest).await.unwrap_err();
        assert_eq!((error.code(), error.class()), (code, class), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_gone_is_told_apart() {
    let server = TestServer::start().await;
    let impatient = Patience {
        timeout: Duration::from_millis(50),
        retries: 1,
        ..patience()
    };
    let rest = Rest::connect(&server.uri, access(&[]), impatient).unwrap();
    server.fault("", Fault::Hang);
    let error = search(&rest).await.unwrap_err();
    assert_eq!(error.code(), "model_registry_timeout");
    assert!(error.to_string().contains("within 50ms"), "{error}");
    assert_eq!(server.asked().len(), 1, "the next look is soon enough");
    server.stop().await;
    let secret = server.uri.replace("http://", "http://u:hush@");
    let error = search(&client(&secret, &[])).await.unwrap_err();
    assert_eq!(error.code(), "model_registry_unreachable");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test]
async fn files_go_up_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.onnx");
    let bytes: Vec<u8> = (0..600_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    fs_err::write(&file, &bytes).unwrap();
    let server = TestServer::start().await;
    let path = "api/2.0/mlflow-artifacts/artifacts/1/a b/100%/model.onnx";
    server.text(&format!("PUT /{path}"), 200, "text/plain", "");
    server.fault("artifacts", status(503, ""));
    let told = Arc::new(AtomicU64::new(0));
    let sent: Sent = {
        let told = Arc::clone(&told);
        Arc::new(move |n_bytes| told.store(n_bytes, Ordering::Relaxed))
    };
    let rest = client(&server.uri, &[]);
    rest.put(path, Upload::File(&file), &sent).await.unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 600_000);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].headers["content-length"], "600000");
    assert!(asked[1].body == bytes);
}

#[tokio::test]
async fn downloads_begin_where_they_are_told_to() {
    let server = TestServer::start().await;
    server.file("/a/x y", b"0123456789", "\"e\"");
    let rest = client(&server.uri, &[]);
    let read = async |from| {
        let mut download = rest.download("a/x y", &[], from).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = download.next().await.unwrap() {
            bytes.extend(piece);
        }
        let bytes = String::from_utf8(bytes).unwrap();
        (download.start, download.size, download.etag, bytes)
    };
    let etag = || Some("\"e\"".to_owned());
    assert_eq!(
        read(0).await,
        (0, Some(10), etag(), "0123456789".to_owned())
    );
    assert_eq!(read(7).await, (7, Some(10), etag(), "789".to_owned()));
    assert_eq!(read(10).await, (10, Some(10), etag(), String::new()));
    let error = rest.download("a/nope", &[], 0).await.err().unwrap();
    assert_eq!(error.code(), "model_registry_not_mlflow");
}

#[tokio::test]
async fn credentials_do_not_go_to_another_host() {
    let server = TestServer::start().await;
    let rest = client(&server.uri, &[("MLFLOW_TRACKING_TOKEN", "hush")]);
    let port = server.uri.rsplit(':').next().unwrap();
    for (host, is_sent) in [("127.0.0.1", true), ("localhost", false)] {
        let beside = rest.at(&format!("{host}:{port}")).unwrap();
        let _ = search(&beside).await;
        let asked = server.asked();
        assert_eq!(
            asked[0].headers.contains_key("authorization"),
            is_sent,
            "{host}"
        );
    }
}
