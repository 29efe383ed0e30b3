//! From what a version's source says to the place where its files lie.

use serde::Deserialize;

use super::artifacts::Holder;
use super::listing::Known;
use super::{API, Rest};
use crate::models::registry::Error;
use crate::types::model_uri::ModelUri;
use crate::types::names::ModelVersion;

/// A source may name a version whose source names another model; longer chains are refused.
const MAX_STEPS: usize = 4;

/// An artifact URI, and what the tracking server knows its files by.
pub(super) struct Place {
    pub(super) uri: String,
    pub(super) holder: Holder,
}

#[derive(Deserialize)]
struct DownloadUri {
    artifact_uri: String,
}

#[derive(Deserialize)]
struct LoggedModel {
    model: LoggedModelBody,
}

#[derive(Deserialize)]
struct LoggedModelBody {
    info: LoggedModelInfo,
}

#[derive(Deserialize)]
struct LoggedModelInfo {
    #[serde(default)]
    name: String,
    artifact_uri: String,
}

#[derive(Deserialize)]
struct RunAnswer {
    run: Run,
}

#[derive(Deserialize)]
struct Run {
    info: RunInfo,
    #[serde(default)]
    outputs: RunOutputs,
}

#[derive(Deserialize)]
struct RunInfo {
    artifact_uri: String,
}

#[derive(Default, Deserialize)]
struct RunOutputs {
    #[serde(default)]
    model_outputs: Vec<RunOutput>,
}

#[derive(Deserialize)]
struct RunOutput {
    model_id: String,
}

/// Where a registered version lies.
pub(super) async fn version(
    rest: &Rest,
    model: &str,
    version: ModelVersion,
    known: &Known,
) -> Result<Place, Error> {
    let uri = download_uri(rest, model, version).await?;
    let mut place = place(rest, &uri).await?;
    place.holder.version = Some((model.to_owned(), version));
    match known.source.parse() {
        Ok(ModelUri::Logged { model_id, path }) if path.is_empty() => {
            place.holder.model_id = Some(model_id);
        }
        _ => {}
    }
    Ok(place)
}

/// Where an artifact URI leads: `models:/` and `runs:/` are resolved, others stay.
pub(super) async fn place(rest: &Rest, uri: &str) -> Result<Place, Error> {
    let mut uri = uri.to_owned();
    let mut holder = Holder::default();
    for _ in 0..MAX_STEPS {
        if !ModelUri::is_meant(&uri) {
            return Ok(Place { uri, holder });
        }
        let parsed: ModelUri = uri.parse().map_err(|error| unresolved(&uri, &error))?;
        uri = match parsed {
            ModelUri::Logged { model_id, path } => {
                let place = below(&logged(rest, &model_id).await?.artifact_uri, &path);
                holder.model_id = path.is_empty().then_some(model_id);
                place
            }
            ModelUri::Run { run_id, path } => of_run(rest, &run_id, &path).await?,
            ModelUri::Version {
                name,
                version,
                path,
            } => below(&download_uri(rest, &name, version).await?, &path),
            ModelUri::Alias { .. } | ModelUri::Latest { .. } | ModelUri::Stage { .. } => {
                return Err(unresolved(&uri, &"a source names a version by its number"));
            }
        };
    }
    Err(unresolved(&uri, &"sources lead from one to another"))
}

async fn download_uri(rest: &Rest, model: &str, version: ModelVersion) -> Result<String, Error> {
    let number = version.to_string();
    let query = [("name", model), ("version", number.as_str())];
    let path = format!("{API}/model-versions/get-download-uri");
    match rest.get::<DownloadUri>(&path, &query).await {
        Ok(answer) => Ok(answer.artifact_uri),
        Err(Error::Refused { status: 404, .. }) => Err(Error::UnknownVersion {
            model: model.to_owned(),
            version,
        }),
        Err(error) => Err(error),
    }
}

async fn logged(rest: &Rest, model_id: &str) -> Result<LoggedModelInfo, Error> {
    let answer: LoggedModel = rest
        .get(&format!("{API}/logged-models/{model_id}"), &[])
        .await?;
    Ok(answer.model.info)
}

/// MLflow 3 keeps what a run logs as a model beside the run; MLflow 2 kept it below.
async fn of_run(rest: &Rest, run_id: &str, path: &str) -> Result<String, Error> {
    let query = [("run_id", run_id)];
    let answer: RunAnswer = rest.get(&format!("{API}/runs/get"), &query).await?;
    let (name, rest_of_path) = path.split_once('/').unwrap_or((path, ""));
    for output in &answer.run.outputs.model_outputs {
        let model = logged(rest, &output.model_id).await?;
        if model.name == name {
            return Ok(below(&model.artifact_uri, rest_of_path));
        }
    }
    Ok(below(&answer.run.info.artifact_uri, path))
}

fn below(uri: &str, path: &str) -> String {
    match path {
        "" => uri.to_owned(),
        path => format!("{}/{path}", uri.trim_end_matches('/')),
    }
}

fn unresolved(uri: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::UnknownUri {
        uri: uri.to_owned(),
        reason: reason.to_string(),
    }
}
