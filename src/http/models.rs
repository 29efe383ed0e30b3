//! `GET /v1/models` and `GET /v1/models/{model}`: what is served, and why something is not.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json as object};

use super::error::Error;
use super::{Api, extract, gate, json, problem};
use crate::error::Failure;
use crate::inference::ServedModel;
use crate::models::{
    Behind, ModelStatus, RegistryStatus, ServedVersion, VersionState, VersionStatus, traffic,
};
use crate::predict::{Description, Models, ServingPlan};
use crate::types::names::ModelRef;
use crate::types::signature::{ColumnType, OutputKind, Schema, Signature};
use crate::types::timestamp::Timestamp;

/// All models, those that did not load among them.
#[derive(Serialize)]
pub struct ModelList {
    pub models: Vec<Model>,
}

/// The same, with how the registry was last read.
#[derive(Serialize)]
struct Served {
    models: Vec<Model>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<Registry>,
}

#[derive(Serialize)]
struct Registry {
    location: String,
    /// When it was last listed with success; of a saved set, when that was written.
    read_at: Option<Timestamp>,
    /// `registry`, or `last_known_good` where it has not answered since the start.
    served_from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<ReadFailure>,
}

#[derive(Serialize)]
struct ReadFailure {
    #[serde(flatten)]
    newest: LoadFailure,
    since: Timestamp,
    attempts: u32,
}

#[derive(Serialize)]
pub struct Model {
    pub name: String,
    /// What the plain name stands for; null when nothing of the model can be served.
    pub serving: Option<Serving>,
    pub aliases: BTreeMap<String, String>,
    /// Names that stand for an older version than the registry wants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<NameBehind>,
    /// How calls for the plain name are shared out, where the configuration says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    pub versions: Vec<Version>,
    /// Why the registry's newest word on the model cannot be followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LoadFailure>,
}

/// Why the wanted version does not serve stands in its own entry.
#[derive(Serialize)]
pub struct NameBehind {
    /// Null for the plain name.
    pub alias: Option<String>,
    pub wanted: String,
    pub served: String,
}

#[derive(Serialize)]
pub struct Serving {
    pub version: String,
    pub alias: Option<String>,
}

#[derive(Serialize)]
pub struct Traffic {
    pub shares: Vec<Share>,
    pub shadows: Vec<Shadow>,
    /// Aliases of the configuration that take no part, and why.
    pub left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
pub struct Share {
    pub alias: Option<String>,
    pub version: String,
    pub weight: u32,
    /// Of all keys, from 0 to 1.
    pub share: f64,
}

#[derive(Serialize)]
pub struct Shadow {
    pub alias: Option<String>,
    pub version: String,
}

#[derive(Serialize)]
pub struct LeftOut {
    pub alias: String,
    #[serde(flatten)]
    pub failure: LoadFailure,
}

#[derive(Serialize)]
pub struct Version {
    pub version: String,
    /// `loaded`, `failed`, `loading` or `not_served`.
    pub state: &'static str,
    /// Why it failed; of a loaded one, why it could not be loaded or bound anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LoadFailure>,
    /// Until when a version that nothing wants any more stays loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
    /// Of a version that the plain name may move to only by its answers to recorded predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<gate::Status>,
    #[serde(flatten)]
    pub loaded: Option<Loaded>,
}

#[derive(Serialize)]
pub struct LoadFailure {
    pub code: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What there is to say about a version that serves.
#[derive(Serialize)]
pub struct Loaded {
    pub aliases: Vec<String>,
    pub tags: BTreeMap<String, String>,
    pub loaded_at: Timestamp,
    pub n_bytes: u64,
    pub engines: usize,
    pub batching: Batching,
    pub mlflow_version: Option<String>,
    pub model_uuid: Option<String>,
    pub utc_time_created: Option<String>,
    pub signature: Value,
    pub outputs: Vec<Value>,
    pub plan: Description,
}

/// How calls that wait for an engine become one run.
#[derive(Serialize)]
pub struct Batching {
    pub merges: bool,
    /// Why they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub max_rows: usize,
    pub max_wait_us: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_rows: Option<usize>,
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Response<Body> {
    let catalog = api.predictor.models();
    let models = catalog.models();
    json(
        StatusCode::OK,
        &Served {
            models: models.iter().map(|model| describe(model)).collect(),
            registry: catalog.registry().map(|status| describe_registry(&status)),
        },
    )
}

fn describe_registry(status: &RegistryStatus) -> Registry {
    let failure = status.failure.as_ref().map(|failure| ReadFailure {
        newest: LoadFailure {
            code: failure.code,
            message: failure.message.clone(),
            hint: failure.hint.clone(),
        },
        since: failure.since,
        attempts: failure.n_attempts,
    });
    Registry {
        location: status.location.clone(),
        read_at: status.read_at,
        served_from: if status.from_saved_set {
            "last_known_good"
        } else {
            "registry"
        },
        failure,
    }
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    match find(api.predictor.models(), &name) {
        Ok(model) => json(StatusCode::OK, &model),
        Err(error) => problem::render(&error, &extract::request_id(&headers)),
    }
}

/// One model by name. With an alias or version only that version is described.
pub fn find(catalog: &Models, name: &str) -> Result<Model, Error> {
    let reference: ModelRef = name.parse()?;
    let status = catalog.model(&reference.name)?;
    let mut model = describe(&status);
    if reference.to_string() != reference.name {
        let version = catalog.resolve(&reference)?.version.version.to_string();
        model.versions.retain(|other| other.version == version);
    }
    Ok(model)
}

/// A model as `/v1/models` and the command line show it.
pub fn describe(status: &ModelStatus<ServingPlan>) -> Model {
    let (serving, error) = match &status.serving {
        Ok(serving) => {
            let alias = serving.alias.as_deref().map(str::to_owned);
            (
                Some(Serving {
                    version: serving.version.to_string(),
                    alias,
                }),
                status.trouble.as_deref().map(|error| failure(error)),
            )
        }
        Err(error) => (None, Some(failure(&**error))),
    };
    Model {
        name: status.name.to_string(),
        serving,
        aliases: status
            .aliases
            .iter()
            .map(|(alias, version)| (alias.to_string(), version.to_string()))
            .collect(),
        behind: status.behind.iter().map(describe_behind).collect(),
        traffic: status.traffic.as_deref().map(describe_traffic),
        versions: status
            .versions
            .iter()
            .map(|version| describe_version(status, version))
            .collect(),
        error,
    }
}

fn describe_behind(behind: &Behind) -> NameBehind {
    NameBehind {
        alias: behind.alias.as_deref().map(str::to_owned),
        wanted: behind.wanted.to_string(),
        served: behind.served.to_string(),
    }
}

fn describe_traffic(traffic: &traffic::Traffic<ServingPlan>) -> Traffic {
    let shares = traffic.shares().map(|share| Share {
        alias: share.alias.map(str::to_owned),
        version: share.version.to_string(),
        weight: share.weight,
        share: share.share,
    });
    let shadows = traffic.shadows().iter().map(|shadow| Shadow {
        alias: shadow.alias.as_deref().map(str::to_owned),
        version: shadow.version.version.to_string(),
    });
    let left_out = traffic.left_out().iter().map(|left_out| LeftOut {
        alias: left_out.alias.clone(),
        failure: failure(left_out),
    });
    Traffic {
        shares: shares.collect(),
        shadows: shadows.collect(),
        left_out: left_out.collect(),
    }
}

fn describe_version(
    model: &ModelStatus<ServingPlan>,
    status: &VersionStatus<ServingPlan>,
) -> Version {
    let (state, error, loaded) = match &status.state {
        VersionState::Loaded(served) => {
            let aliases = model.aliases_of(status.version);
            let aliases = aliases.iter().map(ToString::to_string).collect();
            let setback = status.setback.as_deref().map(|error| failure(error));
            ("loaded", setback, Some(describe_loaded(served, aliases)))
        }
        VersionState::Failed(error) => ("failed", Some(failure(&**error)), None),
        VersionState::Loading => ("loading", None, None),
        VersionState::NotServed => ("not_served", None, None),
    };
    Version {
        version: status.version.to_string(),
        state,
        error,
        kept_until: status.kept_until,
        gate: status
            .gate
            .as_ref()
            .map(|gate| gate::describe(&model.name, status.version, gate)),
        loaded,
    }
}

/// A version that is loaded, as `/v1/models` and `models check` show it.
pub fn describe_loaded(served: &ServedVersion<ServingPlan>, aliases: Vec<String>) -> Loaded {
    let outputs = served
        .model
        .graph()
        .outputs
        .iter()
        .map(|output| match &output.kind {
            OutputKind::Tensor { dtype, shape } => {
                object!({ "name": output.name, "dtype": dtype.to_string(), "shape": shape })
            }
            OutputKind::Maps => object!({ "name": output.name, "dtype": "map" }),
        });
    Loaded {
        aliases,
        tags: served.tags.clone(),
        loaded_at: served.loaded_at,
        n_bytes: served.n_bytes,
        engines: served.model.n_engines(),
        batching: describe_batching(&served.model),
        mlflow_version: served.mlflow_version.clone(),
        model_uuid: served.model_uuid.clone(),
        utc_time_created: served.utc_time_created.clone(),
        signature: describe_signature(&served.signature),
        outputs: outputs.collect(),
        plan: served.plan.describe(),
    }
}

fn describe_batching(model: &ServedModel) -> Batching {
    let not_merged = model.not_merged();
    let settings = model.batching();
    Batching {
        merges: not_merged.is_none(),
        reason: not_merged,
        max_rows: settings.max_rows.get(),
        max_wait_us: settings.max_wait.as_micros(),
        preferred_rows: settings.preferred_rows.map(NonZeroUsize::get),
    }
}

pub(super) fn failure(error: &dyn Failure) -> LoadFailure {
    LoadFailure {
        code: error.code(),
        message: error.to_string(),
        hint: error.hint(),
    }
}

fn describe_signature(signature: &Signature) -> Value {
    object!({
        "inputs": signature.inputs.as_ref().map(describe_schema),
        "outputs": signature.outputs.as_ref().map(describe_schema),
    })
}

fn describe_schema(schema: &Schema) -> Value {
    match schema {
        Schema::Columns(columns) => columns
            .iter()
            .map(|column| {
                let dtype = match &column.dtype {
                    ColumnType::Scalar(dtype) => dtype.to_string(),
                    ColumnType::Nested(word) => word.clone(),
                };
                object!({ "name": column.name, "dtype": dtype, "required": column.required })
            })
            .collect(),
        Schema::Tensors(tensors) => tensors
            .iter()
            .map(|tensor| {
                object!({ "name": tensor.name, "dtype": tensor.dtype.to_string(), "shape": tensor.shape })
            })
            .collect(),
    }
}
