//! The registry against a server in this process: recorded answers, made-up ones, and faults.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::contract;
use super::testing::{Fault, TestServer, patience};
use super::*;
use crate::error::Failure;
use crate::inference::test_models::{fixture, runtime};
use crate::models::artifact::Artifact;
use crate::types::byte_size::ByteSize;

const MODELS: &str = "GET /api/2.0/mlflow/registered-models/search?max_results=1000";
const VERSIONS: &str = "GET /api/2.0/mlflow/model-versions/search?max_results=10000";

fn registry(server: &TestServer, cache: &TempDir) -> MlflowRegistry {
    let rest = Rest::connect(&server.uri, Access::read(&|_| None).unwrap(), patience()).unwrap();
    let limits = Limits {
        max_size: ByteSize::from_mebibytes(64),
        max_files: 100,
    };
    MlflowRegistry {
        places: Places {
            proxy: rest.clone(),
            stores: Stores::read(&|_| None),
        },
        cache: Cache::new(cache.path(), &server.uri, limits),
        rest,
        versions: Mutex::default(),
    }
}

/// One version as the server tells it, also on its own, and where its files lie.
fn version(server: &TestServer, name: &str, number: u64, source: &str, more: &Value) -> Value {
    let mut version = json!({
        "name": name, "version": number.to_string(), "creation_timestamp": 1_795_360_474_493_i64,
        "source": source, "status": "READY",
    });
    for (key, value) in more.as_object().unwrap() {
        version[key] = value.clone();
    }
    let query = format!("?name={name}&version={number}");
    server.json(
        &format!("GET /api/2.0/mlflow/model-versions/get{query}"),
        &json!({"model_version": version}),
    );
    server.json(
        &format!("GET /api/2.0/mlflow/model-versions/get-download-uri{query}"),
        &json!({"artifact_uri": source}),
    );
    version
}

fn tags(pairs: &[(&str, &str)]) -> Value {
    let tags = pairs.iter();
    tags.map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

fn absent(server: &TestServer, name: &str, number: u64) {
    let body = r#"{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}"#;
    for call in ["get", "get-download-uri"] {
        let target =
            format!("GET /api/2.0/mlflow/model-versions/{call}?name={name}&version={number}");
        server.text(&target, 404, "application/json", body);
    }
}

/// What the contract asks for, and prompts and the like beside it.
async fn contract_server() -> TestServer {
    let server = TestServer::start().await;
    server.json(
        MODELS,
        &json!({
            "registered_models": [
                {"name": "prompt", "tags": tags(&[("mlflow.prompt.is_prompt", "true")])},
                {"name": "ranking", "tags": tags(&[("team", "a")]), "aliases": [
                    {"alias": "champion", "version": "2"}, {"alias": "candidate", "version": "10"}]},
                {"name": "empty"},
            ],
            "next_page_token": "t=/+",
        }),
    );
    server.json(
        &format!("{MODELS}&page_token=t=/+"),
        &json!({"registered_models": [{"name": "plain"}, {"name": "a@b"}]}),
    );
    let place = "mlflow-artifacts:/1/models/m-1/artifacts";
    server.json(
        VERSIONS,
        &json!({
            "model_versions": [
                version(&server, "ranking", 10, place, &json!({})),
                version(&server, "ranking", 2, place, &json!({"tags": tags(&[("team", "b")])})),
                version(&server, "prompt", 1, "dummy", &json!({})),
            ],
            "next_page_token": "next",
        }),
    );
    server.json(
        &format!("{VERSIONS}&page_token=next"),
        &json!({"model_versions": [
            version(&server, "ranking", 1, place, &json!({})),
            version(&server, "plain", 1, place, &json!({})),
            version(&server, "a@b", 1, place, &json!({})),
        ]}),
    );
    for (name, number) in [("ranking", 3), ("nosuch", 1), ("../ranking", 1), (".", 1)] {
        absent(&server, name, number);
    }
    server.proxied("1/models/m-1/artifacts", &[("MLmodel", b"flavors: {}")]);
    server
}

#[tokio::test]
async fn the_contract_holds() {
    let cache = tempfile::tempdir().unwrap();
    let server = contract_server().await;
    contract::run(&registry(&server, &cache)).await;
}

/// Answers by request, as they were recorded; later ones win. Bytes that the transcript cut short are made up.
fn replay(server: &TestServer, file: &str) {
    let text = fs_err::read_to_string(fixture("transcripts").join(file)).unwrap();
    for line in text.lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let (request, response) = (&call["request"], &call["response"]);
        let path = request["path"].as_str().unwrap();
        let target = access::unescaped(&path.replace('+', " "));
        let body = &response["body"];
        if let Some(etag) = response["headers"]["etag"].as_str() {
            let size = usize::try_from(body["bytes"].as_u64().unwrap_or_default()).unwrap();
            let mut bytes = match body["base64_prefix"].as_str() {
                Some(prefix) => base64::prelude::BASE64_STANDARD.decode(prefix).unwrap(),
                None => body["text"]
                    .as_str()
                    .unwrap_or_default()
                    .as_bytes()
                    .to_vec(),
            };
            bytes.resize(size, 0);
            if request["method"] == "GET" && response["status"] == 200 {
                server.file(&target, &bytes, etag);
            }
        } else {
            let status = u16::try_from(response["status"].as_u64().unwrap()).unwrap();
            let kind = response["headers"]["content-type"]
                .as_str()
                .unwrap_or_default();
            let text = match &body["json"] {
                Value::Null => body["text"].as_str().unwrap_or_default().to_owned(),
                json => json.to_string(),
            };
            let method = request["method"].as_str().unwrap();
            server.text(&format!("{method} {target}"), status, kind, &text);
        }
    }
}

#[tokio::test]
async fn a_recorded_load_by_alias_is_followed_to_the_files() {
    let server = TestServer::start().await;
    replay(&server, "load_by_alias.jsonl");
    let models = json!({"registered_models": [
        {"name": "price-model", "aliases": [{"alias": "challenger", "version": "2"}]}]});
    server.json(MODELS, &models);
    let alias = "api/2.0/mlflow/registered-models/alias?name=price-model&alias=challenger";
    let recorded = reqwest_get(&server, alias).await;
    let versions = json!({"model_versions": [recorded["model_version"]]});
    server.json(VERSIONS, &versions);
    let cache = tempfile::tempdir().unwrap();
    let registry = registry(&server, &cache);
    let uri = "models:/price-model@challenger".parse().unwrap();
    server.asked();
    let files = registry.directory_of(&uri).await.unwrap();
    let artifact = Artifact::read(&files).unwrap();
    assert_eq!(artifact.mlflow_version.as_deref(), Some("3.17.2"));
    assert_eq!(artifact.n_bytes, 255);
    assert!(artifact.input_example.is_some());
    let targets = server.targets();
    assert_eq!(targets.len(), 2 + 1 + 1 + 7, "{targets:?}");
    // Once more, and not a single request.
    assert_eq!(
        registry
            .directory("price-model", ModelVersion(2))
            .await
            .unwrap(),
        files
    );
    assert!(server.targets().is_empty());
}

async fn reqwest_get(server: &TestServer, target: &str) -> Value {
    let response = reqwest::get(format!("{}/{target}", server.uri))
        .await
        .unwrap();
    response.json().await.unwrap()
}

#[tokio::test]
async fn recorded_pages_and_errors_are_read() {
    let server = TestServer::start().await;
    replay(&server, "rest_probe.jsonl");
    let page = |request: &str, recorded: Value| server.json(request, &recorded);
    let models = "api/2.0/mlflow/registered-models/search?max_results=2";
    let versions =
        "api/2.0/mlflow/model-versions/search?filter=name%3D%27price-model%27&max_results=1";
    page(MODELS, reqwest_get(&server, models).await);
    let (second, third) = ("eyJvZmZzZXQiOiAyfQ==", "eyJvZmZzZXQiOiA0fQ==");
    page(
        &format!("{MODELS}&page_token={second}"),
        reqwest_get(
            &server,
            &format!("{models}&page_token={second}").replace("==", "%3D%3D"),
        )
        .await,
    );
    page(&format!("{MODELS}&page_token={third}"), json!({}));
    page(VERSIONS, reqwest_get(&server, versions).await);
    let token = "eyJvZmZzZXQiOiAxfQ==";
    page(
        &format!("{VERSIONS}&page_token={token}"),
        reqwest_get(
            &server,
            &format!("{versions}&page_token={token}").replace("==", "%3D%3D"),
        )
        .await,
    );
    let cache = tempfile::tempdir().unwrap();
    let registry = registry(&server, &cache);
    let listings = registry.list().await.unwrap();
    let names: Vec<_> = listings
        .iter()
        .map(|listing| listing.name.as_str())
        .collect();
    assert_eq!(names, ["price-model"], "the others have no versions");
    let model = listings[0].model.as_ref().unwrap();
    assert_eq!(model.aliases["champion"], ModelVersion(1));
    assert_eq!(model.versions[&ModelVersion(2)]["from"], "cli");
    assert_eq!(model.versions[&ModelVersion(1)]["stage"], "dev");
    let error = registry
        .directory("price-model", ModelVersion(77))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "model_version_not_found");
    let id = "m-834d4c466d9d48fa953055febb9788d9";
    server.proxied(
        &format!("2/models/{id}/artifacts"),
        &[("MLmodel", b"x"), ("a/b", b"y")],
    );
    for uri in [
        format!("models:/{id}"),
        // The run has logged the model under this name, beside itself.
        "runs:/56e782d8046c43f78e57c86e32fef52b/model".to_owned(),
    ] {
        let files = registry.directory_of(&uri.parse().unwrap()).await.unwrap();
        assert_eq!(fs_err::read(files.join("a/b")).unwrap(), b"y", "{uri}");
        server.asked();
        registry.directory_of(&uri.parse().unwrap()).await.unwrap();
        assert!(server.asked().is_empty(), "{uri} is here already");
    }
}

/// One model whose version 1 has the files of a recorded directory.
async fn server_with(model: &str) -> TestServer {
    let server = TestServer::start().await;
    let files = files_of(&fixture("models").join(model));
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), &bytes[..]))
        .collect();
    server.proxied("1/m/artifacts", &files);
    list_one(&server, "mlflow-artifacts:/1/m/artifacts", &json!({}));
    server
}

fn list_one(server: &TestServer, source: &str, more: &Value) {
    server.json(MODELS, &json!({"registered_models": [{"name": "m"}]}));
    let version = version(server, "m", 1, source, more);
    server.json(VERSIONS, &json!({"model_versions": [version]}));
}

fn files_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs_err::read_dir(directory).unwrap();
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs_err::read(entry.path()).unwrap())
    });
    files.collect()
}

const FIRST: ModelVersion = ModelVersion(1);

#[tokio::test]
async fn a_model_with_its_weights_in_another_file_loads_from_the_cache() {
    let server = server_with("ext_data").await;
    let cache = tempfile::tempdir().unwrap();
    let registry = registry(&server, &cache);
    registry.list().await.unwrap();
    let files = registry.directory("m", FIRST).await.unwrap();
    let artifact = Artifact::read(&files).unwrap();
    runtime()
        .load_model(&artifact.onnx_file, &artifact.session_options)
        .unwrap();
}

#[tokio::test]
async fn without_the_server_what_is_here_is_served() {
    let server = server_with("linreg_col").await;
    let cache = tempfile::tempdir().unwrap();
    let before = registry(&server, &cache);
    before.list().await.unwrap();
    let files = before.directory("m", FIRST).await.unwrap();
    server.stop().await;
    let after = registry(&server, &cache);
    assert_eq!(
        after.list().await.unwrap_err().code(),
        "model_registry_unreachable"
    );
    assert_eq!(after.directory("m", FIRST).await.unwrap(), files);
    let error = after.directory("m", ModelVersion(2)).await.unwrap_err();
    assert_eq!(error.code(), "model_registry_unreachable");
    // Damaged, and nobody there to ask: that is no version to serve.
    fs_err::write(files.join("model.onnx"), "x").unwrap();
    let error = after.directory("m", FIRST).await.unwrap_err();
    assert_eq!(error.code(), "model_registry_unreachable");
}

#[tokio::test]
async fn a_model_that_was_registered_anew_is_fetched_anew() {
    let server = server_with("linreg_col").await;
    let cache = tempfile::tempdir().unwrap();
    let registry = registry(&server, &cache);
    registry.list().await.unwrap();
    registry.directory("m", FIRST).await.unwrap();
    server.proxied("1/m/artifacts", &[("MLmodel", b"another")]);
    list_one(
        &server,
        "mlflow-artifacts:/1/m/artifacts",
        &json!({"creation_timestamp": 7}),
    );
    registry.list().await.unwrap();
    let files = registry.directory("m", FIRST).await.unwrap();
    assert_eq!(fs_err::read(files.join("MLmodel")).unwrap(), b"another");
    assert!(!files.join("model.onnx").exists());
}

#[tokio::test]
async fn a_download_survives_cuts_and_failures_of_the_server() {
    let server = server_with("linreg_col").await;
    let model = "artifacts/model.onnx";
    server.fault(model, Fault::Status(502, Vec::new(), "<html>".to_owned()));
    server.fault(model, Fault::CutAfter(100));
    server.fault(model, Fault::CutAfter(0));
    server.fault(model, Fault::CutAfter(50));
    let cache = tempfile::tempdir().unwrap();
    let registry = registry(&server, &cache);
    let files = registry.directory("m", FIRST).await.unwrap();
    let recorded = fixture("models/linreg_col/model.onnx");
    assert_eq!(
        fs_err::read(files.join("model.onnx")).unwrap(),
        fs_err::read(recorded).unwrap()
    );
    let asked = server.asked();
    let of_model = asked
        .iter()
        .filter(|asked| asked.target.ends_with("model.onnx"));
    let ranges: Vec<_> = of_model
        .map(|asked| {
            asked
                .headers
                .get("range")
                .map_or("", |range| range.to_str().unwrap())
        })
        .collect();
    assert_eq!(ranges, ["", "", "bytes=100-", "bytes=100-", "bytes=150-"]);
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_of_a_download_is_given_up() {
    let server = server_with("linreg_col").await;
    let cache = tempfile::tempdir().unwrap();
    let mut registry = registry(&server, &cache);
    let impatient = super::rest::Patience {
        timeout: Duration::from_millis(50),
        silence: Duration::from_millis(50),
        retries: 0,
        ..patience()
    };
    registry.places.proxy =
        Rest::connect(&server.uri, Access::read(&|_| None).unwrap(), impatient).unwrap();
    for _ in 0..4 {
        server.fault("artifacts/model.onnx", Fault::Hang);
    }
    let error = registry.directory("m", FIRST).await.unwrap_err();
    assert_eq!(error.code(), "model_registry_timeout");
    registry.directory("m", FIRST).await.unwrap();
}

#[tokio::test]
async fn hostile_listings_are_refused() {
    for path in ["../../evil", "/etc/passwd", "a\\b", ".."] {
        for is_dir in [false, true] {
            let server = TestServer::start().await;
            list_one(&server, "mlflow-artifacts:/1/m", &json!({}));
            let files = json!({"files": [{"path": path, "is_dir": is_dir, "file_size": 1}]});
            server.json("GET /api/2.0/mlflow-artifacts/artifacts?path=1/m", &files);
            let cache = tempfile::tempdir().unwrap();
            let error = registry(&server, &cache)
                .directory("m", FIRST)
                .await
                .unwrap_err();
            assert_eq!(error.code(), "artifact_path_refused", "{path}");
            assert_eq!(fs_err::read_dir(cache.path()).unwrap().count(), 0, "{path}");
        }
    }
    let server = TestServer::start().await;
    list_one(&server, "mlflow-artifacts:/1/../../etc", &json!({}));
    let cache = tempfile::tempdir().unwrap();
    let error = registry(&server, &cache)
        .directory("m", FIRST)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "artifact_path_refused");
}

#[tokio::test]
async fn directories_within_directories_without_end_are_given_up() {
    let server = TestServer::start().await;
    list_one(&server, "mlflow-artifacts:/1/m", &json!({}));
    let listing = json!({"files": [{"path": "a", "is_dir": true}, {"path": "MLmodel"}]});
    let mut path = "1/m".to_owned();
    for _ in 0..40 {
        let target = format!("GET /api/2.0/mlflow-artifacts/artifacts?path={path}");
        server.json(&target, &listing);
        path += "/a";
    }
    let cache = tempfile::tempdir().unwrap();
    let error = registry(&server, &cache)
        .directory("m", FIRST)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "artifact_path_refused");
    assert!(error.to_string().contains("nested too deeply"), "{error}");
}

#[tokio::test]
async fn a_version_that_is_not_ready_is_listed_and_says_why_it_does_not_load() {
    let server = TestServer::start().await;
    let pending = json!({"status": "PENDING_REGISTRATION", "status_message": "copying"});
    list_one(&server, "s3://bucket/m", &pending);
    let cache = tempfile::tempdir().unwrap();
    let registry = registry(&server, &cache);
    let listings = registry.list().await.unwrap();
    assert!(
        listings[0]
            .model
            .as_ref()
            .unwrap()
            .versions
            .contains_key(&FIRST)
    );
    let error = registry.directory("m", FIRST).await.unwrap_err();
    assert_eq!(error.code(), "model_version_not_ready");
    assert!(
        error
            .to_string()
            .ends_with("PENDING_REGISTRATION in the registry: copying"),
        "{error}"
    );
}

#[tokio::test]
async fn an_alias_without_its_version_stops_only_its_model() {
    let server = contract_server().await;
    let models = json!({"registered_models": [
        {"name": "plain"},
        {"name": "ranking", "aliases": [{"alias": "champion", "version": "9"}]}]});
    server.json(MODELS, &models);
    let cache = tempfile::tempdir().unwrap();
    let listings = registry(&server, &cache).list().await.unwrap();
    assert!(listings[0].model.is_ok());
    assert_eq!(
        listings[1].model.as_ref().unwrap_err().code(),
        "model_alias_dangling"
    );
}

#[tokio::test]
async fn files_on_this_machine_are_copied_and_links_out_of_them_refused() {
    let server = TestServer::start().await;
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("a model");
    fs_err::create_dir_all(model.join("sub")).unwrap();
    fs_err::write(model.join("MLmodel"), "x").unwrap();
    fs_err::write(model.join("sub/weights"), "y").unwrap();
    fs_err::os::unix::fs::symlink("sub/weights", model.join("inner")).unwrap();
    let uri = format!("file://{}", model.display()).replace(' ', "%20");
    list_one(&server, &uri, &json!({}));
    let cache = tempfile::tempdir().unwrap();
    let files = registry(&server, &cache)
        .directory("m", FIRST)
        .await
        .unwrap();
    assert_eq!(files_of(&files.join("sub"))["weights"], b"y");
    let inner = fs_err::symlink_metadata(files.join("inner")).unwrap();
    assert!(inner.is_file(), "what the link leads to is copied");
    fs_err::os::unix::fs::symlink("/etc/hostname", model.join("outer")).unwrap();
    list_one(&server, &uri, &json!({"creation_timestamp": 8}));
    let cache = tempfile::tempdir().unwrap();
    let error = registry(&server, &cache)
        .directory("m", FIRST)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "artifact_path_refused");
}

#[tokio::test]
async fn files_that_only_the_server_can_reach_come_through_it() {
    let server = TestServer::start().await;
    let id = "m-834d4c466d9d48fa953055febb9788d9";
    list_one(&server, &format!("models:/{id}"), &json!({}));
    server.json(
        "GET /api/2.0/mlflow/model-versions/get-download-uri?name=m&version=1",
        &json!({"artifact_uri": "hdfs://cluster/m"}),
    );
    let route = format!("GET /api/2.0/mlflow/logged-models/{id}/artifacts/directories");
    let file = |path: &str| json!({"path": path, "is_dir": false, "file_size": 1});
    server.json(
        &route,
        &json!({"files": [file("MLmodel"), {"path": "sub", "is_dir": true}]}),
    );
    server.json(
        &format!("{route}?artifact_directory_path=sub"),
        &json!({"files": [file("sub/weights"), {"path": "sub", "is_dir": true}]}),
    );
    for path in ["MLmodel", "sub/weights"] {
        let target = format!("/model-versions/get-artifact?name=m&version=1&path={path}");
        server.file(&target, b"z", "\"1\"");
    }
    let cache = tempfile::tempdir().unwrap();
    let files = registry(&server, &cache).directory("m", FIRST).await;
    // `sub` within itself is not followed.
    assert_eq!(
        fs_err::read(files.unwrap().join("sub/weights")).unwrap(),
        b"z"
    );
    list_one(&server, "hdfs://cluster/m", &json!({}));
    let cache = tempfile::tempdir().unwrap();
    let error = registry(&server, &cache).directory("m", FIRST).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), "artifact_location_unsupported");
    assert!(error.to_string().contains("hdfs://cluster/m"), "{error}");
}

#[tokio::test]
async fn another_server_may_have_the_files() {
    let server = TestServer::start().await;
    let files = TestServer::start().await;
    files.proxied("1/m", &[("MLmodel", b"x")]);
    let authority = files.uri.trim_start_matches("http://");
    list_one(
        &server,
        &format!("mlflow-artifacts://{authority}/1/m"),
        &json!({}),
    );
    let cache = tempfile::tempdir().unwrap();
    registry(&server, &cache)
        .directory("m", FIRST)
        .await
        .unwrap();
    assert_eq!(files.targets().len(), 2);
}

#[tokio::test]
async fn the_newest_version_of_a_stage_is_found() {
    let server = server_with("linreg_col").await;
    let route = "POST /api/2.0/mlflow/registered-models/get-latest-versions";
    server.json(
        route,
        &json!({"model_versions": [{"name": "m", "version": "1"}]}),
    );
    let cache = tempfile::tempdir().unwrap();
    let registry = registry(&server, &cache);
    let uri = "models:/m/Production".parse().unwrap();
    registry.directory_of(&uri).await.unwrap();
    server.json(route, &json!({}));
    let error = registry.directory_of(&uri).await.unwrap_err();
    assert_eq!(error.code(), "model_uri_unresolved");
}

#[test]
fn variables_of_mlflows_client_set_the_patience() {
    let variables = |name: &str| match name {
        "MLFLOW_HTTP_REQUEST_TIMEOUT" => Some("120".to_owned()),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES" => Some("7".to_owned()),
        _ => None,
    };
    let patience = Config::default().patience(&variables).unwrap();
    assert_eq!(
        (patience.timeout, patience.retries),
        (Duration::from_secs(120), 7)
    );
    let own = Config {
        timeout: Some(Duration::from_secs(2)),
        ..Config::default()
    };
    assert_eq!(
        own.patience(&variables).unwrap().timeout,
        Duration::from_secs(2)
    );
    for text in ["soon", "-1", "0", "inf", "nan"] {
        let wrong = |name: &str| (name == "MLFLOW_HTTP_REQUEST_TIMEOUT").then(|| text.to_owned());
        let error = Config::default().patience(&wrong).unwrap_err();
        assert_eq!(error.code(), "model_registry_settings", "{text}");
    }
}
