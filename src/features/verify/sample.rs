//! Entity keys to verify: a uniform sample of the distinct keys of a source or of a file, whatever their number and order.
//!
//! Of every key a hash with the seed is taken, and the keys with the smallest hashes are kept: no more than the sample is ever
//! in memory, a key that comes twice is one, and a seed chooses the same keys however they come.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{and, filter_record_batch, is_not_null};
use arrow::error::ArrowError;
use futures::StreamExt;
use ring::digest::{Context, SHA256};

use super::{Request, view};
use crate::features::convert;
use crate::features::historical::Entities;
use crate::features::key::{KeyLayout, KeyValue};
use crate::features::offline::{Error as OfflineError, Latest, PullLatest};
use crate::features::{Error, FeatureStore};
use crate::shutdown::run_blocking;

/// One key to look for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SampledKey {
    /// As the online store has it.
    pub(super) bytes: Vec<u8>,
    /// One per join key, in the order of the view; none for a view without entities.
    pub(super) values: Vec<KeyValue>,
}

/// The keys kept so far.
#[derive(Debug)]
pub(super) struct Sample {
    layout: KeyLayout,
    size: usize,
    seed: u64,
    kept: BTreeMap<(u64, Vec<u8>), Vec<KeyValue>>,
}

impl Sample {
    pub(super) fn new(layout: KeyLayout, size: NonZeroUsize, seed: u64) -> Self {
        Self {
            layout,
            size: size.get(),
            seed,
            kept: BTreeMap::new(),
        }
    }

    /// Each column has a value per row.
    pub(super) fn add(&mut self, columns: &[Vec<KeyValue>], n_rows: usize) {
        for row in 0..n_rows {
            let mut bytes = Vec::with_capacity(self.layout.size_hint());
            self.layout.encode(|i| &columns[i][row], &mut bytes);
            let rank = self.rank(&bytes);
            let is_full = self.kept.len() >= self.size;
            let last = self.kept.last_key_value();
            if is_full && last.is_some_and(|((greatest, _), _)| rank > *greatest) {
                continue;
            }
            let values = columns.iter().map(|column| column[row].clone());
            self.kept.insert((rank, bytes), values.collect());
            if self.kept.len() > self.size {
                self.kept.pop_last();
            }
        }
    }

    pub(super) fn finish(self) -> Vec<SampledKey> {
        let kept = self.kept.into_iter();
        kept.map(|((_, bytes), values)| SampledKey { bytes, values })
            .collect()
    }

    fn rank(&self, key: &[u8]) -> u64 {
        let mut context = Context::new(&SHA256);
        context.update(&self.seed.to_le_bytes());
        context.update(key);
        let digest = context.finish();
        let first = digest.as_ref().first_chunk().copied();
        u64::from_le_bytes(first.unwrap_or_default())
    }

    fn add_source(&mut self, pull: &PullLatest, batch: &RecordBatch) -> Result<(), OfflineError> {
        let columns = pull.keys.iter().zip(batch.columns());
        let columns = columns.map(|(column, array)| pull.key_values(column, array));
        self.add(&columns.collect::<Result<Vec<_>, _>>()?, batch.num_rows());
        Ok(())
    }

    /// Rows in which a key is null equal nothing and are left out.
    fn add_entities(&mut self, pull: &PullLatest, entities: &Entities) -> Result<(), OfflineError> {
        let schema = entities.schema();
        let places = pull.keys.iter().map(|key| schema.index_of(&key.field.name));
        let places = places.collect::<Result<Vec<_>, _>>();
        let places = places.map_err(OfflineError::EntityRows)?;
        for batch in entities.read(&places).map_err(OfflineError::EntityRows)? {
            let batch = batch.and_then(without_nulls);
            let batch = batch.map_err(OfflineError::EntityRows)?;
            let mut columns = Vec::with_capacity(pull.keys.len());
            for (i, array) in batch.columns().iter().enumerate() {
                columns.push(given_keys(pull, i, array)?);
            }
            self.add(&columns, batch.num_rows());
        }
        Ok(())
    }
}

fn without_nulls(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut whole = BooleanArray::from(vec![true; batch.num_rows()]);
    for column in batch.columns() {
        whole = and(&whole, &is_not_null(column)?)?;
    }
    filter_record_batch(&batch, &whole)
}

/// The `i`th join key, as the entity rows give it.
fn given_keys(
    pull: &PullLatest,
    i: usize,
    array: &ArrayRef,
) -> Result<Vec<KeyValue>, OfflineError> {
    let field = &pull.keys[i].field;
    let wrong_type = || OfflineError::EntityType {
        view: pull.view.clone(),
        column: field.name.clone(),
        found: Box::new(array.data_type().clone()),
        wanted: field.value_type,
    };
    if array.is_empty() {
        return Ok(Vec::new());
    }
    let values = convert::values(array, field.value_type);
    let values = values.map_err(|source| OfflineError::EntityValue {
        column: field.name.clone(),
        wanted: field.value_type,
        source,
    })?;
    let values = values.ok_or_else(wrong_type)?.into_iter();
    let keys = values.map(|value| KeyValue::of(value).ok_or_else(wrong_type));
    keys.collect()
}

impl FeatureStore {
    /// Keys of the entity rows that were given, else of the view's source.
    pub(super) async fn sampled_keys(
        &self,
        pull: &Arc<PullLatest>,
        layout: KeyLayout,
        request: &Request,
    ) -> Result<Vec<SampledKey>, Error> {
        let mut sample = Sample::new(layout, request.sample, request.seed);
        if pull.keys.is_empty() {
            sample.add(&[], 1);
            return Ok(sample.finish());
        }
        if let Some(entities) = &request.entities {
            let (pull, entities) = (Arc::clone(pull), entities.clone());
            let read = move || {
                sample
                    .add_entities(&pull, &entities)
                    .map(|()| sample.finish())
            };
            let keys = run_blocking(read).await.map_err(Error::Panicked)?;
            return keys.map_err(view::offline);
        }
        let keys_alone = Arc::new(PullLatest {
            features: Vec::new(),
            ..PullLatest::clone(pull)
        });
        let store = &self.0.repo.offline_store;
        let pulled = store.pull_latest(PullLatest::clone(&keys_alone)).await;
        let Latest { mut batches, .. } = pulled.map_err(view::offline)?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(view::offline)?;
            let pull = Arc::clone(&keys_alone);
            let add = move || sample.add_source(&pull, &batch).map(|()| sample);
            let added = run_blocking(add).await.map_err(Error::Panicked)?;
            sample = added.map_err(view::offline)?;
        }
        Ok(sample.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::key::KeyVersion;

    fn sample(seed: u64, keys: impl Iterator<Item = i64>) -> Vec<i64> {
        let size = NonZeroUsize::new(10).unwrap();
        let layout = KeyLayout::new(KeyVersion::V3, &["driver_id"]);
        let mut sample = Sample::new(layout, size, seed);
        let column: Vec<KeyValue> = keys.map(KeyValue::Int64).collect();
        for part in column.chunks(7) {
            sample.add(&[part.to_vec()], part.len());
        }
        let keys = sample.finish().into_iter();
        let keys = keys.map(|key| match key.values[0] {
            KeyValue::Int64(number) => number,
            _ => unreachable!(),
        });
        keys.collect()
    }

    #[test]
    fn a_seed_chooses_the_same_keys_in_whatever_order_and_how_often_they_come() {
        let once = sample(1, 0..1_000);
        assert_eq!(once.len(), 10);
        assert_eq!(sample(1, (0..1_000).rev()), once);
        assert_eq!(sample(1, (0..1_000).chain(0..1_000)), once);
        assert_ne!(sample(2, 0..1_000), once);
    }

    #[test]
    fn fewer_keys_than_the_sample_are_all_taken() {
        let mut all = sample(1, 0..4);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
    }

    #[test]
    fn every_key_is_as_likely_as_any_other() {
        let mut counts = [0; 100];
        for seed in 0..2_000 {
            for key in sample(seed, 0..100) {
                counts[key as usize] += 1;
            }
        }
        // 200 are expected of each; the standard deviation is 13.4.
        let range = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*range.0 > 130 && *range.1 < 270, "{range:?}");
    }
}
