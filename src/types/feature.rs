//! Feature values with the things that must be told beside them: status, event timestamp, age.

use std::sync::Arc;

use serde::Serialize;

use super::timestamp::Timestamp;
use super::value::Value;

/// What is known about one feature value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureStatus {
    /// A value younger than the limit.
    Present,
    /// Stored, and null.
    Null,
    /// Nothing stored under this entity key.
    NotFound,
    /// Stored, and older than the limit; the value is kept.
    OutsideMaxAge,
    /// The request gave it.
    Overridden,
    /// The model's configured default stands in for it.
    Default,
    /// The version that answered this row does not take the feature; another one of the same call does.
    NotUsed,
}

impl FeatureStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Null => "null",
            Self::NotFound => "not_found",
            Self::OutsideMaxAge => "outside_max_age",
            Self::Overridden => "overridden",
            Self::Default => "default",
            Self::NotUsed => "not_used",
        }
    }
}

/// One feature of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureCell {
    pub value: Value,
    pub status: FeatureStatus,
    /// `None` when nothing was stored, or the value is not from the store.
    pub event_timestamp: Option<Timestamp>,
}

impl FeatureCell {
    pub fn not_found() -> Self {
        Self {
            value: Value::Null,
            status: FeatureStatus::NotFound,
            event_timestamp: None,
        }
    }

    pub fn not_used() -> Self {
        Self {
            status: FeatureStatus::NotUsed,
            ..Self::not_found()
        }
    }
}

/// Features of all rows of a request.
///
/// `cells` is row-major with exactly `n_rows * names.len()` items: row `r`, feature `f` is `cells[r * names.len() + f]`.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRows {
    /// `view:feature`, the view by its alias where it has one.
    pub names: Arc<[String]>,
    pub n_rows: usize,
    pub cells: Vec<FeatureCell>,
    /// When the store was read: ages count from here.
    pub read_at: Timestamp,
}

impl FeatureRows {
    /// No features for `n_rows` rows.
    pub fn none(n_rows: usize) -> Self {
        Self {
            names: Arc::from([]),
            n_rows,
            cells: Vec::new(),
            read_at: Timestamp::EPOCH,
        }
    }

    pub fn n_features(&self) -> usize {
        self.names.len()
    }

    pub fn cell(&self, row: usize, feature: usize) -> &FeatureCell {
        &self.cells[row * self.names.len() + feature]
    }

    pub fn cell_mut(&mut self, row: usize, feature: usize) -> &mut FeatureCell {
        &mut self.cells[row * self.names.len() + feature]
    }

    /// One feature over all rows, in row order.
    pub fn column(&self, feature: usize) -> impl ExactSizeIterator<Item = &FeatureCell> {
        (0..self.n_rows).map(move |row| self.cell(row, feature))
    }
}
