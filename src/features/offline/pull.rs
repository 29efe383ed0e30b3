//! A pull: what is wanted of a view's source, and what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, RecordBatch};
use futures::stream::BoxStream;

use super::{Error, wrong_type, wrong_value};
use crate::features::convert;
use crate::features::definitions::{DataSource, FeatureView, Field};
use crate::features::key::KeyValue;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// The newest row of every entity key within a range.
#[derive(Debug, Clone)]
pub(in crate::features) struct PullLatest {
    pub(in crate::features) view: String,
    pub(in crate::features) source: DataSource,
    /// The key columns; none for an entityless view.
    pub(in crate::features) keys: Vec<Column>,
    pub(in crate::features) features: Vec<Column>,
    pub(in crate::features) start: Timestamp,
    pub(in crate::features) end: Timestamp,
}

/// A join key or feature and the source's column that holds it.
#[derive(Debug, Clone)]
pub(in crate::features) struct Column {
    pub(in crate::features) field: Field,
    pub(in crate::features) name: String,
}

impl PullLatest {
    pub(in crate::features) fn of(
        view: &FeatureView,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Self, Error> {
        let Some(source) = &view.batch_source else {
            return Err(Error::Unsupported {
                view: view.name.clone(),
                what: "no batch source".to_owned(),
            });
        };
        let keys: &[Field] = match view.entities.is_empty() {
            true => &[],
            false => &view.join_keys,
        };
        Ok(Self {
            view: view.name.clone(),
            source: source.clone(),
            keys: columns(keys, source),
            features: columns(&view.features, source),
            start,
            end,
        })
    }

    /// The source's column with the created timestamp, if it has one.
    pub(in crate::features) fn created(&self) -> Option<&str> {
        let name = self.source.created_timestamp_column.as_str();
        Some(name).filter(|name| !name.is_empty())
    }

    /// A column of a batch as the values that materializing stores, one for each row.
    pub(in crate::features) fn values(
        &self,
        column: &Column,
        array: &ArrayRef,
    ) -> Result<Vec<Value>, Error> {
        let wanted = column.field.value_type;
        match convert::values(array, wanted) {
            Ok(Some(values)) => Ok(values),
            Ok(None) => Err(self.wrong_type(column, array)),
            Err(error) => Err(wrong_value(&self.view, &column.name, wanted, error)),
        }
    }

    /// The same of a join key; a null is an error.
    pub(in crate::features) fn key_values(
        &self,
        column: &Column,
        array: &ArrayRef,
    ) -> Result<Vec<KeyValue>, Error> {
        if array.null_count() > 0 {
            return Err(Error::NullKey {
                view: self.view.clone(),
                column: column.name.clone(),
            });
        }
        let values = self.values(column, array)?.into_iter();
        let keys = values.map(|value| {
            let key = KeyValue::of(value);
            key.ok_or_else(|| self.wrong_type(column, array))
        });
        keys.collect()
    }

    fn wrong_type(&self, column: &Column, array: &ArrayRef) -> Error {
        wrong_type(&self.view, &column.name, &column.field, array.data_type())
    }

    /// Where the columns of a batch are: keys in the types that entity keys are made of, then features as they are in the
    /// source, then the event timestamp and, where the source has one, the created timestamp, both in microseconds.
    pub(in crate::features) fn position(&self) -> Positions {
        let event_timestamp = self.keys.len() + self.features.len();
        Positions {
            first_feature: self.keys.len(),
            event_timestamp,
            created_timestamp: self.created().map(|_| event_timestamp + 1),
        }
    }
}

/// Positions of columns in a pulled batch; keys start at 0.
#[derive(Debug, Clone, Copy)]
pub(in crate::features) struct Positions {
    pub(in crate::features) first_feature: usize,
    pub(in crate::features) event_timestamp: usize,
    pub(in crate::features) created_timestamp: Option<usize>,
}

fn columns(fields: &[Field], source: &DataSource) -> Vec<Column> {
    let column = |field: &Field| Column {
        name: source.column_of(&field.name).to_owned(),
        field: field.clone(),
    };
    fields.iter().map(column).collect()
}

/// A pull that has begun.
pub(in crate::features) struct Latest {
    pub(in crate::features) batches: BoxStream<'static, Result<RecordBatch, Error>>,
    pub(in crate::features) meter: Arc<Meter>,
}

/// How far a pull is, for a progress bar. Counts only grow, and nothing depends on them.
#[derive(Debug, Default)]
pub(in crate::features) struct Meter {
    expected: AtomicU64,
    read: AtomicU64,
    passed: AtomicU64,
    to_pass: AtomicU64,
}

impl Meter {
    /// About how many rows the source will give up; 0 while that is not known.
    pub(in crate::features) fn expected(&self) -> u64 {
        self.expected.load(Ordering::Relaxed)
    }

    /// Rows of the range that were read.
    pub(in crate::features) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Rows of the range of which it is decided whether they are the newest: those that were given out, and the older ones.
    pub(in crate::features) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// What `passed` ends at.
    pub(in crate::features) fn to_pass(&self) -> u64 {
        self.to_pass.load(Ordering::Relaxed).max(self.passed())
    }

    pub(super) fn expect_to_pass(&self, n_rows: u64) {
        self.to_pass.store(n_rows, Ordering::Relaxed);
    }

    pub(super) fn expect(&self, n_rows: u64) {
        self.expected.store(n_rows, Ordering::Relaxed);
    }

    pub(super) fn add_read(&self, n_rows: usize) {
        self.read.fetch_add(n_rows as u64, Ordering::Relaxed);
    }

    pub(super) fn add_passed(&self, n_rows: usize) {
        self.passed.fetch_add(n_rows as u64, Ordering::Relaxed);
    }
}
