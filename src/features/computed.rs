//! On-demand features of a plan: computed from the rows that were read and from what the request brings.
//!
//! A computed value is null, and then `not_found` if something that its view is computed from was not found and `null`
//! otherwise; or it is a value, and then `outside_max_age` if something that its view is computed from is, and `present`
//! otherwise. Its event timestamp is the oldest of what its view is computed from, so its age is what it can rely on.
//! Not here: which features a plan has (`plan`), how a view is computed (`transform`).

use std::sync::Arc;

use futures::future::try_join_all;

use super::columns::Column;
use super::definitions::Field;
use super::key::{KeyType, KeyValue};
use super::plan::{JoinKey, OnDemandPart, OnlinePlan, Origin, PlannedView};
use super::rows::{EntityRows, KeyColumn};
use super::transform::InputValues;
use super::{Error, FeatureStore};
use crate::types::deadline::Deadline;
use crate::types::feature::{FeatureCell, FeatureRows, FeatureStatus};
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// What a request gives for the on-demand features of a plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestData {
    /// One per field of the plan's request data: a value per row, each null or of the field's type. `None`, or nothing at
    /// all, where it is not given; then nothing that needs it can be computed.
    pub columns: Vec<Option<Vec<Value>>>,
    /// The plan's features that the request gives itself: a view of which all features are given is not computed, and they
    /// are `not_found`.
    pub given: Vec<usize>,
}

impl FeatureStore {
    /// Reads and computes the plan's features of all rows: one round trip to the online store, then each on-demand view of
    /// the plan, views that are computed elsewhere side by side. As `online`, which is for plans of stored features.
    /// Cancel safe.
    pub async fn online_with(
        &self,
        plan: &OnlinePlan,
        keys: &EntityRows,
        data: &RequestData,
        deadline: Deadline,
    ) -> Result<FeatureRows, Error> {
        let Some(part) = &plan.on_demand else {
            return self.read(plan, keys, deadline).await;
        };
        let read = self.read(&part.read, keys, deadline).await?;
        let given = Given {
            plan,
            keys,
            data,
            read: &read,
        };
        let views = part.views.iter().map(|view| given.compute(view, deadline));
        let computed = try_join_all(views).await?;
        Ok(given_rows(plan, part, &computed, read))
    }
}

/// What the views of one request are computed from.
struct Given<'a> {
    plan: &'a OnlinePlan,
    keys: &'a EntityRows,
    data: &'a RequestData,
    read: &'a FeatureRows,
}

impl Given<'_> {
    /// All features of the view; `None` where the request gives those of them that the plan has.
    async fn compute(
        &self,
        view: &PlannedView,
        deadline: Deadline,
    ) -> Result<Option<Computed>, Error> {
        let is_given = |feature: &usize| self.data.given.contains(feature);
        if view.features.iter().all(is_given) {
            return Ok(None);
        }
        let Ok(input) = view.compiled.input(self);
        let columns = view.compiled.run(input, deadline).await?.columns;
        Ok(Some(Computed {
            columns,
            origins: origins(view, self.read),
        }))
    }
}

impl InputValues for Given<'_> {
    type Error = std::convert::Infallible;

    fn n_rows(&self) -> usize {
        self.keys.n_rows
    }

    fn entity(&self, field: &Field) -> Option<Vec<Value>> {
        let key_type = KeyType::from_value_type(field.value_type)?;
        let is_it = |key: &JoinKey| key.name == field.name && key.key_type == key_type;
        let column = self.plan.join_keys.iter().position(is_it)?;
        Some(match self.keys.columns[column].as_ref()? {
            KeyColumn::List(keys) => keys.iter().cloned().map(key_value).collect(),
            KeyColumn::Scalar(key) => vec![key_value(key.clone()); self.keys.n_rows],
        })
    }

    fn request_data(&self, field: &Field) -> Option<Vec<Value>> {
        let mut fields = self.plan.request_data.iter();
        let position = fields.position(|known| known.name == field.name)?;
        self.data.columns.get(position)?.clone()
    }

    fn feature(&self, place: usize) -> Result<Vec<Value>, Self::Error> {
        Ok(self
            .read
            .column(place)
            .map(|cell| cell.value.clone())
            .collect())
    }
}

pub(super) fn key_value(key: KeyValue) -> Value {
    match key {
        KeyValue::Bytes(bytes) => Value::Bytes(bytes),
        KeyValue::String(text) => Value::String(text),
        KeyValue::Int32(number) => Value::Int32(number),
        KeyValue::Int64(number) => Value::Int64(number),
        KeyValue::UnixTimestamp(seconds) => Value::UnixTimestamp(seconds),
    }
}

/// A computed view.
struct Computed {
    /// All features of the view, in its order, each with a value per row.
    columns: Vec<Column>,
    /// One per row.
    origins: Vec<RowOrigin>,
}

/// What is known of the stored features that a row of a view is computed from.
#[derive(Debug, Clone, Copy)]
struct RowOrigin {
    oldest: Option<Timestamp>,
    is_too_old: bool,
    lacks_some: bool,
}

fn origins(view: &PlannedView, read: &FeatureRows) -> Vec<RowOrigin> {
    let of_row = |row: usize| {
        let mut origin = RowOrigin {
            oldest: None,
            is_too_old: false,
            lacks_some: false,
        };
        for place in view.compiled.places() {
            let cell = read.cell(row, place);
            origin.is_too_old |= cell.status == FeatureStatus::OutsideMaxAge;
            origin.lacks_some |= cell.status == FeatureStatus::NotFound;
            origin.oldest = match (origin.oldest, cell.event_timestamp) {
                (Some(oldest), Some(other)) => Some(oldest.min(other)),
                (oldest, other) => oldest.or(other),
            };
        }
        origin
    };
    (0..read.n_rows).map(of_row).collect()
}

/// The plan's features, taken from what was read and from what was computed.
fn given_rows(
    plan: &OnlinePlan,
    part: &OnDemandPart,
    computed: &[Option<Computed>],
    mut read: FeatureRows,
) -> FeatureRows {
    let n_rows = read.n_rows;
    let mut cells = Vec::with_capacity(n_rows * part.origins.len());
    for row in 0..n_rows {
        for origin in &part.origins {
            cells.push(match *origin {
                // Each selected feature is read for itself, so it is wanted once.
                Origin::Read(place) => {
                    std::mem::replace(read.cell_mut(row, place), FeatureCell::not_found())
                }
                Origin::Computed { view, feature } => match &computed[view] {
                    Some(view) => view.cell(row, feature),
                    None => FeatureCell::not_found(),
                },
            });
        }
    }
    FeatureRows {
        names: Arc::clone(&plan.names),
        n_rows,
        cells,
        read_at: read.read_at,
    }
}

impl Computed {
    fn cell(&self, row: usize, feature: usize) -> FeatureCell {
        let origin = &self.origins[row];
        let value = self.columns[feature].values[row].clone();
        let status = match value {
            Value::Null if origin.lacks_some => return FeatureCell::not_found(),
            Value::Null => FeatureStatus::Null,
            _ if origin.is_too_old => FeatureStatus::OutsideMaxAge,
            _ => FeatureStatus::Present,
        };
        FeatureCell {
            value,
            status,
            event_timestamp: origin.oldest,
        }
    }
}
