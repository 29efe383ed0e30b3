//! The request path: every protocol's call becomes a `PredictRequest` and lands in `Predictor::predict`.
//!
//! Reads top-down: resolve the model, fit the request to its serving plan, read the features, assemble the model's
//! inputs, infer, answer. Each step returns a value and knows nothing of its neighbours.
//! Exactly one audit event leaves for each call, also for a failed one and for one whose caller went away.
//! Where versions share a model's calls, `rollout` chooses which of them `serve`. Files of rows take the same steps (`score`).
//! Not here: other protocols' bytes (`http`), how features are stored (`features`), how engines run (`inference`).

mod assemble;
mod bind;
mod call;
mod config;
mod convert;
mod error;
pub mod gate;
mod given;
mod interface;
pub mod json;
mod on_demand;
mod plan;
mod rehearse;
pub mod replay;
mod rollout;
pub mod score;
mod scoring;

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

pub use assemble::model_inputs;
pub use bind::PlanBinder;
pub use call::Call;
pub use config::{Config, OnMissing, OnStale};
pub use error::Error;
pub use interface::{Interface, TensorDescription};
pub use plan::{
    ColumnDescription, Description, EntityDescription, RequestDataDescription, ServingPlan,
};
#[doc(hidden)]
pub use rehearse::Rehearsed;
pub use rollout::traffic_rules;
pub use scoring::Error as ScoringError;

use given::Values;
use rollout::Answered;

use crate::audit::{AuditLog, AuditRecord};
use crate::error::Failure;
use crate::features::{self, FeatureStore};
use crate::inference::Inputs;
use crate::models::{ModelCatalog, Ready, Resolved};
use crate::shutdown::{Shutdown, run_here};
use crate::telemetry::metrics::{CODE_OK, Metrics, ModelMetrics};
use crate::types::deadline::Deadline;
use crate::types::feature::FeatureRows;
use crate::types::prediction::{NamedOutput, Prediction, ServedBy, Timings};
use crate::types::request::{PredictRequest, RequestColumns, RequestInputs};
use crate::types::tensor::Output;

/// Models whose serving plans are compiled.
pub type Models = ModelCatalog<ServingPlan>;

/// Answers predict requests. Shared by all surfaces; clones share everything.
#[derive(Clone)]
pub struct Predictor {
    models: Arc<Models>,
    /// Absent without a feature repository; then no model has a plan that reads features.
    features: Option<Arc<FeatureStore>>,
    audit: Arc<AuditLog>,
    metrics: Arc<Metrics>,
    /// Keeps track of shadow runs.
    shutdown: Shutdown,
}

impl Predictor {
    pub fn new(
        models: Arc<Models>,
        features: Option<Arc<FeatureStore>>,
        audit: Arc<AuditLog>,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            models,
            features,
            audit,
            metrics,
            shutdown,
        }
    }

    pub fn models(&self) -> &Models {
        &self.models
    }

    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// Models, online store and audit log are there to predict with.
    pub async fn is_ready(&self, rule: Ready) -> bool {
        if self.shutdown.is_stopping() || !self.models.readiness().is_ready(rule) {
            return false;
        }
        if let Some(features) = &self.features
            && features.ping().await.is_err()
        {
            return false;
        }
        self.audit.check().is_ok() || !self.audit.refuses()
    }

    /// Cancel safety: dropped before it is done, the call leaves one audit event, `cancelled`.
    pub async fn predict(&self, request: &PredictRequest) -> Result<Prediction, Error> {
        let unresolved = |code| self.metrics.count_unresolved(code);
        let record = self
            .audit
            .open(request)
            .inspect_err(|error| unresolved(error.code()))?;
        let model = match self.models.resolve(&request.model) {
            Ok(model) => model,
            Err(error) => {
                unresolved(error.code());
                return close(record, request, Err(error.into())).await;
            }
        };
        match &model.traffic {
            None => self.serve(record, request, &model).await,
            // On the heap, so that calls of other models are no larger for it.
            Some(traffic) => Box::pin(rollout::serve(self, record, request, traffic)).await,
        }
    }

    /// One version answers the whole call.
    async fn serve(
        &self,
        mut record: AuditRecord<'_>,
        request: &PredictRequest,
        model: &Resolved<ServingPlan>,
    ) -> Result<Prediction, Error> {
        record.served_by(served_by(model));
        let outcome = self.run(request, model, record.id(), Read::Store).await;
        let outcome = close(record, request, outcome).await;
        count(model.version.plan.metrics(), &outcome);
        outcome
    }

    async fn run(
        &self,
        request: &PredictRequest,
        model: &Resolved<ServingPlan>,
        id: Uuid,
        read: Read<'_>,
    ) -> Result<Prediction, Error> {
        let start = Instant::now();
        let plan = &model.version.plan;
        let given = run_here(request.is_large(), || plan.given(request))?;
        let ready = match given.values {
            Values::Columns(columns) => self.assemble(plan, request, &columns, read).await?,
            Values::Tensors { inputs, n_rows } => ReadyInputs::without_features(inputs, n_rows),
        };
        let assembled = Instant::now();
        let served = &model.version.model;
        let inference = served.infer(ready.inputs, request.urgency()).await?;
        let outputs = match &request.inputs {
            RequestInputs::Columns(_) => name_outputs(plan, inference.outputs, ready.n_rows)?,
            RequestInputs::Tensors(_) | RequestInputs::Scoring(_) => {
                graph_outputs(plan, inference.outputs)
            }
        };
        let timings = Timings {
            features: ready.read - start,
            assemble: assembled - ready.read,
            queue: inference.queue,
            engine: inference.engine,
            total: start.elapsed(),
        };
        Ok(Prediction {
            id,
            served_by: served_by(model),
            variants: Vec::new(),
            n_rows: ready.n_rows,
            layout: given.layout,
            outputs,
            features: ready.features,
            timings,
            cached: inference.cached,
        })
    }

    /// Reads the features that the columns ask for and fills the graph's inputs with both.
    async fn assemble(
        &self,
        plan: &ServingPlan,
        request: &PredictRequest,
        columns: &RequestColumns,
        read: Read<'_>,
    ) -> Result<ReadyInputs, Error> {
        let call = run_here(request.is_large(), || plan.fit(columns))?;
        let known = match read {
            Read::Store => None,
            Read::Before(answered) => answered.features(plan, &call),
            Read::Joined(features) => Some(features.clone()),
        };
        let mut features = match known {
            Some(features) => features,
            None => self.features(plan, &call, request.deadline).await?,
        };
        let read = Instant::now();
        let inputs = run_here(request.is_large(), || {
            assemble::model_inputs(plan, &call, &mut features)
        })?;
        Ok(ReadyInputs {
            inputs,
            features,
            n_rows: call.n_rows,
            read,
        })
    }

    async fn features(
        &self,
        plan: &ServingPlan,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<FeatureRows, Error> {
        let (Some(online), Some(store)) = (&plan.online, &self.features) else {
            return Ok(FeatureRows::none(call.n_rows));
        };
        if call.n_rows == 0 {
            return Ok(FeatureRows::none(0));
        }
        let read = match &call.request_data {
            None => store.online(online, &call.keys, deadline).await,
            // On the heap, so that calls of other models are no larger for it.
            Some(data) => Box::pin(store.online_with(online, &call.keys, data, deadline)).await,
        };
        Ok(read.inspect_err(|error| {
            if !matches!(error, features::Error::Transform(_)) {
                self.metrics.online_read_failures().inc();
            }
        })?)
    }
}

/// Where a run's features come from.
#[derive(Clone, Copy)]
enum Read<'a> {
    /// The online store.
    Store,
    /// What was read for the same request before, as far as that goes; else the online store.
    Before(&'a Answered),
    /// The plan's features of the request's rows, from elsewhere.
    Joined(&'a FeatureRows),
}

/// Everything that a run needs.
struct ReadyInputs {
    inputs: Inputs,
    /// What the inputs were made of.
    features: FeatureRows,
    n_rows: usize,
    /// When the features had been read.
    read: Instant,
}

impl ReadyInputs {
    /// The request gave whole graph inputs.
    fn without_features(inputs: Inputs, n_rows: usize) -> Self {
        Self {
            inputs,
            features: FeatureRows::none(n_rows),
            n_rows,
            read: Instant::now(),
        }
    }
}

fn served_by(model: &Resolved<ServingPlan>) -> ServedBy {
    let version = &model.version;
    ServedBy {
        name: Arc::clone(&version.name),
        version: version.version,
        alias: model.alias.clone(),
    }
}

/// Closes the record; an outcome that cannot be recorded must not be answered.
async fn close(
    record: AuditRecord<'_>,
    request: &PredictRequest,
    outcome: Result<Prediction, Error>,
) -> Result<Prediction, Error> {
    let recorded = run_here(request.is_large(), || match &outcome {
        Ok(prediction) => record.close(Ok(prediction)),
        Err(error) => record.close(Err(error)),
    })?;
    recorded.safe().await?;
    outcome
}

fn count(metrics: &ModelMetrics, outcome: &Result<Prediction, Error>) {
    match outcome {
        Ok(prediction) => {
            metrics.count(CODE_OK);
            metrics.observe(&prediction.timings, prediction.n_rows, prediction.cached);
        }
        Err(error) => metrics.count(error.code()),
    }
}

/// Puts the users' names on the graph's outputs; every output must have a row for each row of the request.
fn name_outputs(
    plan: &ServingPlan,
    outputs: Vec<Output>,
    n_rows: usize,
) -> Result<Vec<NamedOutput>, Error> {
    let mut named = Vec::with_capacity(outputs.len());
    for (name, output) in plan.outputs.iter().zip(outputs) {
        match output.n_rows() {
            Some(actual) if actual == n_rows => named.push(NamedOutput {
                name: name.clone(),
                output,
            }),
            actual => {
                let actual = actual.unwrap_or(0);
                return Err(Error::OutputRows {
                    output: name.to_string(),
                    wanted: n_rows,
                    actual,
                });
            }
        }
    }
    Ok(named)
}

/// The graph's own names, whatever the shapes: what the protocols that speak of tensors answer.
fn graph_outputs(plan: &ServingPlan, outputs: Vec<Output>) -> Vec<NamedOutput> {
    let named = plan.graph_outputs.iter().zip(outputs);
    named
        .map(|(name, output)| NamedOutput {
            name: Arc::clone(name),
            output,
        })
        .collect()
}
