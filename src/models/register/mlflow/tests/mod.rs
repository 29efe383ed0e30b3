//! Registering against recorded answers, and against a server that goes down at every call in turn.

mod server;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Response, Uri};
use serde_json::Value;
use tokio::net::TcpListener;

use self::server::{Content, Fake, Fault, unescaped};
use super::super::testing::{open, order, quiet};
use super::super::{Error, Order, Package, Registered, Registry};
use crate::error::Failure;
use crate::inference::test_models::fixture;
use crate::models::registry::{Config, Stores};
use crate::shutdown::Shutdown;
use crate::types::names::ModelVersion;

fn registry(address: &str) -> Registry {
    Registry::open(&Config::at(address), &|_| None).unwrap()
}

fn linreg() -> Package {
    let directory = fixture("models/linreg_col");
    let example = directory.join("input_example.json");
    open(&directory.join("model.onnx"), Some(&example))
}

async fn register(address: &str, package: &Package, order: &Order) -> Result<Registered, Error> {
    registry(address).register(package, order, &quiet()).await
}

// Against what MLflow 3.17.2 answered.

/// The calls of a recorded registration that were not answered yet, and those that did not fit.
#[derive(Default)]
struct Script {
    calls: VecDeque<Value>,
    uploads: Vec<String>,
    surprises: Vec<String>,
}

/// Looking for an earlier attempt: the recorded client did not.
const SEARCHES: [&str; 4] = [
    "/api/2.0/mlflow/model-versions/search",
    "/api/2.0/mlflow/logged-models/search",
    "/api/2.0/mlflow/runs/search",
    "/api/2.0/mlflow/runs/get",
];

async fn replay(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response<Body> {
    let mut script = script.lock().unwrap();
    let (status, answer) = if SEARCHES.contains(&uri.path()) {
        (200, "{}".to_owned())
    } else if method == Method::PUT {
        let path = uri.path().to_owned();
        match script.uploads.iter().position(|known| *known == path) {
            Some(place) => drop(script.uploads.remove(place)),
            None => script.surprises.push(format!("PUT {path}")),
        }
        (200, String::new())
    } else {
        next(&mut script, &method, &uri, &body)
    };
    Response::builder()
        .status(status)
        .body(Body::from(answer))
        .unwrap()
}

fn next(script: &mut Script, method: &Method, uri: &Uri, body: &[u8]) -> (u16, String) {
    let path = uri.path_and_query().unwrap().as_str();
    let Some(recorded) = script.calls.pop_front() else {
        script.surprises.push(format!("{method} {path} at the end"));
        return (500, String::new());
    };
    let wanted = &recorded["request"];
    if wanted["method"] != method.as_str()
        || unescaped(wanted["path"].as_str().unwrap()) != unescaped(path)
    {
        let (method_, path_) = (&wanted["method"], &wanted["path"]);
        script
            .surprises
            .push(format!("{method} {path} in place of {method_} {path_}"));
    }
    if !body.is_empty() {
        let sent: Value = serde_json::from_slice(body).unwrap();
        // Params, which come from training, are not ours to state.
        let shape = |body: &Value| {
            let keys = body.as_object().unwrap().keys().map(String::as_str);
            let mut keys: Vec<&str> = keys.filter(|key| *key != "params").collect();
            keys.sort_unstable();
            keys.join(" ")
        };
        let wanted = &wanted["body"]["json"];
        if shape(&sent) != shape(wanted) {
            script
                .surprises
                .push(format!("{path}: {sent} in place of {wanted}"));
        }
        for key in [
            "name", "source", "model_id", "run_id", "alias", "version", "status",
        ] {
            if sent.get(key) != wanted.get(key) {
                script.surprises.push(format!("{path}: `{key}` of {sent}"));
            }
        }
    }
    let answer = &recorded["response"];
    let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
    (status, answer["body"]["json"].to_string())
}

/// Registers against the recorded calls `from..=to` and gives what was left over or did not fit.
async fn replayed(from: u64, to: u64, package: &Package, order: &Order) -> Vec<String> {
    let text = fixture("transcripts/rest_only_register.jsonl");
    let text = fs_err::read_to_string(text).unwrap();
    let calls = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut script = Script::default();
    for call in calls.filter(|call: &Value| (from..=to).contains(&call["n"].as_u64().unwrap())) {
        let path = call["request"]["path"].as_str().unwrap();
        match call["request"]["method"].as_str().unwrap() {
            "PUT" => script.uploads.push(path.to_owned()),
            // Metrics of the training.
            _ if path.ends_with("log-batch") => {}
            _ => script.calls.push_back(call),
        }
    }
    let script = Arc::new(Mutex::new(script));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(replay)
        .with_state(Arc::clone(&script));
    let shutdown = Shutdown::new();
    shutdown.spawn("recorded", async move {
        axum::serve(listener, router).await.unwrap();
    });
    let registered = register(&address, package, order).await;
    let mut script = script.lock().unwrap();
    let mut left = std::mem::take(&mut script.surprises);
    if let Err(error) = registered {
        left.push(error.to_string());
    }
    left.extend(script.uploads.iter().map(|path| format!("no PUT {path}")));
    left.extend(
        script
            .calls
            .iter()
            .map(|call| format!("no {}", call["request"])),
    );
    left
}

#[tokio::test]
async fn the_recorded_registration_with_a_run_is_made_call_by_call() {
    let order = Order {
        alias: Some("challenger".to_owned()),
        experiment: "cli".to_owned(),
        ..order("price-model")
    };
    let left = replayed(30, 47, &linreg(), &order).await;
    // The recorded client called its runs by another name.
    let left: Vec<_> = left
        .iter()
        .filter(|line| !line.contains("runs/create: `name`"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test]
async fn the_recorded_registration_without_a_run_is_made_call_by_call() {
    let order = Order {
        alias: Some("live".to_owned()),
        experiment: "cli".to_owned(),
        run: false,
        ..order("wide-net")
    };
    let package = open(&fixture("models/ext_data/model.onnx"), None);
    let left = replayed(48, 59, &package, &order).await;
    assert!(left.is_empty(), "{left:#?}");
}

// Against a server that goes down.

/// What a registration leaves, without numbers that count attempts.
#[derive(Debug, PartialEq)]
struct EndState {
    versions: Vec<(String, String)>,
    aliases: Vec<(String, String)>,
    runs: Vec<String>,
    models: Vec<String>,
    files: Vec<String>,
}

impl EndState {
    fn of(content: &Content) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let versions = content.versions.iter();
        let aliases = content.aliases.iter();
        Self {
            versions: versions
                .map(|version| (text(&version["version"]), text(&version["source"])))
                .collect(),
            aliases: aliases.map(|(a, v)| (a.clone(), v.clone())).collect(),
            runs: content
                .runs
                .iter()
                .map(|run| text(&run["info"]["status"]))
                .collect(),
            models: content
                .models
                .iter()
                .map(|model| text(&model["status"]))
                .collect(),
            files: content.files.keys().cloned().collect(),
        }
    }
}

/// Goes down at each call in turn, before and after it is carried out; each time the second attempt has to complete.
async fn survives_every_fault(order: &Order, is_old: bool) {
    let package = linreg();
    let whole = Fake::start().await;
    whole.kept().is_old = is_old;
    register(&whole.address, &package, order).await.unwrap();
    let wanted = EndState::of(&whole.kept().content);
    let n_calls = whole.kept().calls.len();
    assert!(n_calls > 12, "{:?}", whole.kept().calls);
    assert_eq!(wanted.aliases.len(), 1);
    for at in 0..n_calls {
        for is_carried_out in [false, true] {
            let fault = Fault { at, is_carried_out };
            let fake = Fake::start().await;
            fake.kept().is_old = is_old;
            fake.kept().fault = Some(fault);
            let error = register(&fake.address, &package, order).await.unwrap_err();
            let last = at + 1 == n_calls && is_carried_out;
            assert!(
                fake.kept().content.aliases.is_empty() || last,
                "{fault:?}: {error}"
            );
            fake.kept().fault = None;
            let calls = std::mem::take(&mut fake.kept().calls);
            let registered = register(&fake.address, &package, order)
                .await
                .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_eq!(registered.version, ModelVersion(1));
            let end = EndState::of(&fake.kept().content);
            let again = &fake.kept().calls;
            assert_eq!(end, wanted, "{fault:?} after {calls:#?}, then {again:#?}");
        }
    }
}

#[tokio::test]
async fn interrupted_at_any_call_the_next_attempt_ends_as_one_in_one_go() {
    survives_every_fault(&order("m"), false).await;
}

#[tokio::test]
async fn the_same_without_a_run() {
    let order = Order {
        run: false,
        ..order("m")
    };
    survives_every_fault(&order, false).await;
}

#[tokio::test]
async fn the_same_with_a_server_that_has_no_logged_models() {
    survives_every_fault(&order("m"), true).await;
}

#[tokio::test]
async fn an_old_server_gets_the_files_below_the_run() {
    let fake = Fake::start().await;
    fake.kept().is_old = true;
    let registered = register(&fake.address, &linreg(), &order("m"))
        .await
        .unwrap();
    assert_eq!(registered.model_id, None);
    let content = &fake.kept().content;
    let version = &content.versions[0];
    assert_eq!(
        version["source"],
        "mlflow-artifacts:/0/run0/artifacts/model"
    );
    assert_eq!(version["run_id"], "run0");
    assert_eq!(content.runs[0]["logged"], true);
    let mlmodel = &content.files["0/run0/artifacts/model/MLmodel"];
    let text = String::from_utf8_lossy(mlmodel);
    assert!(text.contains("artifact_path: model\n"), "{text}");
}

#[tokio::test]
async fn the_same_content_is_found_and_gets_tags_and_alias() {
    let fake = Fake::start().await;
    let first = order("m");
    assert!(
        register(&fake.address, &linreg(), &first)
            .await
            .unwrap()
            .is_new
    );
    let mut second = Order {
        alias: Some("challenger".to_owned()),
        ..first
    };
    second.tags.insert("team".to_owned(), "a".to_owned());
    let found = register(&fake.address, &linreg(), &second).await.unwrap();
    assert!(!found.is_new && !found.resumed);
    assert_eq!(found.version, ModelVersion(1));
    assert_eq!(fake.kept().content.aliases.len(), 2);
    let tags = fake.kept().content.versions[0]["tags"].to_string();
    assert!(tags.contains(r#"{"key":"team","value":"a"}"#), "{tags}");
    // Another model's version with the same content is another model's.
    let other = register(&fake.address, &linreg(), &order("other")).await;
    assert!(other.unwrap().is_new);
}

#[tokio::test]
async fn force_makes_a_new_version_of_the_same_content() {
    let fake = Fake::start().await;
    register(&fake.address, &linreg(), &order("m"))
        .await
        .unwrap();
    let forced = Order {
        force: true,
        ..order("m")
    };
    let second = register(&fake.address, &linreg(), &forced).await.unwrap();
    assert!(second.is_new);
    assert_eq!(second.version, ModelVersion(2));
    assert_eq!(fake.kept().content.models.len(), 2);
    assert_eq!(fake.kept().content.aliases["m@champion"], "2");
}

#[tokio::test]
async fn aliases_are_set_and_deleted() {
    let fake = Fake::start().await;
    register(&fake.address, &linreg(), &order("m"))
        .await
        .unwrap();
    let registry = registry(&fake.address);
    let missing = registry.set_alias("m", "live", ModelVersion(7)).await;
    assert_eq!(missing.unwrap_err().code(), "model_version_not_found");
    registry
        .set_alias("m", "live", ModelVersion(1))
        .await
        .unwrap();
    assert_eq!(fake.kept().content.aliases["m@live"], "1");
    assert!(registry.delete_alias("m", "live").await.unwrap());
    assert!(!registry.delete_alias("m", "live").await.unwrap());
    let error = registry.delete_alias("nobody", "live").await.unwrap_err();
    assert_eq!(error.code(), "model_not_found");
}

#[tokio::test]
async fn hostile_names_reach_no_server() {
    let registry = registry("http://127.0.0.1:1");
    for name in ["../x", "a/b", "a:1", "a@b", ""] {
        let error = registry
            .register(&linreg(), &order(name), &quiet())
            .await
            .unwrap_err();
        assert_eq!(error.code(), "model_name_invalid", "{name}");
    }
    let error = registry.set_alias("m", "latest", ModelVersion(1)).await;
    assert_eq!(error.unwrap_err().code(), "model_alias_invalid");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_to_is_named() {
    let rest = Config::at("http://127.0.0.1:1").rest(&|_| None).unwrap();
    let stores = Stores::read(&|_| None);
    for uri in ["dbfs:/x", "./mlruns/1", "mlruns/1", "file:x"] {
        let error = super::upload::Place::parse(&rest, &stores, uri)
            .err()
            .unwrap();
        assert_eq!(error.code(), "register_store_unsupported", "{uri}");
        assert!(error.to_string().contains(uri), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let uri = format!("file://{}/a", directory.path().display());
    let place = super::upload::Place::parse(&rest, &stores, &uri).unwrap();
    let files = linreg().files(&super::Identity::default()).unwrap();
    place.take(&files, &quiet()).await.unwrap();
    assert!(Path::new(directory.path()).join("a/MLmodel").is_file());
}
