//! Shadow runs: versions that see what was asked and answered, and that nobody but the audit log hears.
//!
//! A run begins once the answer is made, as a task of its own on a copy of the request: it cannot delay the answer, change
//! it or fail it. Calls that failed are not shadowed, nor is a call that the shadow's own version answered.
//! Overload: `shadow_concurrency` runs of a model go on at once; one more is not begun, and counted as `dropped`.
//! Stop: runs are tracked, so the drain waits for them; each has its own deadline, `shadow_timeout`.
//! Exactly one audit event leaves for each run that was begun, also for one that the end of the process cut off.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Traffic;
use crate::error::Failure;
use crate::models::ServedVersion;
use crate::predict::call::Call;
use crate::predict::{Predictor, Read, ServingPlan, served_by};
use crate::shutdown::run_here;
use crate::telemetry::metrics::{CODE_DROPPED, CODE_OK};
use crate::types::deadline::Deadline;
use crate::types::difference::differences;
use crate::types::feature::{FeatureCell, FeatureRows, FeatureStatus};
use crate::types::names::ModelVersion;
use crate::types::prediction::Prediction;
use crate::types::request::PredictRequest;

/// A call that was answered: what its shadows run on.
pub(in crate::predict) struct Answered {
    request: PredictRequest,
    prediction: Prediction,
    /// That answered.
    versions: Vec<Arc<ServedVersion<ServingPlan>>>,
}

/// Begins a run of each shadow for which there is a permit.
pub(super) fn start(
    predictor: &Predictor,
    request: &PredictRequest,
    traffic: &Arc<Traffic>,
    prediction: &Prediction,
) {
    let mut answered: Option<Arc<Answered>> = None;
    for (place, shadow) in traffic.shadows().iter().enumerate() {
        if versions(prediction).all(|version| version == shadow.version.version) {
            continue;
        }
        let permits = Arc::clone(traffic.shadow_permits());
        let Ok(permit) = permits.try_acquire_owned() else {
            shadow.version.plan.metrics().count_shadow(CODE_DROPPED);
            continue;
        };
        let answered = answered.get_or_insert_with(|| {
            let copy = || Arc::new(Answered::copy(request, traffic, prediction));
            run_here(request.is_large(), copy)
        });
        let run = run(
            predictor.clone(),
            Arc::clone(traffic),
            place,
            Arc::clone(answered),
            permit,
        );
        predictor.shutdown.spawn("shadow", run);
    }
}

async fn run(
    predictor: Predictor,
    traffic: Arc<Traffic>,
    place: usize,
    answered: Arc<Answered>,
    _permit: OwnedSemaphorePermit,
) {
    // Behind what else waits to run on the shared runtime now.
    tokio::task::yield_now().await;
    let model = traffic.shadows()[place].resolved();
    let metrics = model.version.plan.metrics();
    let request = &answered.request;
    let mut record = match predictor.audit.open_shadow(request, answered.prediction.id) {
        Ok(record) => record,
        Err(error) => return metrics.count_shadow(error.code()),
    };
    record.served_by(served_by(&model));
    let outcome = predictor
        .run(request, &model, record.id(), Read::Before(&answered))
        .await;
    let code = match &outcome {
        Ok(_) => CODE_OK,
        Err(error) => error.code(),
    };
    let closed = run_here(request.is_large(), || match &outcome {
        Ok(prediction) => {
            let differences = differences(&answered.prediction.outputs, &prediction.outputs);
            record.close_shadow(Ok((prediction, &differences)))
        }
        Err(error) => record.close_shadow(Err(error)),
    });
    metrics.count_shadow(closed.map_or_else(|error| error.code(), |()| code));
}

/// The versions that answered.
fn versions(prediction: &Prediction) -> impl Iterator<Item = ModelVersion> {
    let several = prediction.variants.iter().map(|part| &part.served_by);
    let one = prediction
        .variants
        .is_empty()
        .then_some(&prediction.served_by);
    several.chain(one).map(|served_by| served_by.version)
}

impl Answered {
    fn copy(request: &PredictRequest, traffic: &Traffic, prediction: &Prediction) -> Self {
        let versions = versions(prediction).filter_map(|version| traffic.version(version));
        Self {
            request: PredictRequest {
                deadline: Deadline::after(traffic.shadow_timeout()),
                ..request.clone()
            },
            versions: versions.cloned().collect(),
            prediction: prediction.clone(),
        }
    }

    #[cfg(test)]
    pub(super) fn of(
        request: PredictRequest,
        prediction: Prediction,
        versions: Vec<Arc<ServedVersion<ServingPlan>>>,
    ) -> Self {
        Self {
            request,
            prediction,
            versions,
        }
    }

    #[cfg(test)]
    pub(super) fn set_status(&mut self, feature: usize, status: FeatureStatus) {
        self.prediction.features.cell_mut(0, feature).status = status;
    }

    /// The features that another plan takes for this request, if all of them were read for the answer.
    ///
    /// What a version was given stands for what was read: the policies for missing and stale features are the model's,
    /// and give the same when they are applied again.
    pub(in crate::predict) fn features(
        &self,
        plan: &ServingPlan,
        call: &Call<'_>,
    ) -> Option<FeatureRows> {
        let wanted = plan.online.as_ref()?;
        let all_read = self.versions.iter().all(|version| {
            let read = version.plan.online.as_ref();
            read.is_some_and(|read| wanted.is_part_of(read))
        });
        if !all_read || self.versions.is_empty() {
            return None;
        }
        let read = &self.prediction.features;
        let place = |name| read.names.iter().position(|read| read == name);
        let places: Vec<usize> = wanted.names.iter().map(place).collect::<Option<_>>()?;
        let mut cells = Vec::with_capacity(read.n_rows * places.len());
        for row in 0..read.n_rows {
            for (feature, place) in places.iter().enumerate() {
                let cell = read.cell(row, *place);
                if !is_as_read(cell, call.overrides[feature].is_some()) {
                    return None;
                }
                cells.push(cell.clone());
            }
        }
        Some(FeatureRows {
            names: Arc::clone(&wanted.names),
            n_rows: read.n_rows,
            cells,
            read_at: read.read_at,
        })
    }
}

/// Whether the cell tells what was read: an override does so only where it is overridden again.
fn is_as_read(cell: &FeatureCell, overridden: bool) -> bool {
    match cell.status {
        FeatureStatus::Overridden => overridden,
        FeatureStatus::NotUsed => false,
        FeatureStatus::Present
        | FeatureStatus::Null
        | FeatureStatus::NotFound
        | FeatureStatus::OutsideMaxAge
        | FeatureStatus::Default => true,
    }
}
