//! Answers recorded predictions anew with another version, from the feature values that they had, and tells what differs.
//!
//! The features are those of the event, given as overrides: nothing that the stores hold today decides an answer, and no store
//! is asked. The same version answers to the last bit what it answered then. Replaying leaves no audit events.
//!
//! A recorded prediction ends in one of three ways: it is answered; it is left out, because the event does not say enough
//! (redacted, an array without a name, a feature that was not recorded); or it fails, which its caller would have met too.
//! Not here: which events are replayed (`audit::recent`, the command), what follows from the difference (`gate`).

mod comparison;
mod report;
mod request;

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

pub use comparison::Comparison;
pub use report::page;

use super::error::Error;
use super::{Call, ServingPlan, assemble, graph_outputs, name_outputs};
use crate::error::{ErrorClass, Failure};
use crate::inference::Inputs;
use crate::models::ServedVersion;
use crate::shutdown::run_here;
use crate::types::deadline::Deadline;
use crate::types::feature::{FeatureCell, FeatureRows};
use crate::types::request::RequestColumns;
use crate::types::timestamp::Timestamp;

use request::{Request, is_redacted};

/// So many cells take about half a millisecond to convert.
const LARGE: usize = 4_096;

/// What a version answers to a recorded prediction.
#[derive(Debug)]
pub struct Answer {
    /// Items by row, as in an event.
    pub outputs: Map<String, Value>,
    pub took: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// The event does not say enough to ask again.
    LeftOut(String),
    /// The version does not answer what was answered before.
    Failed(Error),
    /// The time to replay in is over.
    Late,
}

/// Answers every event and holds the answers against those recorded; stops at the deadline. Gives way to other tasks between
/// two events.
pub async fn compare(
    version: &ServedVersion<ServingPlan>,
    events: &[Value],
    deadline: Deadline,
) -> Comparison {
    let mut comparison = Comparison::default();
    for event in events {
        if !compare_one(version, event, deadline, &mut comparison).await {
            break;
        }
        tokio::task::yield_now().await;
    }
    comparison
}

/// `false` once the deadline is over.
pub(super) async fn compare_one(
    version: &ServedVersion<ServingPlan>,
    event: &Value,
    deadline: Deadline,
    comparison: &mut Comparison,
) -> bool {
    let outputs = event["outputs"].as_object().into_iter().flatten();
    if let Some((name, _)) = outputs.into_iter().find(|(_, values)| is_redacted(values)) {
        comparison.leave_out(format!("output `{name}` was redacted"));
        return true;
    }
    match answer(version, event, deadline).await {
        Ok(answer) => comparison.compare(event, &answer),
        Err(Unanswered::LeftOut(reason)) => comparison.leave_out(reason),
        Err(Unanswered::Failed(error)) => comparison.failed(event, &error),
        Err(Unanswered::Late) => return false,
    }
    true
}

/// What the version answers to the inputs and features of an event.
pub async fn answer(
    version: &ServedVersion<ServingPlan>,
    event: &Value,
    deadline: Deadline,
) -> Result<Answer, Unanswered> {
    let plan = &version.plan;
    let surface = Surface::of(event);
    let started = Instant::now();
    let request = Request::of(event).map_err(Unanswered::LeftOut)?;
    let columns = request.columns(plan).map_err(Unanswered::LeftOut)?;
    let is_large = columns.n_rows() * columns.columns().len().max(1) > LARGE;
    let assembled = run_here(is_large, || assembled(plan, &columns));
    let inputs = assembled.map_err(|error| match error {
        // These protocols also say things in forms of their own, which an event does not tell apart.
        Unanswered::Failed(error) if surface == Surface::OfTensors => Unanswered::LeftOut(format!(
            "it came as tensors or a table of MLflow's: {error}"
        )),
        error => error,
    })?;
    let inference = version.model.infer(inputs, deadline).await;
    let inference = inference.map_err(|error| match error.class() {
        _ if deadline.is_past() => Unanswered::Late,
        // Callers keep its engines busy.
        ErrorClass::Overloaded => Unanswered::LeftOut(error.to_string()),
        _ => Unanswered::Failed(error.into()),
    })?;
    let outputs = match surface {
        Surface::OfColumns => name_outputs(plan, inference.outputs, columns.n_rows()),
        Surface::OfTensors => Ok(graph_outputs(plan, inference.outputs)),
    };
    let outputs = outputs.map_err(Unanswered::Failed)?;
    let mut answered = Map::new();
    for named in &outputs {
        let values = run_here(is_large, || as_recorded(&named.output));
        let values = values.map_err(|error| Unanswered::LeftOut(error.to_string()))?;
        answered.insert(named.name.to_string(), values);
    }
    Ok(Answer {
        outputs: answered,
        took: started.elapsed(),
    })
}

/// By whose names the outputs of an event go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface {
    /// The signature's.
    OfColumns,
    /// The graph's.
    OfTensors,
}

impl Surface {
    fn of(event: &Value) -> Self {
        match event["surface"].as_str() {
            Some("mlflow" | "oip") => Self::OfTensors,
            _ => Self::OfColumns,
        }
    }
}

/// The graph's inputs, without a look into any store.
fn assembled(plan: &ServingPlan, columns: &RequestColumns) -> Result<Inputs, Unanswered> {
    let call = plan.fit(columns).map_err(|error| match &error {
        // The entity is wanted only for a feature that the event does not have.
        Error::EntityMissing { feature, .. } => not_recorded(feature),
        _ => Unanswered::Failed(error),
    })?;
    let mut features = overridden(plan, &call)?;
    assemble::model_inputs(plan, &call, &mut features).map_err(Unanswered::Failed)
}

/// Places for the features, all of which the call overrides.
fn overridden(plan: &ServingPlan, call: &Call<'_>) -> Result<FeatureRows, Unanswered> {
    let Some(online) = &plan.online else {
        return Ok(FeatureRows::none(call.n_rows));
    };
    if let Some(feature) = call.overrides.iter().position(Option::is_none) {
        return Err(not_recorded(&online.names[feature]));
    }
    let n_cells = call.n_rows * call.overrides.len();
    Ok(FeatureRows {
        names: online.names.clone(),
        n_rows: call.n_rows,
        cells: vec![FeatureCell::not_found(); n_cells],
        read_at: Timestamp::EPOCH,
    })
}

fn not_recorded(feature: &str) -> Unanswered {
    Unanswered::LeftOut(format!("feature `{feature}` was not recorded"))
}

/// Through text, as an event went, so that equal values are equal.
fn as_recorded<T: serde::Serialize>(output: &T) -> serde_json::Result<Value> {
    serde_json::from_slice(&serde_json::to_vec(output)?)
}

impl Unanswered {
    /// In a few words.
    pub fn reason(&self) -> String {
        match self {
            Self::LeftOut(reason) => reason.clone(),
            Self::Failed(error) => format!("{} ({error})", error.code()),
            Self::Late => "the time was over".to_owned(),
        }
    }
}
