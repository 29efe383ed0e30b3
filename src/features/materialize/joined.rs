//! On-demand views of several sources: their rows joined by key, as of the newest moment that the key has.
//!
//! So many keys at a time as memory is meant for; where there are more, their hashes say which are taken, and the sources are
//! read anew for each part.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::{StreamExt, stream};

use super::on_demand::{OnDemandJob, SourceRows, entities};
use super::pipeline::IN_FLIGHT;
use super::select::before;
use super::{Error, MaterializedView, OnProgress, Progress, Stage};
use crate::features::definitions::Field;
use crate::features::key::KeyValue;
use crate::features::offline::{self, Latest};
use crate::features::{self, FeatureStore};
use crate::shutdown::run_blocking;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// Entity keys that are joined in memory at the same time.
const MAX_KEYS: usize = 250_000;
/// Rows that are computed and written at a time after a join.
const CHUNK: usize = 8_192;

impl FeatureStore {
    /// Several sources: so many keys at a time as fit, by a part of their hashes.
    pub(super) async fn materialize_joined(
        &self,
        job: &Arc<OnDemandJob>,
        mut done: MaterializedView,
        progress: OnProgress<'_>,
    ) -> Result<MaterializedView, features::Error> {
        let mut parts = vec![Part { number: 0, of: 1 }];
        while let Some(part) = parts.pop() {
            let Some(keys) = self.join(job, part, progress).await? else {
                parts.extend(part.halves());
                continue;
            };
            let own = Arc::clone(job);
            let chunks = run_blocking(move || {
                let keys: Vec<_> = keys.into_iter().collect();
                let chunks = keys.chunks(CHUNK);
                let chunks = chunks.map(|chunk| SourceRows::joined(&own, chunk));
                chunks.collect::<Vec<_>>()
            });
            let chunks = chunks.await.map_err(features::Error::Panicked)?;
            let writes = chunks.into_iter().map(|rows| self.write_rows(job, rows));
            let mut written = pin!(stream::iter(writes).buffer_unordered(IN_FLIGHT));
            while let Some(batch) = written.next().await {
                let batch = batch?;
                done.rows_total += batch.n_rows;
                done.rows_written += batch.n_written;
                progress(told(job, Stage::Writing, done.rows_total));
            }
        }
        Ok(done)
    }

    /// The rows of a part of the keys in all sources; `None` if they are too many.
    async fn join(
        &self,
        job: &Arc<OnDemandJob>,
        part: Part,
        progress: OnProgress<'_>,
    ) -> Result<Option<HashMap<Vec<u8>, Joined>>, features::Error> {
        let mut keys: HashMap<Vec<u8>, Joined> = HashMap::new();
        let mut n_read = 0;
        for number in 0..job.sources.len() {
            let Latest { mut batches, .. } = self.pull(&job.sources[number]).await?;
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(Error::Offline)?;
                n_read += batch.num_rows();
                let own = Arc::clone(job);
                let taken = run_blocking(move || {
                    let taken = take(&own, number, part, &batch, &mut keys);
                    (keys, taken)
                });
                let (kept, taken) = taken.await.map_err(features::Error::Panicked)?;
                keys = kept;
                taken.map_err(Error::Offline)?;
                if keys.len() > MAX_KEYS {
                    return Ok(None);
                }
                progress(told(job, Stage::Reading, n_read));
            }
        }
        keys.retain(|_, joined| joined.moment(job).is_some());
        Ok(Some(keys))
    }
}

fn told(job: &OnDemandJob, stage: Stage, n_rows: usize) -> Progress {
    Progress {
        view: job.view.name.clone(),
        stage,
        rows_done: n_rows as u64,
        rows_total: None,
    }
}

/// A part of all keys, by their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) of: u64,
}

impl Part {
    pub(super) fn has(self, key: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish() % self.of == self.number
    }

    pub(super) fn halves(self) -> [Self; 2] {
        let of = self.of * 2;
        [self.number, self.number + self.of].map(|number| Self { number, of })
    }
}

/// What the sources have of one key.
#[derive(Debug)]
struct Joined {
    entity: Vec<KeyValue>,
    /// One per source.
    rows: Vec<Option<(Timestamp, Vec<Value>)>>,
}

impl Joined {
    /// The newest moment within the range, as of which the sources are joined.
    fn moment(&self, job: &OnDemandJob) -> Option<Timestamp> {
        let moments = self.rows.iter().flatten().map(|(moment, _)| *moment);
        moments.filter(|moment| *moment >= job.start).max()
    }
}

/// Adds the rows of a source's batch to those of their keys.
fn take(
    job: &OnDemandJob,
    source: usize,
    part: Part,
    batch: &RecordBatch,
    keys: &mut HashMap<Vec<u8>, Joined>,
) -> Result<(), offline::Error> {
    let maker = &job.sources[source].maker;
    let mut pulled = maker.pulled(batch)?;
    // Sources may have the same join keys in different orders.
    let keys_of = |field: &Field| maker.pull().keys.iter().position(|key| key.field == *field);
    let order: Vec<usize> = job.join_keys().iter().filter_map(keys_of).collect();
    for row in 0..batch.num_rows() {
        let key = maker.key(&pulled, row);
        if !part.has(&key) {
            continue;
        }
        let values = pulled.features.iter_mut();
        let values = values.map(|column| std::mem::take(&mut column[row]));
        let values = values.collect();
        let joined = keys.entry(key).or_insert_with(|| Joined {
            entity: order
                .iter()
                .map(|&column| pulled.keys[column][row].clone())
                .collect(),
            rows: vec![None; job.sources.len()],
        });
        joined.rows[source] = Some((pulled.event_timestamps[row], values));
    }
    Ok(())
}

impl SourceRows {
    fn joined(job: &OnDemandJob, rows: &[(Vec<u8>, Joined)]) -> Self {
        let n_keys = job.join_keys().len();
        let column = |i: usize| -> Vec<KeyValue> {
            let values = rows.iter().map(|(_, joined)| joined.entity[i].clone());
            values.collect()
        };
        let mut features = Vec::new();
        for (number, source) in job.sources.iter().enumerate() {
            for feature in 0..source.maker.pull().features.len() {
                let value = |(_, joined): &(Vec<u8>, Joined)| {
                    let moment = joined.moment(job)?;
                    let (own, values) = joined.rows[number].as_ref()?;
                    let counts = source.ttl.is_zero() || *own >= before(moment, source.ttl);
                    counts.then(|| values[feature].clone())
                };
                let values = rows.iter().map(|row| value(row).unwrap_or_default());
                features.push(values.collect());
            }
        }
        Self {
            keys: rows.iter().map(|(key, _)| key.clone()).collect(),
            entities: entities(job, (0..n_keys).map(column).collect()),
            features,
        }
    }
}
