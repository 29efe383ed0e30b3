//! A point-in-time join of one view: what is wanted, and what comes back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use futures::stream::BoxStream;

use super::asof::Rules;
use super::canonical::micros;
use super::entities::{Batches, Entities};
use super::{Error, Meter, PullLatest, wrong_type, wrong_value};
use crate::features::convert;
#[cfg(feature = "cluster")]
use crate::features::definitions::SourceKind;
use crate::features::definitions::ValueType;
use crate::types::timestamp::Timestamp;

/// For every entity row the newest row of its key at its time.
#[derive(Debug, Clone)]
pub(in crate::features) struct PointInTime {
    /// The view with its source; the range plays no part.
    pub(in crate::features) view: PullLatest,
    pub(in crate::features) entities: Entities,
    /// The entity column that gives each of the view's keys.
    pub(in crate::features) keys: Vec<usize>,
    /// The entity column with the time.
    pub(in crate::features) time: usize,
    /// How old a row may be, in microseconds; `None` is any age.
    pub(in crate::features) ttl: Option<i64>,
    pub(in crate::features) created: Created,
    /// For the entity rows that are being looked for, with what was found for them; stores that need none pass over it.
    pub(in crate::features) max_bytes: usize,
}

/// What a created timestamp after the entity row's time does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features) enum Created {
    /// Nothing: what was corrected later counts as corrected.
    MayBeLater,
    /// The row does not count: it was not known at that time. Without a created timestamp it is not known to have been.
    /// Sources without the column are not affected.
    MustBeKnown,
}

/// A join that has begun. Batches have the view's features as they are in the source, then the event timestamp of the row
/// that was found, in microseconds; one row for each entity row, in their order.
pub(in crate::features) struct Joined {
    pub(in crate::features) batches: BoxStream<'static, Result<RecordBatch, Error>>,
    pub(in crate::features) meter: Arc<Meter>,
}

impl PointInTime {
    /// The event and created timestamps of the range that the entity rows of these times can meet.
    pub(super) fn range(&self, first: i64, last: i64) -> PullLatest {
        let start = self.ttl.map_or(i64::MIN, |ttl| first.saturating_sub(ttl));
        PullLatest {
            start: Timestamp::from_micros(start),
            end: Timestamp::from_micros(last),
            ..self.view.clone()
        }
    }

    #[cfg(feature = "cluster")]
    pub(in crate::features) fn is_of_files(&self) -> bool {
        matches!(self.view.source.kind, SourceKind::File { .. })
    }

    /// For rows in the order of their source.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            n_keys: self.keys.len(),
            has_created: self.view.created().is_some(),
            needs_created: self.needs_created(),
            has_order: false,
            ttl: self.ttl,
        }
    }

    /// Whether rows that were created after the entity row's time are left out, and the source tells when that was.
    pub(super) fn needs_created(&self) -> bool {
        self.created == Created::MustBeKnown && self.view.created().is_some()
    }

    /// The entity rows as the join compares them: keys in the view's types, then the time in microseconds. A row of which a
    /// key is null meets nothing.
    pub(super) fn asked(&self) -> Result<Asked, Error> {
        let mut places = self.keys.clone();
        places.push(self.time);
        let batches = self.entities.read(&places).map_err(Error::EntityRows)?;
        Ok(Asked {
            join: self.clone(),
            batches,
            n_before: 0,
            waiting: None,
        })
    }

    /// The same of one batch, which has the keys and the time; `n_before` rows were before it.
    pub(super) fn converted(
        &self,
        batch: &RecordBatch,
        n_before: usize,
    ) -> Result<RecordBatch, Error> {
        let n_keys = self.keys.len();
        let schema = self.entities.schema();
        let mut columns = Vec::with_capacity(n_keys + 1);
        let mut fields = Vec::with_capacity(n_keys + 1);
        for (i, key) in self.view.keys.iter().enumerate() {
            let column = schema.field(self.keys[i]).name();
            let array = self.key(column, &key.field, batch.column(i))?;
            fields.push(Field::new(
                format!("key_{i}"),
                array.data_type().clone(),
                true,
            ));
            columns.push(array);
        }
        let column = schema.field(self.time).name();
        let times = micros(batch.column(n_keys)).map_err(|source| Error::EntityValue {
            column: column.clone(),
            wanted: ValueType::UnixTimestamp,
            source,
        })?;
        if times.null_count() > 0 {
            let row = (0..times.len()).position(|row| times.is_null(row));
            return Err(Error::EntityTimeNull {
                column: column.clone(),
                row: n_before + row.unwrap_or(0),
            });
        }
        fields.push(Field::new("time", times.data_type().clone(), true));
        columns.push(times);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(Error::EntityRows)
    }

    fn key(
        &self,
        column: &str,
        field: &crate::features::definitions::Field,
        array: &ArrayRef,
    ) -> Result<ArrayRef, Error> {
        let wanted = field.value_type;
        if array.data_type() == &DataType::Null {
            // Nothing is known of the type; nothing will be met.
            let kind = crate::features::arrays::data_type(wanted).unwrap_or(DataType::Null);
            let kind = match wanted {
                ValueType::UnixTimestamp => DataType::Int64,
                _ => kind,
            };
            return Ok(arrow::array::new_null_array(&kind, array.len()));
        }
        match convert::canonical(array, wanted) {
            Ok(Some(array)) => Ok(array),
            Ok(None) => Err(Error::EntityType {
                view: self.view.view.clone(),
                column: column.to_owned(),
                found: Box::new(array.data_type().clone()),
                wanted,
            }),
            Err(source) => Err(Error::EntityValue {
                column: column.to_owned(),
                wanted,
                source,
            }),
        }
    }
}

/// Entity rows on their way, batch by batch or in larger chunks.
pub(super) struct Asked {
    join: PointInTime,
    batches: Batches,
    n_before: usize,
    waiting: Option<RecordBatch>,
}

impl Asked {
    /// So many rows, fewer at the end, none after it.
    pub(super) fn chunk(&mut self, n_rows: usize) -> Result<Option<RecordBatch>, Error> {
        let mut parts = Vec::new();
        let mut n_taken = 0;
        while n_taken < n_rows {
            let Some(batch) = self.next_batch().transpose()? else {
                break;
            };
            let n_more = batch.num_rows().min(n_rows - n_taken);
            if n_more < batch.num_rows() {
                self.waiting = Some(batch.slice(n_more, batch.num_rows() - n_more));
            }
            parts.push(batch.slice(0, n_more));
            n_taken += n_more;
        }
        let Some(first) = parts.first() else {
            return Ok(None);
        };
        concat_batches(&first.schema(), &parts)
            .map(Some)
            .map_err(Error::EntityRows)
    }

    fn next_batch(&mut self) -> Option<Result<RecordBatch, Error>> {
        loop {
            if let Some(batch) = self.waiting.take() {
                return Some(Ok(batch));
            }
            let batch = match self.batches.next()? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(Error::EntityRows(error))),
            };
            let converted = match self.join.converted(&batch, self.n_before) {
                Ok(converted) => converted,
                Err(error) => return Some(Err(error)),
            };
            self.n_before += batch.num_rows();
            if converted.num_rows() > 0 {
                return Some(Ok(converted));
            }
        }
    }
}

/// The times of a chunk of entity rows.
pub(super) fn times(chunk: &RecordBatch) -> &[i64] {
    let last = chunk.num_columns() - 1;
    chunk
        .column(last)
        .as_primitive::<TimestampMicrosecondType>()
        .values()
}

/// A feature's column of a join, in the one Arrow type that stands for its type.
///
/// Values are those that serving would give: NaN is null, times are whole seconds, nulls in lists are zero. Maps, structs and
/// nested lists are JSON text.
pub(in crate::features) fn feature_array(
    view: &str,
    column: &super::Column,
    array: &ArrayRef,
) -> Result<ArrayRef, Error> {
    let wanted = column.field.value_type;
    let failed = |error| wrong_value(view, &column.name, wanted, error);
    let converted = crate::features::arrays::of_source(array, wanted).map_err(failed)?;
    converted.ok_or_else(|| wrong_type(view, &column.name, &column.field, array.data_type()))
}

/// Times in microseconds in UTC; naive ones are UTC.
pub(in crate::features) fn utc_micros(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let naive = micros(array)?;
    let naive = naive.as_primitive::<TimestampMicrosecondType>();
    Ok(Arc::new(naive.clone().with_timezone("UTC")))
}
