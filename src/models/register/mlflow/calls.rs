//! The calls of MLflow's REST API that registering a model takes (3.17; 2.x where it has them).
//!
//! Each says in its error what was being done. None is repeated here: the client below does that where it is harmless.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::models::register::Error;
use crate::models::registry::{self, Rest};
use crate::types::names::ModelVersion;
use crate::types::timestamp::Timestamp;

const API: &str = "api/2.0/mlflow";

/// Searches answer with the newest first; more than this many copies of one content are not looked through.
const MAX_FOUND: usize = 100;

pub(super) struct Calls {
    pub(super) rest: Rest,
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Debug, Deserialize)]
struct Experiment {
    experiment_id: String,
    #[serde(default)]
    lifecycle_stage: String,
}

/// An experiment that is there.
pub(super) struct Found {
    pub(super) experiment_id: String,
    /// Then nothing can be in it.
    pub(super) is_new: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct LoggedModel {
    pub(super) model_id: String,
    pub(super) artifact_uri: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    pub(super) source_run_id: String,
}

impl LoggedModel {
    pub(super) fn is_ready(&self) -> bool {
        self.status == "LOGGED_MODEL_READY"
    }

    pub(super) fn is_pending(&self) -> bool {
        self.status == "LOGGED_MODEL_PENDING"
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RunInfo {
    pub(super) run_id: String,
    pub(super) artifact_uri: String,
    #[serde(default)]
    pub(super) status: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Outputs {
    #[serde(default)]
    model_outputs: Vec<ModelOutput>,
}

#[derive(Debug, Clone, Deserialize)]
struct ModelOutput {
    model_id: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct RunData {
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Run {
    pub(super) info: RunInfo,
    #[serde(default)]
    data: RunData,
    #[serde(default)]
    outputs: Outputs,
}

impl Run {
    pub(super) fn is_running(&self) -> bool {
        self.info.status == "RUNNING"
    }

    pub(super) fn has_output(&self, model_id: &str) -> bool {
        let outputs = &self.outputs.model_outputs;
        outputs.iter().any(|output| output.model_id == model_id)
    }

    pub(super) fn has_tag(&self, key: &str, value: &str) -> bool {
        let mut tags = self.data.tags.iter();
        tags.any(|tag| tag.key == key && tag.value == value)
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

/// A registered version. Numbers travel as text.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Version {
    name: String,
    version: String,
    #[serde(default)]
    pub(super) source: String,
    #[serde(default)]
    pub(super) run_id: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

impl Version {
    pub(super) fn number(&self) -> Result<ModelVersion, Error> {
        let number = self.version.parse().map(ModelVersion);
        number.map_err(|_| Error::Answer {
            step: "creating the model version",
            reason: format!("the server calls it `{}`", self.version),
        })
    }

    pub(super) fn tag(&self, key: &str) -> Option<&str> {
        let mut tags = self.tags.iter();
        tags.find(|tag| tag.key == key)
            .map(|tag| tag.value.as_str())
    }
}

/// What a new version is made of.
pub(super) struct NewVersion<'a> {
    pub(super) name: &'a str,
    pub(super) source: String,
    pub(super) model_id: Option<&'a str>,
    pub(super) run_id: Option<&'a str>,
    pub(super) tags: &'a BTreeMap<String, String>,
    pub(super) description: Option<&'a str>,
}

impl Calls {
    /// The experiment, made if it is not there.
    pub(super) async fn experiment(&self, name: &str) -> Result<Found, Error> {
        if let Some(experiment) = self.experiment_named(name).await? {
            return found(name, experiment);
        }
        let step = "creating the experiment";
        #[derive(Deserialize)]
        struct Created {
            experiment_id: String,
        }
        let created: Result<Created, _> = self
            .rest
            .post(&call("experiments/create"), &json!({ "name": name }))
            .await;
        match created {
            Ok(created) => Ok(Found {
                experiment_id: created.experiment_id,
                is_new: true,
            }),
            // Somebody else was faster.
            Err(error) if is_there_already(&error) => match self.experiment_named(name).await? {
                Some(experiment) => found(name, experiment),
                None => Err(Error::step(step)(error)),
            },
            Err(error) => Err(Error::step(step)(error)),
        }
    }

    async fn experiment_named(&self, name: &str) -> Result<Option<Experiment>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            experiment: Experiment,
        }
        let query = [("experiment_name", name)];
        let answer: Result<Answer, _> = self
            .rest
            .get(&call("experiments/get-by-name"), &query)
            .await;
        match answer {
            Ok(answer) => Ok(Some(answer.experiment)),
            Err(error) if error.mlflow_code() == Some("RESOURCE_DOES_NOT_EXIST") => Ok(None),
            Err(error) => Err(Error::step("looking for the experiment")(error)),
        }
    }

    /// The run of this content that has not ended.
    pub(super) async fn running(
        &self,
        experiment_id: &str,
        tag: (&str, &str),
    ) -> Result<Option<Run>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            runs: Vec<Run>,
        }
        let body = json!({
            "experiment_ids": [experiment_id],
            "filter": format!("{} and attributes.status = 'RUNNING'", tagged(tag)),
            "max_results": MAX_FOUND,
        });
        let answer: Answer = self
            .rest
            .post(&call("runs/search"), &body)
            .await
            .map_err(Error::step("looking for a run that was interrupted"))?;
        let mut runs = answer.runs.into_iter();
        Ok(runs.find(|run| run.is_running() && run.has_tag(tag.0, tag.1)))
    }

    pub(super) async fn create_run(
        &self,
        experiment_id: &str,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<Run, Error> {
        let body = json!({
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": now_ms(),
            "tags": list(tags),
        });
        let answer: RunAnswer = self
            .rest
            .post(&call("runs/create"), &body)
            .await
            .map_err(Error::step("creating the run"))?;
        Ok(answer.run)
    }

    pub(super) async fn run(&self, run_id: &str) -> Result<Run, Error> {
        let answer: RunAnswer = self
            .rest
            .get(&call("runs/get"), &[("run_id", run_id)])
            .await
            .map_err(Error::step("looking at the run"))?;
        Ok(answer.run)
    }

    pub(super) async fn finish_run(&self, run_id: &str) -> Result<(), Error> {
        let body = json!({ "run_id": run_id, "status": "FINISHED", "end_time": now_ms() });
        self.post("runs/update", body, "finishing the run").await
    }

    /// Logged models of this content, newest first; an error for a server that knows no logged models.
    pub(super) async fn logged_models(
        &self,
        experiment_id: &str,
        tag: (&str, &str),
    ) -> Result<Vec<LoggedModel>, registry::Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            models: Vec<LoggedModelAnswer>,
        }
        let body = json!({
            "experiment_ids": [experiment_id],
            "filter": tagged(tag),
            "max_results": 50,
        });
        let answer: Answer = self.rest.post(&call("logged-models/search"), &body).await?;
        Ok(answer.models.into_iter().map(|model| model.info).collect())
    }

    /// An error for a server that knows no logged models.
    pub(super) async fn create_logged_model(
        &self,
        experiment_id: &str,
        run_id: Option<&str>,
        tags: &BTreeMap<String, String>,
    ) -> Result<LoggedModel, registry::Error> {
        #[derive(Deserialize)]
        struct Answer {
            model: LoggedModelAnswer,
        }
        let mut body = json!({
            "experiment_id": experiment_id,
            // Not the registered name: this one may not have all of its characters.
            "name": "model",
            "tags": list(tags),
        });
        if let Some(run_id) = run_id {
            body["source_run_id"] = json!(run_id);
        }
        let answer: Answer = self.rest.post(&call("logged-models"), &body).await?;
        Ok(answer.model.info)
    }

    pub(super) async fn link(&self, run_id: &str, model_id: &str) -> Result<(), Error> {
        let models = json!([{ "model_id": model_id, "step": 0 }]);
        let body = json!({ "run_id": run_id, "models": models });
        self.post("runs/outputs", body, "linking the run to the model")
            .await
    }

    pub(super) async fn finalise(&self, model_id: &str) -> Result<(), Error> {
        let body = json!({ "model_id": model_id, "status": "LOGGED_MODEL_READY" });
        let path = call(&format!("logged-models/{model_id}"));
        let _: Nothing = self
            .rest
            .patch(&path, &body)
            .await
            .map_err(Error::step("declaring the logged model ready"))?;
        Ok(())
    }

    /// What MLflow 2 keeps of a model with its run.
    pub(super) async fn log_model(&self, run_id: &str, model: &Value) -> Result<(), Error> {
        let body = json!({ "run_id": run_id, "model_json": model.to_string() });
        self.post("runs/log-model", body, "noting the model with its run")
            .await
    }

    /// Whether the server sees `MLmodel` where it was put: among the files of the logged model, else of the run.
    pub(super) async fn sees_mlmodel(
        &self,
        model_id: Option<&str>,
        run_id: Option<&str>,
    ) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            files: Vec<Listed>,
        }
        #[derive(Deserialize)]
        struct Listed {
            path: String,
        }
        let answer: Result<Answer, _> = match (model_id, run_id) {
            (Some(id), _) => {
                let path = call(&format!("logged-models/{id}/artifacts/directories"));
                self.rest.get(&path, &[]).await
            }
            (None, Some(run_id)) => {
                let query = [("run_id", run_id), ("path", "model")];
                self.rest.get(&call("artifacts/list"), &query).await
            }
            (None, None) => return Ok(true),
        };
        let answer = answer.map_err(Error::step("looking at the uploaded files"))?;
        let is_mlmodel = |file: &Listed| file.path.rsplit('/').next() == Some("MLmodel");
        Ok(answer.files.iter().any(is_mlmodel))
    }

    /// Makes the registered model unless it is there.
    pub(super) async fn ensure_model(&self, name: &str) -> Result<(), Error> {
        let path = call("registered-models/create");
        let created: Result<IgnoredAnswer, _> =
            self.rest.post(&path, &json!({ "name": name })).await;
        match created {
            Ok(_) => Ok(()),
            Err(error) if is_there_already(&error) => Ok(()),
            Err(error) => Err(Error::step("creating the registered model")(error)),
        }
    }

    /// The highest version of the model that has the tag and is ready.
    pub(super) async fn version_with(
        &self,
        name: &str,
        tag: (&str, &str),
    ) -> Result<Option<Version>, Error> {
        let mut page: Option<String> = None;
        let mut best: Option<(ModelVersion, Version)> = None;
        loop {
            #[derive(Deserialize)]
            struct Answer {
                #[serde(default)]
                model_versions: Vec<Version>,
                next_page_token: Option<String>,
            }
            let filter = tagged(tag);
            // The name is compared here: a filter cannot hold every name.
            let mut query = vec![("filter", filter.as_str()), ("max_results", "1000")];
            if let Some(page) = &page {
                query.push(("page_token", page));
            }
            let answer: Answer = self
                .rest
                .get(&call("model-versions/search"), &query)
                .await
                .map_err(Error::step("looking for a version with the same content"))?;
            for version in answer.model_versions {
                let fits = version.name == name
                    && version.tag(tag.0) == Some(tag.1)
                    && matches!(version.status.as_str(), "" | "READY");
                let number = version.number()?;
                if fits && best.as_ref().is_none_or(|(known, _)| *known < number) {
                    best = Some((number, version));
                }
            }
            match answer.next_page_token.filter(|token| !token.is_empty()) {
                Some(token) => page = Some(token),
                None => return Ok(best.map(|(_, version)| version)),
            }
        }
    }

    pub(super) async fn create_version(&self, new: NewVersion<'_>) -> Result<Version, Error> {
        #[derive(Deserialize)]
        struct Answer {
            model_version: Version,
        }
        let mut body = Map::new();
        body.insert("name".to_owned(), json!(new.name));
        body.insert("source".to_owned(), json!(new.source));
        body.insert("tags".to_owned(), list(new.tags));
        for (key, value) in [
            ("model_id", new.model_id),
            ("run_id", new.run_id),
            ("description", new.description),
        ] {
            if let Some(value) = value {
                body.insert(key.to_owned(), json!(value));
            }
        }
        let answer: Answer = self
            .rest
            .post(&call("model-versions/create"), &body)
            .await
            .map_err(Error::step("creating the model version"))?;
        Ok(answer.model_version)
    }

    pub(super) async fn set_version_tag(
        &self,
        name: &str,
        version: ModelVersion,
        tag: (&str, &str),
    ) -> Result<(), Error> {
        let version = version.to_string();
        let body = json!({ "name": name, "version": version, "key": tag.0, "value": tag.1 });
        self.post("model-versions/set-tag", body, "setting a tag")
            .await
    }

    pub(super) async fn describe_version(
        &self,
        name: &str,
        version: ModelVersion,
        description: &str,
    ) -> Result<(), Error> {
        let version = version.to_string();
        let body = json!({ "name": name, "version": version, "description": description });
        let _: IgnoredAnswer = self
            .rest
            .patch(&call("model-versions/update"), &body)
            .await
            .map_err(Error::step("setting the description"))?;
        Ok(())
    }

    pub(super) async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        version: ModelVersion,
    ) -> Result<(), Error> {
        let body = json!({ "name": name, "alias": alias, "version": version.to_string() });
        self.post("registered-models/alias", body, "setting the alias")
            .await
    }

    pub(super) async fn delete_alias(&self, name: &str, alias: &str) -> Result<(), Error> {
        let body = json!({ "name": name, "alias": alias });
        let _: Nothing = self
            .rest
            .delete(&call("registered-models/alias"), &body)
            .await
            .map_err(Error::step("deleting the alias"))?;
        Ok(())
    }

    /// Aliases of a model with their versions; an error if there is no such model.
    pub(super) async fn aliases(&self, name: &str) -> Result<Vec<(String, String)>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            registered_model: Model,
        }
        #[derive(Deserialize)]
        struct Model {
            #[serde(default)]
            aliases: Vec<Alias>,
        }
        #[derive(Deserialize)]
        struct Alias {
            alias: String,
            version: String,
        }
        let answer: Result<Answer, _> = self
            .rest
            .get(&call("registered-models/get"), &[("name", name)])
            .await;
        let answer = answer.map_err(|error| match error.mlflow_code() {
            Some("RESOURCE_DOES_NOT_EXIST") => Error::UnknownModel {
                name: name.to_owned(),
                location: self.rest.origin().to_owned(),
            },
            _ => Error::step("looking at the model's aliases")(error),
        })?;
        let aliases = answer.registered_model.aliases.into_iter();
        Ok(aliases.map(|alias| (alias.alias, alias.version)).collect())
    }

    async fn post(&self, path: &str, body: Value, step: &'static str) -> Result<(), Error> {
        let _: IgnoredAnswer = self
            .rest
            .post(&call(path), &body)
            .await
            .map_err(Error::step(step))?;
        Ok(())
    }
}

/// Any object.
type IgnoredAnswer = Map<String, Value>;

#[derive(Deserialize)]
struct RunAnswer {
    run: Run,
}

#[derive(Deserialize)]
struct LoggedModelAnswer {
    info: LoggedModel,
}

fn found(name: &str, experiment: Experiment) -> Result<Found, Error> {
    if experiment.lifecycle_stage == "deleted" {
        return Err(Error::ExperimentDeleted {
            experiment: name.to_owned(),
        });
    }
    Ok(Found {
        experiment_id: experiment.experiment_id,
        is_new: false,
    })
}

fn call(path: &str) -> String {
    format!("{API}/{path}")
}

fn is_there_already(error: &registry::Error) -> bool {
    error.mlflow_code() == Some("RESOURCE_ALREADY_EXISTS")
}

/// A filter on a tag. Neither part has a quote in it.
fn tagged((key, value): (&str, &str)) -> String {
    format!("tags.`{key}` = '{value}'")
}

fn list(tags: &BTreeMap<String, String>) -> Value {
    tags.iter()
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect()
}

fn now_ms() -> i64 {
    Timestamp::now().as_micros().div_euclid(1000)
}
