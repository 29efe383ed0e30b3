//! Pulled batches to rows of the online store, column by column.

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;

use crate::features::definitions::FeatureView;
use crate::features::key::{KeyLayout, KeyValue, KeyVersion};
use crate::features::offline::{self, PullLatest};
use crate::features::online::Row;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// Compiled once per view.
#[derive(Debug)]
pub(super) struct RowMaker {
    pull: PullLatest,
    layout: KeyLayout,
}

/// The columns of a batch.
#[derive(Debug)]
pub(super) struct Pulled {
    /// In the order of the pull's keys.
    pub(super) keys: Vec<Vec<KeyValue>>,
    /// In the order of the pull's features.
    pub(super) features: Vec<Vec<Value>>,
    pub(super) event_timestamps: Vec<Timestamp>,
}

impl RowMaker {
    pub(super) fn new(view: &FeatureView, pull: PullLatest, version: KeyVersion) -> Self {
        let names: Vec<&str> = pull
            .keys
            .iter()
            .map(|key| key.field.name.as_str())
            .collect();
        let layout = match view.entities.is_empty() {
            true => KeyLayout::entityless(version),
            false => KeyLayout::new(version, &names),
        };
        Self { pull, layout }
    }

    pub(super) fn pull(&self) -> &PullLatest {
        &self.pull
    }

    /// The columns of the batch, each with a value per row.
    pub(super) fn pulled(&self, batch: &RecordBatch) -> Result<Pulled, offline::Error> {
        let positions = self.pull.position();
        let features = &batch.columns()[positions.first_feature..positions.event_timestamp];
        let features = self.pull.features.iter().zip(features);
        let event: &PrimitiveArray<TimestampMicrosecondType> =
            batch.column(positions.event_timestamp).as_primitive();
        let moments = event.values().iter().copied();
        Ok(Pulled {
            keys: self.key_columns(batch)?,
            features: features
                .map(|(column, array)| self.pull.values(column, array))
                .collect::<Result<_, _>>()?,
            event_timestamps: moments.map(Timestamp::from_micros).collect(),
        })
    }

    /// The entity key of a row.
    pub(super) fn key(&self, pulled: &Pulled, row: usize) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.layout.size_hint());
        self.layout.encode(|i| &pulled.keys[i][row], &mut key);
        key
    }

    fn key_columns(&self, batch: &RecordBatch) -> Result<Vec<Vec<KeyValue>>, offline::Error> {
        let columns = self.pull.keys.iter().zip(batch.columns());
        columns
            .map(|(column, array)| self.pull.key_values(column, array))
            .collect()
    }

    /// One row per row of the batch, in its order.
    pub(super) fn rows(&self, batch: &RecordBatch) -> Result<Vec<Row>, offline::Error> {
        let positions = self.pull.position();
        let keys = self.key_columns(batch)?;
        let micros = |at: usize| -> &PrimitiveArray<TimestampMicrosecondType> {
            batch.column(at).as_primitive()
        };
        let event = micros(positions.event_timestamp);
        let created = positions.created_timestamp.map(micros);
        let mut rows: Vec<Row> = Vec::with_capacity(batch.num_rows());
        for (row, event_timestamp) in event.values().iter().enumerate() {
            let mut key = Vec::with_capacity(self.layout.size_hint());
            self.layout.encode(|i| &keys[i][row], &mut key);
            let created = created.filter(|created| created.is_valid(row));
            let created = created.map(|created| Timestamp::from_micros(created.value(row)));
            rows.push(Row {
                key,
                values: Vec::with_capacity(self.pull.features.len()),
                event_timestamp: Timestamp::from_micros(*event_timestamp),
                created_timestamp: created,
            });
        }
        let features = &batch.columns()[positions.first_feature..positions.event_timestamp];
        for (column, array) in self.pull.features.iter().zip(features) {
            for (row, value) in rows.iter_mut().zip(self.pull.values(column, array)?) {
                row.values.push(value);
            }
        }
        Ok(rows)
    }
}
