//! The request path: every protocol's call becomes a `PredictRequest` and lands in `Predictor::predict`.
//!
//! Reads top-down: resolve the model, fit the request to its serving plan, read the features, assemble the model's
//! inputs, infer, answer. Each step returns a value and knows nothing of its neighbours.
//! Exactly one audit event leaves for each call, also for a failed one and for one whose caller went away.
//! Not here: decoding and encoding (`http`), how features are stored (`features`), how engines run (`inference`).

mod assemble;
mod bind;
mod call;
mod config;
mod convert;
mod error;
mod plan;

use std::sync::Arc;
use std::time::Instant;

pub use bind::PlanBinder;
pub use config::{Config, OnMissing, OnStale};
pub use error::Error;
pub use plan::{ColumnDescription, Description, EntityDescription, ServingPlan};

use crate::audit::{AuditLog, AuditRecord};
use crate::error::Failure;
use crate::features::FeatureStore;
use crate::models::{ModelCatalog, ServedVersion};
use crate::shutdown::run_here;
use crate::telemetry::metrics::{CODE_OK, Metrics, ModelMetrics};
use crate::types::feature::FeatureRows;
use crate::types::prediction::{NamedOutput, Prediction, ServedBy, Timings};
use crate::types::request::PredictRequest;
use crate::types::tensor::Output;

/// Models whose serving plans are compiled.
pub type Models = ModelCatalog<ServingPlan>;

/// Answers predict requests. Shared by all surfaces.
pub struct Predictor {
    models: Arc<Models>,
    /// Absent without a feature repository; then no model has a plan that reads features.
    features: Option<Arc<FeatureStore>>,
    audit: Arc<AuditLog>,
    metrics: Arc<Metrics>,
}

impl Predictor {
    pub fn new(
        models: Arc<Models>,
        features: Option<Arc<FeatureStore>>,
        audit: Arc<AuditLog>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            models,
            features,
            audit,
            metrics,
        }
    }

    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Cancel safety: dropped before it is done, the call leaves one audit event, `cancelled`.
    pub async fn predict(&self, request: &PredictRequest) -> Result<Prediction, Error> {
        let mut record = self.audit.open(request)?;
        let outcome = self.run(request, &mut record).await;
        run_here(request.is_large(), || match &outcome {
            Ok(prediction) => record.close(Ok(prediction)),
            Err(error) => record.close(Err(error)),
        })?;
        outcome
    }

    async fn run(
        &self,
        request: &PredictRequest,
        record: &mut AuditRecord<'_>,
    ) -> Result<Prediction, Error> {
        let model = self
            .models
            .resolve(&request.model)
            .inspect_err(|e| self.metrics.count_unknown_model(e.code()))?;
        let served_by = ServedBy {
            name: Arc::clone(&model.version.name),
            version: model.version.version,
            alias: model.alias.clone(),
        };
        record.served_by(served_by.clone());
        let answer = self.answer(request, &model.version).await;
        count(
            model.version.plan.metrics(),
            &answer,
            request.columns.n_rows(),
        );
        let Answer {
            outputs,
            features,
            timings,
        } = answer?;
        Ok(Prediction {
            id: record.id(),
            served_by,
            n_rows: request.columns.n_rows(),
            outputs,
            features,
            timings,
        })
    }

    async fn answer(
        &self,
        request: &PredictRequest,
        model: &ServedVersion<ServingPlan>,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let plan = &model.plan;
        let call = run_here(request.is_large(), || plan.fit(request))?;
        let mut features = match (&plan.online, &self.features) {
            (Some(online), Some(store)) => {
                store.online(online, &call.keys, request.deadline).await?
            }
            _ => FeatureRows::none(call.n_rows),
        };
        let read = Instant::now();
        let inputs = run_here(request.is_large(), || {
            assemble::model_inputs(plan, &call, &mut features)
        })?;
        let assembled = Instant::now();
        let inference = model.model.infer(inputs, request.deadline).await?;
        let outputs = name_outputs(plan, inference.outputs, call.n_rows)?;
        let timings = Timings {
            features: read - start,
            assemble: assembled - read,
            queue: inference.queue,
            engine: inference.engine,
            total: start.elapsed(),
        };
        Ok(Answer {
            outputs,
            features,
            timings,
        })
    }
}

/// What the steps came to.
struct Answer {
    outputs: Vec<NamedOutput>,
    features: FeatureRows,
    timings: Timings,
}

fn count(metrics: &ModelMetrics, answer: &Result<Answer, Error>, n_rows: usize) {
    match answer {
        Ok(answer) => {
            metrics.count(CODE_OK);
            metrics.observe(&answer.timings, n_rows);
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
