//! The point-in-time join of sampled keys, each at a time of its own.
//!
//! Rows are chosen as for a training set and converted as for the online store.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field as ArrowField, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use futures::StreamExt;

use super::sample::SampledKey;
use super::view;
use crate::features::arrays;
use crate::features::columns::Column;
use crate::features::offline::{
    Created, Entities, Error as OfflineError, Joined, PointInTime, PullLatest,
};
use crate::features::{Error, FeatureStore};
use crate::shutdown::run_blocking;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// For the entity rows of a join; a sample is far smaller.
const JOIN_BYTES: usize = 64 * 1024 * 1024;

/// The newest source row of a key at a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OfflineRow {
    pub(super) event_timestamp: Timestamp,
    /// One per feature of the pull, as it would be stored online.
    pub(super) values: Vec<Value>,
}

/// A key to look for in the source, and when.
pub(super) struct Asked<'a> {
    pub(super) key: &'a SampledKey,
    pub(super) time: Timestamp,
}

impl FeatureStore {
    /// One item for each that was asked for; `None` where no row counts at that time. `ttl` in microseconds, `None` for any
    /// age.
    pub(super) async fn offline_rows(
        &self,
        pull: &Arc<PullLatest>,
        ttl: Option<i64>,
        asked: &[Asked<'_>],
    ) -> Result<Vec<Option<OfflineRow>>, Error> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let entities = entity_rows(pull, asked);
        let entities = entities.map_err(|error| view::offline(OfflineError::EntityRows(error)))?;
        let n_keys = pull.keys.len();
        let join = PointInTime {
            view: PullLatest::clone(pull),
            entities,
            keys: (0..n_keys).collect(),
            time: n_keys,
            ttl,
            created: Created::MayBeLater,
            max_bytes: JOIN_BYTES,
        };
        let joined = self.0.repo.offline_store.point_in_time(join).await;
        let Joined { mut batches, .. } = joined.map_err(view::offline)?;
        let mut rows = Vec::with_capacity(asked.len());
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(view::offline)?;
            let pull = Arc::clone(pull);
            let converted = run_blocking(move || converted(&pull, &batch)).await;
            let converted = converted.map_err(Error::Panicked)?;
            rows.extend(converted.map_err(view::offline)?);
        }
        Ok(rows)
    }
}

/// Columns of the keys, then the time.
fn entity_rows(pull: &PullLatest, asked: &[Asked<'_>]) -> Result<Entities, ArrowError> {
    let mut fields = Vec::with_capacity(pull.keys.len() + 1);
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(pull.keys.len() + 1);
    for (i, key) in pull.keys.iter().enumerate() {
        let values = asked.iter().map(|one| one.key.values[i].clone().into());
        columns.push(arrays::array(&Column {
            name: key.field.name.clone(),
            value_type: key.field.value_type,
            values: values.collect(),
        })?);
        let kind = columns[i].data_type().clone();
        fields.push(ArrowField::new(&key.field.name, kind, true));
    }
    let times = asked.iter().map(|one| one.time.as_micros());
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    fields.push(ArrowField::new(
        "event_timestamp",
        times.data_type().clone(),
        false,
    ));
    columns.push(Arc::new(times));
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok(Entities::of_batches(schema, vec![batch]))
}

/// A batch of the join: features, then the event timestamp of the row that was found.
fn converted(
    pull: &PullLatest,
    batch: &RecordBatch,
) -> Result<Vec<Option<OfflineRow>>, OfflineError> {
    let n_features = pull.features.len();
    let mut columns = Vec::with_capacity(n_features);
    for (column, array) in pull.features.iter().zip(batch.columns()) {
        columns.push(pull.values(column, array)?.into_iter());
    }
    let times = batch.column(n_features);
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let rows = times.iter().map(|time| {
        // Also taken where no row was found, so that the columns stay in step.
        let values = columns.iter_mut().filter_map(Iterator::next).collect();
        time.map(|micros| OfflineRow {
            event_timestamp: Timestamp::from_micros(micros),
            values,
        })
    });
    Ok(rows.collect())
}
