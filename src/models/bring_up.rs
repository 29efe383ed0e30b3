//! From an open model to a version that could serve: serving plan → warm-up. Publishes nothing.
//!
//! The one way there, for versions of a registry and for a model that is to be registered.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::artifact::Artifact;
use super::bind::{Binder, Candidate};
use super::catalog::ServedVersion;
use super::error::LoadError;
use super::warm_up::{self, WarmUp};
use crate::inference::ServedModel;
use crate::types::names::ModelVersion;
use crate::types::timestamp::Timestamp;

/// What is brought up.
pub(super) struct Opened {
    pub(super) name: Arc<str>,
    pub(super) version: ModelVersion,
    /// Of the version, else of the registered model.
    pub(super) tags: BTreeMap<String, String>,
    pub(super) artifact: Artifact,
    pub(super) model: ServedModel,
}

/// Compiles the plan and runs the model, on its input example if it has one. Blocks for as long as that takes.
pub(super) fn bring_up<B: Binder>(
    opened: Opened,
    binder: &B,
) -> Result<ServedVersion<B::Plan>, LoadError> {
    let Opened {
        name,
        version,
        tags,
        artifact,
        model,
    } = opened;
    let candidate = Candidate {
        name: &name,
        version,
        tags: &tags,
        signature: &artifact.signature,
        graph: model.graph(),
    };
    let plan = binder.bind(&candidate).map_err(LoadError::Bind)?;
    let example = artifact.input_example.as_ref();
    let inputs = warm_up::choose(model.graph(), &artifact.signature, example);
    let model = model.queued(binder.queueing(&name, version));
    let model = warm_up(model, &inputs)?;
    if let Some(reason) = model.not_merged() {
        tracing::info!(model = &*name, %version, "waiting calls are not merged: {reason}");
    }
    Ok(ServedVersion {
        name,
        version,
        tags,
        signature: artifact.signature,
        plan,
        model,
        directory: artifact.directory,
        n_bytes: artifact.n_bytes,
        mlflow_version: artifact.mlflow_version,
        model_uuid: artifact.model_uuid,
        utc_time_created: artifact.utc_time_created,
        loaded_at: Timestamp::now(),
    })
}

fn warm_up(mut model: ServedModel, inputs: &WarmUp) -> Result<ServedModel, LoadError> {
    match inputs {
        WarmUp::Example(inputs) => model.warm_up(inputs).map_err(LoadError::InputExample)?,
        WarmUp::MadeUp(inputs) => {
            if let Err(error) = model.warm_up(inputs) {
                tracing::warn!(%error, "the model does not run on made-up values, so it goes live cold");
            }
        }
        WarmUp::Nothing => tracing::debug!("the model's inputs are too large to make up"),
    }
    Ok(model)
}
