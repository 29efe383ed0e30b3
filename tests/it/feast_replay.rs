//! Requests that were recorded against the real `feast serve`, replayed in order against ours.
//!
//! Equal means: the same status; of an answer with features the same columns with the same text of every value, status and
//! timestamp, entity columns first and in the same order (Feast's order of features within a view is random); of any other
//! answer the same bytes. Texts of errors that are not Feast's own are not compared.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::support::{Server, root};

/// SQL in place of the on-demand views' Python.
pub(crate) const ON_DEMAND: [&str; 0] = [];

#[derive(Deserialize)]
struct Recording {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    raw_body: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    content_type: Option<String>,
    raw_text: String,
}

/// A copy of the recorded repository with settings of its own, and without its recorded online store.
pub(crate) fn repo(yaml: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let from = fixture("repo");
    std::fs::copy(
        from.join("registry.db"),
        directory.path().join("registry.db"),
    )
    .unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    for entry in std::fs::read_dir(from.join("data")).unwrap() {
        let entry = entry.unwrap();
        let to = directory.path().join("data").join(entry.file_name());
        std::fs::copy(entry.path(), to).unwrap();
    }
    std::fs::write(directory.path().join("feature_store.yaml"), yaml).unwrap();
    directory
}

/// A server over the repository, without models.
pub(crate) async fn serve(repo: &Path, settings: &[&str]) -> Server {
    let models = repo.join("models");
    std::fs::create_dir_all(&models).unwrap();
    let own = [
        format!("features.repo={}", repo.display()),
        format!("registry.local.path={}", models.display()),
        "features.timeout=10s".to_owned(),
    ];
    let mut all: Vec<&str> = own.iter().map(String::as_str).collect();
    all.extend(ON_DEMAND);
    all.extend(settings);
    Server::start_bare(&all).await
}

pub(crate) fn fixture(name: &str) -> std::path::PathBuf {
    root().join("tests/fixtures/feast").join(name)
}

pub(crate) fn recorded(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// All cases in order; every difference is told, not only the first.
pub(crate) async fn replay(server: &Server, recording: &str) {
    let text = std::fs::read_to_string(fixture(recording)).unwrap();
    let recording: Recording = serde_json::from_str(&text).unwrap();
    let mut differences = Vec::new();
    for case in &recording.cases {
        if let Err(difference) = run(server, case).await {
            differences.push(format!("{}: {difference}", case.name));
        }
    }
    let (n_different, n_cases) = (differences.len(), recording.cases.len());
    assert!(
        differences.is_empty(),
        "{n_different} of {n_cases} cases differ:\n{}",
        differences.join("\n")
    );
}

async fn run(server: &Server, case: &Case) -> Result<(), String> {
    let Request {
        method,
        path,
        body,
        raw_body,
    } = &case.request;
    let body = match (raw_body, body) {
        (Some(raw), _) => raw.clone(),
        (None, Some(body)) => body.to_string(),
        (None, None) => String::new(),
    };
    let headers = [("content-type", "application/json")];
    let answer = server.call(method, path, &headers, &body).await;
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    let wanted = &case.response;
    if answer.status != wanted.status {
        return Err(format!(
            "status {} where {} was recorded: {text}",
            answer.status, wanted.status
        ));
    }
    let content_type = answer
        .headers
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned());
    if content_type != wanted.content_type {
        return Err(format!("content type {content_type:?}"));
    }
    compare(&text, &wanted.raw_text)
}

fn compare(text: &str, wanted: &str) -> Result<(), String> {
    if text == wanted {
        return Ok(());
    }
    if wanted.starts_with("{\"results\":") {
        return compare_features(text, wanted);
    }
    let is_feasts_own = wanted.contains("feast.errors");
    if wanted.starts_with('"') && !is_feasts_own && serde_json::from_str::<String>(text).is_ok() {
        return Ok(());
    }
    Err(format!("{text}\n  where this was recorded: {wanted}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Features {
    results: Vec<Column>,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    feature_names: Vec<String>,
    #[serde(default)]
    feature_view_metadata: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    values: Vec<Box<RawValue>>,
    statuses: Vec<String>,
    event_timestamps: Vec<String>,
}

fn compare_features(text: &str, wanted: &str) -> Result<(), String> {
    let text: Features = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    let wanted: Features = serde_json::from_str(wanted).unwrap();
    if text.metadata.feature_view_metadata != wanted.metadata.feature_view_metadata {
        return Err(format!("views {}", text.metadata.feature_view_metadata));
    }
    let entities = |features: &Features| -> Vec<String> {
        let names = features.metadata.feature_names.iter();
        let is_entity = |name: &&String| is_entity_column(name);
        names.take_while(is_entity).cloned().collect()
    };
    if entities(&text) != entities(&wanted) {
        return Err(format!("entity columns {:?}", text.metadata.feature_names));
    }
    let (columns, mut wanted) = (by_name(text)?, by_name(wanted)?);
    for (name, column) in columns {
        let Some(recorded) = wanted.remove(&name) else {
            return Err(format!("column `{name}` was not recorded"));
        };
        compare_columns(&column, &recorded)
            .map_err(|difference| format!("column `{name}`: {difference}"))?;
    }
    match wanted.keys().next() {
        Some(name) => Err(format!("column `{name}` is not there")),
        None => Ok(()),
    }
}

fn is_entity_column(name: &str) -> bool {
    [
        "driver_id",
        "rider_code",
        "store_no",
        "device_hash",
        "slot_at",
    ]
    .contains(&name)
        || name.ends_with("_store")
}

fn by_name(features: Features) -> Result<BTreeMap<String, Column>, String> {
    let names = features.metadata.feature_names;
    if names.len() != features.results.len() {
        return Err(format!(
            "{} columns and {} names",
            features.results.len(),
            names.len()
        ));
    }
    Ok(names.into_iter().zip(features.results).collect())
}

fn compare_columns(column: &Column, wanted: &Column) -> Result<(), String> {
    if column.statuses != wanted.statuses {
        return Err(format!(
            "statuses {:?}, recorded {:?}",
            column.statuses, wanted.statuses
        ));
    }
    let times = column.event_timestamps.iter().zip(&wanted.event_timestamps);
    let n_times = (column.event_timestamps.len(), wanted.event_timestamps.len());
    // On-demand views that are written have the time of the write: the day of the recording, and today.
    let same_times = times.clone().all(|(time, wanted)| {
        time == wanted || (wanted.starts_with("2026-11-22T") && !time.starts_with("1970"))
    });
    if n_times.0 != n_times.1 || !same_times {
        return Err(format!(
            "times {:?}, recorded {:?}",
            column.event_timestamps, wanted.event_timestamps
        ));
    }
    if column.values.len() != wanted.values.len() {
        return Err(format!("{} values", column.values.len()));
    }
    for (value, wanted) in column.values.iter().zip(&wanted.values) {
        let (value, wanted) = (value.get(), wanted.get());
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        // The entries of a map have no order.
        let is_map = wanted.contains('{') && !wanted.starts_with('"');
        if value != wanted && !(is_map && json(value) == json(wanted)) {
            return Err(format!("{value}, recorded {wanted}"));
        }
    }
    Ok(())
}
