//! Rows of an on-demand feature view that is kept in the online store (`write_to_online_store=True`).
//!
//! A row has all features of the view and its join keys too, and the moment of the write as event and created timestamp: so
//! Feast 0.67 does it.

use super::columns::Column;
use super::definitions::OnDemandFeatureView;
use super::online::{Row, StoredView};
use super::plan::Rules;
use crate::types::timestamp::Timestamp;

/// A row per key, of the features and those of the join keys that are no features, all with a value per key.
pub(super) fn rows(
    view: &OnDemandFeatureView,
    rules: Rules,
    keys: Vec<Vec<u8>>,
    mut features: Vec<Column>,
    join_keys: Vec<Column>,
) -> (StoredView, Vec<Row>) {
    for column in join_keys {
        if features.iter().all(|known| known.name != column.name) {
            features.push(column);
        }
    }
    let now = Timestamp::now();
    let row = |key| Row {
        key,
        values: Vec::with_capacity(features.len()),
        event_timestamp: now,
        created_timestamp: Some(now),
    };
    let mut rows: Vec<Row> = keys.into_iter().map(row).collect();
    let mut names = Vec::with_capacity(features.len());
    for column in features {
        for (row, value) in rows.iter_mut().zip(column.values) {
            row.values.push(value);
        }
        names.push(column.name);
    }
    let name = match rules.versioned_views && view.version > 0 {
        true => format!("{}_v{}", view.name, view.version),
        false => view.name.clone(),
    };
    let stored = StoredView {
        name,
        features: names,
    };
    (stored, rows)
}
