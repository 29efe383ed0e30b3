//! A small MLflow server in this process: it keeps what a registration makes, and goes down when it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Response, Uri};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::shutdown::Shutdown;

/// When the server goes down: at which call, and whether that one is still carried out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) is_carried_out: bool,
}

#[derive(Default)]
pub(super) struct Content {
    pub(super) experiments: Vec<String>,
    pub(super) runs: Vec<Value>,
    pub(super) models: Vec<Value>,
    /// Path to bytes.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) registered: Vec<String>,
    pub(super) versions: Vec<Value>,
    /// `name@alias` to version.
    pub(super) aliases: BTreeMap<String, String>,
}

#[derive(Default)]
pub(super) struct Kept {
    pub(super) content: Content,
    pub(super) calls: Vec<String>,
    pub(super) fault: Option<Fault>,
    /// Before MLflow 3.
    pub(super) is_old: bool,
}

/// Clones share the content. Stops with the last of them.
#[derive(Clone)]
pub(super) struct Fake {
    kept: Arc<Mutex<Kept>>,
    shutdown: Shutdown,
    pub(super) address: String,
}

impl Drop for Fake {
    fn drop(&mut self) {
        // The listening task holds one.
        if Arc::strong_count(&self.kept) <= 2 {
            self.shutdown.stop();
        }
    }
}

type Answer = Result<Value, (u16, &'static str)>;

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            kept: Arc::default(),
            shutdown: Shutdown::new(),
            address: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&fake.kept));
        let stop = fake.shutdown.clone();
        fake.shutdown.spawn("mlflow", async move {
            let stopped = async move { stop.stopped().await };
            let server = axum::serve(listener, router).with_graceful_shutdown(stopped);
            server.await.unwrap();
        });
        fake
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

async fn answer(
    State(kept): State<Arc<Mutex<Kept>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response<Body> {
    let mut kept = kept.lock().unwrap();
    let path = uri.path().to_owned();
    let n_before = kept.calls.len();
    kept.calls.push(format!("{method} {path}"));
    if let Some(fault) = kept.fault
        && n_before >= fault.at
    {
        if n_before == fault.at && fault.is_carried_out {
            let _ = carry_out(&mut kept, &method, &uri, &body);
        }
        return response(501, Vec::new());
    }
    match carry_out(&mut kept, &method, &uri, &body) {
        Ok(Value::Null) => response(200, Vec::new()),
        Ok(value) => response(200, value.to_string().into_bytes()),
        Err((404, "")) => response(404, b"<!doctype html>".to_vec()),
        Err((status, code)) => {
            let body = json!({ "error_code": code, "message": format!("at {path}") });
            response(status, body.to_string().into_bytes())
        }
    }
}

fn response(status: u16, body: Vec<u8>) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Body::from(body))
        .unwrap()
}

fn carry_out(kept: &mut Kept, method: &Method, uri: &Uri, body: &[u8]) -> Answer {
    let path = uri.path();
    if let Some(file) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/") {
        assert_eq!(method, Method::PUT);
        kept.content.files.insert(file.to_owned(), body.to_vec());
        return Ok(Value::Null);
    }
    let call = path.strip_prefix("/api/2.0/mlflow/").unwrap();
    let query = query(uri);
    let asked: Map<String, Value> = match body {
        [] => Map::new(),
        body => serde_json::from_slice(body).unwrap(),
    };
    let text = |key: &str| asked.get(key).and_then(Value::as_str).unwrap_or_default();
    let content = &mut kept.content;
    if kept.is_old && call.starts_with("logged-models") {
        return Err((404, ""));
    }
    match (method.as_str(), call) {
        ("GET", "experiments/get-by-name") => {
            let name = query["experiment_name"].as_str();
            match content.experiments.iter().position(|known| known == name) {
                Some(id) => Ok(json!({ "experiment": {
                    "experiment_id": id.to_string(), "name": name, "lifecycle_stage": "active",
                } })),
                None => Err((404, "RESOURCE_DOES_NOT_EXIST")),
            }
        }
        ("POST", "experiments/create") => {
            content.experiments.push(text("name").to_owned());
            let id = content.experiments.len() - 1;
            Ok(json!({ "experiment_id": id.to_string() }))
        }
        ("POST", "runs/create") => {
            let id = format!("run{}", content.runs.len());
            let uri = format!("mlflow-artifacts:/0/{id}/artifacts");
            let info = json!({ "run_id": id, "artifact_uri": uri, "status": "RUNNING" });
            let run = json!({
                "info": info, "data": { "tags": asked["tags"] }, "inputs": {}, "outputs": {},
            });
            content.runs.push(run.clone());
            Ok(json!({ "run": run }))
        }
        ("POST", "runs/search") => {
            let found = content.runs.iter().filter(|run| {
                run["info"]["status"] == "RUNNING" && is_tagged(&run["data"], text("filter"))
            });
            Ok(some("runs", found.cloned().collect()))
        }
        ("GET", "runs/get") => Ok(json!({ "run": run(content, &query["run_id"]) })),
        ("POST", "runs/update") => {
            let status = asked["status"].clone();
            run(content, text("run_id"))["info"]["status"] = status;
            Ok(json!({ "run_info": {} }))
        }
        ("POST", "runs/outputs") => {
            let run = run(content, text("run_id"));
            if run["outputs"]["model_outputs"].is_array() {
                return Err((400, "BAD_REQUEST"));
            }
            run["outputs"] = json!({ "model_outputs": asked["models"] });
            Ok(json!({}))
        }
        ("POST", "runs/log-model") => {
            let run = run(content, text("run_id"));
            run["logged"] = json!(true);
            Ok(json!({}))
        }
        ("POST", "logged-models") => {
            let id = format!("m-{}", content.models.len());
            let model = json!({
                "model_id": id,
                "artifact_uri": format!("mlflow-artifacts:/0/models/{id}/artifacts"),
                "status": "LOGGED_MODEL_PENDING",
                "source_run_id": text("source_run_id"),
                "tags": asked["tags"],
            });
            content.models.push(model.clone());
            Ok(json!({ "model": { "info": model, "data": {} } }))
        }
        ("POST", "logged-models/search") => {
            let filter = text("filter");
            let found = content.models.iter().rev();
            let found = found.filter(|model| is_tagged(model, filter));
            let found = found.map(|model| json!({ "info": model, "data": {} }));
            Ok(some("models", found.collect()))
        }
        ("PATCH", call) if call.starts_with("logged-models/") => {
            let status = asked["status"].clone();
            let id = call.trim_start_matches("logged-models/");
            let mut models = content.models.iter_mut();
            let model = models.find(|model| model["model_id"] == id).unwrap();
            model["status"] = status;
            Ok(json!({ "model": { "info": model } }))
        }
        ("POST", "registered-models/create") => {
            if content.registered.contains(&text("name").to_owned()) {
                return Err((400, "RESOURCE_ALREADY_EXISTS"));
            }
            content.registered.push(text("name").to_owned());
            Ok(json!({ "registered_model": { "name": text("name") } }))
        }
        ("GET", "registered-models/get") => {
            let name = &query["name"];
            if !content.registered.contains(name) {
                return Err((404, "RESOURCE_DOES_NOT_EXIST"));
            }
            let aliases: Vec<Value> = content
                .aliases
                .iter()
                .filter_map(|(key, version)| {
                    let alias = key.strip_prefix(&format!("{name}@"))?;
                    Some(json!({ "alias": alias, "version": version }))
                })
                .collect();
            let mut model = json!({ "name": name });
            if !aliases.is_empty() {
                model["aliases"] = json!(aliases);
            }
            Ok(json!({ "registered_model": model }))
        }
        ("POST", "registered-models/alias") => {
            let key = format!("{}@{}", text("name"), text("alias"));
            let is_there = |version: &Value| {
                version["name"] == text("name") && version["version"] == text("version")
            };
            if !content.versions.iter().any(is_there) {
                return Err((404, "RESOURCE_DOES_NOT_EXIST"));
            }
            content.aliases.insert(key, text("version").to_owned());
            Ok(json!({}))
        }
        ("DELETE", "registered-models/alias") => {
            let key = format!("{}@{}", text("name"), text("alias"));
            content.aliases.remove(&key);
            Ok(json!({}))
        }
        ("GET", "model-versions/search") => {
            let filter = &query["filter"];
            let found = content.versions.iter().rev();
            let found = found.filter(|version| is_tagged(version, filter));
            Ok(some("model_versions", found.cloned().collect()))
        }
        ("POST", "model-versions/create") => {
            let name = text("name");
            let of_name = |version: &&Value| version["name"] == name;
            let number = content.versions.iter().filter(of_name).count() + 1;
            let mut version = Value::Object(asked.clone());
            version["version"] = json!(number.to_string());
            version["status"] = json!("READY");
            content.versions.push(version.clone());
            Ok(json!({ "model_version": version }))
        }
        ("POST", "model-versions/set-tag") => {
            let mut versions = content.versions.iter_mut();
            let version = versions
                .find(|known| known["name"] == text("name") && known["version"] == text("version"))
                .unwrap();
            let tag = json!({ "key": text("key"), "value": text("value") });
            let tags = version["tags"].as_array_mut().unwrap();
            tags.retain(|tag| tag["key"] != text("key"));
            tags.push(tag);
            Ok(json!({}))
        }
        (method, call) => panic!("{method} {call}"),
    }
}

/// MLflow leaves empty lists out.
fn some(key: &str, found: Vec<Value>) -> Value {
    match found.is_empty() {
        true => json!({}),
        false => json!({ key: found }),
    }
}

fn run<'a>(content: &'a mut Content, id: &str) -> &'a mut Value {
    let mut runs = content.runs.iter_mut();
    runs.find(|run| run["info"]["run_id"] == id).unwrap()
}

/// Of a filter that begins with: tags.`key` = 'value'.
fn is_tagged(owner: &Value, filter: &str) -> bool {
    let key = filter.split('`').nth(1).unwrap();
    let value = filter.split('\'').nth(1).unwrap();
    let tags = owner["tags"].as_array().unwrap();
    tags.contains(&json!({ "key": key, "value": value }))
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), unescaped(value)))
        .collect()
}

pub(super) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = str::from_utf8(&behind[..2]).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &behind[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
