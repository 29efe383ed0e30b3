//! Entity rows in, feature rows out: keys made and told apart before the read, values spread over the rows after it.
//!
//! The hot path. A request of one row hashes nothing and moves every value once.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::key::{EntityKeys, KeyValue};
use super::online::{StoredRows, StoredValue};
use super::plan::{OnlinePlan, PlannedGroup};
use crate::types::feature::{FeatureCell, FeatureRows, FeatureStatus};
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// The entity keys of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityRows {
    pub n_rows: usize,
    /// One per join key of the plan, in its order. Features of an absent column are not read.
    pub columns: Vec<Option<KeyColumn>>,
}

/// The values of one join key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyColumn {
    /// One value for every row.
    Scalar(KeyValue),
    /// One value per row.
    List(Vec<KeyValue>),
}

impl KeyColumn {
    fn get(&self, row: usize) -> &KeyValue {
        match self {
            Self::Scalar(value) => value,
            Self::List(values) => &values[row],
        }
    }
}

impl EntityRows {
    pub(super) fn check(&self, plan: &OnlinePlan) -> Result<(), Error> {
        if self.columns.len() != plan.join_keys.len() {
            return Err(Error::WrongColumns {
                expected: plan.join_keys.len(),
                actual: self.columns.len(),
            });
        }
        for (column, join_key) in self.columns.iter().zip(&plan.join_keys) {
            if let Some(KeyColumn::List(values)) = column
                && values.len() != self.n_rows
            {
                return Err(Error::WrongLength {
                    column: join_key.name.clone(),
                    expected: self.n_rows,
                    actual: values.len(),
                });
            }
        }
        Ok(())
    }
}

/// Which of a group's distinct keys belongs to a row.
#[derive(Debug)]
pub(super) enum RowKeys {
    /// The group is not read.
    Skipped,
    /// Every row has the one key there is.
    One,
    /// Row `r` has key `r`, and no two are equal.
    Own,
    /// Row `r` has key `0[r]`.
    Shared(Vec<usize>),
}

/// The distinct keys of each group, and which of them belongs to which row.
pub(super) fn entity_keys(plan: &OnlinePlan, rows: &EntityRows) -> (Vec<EntityKeys>, Vec<RowKeys>) {
    let groups = plan.groups.iter();
    groups.map(|group| group_keys(group, rows)).unzip()
}

fn group_keys(group: &PlannedGroup, rows: &EntityRows) -> (EntityKeys, RowKeys) {
    let mut columns = Vec::with_capacity(group.columns.len());
    for &column in &group.columns {
        columns.extend(&rows.columns[column]);
    }
    if columns.len() < group.columns.len() || rows.n_rows == 0 {
        return (EntityKeys::default(), RowKeys::Skipped);
    }
    let is_scalar = |column: &&KeyColumn| matches!(column, KeyColumn::Scalar(_));
    let one = rows.n_rows == 1 || columns.iter().all(is_scalar);
    let n_keys = if one { 1 } else { rows.n_rows };
    let mut keys = EntityKeys::with_capacity(n_keys, n_keys * group.layout.size_hint());
    for row in 0..n_keys {
        keys.push_with(|bytes| group.layout.encode(|i| columns[i].get(row), bytes));
    }
    if one {
        return (keys, RowKeys::One);
    }
    let owners = keys.deduplicate();
    if keys.len() == rows.n_rows {
        return (keys, RowKeys::Own);
    }
    (keys, RowKeys::Shared(owners))
}

/// Spreads what was read over the rows and tells the status of each value.
pub(super) fn feature_rows(
    plan: &OnlinePlan,
    n_rows: usize,
    keys: &[RowKeys],
    mut stored: Vec<StoredRows>,
    read_at: Timestamp,
) -> FeatureRows {
    let mut cells = Vec::with_capacity(n_rows * plan.features.len());
    for row in 0..n_rows {
        for (feature, &(group, place)) in plan.features.iter().zip(plan.places.iter()) {
            let (key, shared) = match &keys[group] {
                RowKeys::Skipped => {
                    cells.push(FeatureCell::not_found());
                    continue;
                }
                RowKeys::One => (0, n_rows > 1),
                RowKeys::Own => (row, false),
                RowKeys::Shared(owners) => (owners[row], true),
            };
            let slot = &mut stored[group][key * plan.groups[group].n_features + place];
            // Each place of a group belongs to one feature, so an unshared value is wanted exactly once.
            let value = if shared { slot.clone() } else { slot.take() };
            cells.push(cell(value, feature.max_age, read_at));
        }
    }
    FeatureRows {
        names: Arc::clone(&plan.names),
        n_rows,
        cells,
        read_at,
    }
}

fn cell(stored: Option<StoredValue>, max_age: Option<Duration>, read_at: Timestamp) -> FeatureCell {
    let Some(StoredValue {
        value,
        event_timestamp,
    }) = stored
    else {
        return FeatureCell::not_found();
    };
    let too_old = max_age.is_some_and(|limit| event_timestamp.age_at(read_at) > limit);
    let status = match &value {
        Value::Null => FeatureStatus::Null,
        _ if too_old => FeatureStatus::OutsideMaxAge,
        _ => FeatureStatus::Present,
    };
    FeatureCell {
        value,
        status,
        event_timestamp: Some(event_timestamp),
    }
}
