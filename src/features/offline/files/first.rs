//! The first row of every entity key, from batches that are sorted by key.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{BatchCoalescer, concat, partition, take, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// Takes sorted batches, gives fuller ones with one row per key. The keys are the first columns; without any there is one
/// entity, and one row.
#[derive(Debug)]
pub(super) struct FirstOfKey {
    n_keys: usize,
    /// The key of the last row that was taken.
    last: Option<Vec<ArrayRef>>,
    kept: BatchCoalescer,
}

impl FirstOfKey {
    /// Batches that come out have `n_rows`, but for the last.
    pub(super) fn new(schema: SchemaRef, n_keys: usize, n_rows: usize) -> Self {
        Self {
            n_keys,
            last: None,
            kept: BatchCoalescer::new(schema, n_rows),
        }
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        let Some(last_row) = batch.num_rows().checked_sub(1) else {
            return Ok(());
        };
        let keys = &batch.columns()[..self.n_keys];
        let mut firsts = Vec::new();
        match keys {
            [] => firsts.push(0),
            keys => {
                let ranges = partition(keys)?.ranges();
                firsts.extend(ranges.iter().map(|range| range.start as u32));
            }
        }
        if self.continues(keys)? {
            firsts.remove(0);
        }
        self.last = Some(copy_of_row(keys, last_row)?);
        if firsts.len() == batch.num_rows() {
            return self.kept.push_batch(batch);
        }
        let kept = take_record_batch(&batch, &UInt32Array::from(firsts))?;
        self.kept.push_batch(kept)
    }

    /// A full batch, if there is one.
    pub(super) fn next(&mut self) -> Option<RecordBatch> {
        self.kept.next_completed_batch()
    }

    /// After the last push: what is left.
    pub(super) fn finish(&mut self) -> Result<(), ArrowError> {
        self.kept.finish_buffered_batch()
    }

    /// Whether the first row has the key of the last row before it.
    fn continues(&self, keys: &[ArrayRef]) -> Result<bool, ArrowError> {
        let Some(last) = &self.last else {
            return Ok(false);
        };
        for (last, key) in last.iter().zip(keys) {
            let pair = concat(&[last.as_ref(), key.slice(0, 1).as_ref()])?;
            if partition(&[pair])?.len() > 1 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A copy, so that the batch can go.
fn copy_of_row(keys: &[ArrayRef], row: usize) -> Result<Vec<ArrayRef>, ArrowError> {
    let row = UInt32Array::from(vec![row as u32]);
    keys.iter()
        .map(|key| take(key.as_ref(), &row, None))
        .collect()
}
