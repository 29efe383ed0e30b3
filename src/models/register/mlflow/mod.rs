//! Registering with an MLflow server, call by call.
//!
//! ```text
//! model-versions/search    is this content registered already? then only tags and alias are left to set
//! experiments/get-by-name  create
//! logged-models/search     did an earlier attempt leave one behind? go on with it
//! runs/create              unless there shall be none
//! logged-models            PENDING
//! runs/outputs
//! PUT ...                  each file, MLmodel last
//! logged-models/<id>       READY
//! registered-models/create
//! model-versions/create
//! runs/update              FINISHED
//! registered-models/alias  only now does anything serve it
//! ```
//! Interrupted anywhere, nothing serves; the next attempt finds what is there by the tag `terrarium.sha256` and ends in
//! the same state. A server without logged models (MLflow 2) keeps the files under the run.

mod calls;
mod upload;

use std::collections::BTreeMap;

use serde_json::json;

use self::calls::{Calls, LoggedModel, NewVersion, Run, Version};
use super::mlmodel::Identity;
use super::{Error, Order, Package, Progress, Registered, TAG_SHA256};
use crate::models::registry::{Rest, Stores};
use crate::types::names::ModelVersion;

/// Of an MLflow server.
pub(super) struct Server {
    calls: Calls,
    stores: Stores,
}

/// The content lies on the server, under this identity.
struct Stored {
    source: String,
    model_id: Option<String>,
    run: Option<Run>,
    resumed: bool,
}

/// Why the files of a model are not stored as a logged model.
enum NotStored {
    /// MLflow 2.
    NoLoggedModels,
    Failed(Error),
}

impl From<Error> for NotStored {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Server {
    pub(super) fn new(rest: Rest, stores: Stores) -> Self {
        Self {
            calls: Calls { rest },
            stores,
        }
    }

    pub(super) fn origin(&self) -> &str {
        self.calls.rest.origin()
    }

    pub(super) async fn register(
        &self,
        package: &Package,
        order: &Order,
        progress: &Progress,
    ) -> Result<Registered, Error> {
        let content = (TAG_SHA256, package.fingerprint());
        if !order.force {
            progress.step("looking for a version with the same content");
            let known = self.calls.version_with(&order.name, content).await?;
            if let Some(version) = known {
                return self.complete(&version, package, order, progress).await;
            }
        }
        let stored = match self.store(package, order, progress).await {
            Ok(stored) => stored,
            Err(NotStored::Failed(error)) => return Err(error),
            Err(NotStored::NoLoggedModels) => {
                self.store_below_run(package, order, progress).await?
            }
        };
        progress.step("creating the model version");
        self.calls.ensure_model(&order.name).await?;
        let run_id = stored.run.as_ref().map(|run| run.info.run_id.as_str());
        let version = self
            .calls
            .create_version(NewVersion {
                name: &order.name,
                source: stored.source,
                model_id: stored.model_id.as_deref(),
                run_id,
                tags: &order.version_tags(package),
                description: order.description.as_deref(),
            })
            .await?;
        let number = version.number()?;
        if let Some(run_id) = run_id {
            self.calls.finish_run(run_id).await?;
        }
        self.alias(order, number, progress).await?;
        Ok(Registered {
            name: order.name.clone(),
            version: number,
            alias: order.alias.clone(),
            is_new: true,
            resumed: stored.resumed,
            location: self.origin().to_owned(),
            model_id: stored.model_id.clone(),
            run_id: run_id.map(str::to_owned),
            sha256: package.fingerprint().to_owned(),
        })
    }

    /// The version is there: what an interruption, or a changed mind, left undone.
    async fn complete(
        &self,
        version: &Version,
        package: &Package,
        order: &Order,
        progress: &Progress,
    ) -> Result<Registered, Error> {
        let number = version.number()?;
        for (key, value) in &order.version_tags(package) {
            if version.tag(key) != Some(value) {
                let tag = (key.as_str(), value.as_str());
                self.calls.set_version_tag(&order.name, number, tag).await?;
            }
        }
        if let Some(description) = &order.description
            && *description != version.description
        {
            let calls = &self.calls;
            calls
                .describe_version(&order.name, number, description)
                .await?;
        }
        let run_id = Some(version.run_id.as_str()).filter(|run_id| !run_id.is_empty());
        let mut resumed = false;
        if let Some(run_id) = run_id {
            let run = self.calls.run(run_id).await?;
            // A run of somebody else's training may go on.
            if run.is_running() && run.has_tag(TAG_SHA256, package.fingerprint()) {
                self.calls.finish_run(run_id).await?;
                resumed = true;
            }
        }
        self.alias(order, number, progress).await?;
        let model_id = version.source.strip_prefix("models:/");
        Ok(Registered {
            name: order.name.clone(),
            version: number,
            alias: order.alias.clone(),
            is_new: false,
            resumed,
            location: self.origin().to_owned(),
            model_id: model_id.map(str::to_owned),
            run_id: run_id.map(str::to_owned),
            sha256: package.fingerprint().to_owned(),
        })
    }

    async fn alias(
        &self,
        order: &Order,
        version: ModelVersion,
        progress: &Progress,
    ) -> Result<(), Error> {
        let Some(alias) = &order.alias else {
            return Ok(());
        };
        progress.step("setting the alias");
        self.calls.set_alias(&order.name, alias, version).await
    }

    /// As a logged model, which is ready at the end.
    async fn store(
        &self,
        package: &Package,
        order: &Order,
        progress: &Progress,
    ) -> Result<Stored, NotStored> {
        let tags = order.content_tags(package);
        let content = (TAG_SHA256, package.fingerprint());
        progress.step("creating the logged model");
        let experiment = self.calls.experiment(&order.experiment).await?;
        let id = experiment.experiment_id.as_str();
        let found = match experiment.is_new {
            true => None,
            false => self.left_behind(id, content, order).await?,
        };
        let run = match (&found, order.run) {
            (Some(model), _) if !model.source_run_id.is_empty() => {
                Some(self.calls.run(&model.source_run_id).await?)
            }
            // A logged model keeps the run that it was made with, or none.
            (Some(_), _) | (None, false) => None,
            (None, true) => Some(self.open_run(id, experiment.is_new, order, &tags).await?),
        };
        let resumed = found.is_some();
        let run_id = run.as_ref().map(|run| run.info.run_id.as_str());
        let model = match found {
            Some(model) => model,
            None => {
                let created = self.calls.create_logged_model(id, run_id, &tags).await;
                created.map_err(unless_unknown("creating the logged model"))?
            }
        };
        if let Some(run) = &run
            && !run.has_output(&model.model_id)
        {
            self.calls.link(&run.info.run_id, &model.model_id).await?;
        }
        if !model.is_ready() {
            let identity = Identity {
                artifact_path: Some(model.artifact_uri.clone()),
                model_id: Some(model.model_id.clone()),
                run_id: run_id.map(str::to_owned),
            };
            self.upload(package, &identity, &model.artifact_uri, progress)
                .await?;
            self.calls.finalise(&model.model_id).await?;
        }
        Ok(Stored {
            source: format!("models:/{}", model.model_id),
            model_id: Some(model.model_id),
            run,
            resumed,
        })
    }

    /// What an earlier attempt got as far as making.
    async fn left_behind(
        &self,
        experiment_id: &str,
        content: (&str, &str),
        order: &Order,
    ) -> Result<Option<LoggedModel>, NotStored> {
        let found = self.calls.logged_models(experiment_id, content).await;
        let step = "looking for a logged model that was interrupted";
        let found = found.map_err(unless_unknown(step))?;
        // Asked for a new version, one that is complete belongs to the version before.
        let fits = |model: &LoggedModel| model.is_pending() || (model.is_ready() && !order.force);
        Ok(found.into_iter().find(fits))
    }

    /// The run that an earlier attempt left running, else a new one.
    async fn open_run(
        &self,
        experiment_id: &str,
        is_new: bool,
        order: &Order,
        tags: &BTreeMap<String, String>,
    ) -> Result<Run, Error> {
        if !is_new && let Some(sha256) = tags.get(TAG_SHA256) {
            let content = (TAG_SHA256, sha256.as_str());
            let running = self.calls.running(experiment_id, content).await?;
            // Only `runs/get` tells what comes out of a run.
            if let Some(run) = running {
                return self.calls.run(&run.info.run_id).await;
            }
        }
        self.calls
            .create_run(experiment_id, &order.name, tags)
            .await
    }

    /// As MLflow 2 does it: below the run, of which there must be one.
    async fn store_below_run(
        &self,
        package: &Package,
        order: &Order,
        progress: &Progress,
    ) -> Result<Stored, Error> {
        progress.step("storing the files with a run: the server has no logged models");
        let tags = order.content_tags(package);
        let experiment = self.calls.experiment(&order.experiment).await?;
        let run = self
            .open_run(&experiment.experiment_id, false, order, &tags)
            .await?;
        let run_id = run.info.run_id.clone();
        let uri = format!("{}/model", run.info.artifact_uri.trim_end_matches('/'));
        let identity = Identity {
            artifact_path: Some("model".to_owned()),
            model_id: None,
            run_id: Some(run_id.clone()),
        };
        self.upload(package, &identity, &uri, progress).await?;
        let model = json!({ "run_id": run_id, "artifact_path": "model", "flavors": {} });
        self.calls.log_model(&run_id, &model).await?;
        Ok(Stored {
            source: uri,
            model_id: None,
            run: Some(run),
            resumed: false,
        })
    }

    async fn upload(
        &self,
        package: &Package,
        identity: &Identity,
        uri: &str,
        progress: &Progress,
    ) -> Result<(), Error> {
        progress.step("uploading");
        let files = package.files(identity)?;
        let place = upload::Place::parse(&self.calls.rest, &self.stores, uri)?;
        place.take(&files, progress).await?;
        if place.is_on_this_machine() {
            // A server elsewhere has a directory of the same name, without the files.
            let (model_id, run_id) = (identity.model_id.as_deref(), identity.run_id.as_deref());
            if !self.calls.sees_mlmodel(model_id, run_id).await? {
                return Err(Error::Store {
                    uri: uri.to_owned(),
                    reason: "the files were written to that place on this machine, and the server does not see them"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    pub(super) async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        version: ModelVersion,
    ) -> Result<(), Error> {
        let set = self.calls.set_alias(name, alias, version).await;
        set.map_err(|error| match error {
            Error::Step { source, .. } if is_missing(&source) => Error::UnknownVersion {
                name: name.to_owned(),
                version,
            },
            error => error,
        })
    }

    /// Whether there was one.
    pub(super) async fn delete_alias(&self, name: &str, alias: &str) -> Result<bool, Error> {
        let aliases = self.calls.aliases(name).await?;
        if aliases.iter().all(|(known, _)| known != alias) {
            return Ok(false);
        }
        self.calls.delete_alias(name, alias).await?;
        Ok(true)
    }
}

/// There is no such model or version.
fn is_missing(error: &crate::models::registry::Error) -> bool {
    error.mlflow_code() == Some("RESOURCE_DOES_NOT_EXIST")
}

fn unless_unknown(step: &'static str) -> impl Fn(crate::models::registry::Error) -> NotStored {
    move |error| {
        if error.is_unknown_call() {
            NotStored::NoLoggedModels
        } else {
            NotStored::Failed(Error::step(step)(error))
        }
    }
}

#[cfg(test)]
mod tests;
