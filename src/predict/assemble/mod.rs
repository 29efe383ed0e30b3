//! Features and request inputs into model inputs. Pure: no I/O, no clock.
//!
//! First every feature of every row is settled: overridden by the request, defaulted, refused, or served.
//! Then the graph's tensors are filled (`fill`), in graph order.

mod fill;
#[cfg(test)]
mod tests;

use super::call::Call;
use super::config::{OnMissing, OnStale};
use super::error::Error;
use super::plan::{OptionalTensor, PlannedTensor, ServingPlan, Source};
use crate::inference::{Input, Inputs};
use crate::types::cell::Cell;
use crate::types::feature::{FeatureRows, FeatureStatus};
use crate::types::tensor::Tensor;
use crate::types::value::{TextKind, Value};

/// The graph's inputs for one call. `features` holds afterwards what the model was given.
pub fn model_inputs(
    plan: &ServingPlan,
    call: &Call<'_>,
    features: &mut FeatureRows,
) -> Result<Inputs, Error> {
    settle(plan, call, features)?;
    let mut required = Vec::with_capacity(plan.tensors.len());
    for tensor in &plan.tensors {
        required.push(Input::Own(fill::tensor(plan, call, features, tensor)?));
    }
    let mut inputs = Inputs::new(required);
    for (place, optional) in plan.optional.iter().enumerate() {
        if is_filled(plan, call, optional) {
            inputs.give(place, fill::tensor(plan, call, features, &optional.tensor)?);
        }
    }
    Ok(inputs)
}

/// Whether the request or a feature has something for an input that may be left out.
fn is_filled(plan: &ServingPlan, call: &Call<'_>, optional: &OptionalTensor) -> bool {
    let mut columns = optional.tensor.columns.clone();
    columns.any(|column| match plan.columns[column].source {
        Source::Request => call.columns[column].is_some(),
        Source::JoinKey | Source::Feature(_) => true,
    })
}

/// A tensor for which the request gives nothing: nulls, where its columns are optional and take them.
pub(super) fn nulls(
    plan: &ServingPlan,
    tensor: &PlannedTensor,
    n_rows: usize,
) -> Result<Tensor, Error> {
    fill::tensor(
        plan,
        &Call::empty(plan, n_rows),
        &FeatureRows::none(n_rows),
        tensor,
    )
}

/// Applies overrides and the policies for missing and stale features.
fn settle(plan: &ServingPlan, call: &Call<'_>, features: &mut FeatureRows) -> Result<(), Error> {
    for row in 0..features.n_rows {
        for feature in 0..features.n_features() {
            if let Some(cells) = call.overrides[feature] {
                let cell = features.cell_mut(row, feature);
                cell.value = value_of(cells.get(row));
                cell.status = FeatureStatus::Overridden;
                cell.event_timestamp = None;
                continue;
            }
            match features.cell(row, feature).status {
                FeatureStatus::Present
                | FeatureStatus::Overridden
                | FeatureStatus::Default
                | FeatureStatus::NotUsed => {}
                FeatureStatus::Null | FeatureStatus::NotFound => {
                    settle_missing(plan, features, row, feature)?
                }
                FeatureStatus::OutsideMaxAge => settle_stale(plan, features, row, feature)?,
            }
        }
    }
    Ok(())
}

fn settle_missing(
    plan: &ServingPlan,
    features: &mut FeatureRows,
    row: usize,
    feature: usize,
) -> Result<(), Error> {
    match plan.on_missing {
        OnMissing::Null => {}
        OnMissing::Default => set_default(plan, features, row, feature),
        OnMissing::Error => {
            let status = features.cell(row, feature).status.as_str();
            return Err(Error::FeatureMissing {
                row,
                feature: features.names[feature].clone(),
                status,
            });
        }
    }
    Ok(())
}

fn settle_stale(
    plan: &ServingPlan,
    features: &mut FeatureRows,
    row: usize,
    feature: usize,
) -> Result<(), Error> {
    match plan.on_stale {
        OnStale::Serve => {}
        OnStale::Null => features.cell_mut(row, feature).value = Value::Null,
        OnStale::Default => set_default(plan, features, row, feature),
        OnStale::Error => {
            let cell = features.cell(row, feature);
            let age = cell
                .event_timestamp
                .map(|at| at.age_at(features.read_at))
                .unwrap_or_default();
            let limit = plan
                .online
                .as_ref()
                .and_then(|online| online.features[feature].max_age)
                .unwrap_or_default();
            return Err(Error::FeatureStale {
                row,
                feature: features.names[feature].clone(),
                age,
                limit,
            });
        }
    }
    Ok(())
}

fn set_default(plan: &ServingPlan, features: &mut FeatureRows, row: usize, feature: usize) {
    let cell = features.cell_mut(row, feature);
    // The plan does not compile without a default that a policy may need.
    cell.value = plan.defaults[feature].clone().unwrap_or_default();
    cell.status = FeatureStatus::Default;
    cell.event_timestamp = None;
}

/// A request value as a feature value: for the answer and the audit record.
pub(super) fn value_of(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(value) => Value::Bool(*value),
        Cell::Int(value) => Value::Int64(*value),
        Cell::UInt(value) => Value::Text(TextKind::Decimal, value.to_string()),
        Cell::Float(value) => Value::Double(*value),
        Cell::Text(text) => Value::String(text.clone()),
        Cell::List(cells) => Value::Values(cells.iter().map(value_of).collect()),
    }
}
