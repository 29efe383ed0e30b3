//! Calls that were recorded against the real `mlflow models serve`, replayed against ours, and what ours does beside them.
//!
//! Equal means: the same status and content type; of an answer the same JSON, numbers within 1e-6; of an error the same
//! `error_code`, `sqlstate` and `error_class`, and of a schema that is not met the same reason, in any order of its words
//! (MLflow prints sets). Texts with Python's print of the data are not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Answer, Server, copy, root};

const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Case {
    id: String,
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Bytes { base64: String },
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

fn fixture(path: &str) -> std::path::PathBuf {
    root().join("tests/fixtures/mlflow").join(path)
}

fn recorded(path: &Path) -> Vec<Case> {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All recordings by model. Of `mixed_cols` those with pandas 2.3, and of those with pandas 3 what its failure to take
/// text beside other columns has not spoilt.
fn recordings() -> Vec<(String, Vec<Case>)> {
    let mut recordings = Vec::new();
    for entry in std::fs::read_dir(fixture("invocations")).unwrap() {
        let path = entry.unwrap().path();
        let model = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut cases = recorded(&path);
        if model == "mixed_cols" {
            cases.retain(|case| {
                !case
                    .response
                    .body
                    .contains("Encountered an unexpected error")
            });
            cases.extend(recorded(&fixture("invocations-pandas2/mixed_cols.json")));
        }
        recordings.push((model, cases));
    }
    recordings.sort_by(|(a, _), (b, _)| a.cmp(b));
    recordings
}

/// The recorded models as a registry, each in one version.
fn registry(models: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for model in models {
        let version = directory.path().join(model).join("1");
        copy(&fixture("models").join(model), &version);
    }
    directory
}

async fn serve(registry: &tempfile::TempDir, settings: &[&str]) -> Server {
    let models = format!("registry.local.path={}", registry.path().display());
    let mut all = vec![models.as_str(), "features.repo="];
    all.extend(settings);
    Server::start_bare(&all).await
}

async fn serve_all(settings: &[&str]) -> (tempfile::TempDir, Server) {
    let recordings = recordings();
    let models: Vec<&str> = recordings.iter().map(|(model, _)| model.as_str()).collect();
    assert_eq!(models.len(), 23);
    let registry = registry(&models);
    let server = serve(&registry, settings).await;
    (registry, server)
}

async fn ask(server: &Server, model: Option<&str>, request: &Request) -> Answer {
    let path = match (request.path.as_str(), model) {
        ("/invocations", Some(model)) => format!("/models/{model}/invocations"),
        (path, _) => path.to_owned(),
    };
    let body = match &request.body {
        Some(Content::Text(text)) => text.clone().into_bytes(),
        Some(Content::Bytes { base64 }) => STANDARD.decode(base64).unwrap(),
        None => Vec::new(),
    };
    let headers: Vec<(&str, &str)> = request.headers.iter().map(|(k, v)| (&**k, &**v)).collect();
    server
        .call_bytes(&request.method, &path, &headers, body)
        .await
}

/// JSON as Python writes it: bare NaN and infinities become text.
fn python_json(text: &str) -> Value {
    let mut strict = text.replace("NaN", "\"NaN\"");
    strict = strict
        .replace("-Infinity", "\"-Inf\"")
        .replace("Infinity", "\"Infinity\"");
    serde_json::from_str(&strict).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn same(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Number(a), Value::Number(w)) => {
            let (a, w) = (a.as_f64().unwrap(), w.as_f64().unwrap());
            a == w || (a - w).abs() <= TOLERANCE * w.abs().max(1.0)
        }
        (Value::Array(a), Value::Array(w)) => {
            a.len() == w.len() && a.iter().zip(w).all(|(a, w)| same(a, w))
        }
        (Value::Object(a), Value::Object(w)) => {
            a.keys().eq(w.keys()) && w.iter().all(|(key, w)| same(&a[key], w))
        }
        _ => actual == wanted,
    }
}

/// The words of what stands behind the last `Error: `.
fn reason(message: &Value) -> BTreeSet<String> {
    let message = message.as_str().unwrap();
    let reason = message.rsplit("Error: ").next().unwrap();
    let words = reason.split(|c: char| c.is_whitespace() || "[],.".contains(c));
    words.map(str::to_owned).collect()
}

fn compare(answer: &Answer, wanted: &Response) -> Result<(), String> {
    let text = String::from_utf8_lossy(&answer.bytes).into_owned();
    if answer.status != wanted.status {
        return Err(format!(
            "{} {text} instead of {} {}",
            answer.status, wanted.status, wanted.body
        ));
    }
    let kind = answer
        .headers
        .get("content-type")
        .map(|kind| kind.to_str().unwrap());
    if kind != wanted.headers.get("content-type").map(String::as_str) {
        return Err(format!(
            "content type {kind:?} instead of {:?}",
            wanted.headers
        ));
    }
    if kind.is_some_and(|kind| kind.starts_with("text/plain")) {
        return Ok(());
    }
    if wanted.body.trim().is_empty() || !wanted.body.starts_with('{') {
        let equal = text == wanted.body;
        return if equal {
            Ok(())
        } else {
            Err(format!("{text:?} instead of {:?}", wanted.body))
        };
    }
    let (actual, wanted) = (python_json(&text), error_or_json(&wanted.body));
    if wanted.get("error_code").is_none() {
        return match same(&actual, &wanted) {
            true => Ok(()),
            false => Err(format!("{actual} instead of {wanted}")),
        };
    }
    for field in ["error_code", "sqlstate", "error_class"] {
        if actual[field] != wanted[field] {
            return Err(format!("{actual} instead of {wanted}"));
        }
    }
    let is_schema = wanted["error_class"] == "SCHEMA_ENFORCEMENT_FAILED";
    if is_schema && reason(&actual["message"]) != reason(&wanted["message"]) {
        return Err(format!(
            "{} instead of {}",
            actual["message"], wanted["message"]
        ));
    }
    Ok(())
}

/// Texts of errors may hold the words that stand for numbers elsewhere.
fn error_or_json(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| python_json(body))
}

/// Every difference is told, not only the first.
async fn replay(server: &Server, skipped: &BTreeSet<String>) -> usize {
    let mut differences = Vec::new();
    let mut n_compared = 0;
    for (model, cases) in recordings() {
        for case in cases {
            let name = format!("{model}/{}", case.id);
            if skipped.contains(&name) {
                continue;
            }
            let answer = ask(server, Some(&model), &case.request).await;
            n_compared += 1;
            if let Err(difference) = compare(&answer, &case.response) {
                differences.push(format!("{name}: {difference}"));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {n_compared} cases differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    n_compared
}

#[tokio::test]
async fn every_recorded_call_is_answered_as_mlflow_answers_it() {
    let (_registry, server) = serve_all(&["http.mlflow.strict=true"]).await;
    let n_compared = replay(&server, &BTreeSet::new()).await;
    assert!(n_compared >= 240, "{n_compared}");
}
