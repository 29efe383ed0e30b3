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
            if skipped.contains(&case.id) {
                continue;
            }
            let answer = ask(server, Some(&model), &case.request).await;
            n_compared += 1;
            if let Err(difference) = compare(&answer, &case.response) {
                differences.push(format!("{}: {difference}", case.id));
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
    assert!(n_compared >= 250, "{n_compared}");
}

/// Tables with outputs that MLflow scrambles or fails over, and integers beyond 64 bits.
fn mishaps() -> BTreeSet<String> {
    let mut mishaps = BTreeSet::from([
        "mixed_cols/x_records_huge_long".to_owned(),
        "mixed_cols/x_records_float_big_for_long".to_owned(),
    ]);
    for (model, cases) in recordings() {
        let is_wide = matches!(
            model.as_str(),
            "wide_out_col" | "wide_out_unnamed" | "clf_off_col" | "clf_off_nosig"
        );
        for case in cases.into_iter().filter(|_| is_wide) {
            let body = &case.response.body;
            let is_answered = body.starts_with("{\"predictions\": [");
            if is_answered || body.contains("Encountered an unexpected error") {
                mishaps.insert(case.id);
            }
        }
    }
    mishaps
}

#[tokio::test]
async fn by_default_only_mishaps_are_answered_differently() {
    let (_registry, server) = serve_all(&[]).await;
    let mishaps = mishaps();
    assert_eq!(mishaps.len(), 18);
    replay(&server, &mishaps).await;
    let one = |model: &str, body: Value| {
        let (path, body) = (format!("/models/{model}/invocations"), body.to_string());
        let server = &server;
        async move { server.post(&path, &body).await }
    };
    let wide =
        json!({"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 0, 0], [0, 1, 0]]}});
    let answer = one("wide_out_col", wide).await.json();
    let wanted = json!({"predictions": [{"targets": [1.0, 10.0]}, {"targets": [2.0, 20.0]}]});
    assert_eq!(answer, wanted);
    let row = json!({"sepal_l": 5.1, "sepal_w": 3.5, "petal_l": 1.4, "petal_w": 0.2});
    let answer = one("clf_off_col", json!({"dataframe_records": [row]}))
        .await
        .json();
    assert_eq!(answer["predictions"][0]["label"], 0);
    assert_eq!(
        answer["predictions"][0]["probabilities"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let huge = json!({"dataframe_records": [{"age": 9_223_372_036_854_775_808_u64, "income": 1.5,
        "city": "oslo", "vip": true, "small": 3, "ratio": 0.1}]});
    let answer = one("mixed_cols", huge).await;
    assert_eq!(
        (answer.status, answer.json()["error_code"].as_str()),
        (400, Some("BAD_REQUEST"))
    );
}

#[tokio::test]
async fn invocations_means_the_only_model_or_the_configured_one() {
    let body = r#"{"inputs": [[0.1, 0.2, 0.3, 0.4]]}"#;
    let alone = registry(&["linreg_tensor"]);
    let server = serve(&alone, &[]).await;
    let answer = server.post("/invocations", body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);

    let several = registry(&["linreg_tensor", "rank3"]);
    let server = serve(&several, &[]).await;
    let answer = server.post("/invocations", body).await;
    assert_eq!(answer.status, 400);
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    for part in [
        "linreg_tensor, rank3",
        "/models/{model}/invocations",
        "http.mlflow.model",
    ] {
        assert!(message.contains(part), "{message}");
    }

    let server = serve(&several, &["http.mlflow.model=linreg_tensor:1"]).await;
    assert_eq!(server.post("/invocations", body).await.status, 200);
    for case in recorded(&fixture("invocations/linreg_tensor.json")) {
        let answer = ask(&server, None, &case.request).await;
        compare(&answer, &case.response)
            .unwrap_or_else(|difference| panic!("{}: {difference}", case.id));
    }

    let nothing = tempfile::tempdir().unwrap();
    let server = serve(&nothing, &[]).await;
    assert_eq!(server.post("/invocations", body).await.status, 404);
    for path in ["/ping", "/health"] {
        assert_eq!(server.get(path).await.status, 503, "{path}");
    }
}

#[tokio::test]
async fn a_model_is_named_by_version_and_what_is_not_there_is_404() {
    let registry = registry(&["linreg_tensor"]);
    let server = serve(&registry, &[]).await;
    let body = r#"{"inputs": [[1, 2, 3, 4]]}"#;
    for (model, status, code) in [
        ("linreg_tensor", 200, Value::Null),
        ("linreg_tensor:1", 200, Value::Null),
        ("linreg_tensor:2", 404, json!("RESOURCE_DOES_NOT_EXIST")),
        (
            "linreg_tensor@champion",
            404,
            json!("RESOURCE_DOES_NOT_EXIST"),
        ),
        ("nope", 404, json!("RESOURCE_DOES_NOT_EXIST")),
        ("linreg_tensor:x", 400, json!("INVALID_PARAMETER_VALUE")),
    ] {
        let answer = server
            .post(&format!("/models/{model}/invocations"), body)
            .await;
        assert_eq!(answer.status, status, "{model}");
        assert_eq!(answer.json()["error_code"], code, "{model}");
    }
}

#[tokio::test]
async fn limits_hold_and_are_told() {
    let registry = registry(&["linreg_col"]);
    let server = serve(&registry, &["http.max_rows=2", "http.max_body=1kB"]).await;
    let body = |n_rows: usize| {
        let rows = vec![[1.0, 2.0, 3.0, 4.0]; n_rows];
        json!({"dataframe_split": {"columns": ["x0", "x1", "x2", "x3"], "data": rows}}).to_string()
    };
    for (n_rows, status) in [(0, 200), (2, 200), (3, 413), (100, 413)] {
        let answer = server.post("/invocations", &body(n_rows)).await;
        assert_eq!(answer.status, status, "{n_rows}: {:?}", answer.bytes);
        if n_rows == 0 {
            assert_eq!(answer.json(), json!({"predictions": []}));
        }
    }
}

#[tokio::test]
async fn each_call_leaves_one_event_with_what_it_gave() {
    let registry = registry(&["linreg_col", "multi_tensor", "linreg_tensor"]);
    let server = serve(&registry, &[]).await;
    let frame = r#"{"dataframe_split": {"columns": ["x0", "x1", "x2", "x3"], "data": [["1.5", 2, 3, 4]]}, "params": {"a": 1}}"#;
    server.post("/models/linreg_col/invocations", frame).await;
    server
        .post(
            "/models/linreg_col/invocations",
            r#"{"dataframe_records": [{"x0": 1}]}"#,
        )
        .await;
    server
        .post(
            "/models/linreg_tensor/invocations",
            r#"{"inputs": [[1, 2, 3, 4]]}"#,
        )
        .await;
    server
        .post("/models/linreg_col/invocations", r#"{"inputs": "#)
        .await;
    let events = server.events().await;
    assert_eq!(events.len(), 3, "a body that is no call is none");
    for event in &events {
        assert_eq!(event["surface"], "mlflow");
    }
    assert_eq!(
        events[0]["rows"],
        json!({"x0": ["1.5"], "x1": [2], "x2": [3], "x3": [4]})
    );
    assert_eq!(events[0]["params"], json!({"a": 1}));
    assert_eq!(
        events[0]["outputs"]["variable"].as_array().unwrap().len(),
        1
    );
    assert_eq!(events[1]["error"]["code"], "schema_enforcement_failed");
    assert_eq!(events[2]["inputs"], json!({"": [[1, 2, 3, 4]]}));
}

#[tokio::test]
async fn entity_columns_feed_the_features_of_a_model() {
    let server = Server::start(&[]).await;
    let native = r#"{"entities": {"driver_id": [1001, 1002]}, "inputs": {"trip_km": [3.2, 7.5]}}"#;
    let wanted = server.predict("driver_ranking", native).await.json()["outputs"].clone();
    let (name, values) = wanted.as_object().unwrap().iter().next().unwrap();
    let path = "/models/driver_ranking/invocations";
    for body in [
        r#"{"dataframe_split": {"columns": ["driver_id", "trip_km"], "data": [[1001, 3.2], [1002, 7.5]]}}"#,
        r#"{"dataframe_records": [{"trip_km": "3.2", "driver_id": 1001, "unused": 1}, {"trip_km": 7.5, "driver_id": 1002}]}"#,
        r#"{"inputs": {"driver_id": [1001, 1002], "trip_km": [3.2, 7.5]}}"#,
        r#"{"instances": [{"driver_id": 1001, "trip_km": 3.2}, {"driver_id": 1002, "trip_km": 7.5}]}"#,
    ] {
        let answer = server.post(path, body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.bytes);
        let rows = answer.json()["predictions"].as_array().unwrap().clone();
        let actual: Vec<&Value> = rows.iter().map(|row| &row[name]).collect();
        assert_eq!(json!(actual), *values, "{body}");
    }
    let csv = [("content-type", "text/csv")];
    let answer = server
        .call("POST", path, &csv, "driver_id,trip_km\n1001,3.2\n")
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    let none = r#"{"dataframe_split": {"columns": ["driver_id", "trip_km"], "data": []}}"#;
    assert_eq!(
        server.post(path, none).await.json(),
        json!({"predictions": []})
    );
    for (body, part) in [
        (
            r#"{"dataframe_records": [{"driver_id": 1001}]}"#,
            "Model is missing inputs ['trip_km']",
        ),
        (
            r#"{"dataframe_records": [{"trip_km": 1}]}"#,
            "entity `driver_id` is not given",
        ),
        (
            r#"{"dataframe_records": [{"trip_km": 1, "driver_id": "x"}]}"#,
            "driver_id",
        ),
    ] {
        let answer = server.post(path, body).await;
        assert_eq!(answer.status, 400, "{body}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn an_object_is_ignored_in_a_column_of_no_use_and_a_value_nowhere() {
    let registry = registry(&["linreg_col", "linreg_tensor", "strings_col"]);
    let server = serve(&registry, &[]).await;
    for (model, body, status) in [
        (
            "linreg_col",
            r#"{"dataframe_records": [{"x0": 1, "x1": 2, "x2": 3, "x3": 4, "meta": {"a": [1]}}]}"#,
            200,
        ),
        (
            "linreg_col",
            r#"{"dataframe_records": [{"x0": {}, "x1": 2, "x2": 3, "x3": 4}]}"#,
            400,
        ),
        ("linreg_tensor", r#"{"inputs": [[{"a": 1}, 2, 3, 4]]}"#, 400),
        (
            "linreg_tensor",
            r#"{"inputs": [[1, 2, 3, 4], {"a": 1}]}"#,
            400,
        ),
        ("strings_col", r#"{"inputs": ["apple", {"a": 1}]}"#, 400),
    ] {
        let answer = server
            .post(&format!("/models/{model}/invocations"), body)
            .await;
        assert_eq!(answer.status, status, "{body}: {:?}", answer.bytes);
    }
}

#[tokio::test]
async fn the_routes_are_in_the_openapi_document() {
    let registry = registry(&["linreg_col"]);
    let server = serve(&registry, &[]).await;
    let document = server.get("/openapi.json").await.json();
    for (path, method) in [
        ("/invocations", "post"),
        ("/models/{model}/invocations", "post"),
        ("/ping", "get"),
        ("/version", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{path}");
    }
}

/// A cell of a numeric frame, as many kinds as JSON has.
fn cell() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i32>().prop_map(Value::from),
        (-1e6..1e6_f64).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        (-1000..1000_i32).prop_map(|number| Value::from(number.to_string())),
    ]
}

#[test]
fn the_form_of_a_body_makes_no_difference() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = registry(&["linreg_col"]);
    let server = runtime.block_on(serve(&registry, &[]));
    let names = ["x0", "x1", "x2", "x3"];
    let rows = proptest::collection::vec(proptest::collection::vec(cell(), 4), 1..6);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
    let outcome = runner.run(&rows, |rows| {
        let records: Vec<Value> = rows
            .iter()
            .map(|row| {
                names
                    .iter()
                    .zip(row)
                    .map(|(name, cell)| ((*name).to_owned(), cell.clone()))
                    .collect()
            })
            .collect();
        let columns: Value = names
            .iter()
            .enumerate()
            .map(|(at, name)| {
                (
                    (*name).to_owned(),
                    rows.iter().map(|row| row[at].clone()).collect::<Value>(),
                )
            })
            .collect();
        let bodies = [
            json!({"dataframe_split": {"columns": names, "data": rows}}),
            json!({"dataframe_records": records}),
            json!({"instances": records}),
            json!({"inputs": records}),
            json!({"inputs": columns}),
        ];
        let mut answers = BTreeSet::new();
        for body in &bodies {
            let answer = runtime.block_on(server.post("/invocations", &body.to_string()));
            prop_assert_eq!(answer.status, 200, "{:?}", answer.bytes);
            answers.insert(answer.bytes);
        }
        prop_assert_eq!(answers.len(), 1, "{:?}", answers);
        Ok(())
    });
    outcome.unwrap();
}
