//! Calls of a model whose versions share its traffic: choose, serve, and let shadows run.
//!
//! A call that falls on one version as a whole takes the same way as any other. One whose rows fall on several is split
//! into a call for each version, run side by side, and put together in the order of its rows (`split`). Then the shadows
//! are let loose (`shadow`): tasks of their own, which nobody waits for.
//! Not here: which share a key falls to, which versions take part (`models/traffic`).

mod agree;
mod merge;
mod route;
mod shadow;
mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::route::Route;
pub(super) use self::shadow::Answered;
use super::config::Config;
use super::error::Error;
use super::{Predictor, ServingPlan};
use crate::audit::AuditRecord;
use crate::models::traffic::{self, Rules};
use crate::shutdown::run_here;
use crate::types::prediction::Prediction;
use crate::types::request::PredictRequest;

type Traffic = traffic::Traffic<ServingPlan>;

/// How calls are shared out, as the models' settings say.
pub fn traffic_rules(models: &BTreeMap<String, Config>) -> Rules<ServingPlan> {
    let settings = models
        .iter()
        .map(|(name, config)| (name.as_str(), &config.traffic));
    Rules::new(settings, agree::agree)
}

/// Answers a call for the plain name of a model with traffic settings.
pub(super) async fn serve(
    predictor: &Predictor,
    record: AuditRecord<'_>,
    request: &PredictRequest,
    traffic: &Arc<Traffic>,
) -> Result<Prediction, Error> {
    let route = run_here(request.is_large(), || route::route(traffic, request));
    let outcome = match route {
        Route::One(place) => {
            let model = traffic.variant(place).resolved();
            predictor.serve(record, request, &model).await
        }
        Route::Several(shared) => split::serve(predictor, record, request, traffic, &shared).await,
    };
    if let Ok(prediction) = &outcome {
        shadow::start(predictor, request, traffic, prediction);
    }
    outcome
}
