//! A call whose rows fall on several versions: a call for each of them, side by side, put together in row order.
//!
//! To the caller and to the audit log it is one call: one id, one event, one deadline; if one part fails, it fails, and
//! names rows as the caller counts them. In the metrics each version counts for its own rows.

use std::time::Instant;

use futures::future::join_all;

use super::Traffic;
use super::merge::merge;
use super::route::{Part, Shared};
use crate::audit::AuditRecord;
use crate::error::Failure;
use crate::models::Resolved;
use crate::predict::error::Error;
use crate::predict::{Predictor, Read, ServingPlan, close, served_by};
use crate::shutdown::run_here;
use crate::telemetry::metrics::CODE_OK;
use crate::types::prediction::{Prediction, VariantRows};
use crate::types::request::{PredictRequest, RequestInputs};

pub(super) async fn serve(
    predictor: &Predictor,
    mut record: AuditRecord<'_>,
    request: &PredictRequest,
    traffic: &Traffic,
    shared: &Shared<'_>,
) -> Result<Prediction, Error> {
    let start = Instant::now();
    let parts = &shared.parts[..];
    let models: Vec<Resolved<ServingPlan>> = parts
        .iter()
        .map(|part| traffic.variant(part.place).resolved())
        .collect();
    // Stands if the caller goes away.
    record.served_by(served_by(&models[most_rows(parts)]));
    let calls = parts.iter().zip(&models).map(|(part, model)| {
        let request = rows_of(request, shared, part);
        let id = record.id();
        async move {
            let outcome = predictor.run(&request, model, id, Read::Store).await;
            outcome.map_err(|error| error.of_rows(&part.rows))
        }
    });
    let outcomes = join_all(calls).await;

    let metrics = |part: usize| models[part].version.plan.metrics();
    let mut failed = 0;
    let mut answers = Vec::with_capacity(parts.len());
    let mut first_error = None;
    for (part, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(prediction) => answers.push(prediction),
            Err(error) if first_error.is_none() => {
                failed = part;
                first_error = Some(error);
            }
            Err(_) => {}
        }
    }
    let outcome = match first_error {
        Some(error) => Err(error),
        None => run_here(request.is_large(), || {
            merge(&variants(parts, &models), &answers)
        }),
    };
    let outcome = outcome.map(|mut prediction| {
        prediction.layout = shared.layout;
        prediction.timings.total = start.elapsed();
        prediction
    });
    if outcome.is_err() {
        record.served_by(served_by(&models[failed]));
    }
    let outcome = close(record, request, outcome).await;
    match &outcome {
        Ok(_) => {
            for (part, answer) in answers.iter().enumerate() {
                metrics(part).count(CODE_OK);
                metrics(part).observe(&answer.timings, answer.n_rows, answer.cached);
            }
        }
        Err(error) => metrics(failed).count(error.code()),
    }
    outcome
}

fn rows_of(request: &PredictRequest, shared: &Shared<'_>, part: &Part) -> PredictRequest {
    let columns = run_here(request.is_large(), || shared.columns.select(&part.rows));
    PredictRequest {
        model: request.model.clone(),
        inputs: RequestInputs::Columns(columns),
        params: request.params.clone(),
        deadline: request.deadline,
        context: request.context.clone(),
    }
}

fn variants(parts: &[Part], models: &[Resolved<ServingPlan>]) -> Vec<VariantRows> {
    let variants = parts.iter().zip(models).map(|(part, model)| VariantRows {
        served_by: served_by(model),
        rows: part.rows.clone(),
    });
    variants.collect()
}

/// The first of the largest parts.
fn most_rows(parts: &[Part]) -> usize {
    let mut most = 0;
    for (place, part) in parts.iter().enumerate() {
        if part.rows.len() > parts[most].rows.len() {
            most = place;
        }
    }
    most
}
