//! Batches as a source has them, to batches as a pull wants them: the wanted columns, keys in their types, times in
//! microseconds, and only the rows in the range.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::pull::{Column, PullLatest};
use super::{Error, wrong_type, wrong_value};
use crate::features::convert::{self, strict_cast};
use crate::features::definitions::ValueType;
use crate::features::suggest::Known;

/// Event and created timestamps of a batch.
pub(super) const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Compiled for one pull and one schema of its source.
#[derive(Debug)]
pub(super) struct Canonical {
    pull: PullLatest,
    /// Positions in the source's schema, sorted: the columns that are needed at all.
    needed: Vec<usize>,
    /// For each column of the result its place among `needed`.
    places: Vec<usize>,
    /// Of the batches that `batch` makes. Names are by place, as a source column may be wanted twice.
    pub(super) schema: SchemaRef,
    range: RangeInclusive<i64>,
    null_keys: NullKeys,
    has_order: bool,
}

#[cfg(feature = "datafusion")]
/// A column of whole numbers by which rows of a source that come in any order can be put in their own.
pub(super) const SOURCE_ORDER: &str = "source_order";

/// What a null join key in the range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NullKeys {
    /// A mistake: no entity key can be made of it.
    Refused,
    /// Nobody's: it equals no key.
    PassedOver,
}

impl Canonical {
    /// Looks the columns up in the schema of `place`.
    pub(super) fn new(pull: &PullLatest, source: &Schema, place: &str) -> Result<Self, Error> {
        let columns = pull.keys.iter().chain(&pull.features);
        let names = columns.map(|column| column.name.as_str());
        let names = names.chain([pull.source.timestamp_field.as_str()]);
        let mut positions = Vec::new();
        for name in names.chain(pull.created()) {
            positions.push(source.index_of(name).map_err(|_| {
                let known = source.fields().iter().map(|field| field.name().as_str());
                Error::NoColumn {
                    view: pull.view.clone(),
                    place: place.to_owned(),
                    column: name.to_owned(),
                    known: Known::instead_of(name, known),
                }
            })?);
        }
        let mut needed = positions.clone();
        needed.sort_unstable();
        needed.dedup();
        let place_of = |position: &usize| needed.binary_search(position).unwrap_or(0);
        let places = positions.iter().map(place_of).collect();
        let types = positions.iter().map(|&at| source.field(at).data_type());
        Ok(Self {
            needed,
            places,
            schema: schema(pull, types)?,
            range: pull.start.as_micros()..=pull.end.as_micros(),
            null_keys: NullKeys::Refused,
            has_order: false,
            pull: pull.clone(),
        })
    }

    pub(super) fn with_null_keys(self, null_keys: NullKeys) -> Self {
        Self { null_keys, ..self }
    }

    /// Batches come with a last column `SOURCE_ORDER`, and keep it.
    #[cfg(feature = "cluster")]
    pub(super) fn with_source_order(self) -> Self {
        let mut fields = self.schema.fields().to_vec();
        fields.push(Arc::new(Field::new(SOURCE_ORDER, DataType::UInt64, false)));
        Self {
            schema: Arc::new(Schema::new(fields)),
            has_order: true,
            ..self
        }
    }

    /// Positions of the source's columns that a batch must have, in order.
    pub(super) fn needed(&self) -> &[usize] {
        &self.needed
    }

    /// `columns` are those of `needed`, then the source's order where there is one.
    pub(super) fn batch(&self, columns: &[ArrayRef]) -> Result<RecordBatch, Error> {
        let pull = &self.pull;
        let at = |i: usize| &columns[self.places[i]];
        let positions = pull.position();
        let mut arrays = Vec::with_capacity(self.places.len());
        let mut has_null = None;
        for (i, column) in pull.keys.iter().enumerate() {
            let key = key(pull, column, at(i))?;
            if key.null_count() > 0 {
                has_null = Some(i);
            }
            arrays.push(key);
        }
        for i in positions.first_feature..positions.event_timestamp {
            arrays.push(plain(
                pull,
                &pull.features[i - positions.first_feature],
                at(i),
            )?);
        }
        let event = self.micros(&pull.source.timestamp_field, at(positions.event_timestamp))?;
        let passed_over = match self.null_keys {
            NullKeys::PassedOver => &arrays[..positions.first_feature],
            NullKeys::Refused => &[],
        };
        let inside = self.inside(&event, passed_over)?;
        arrays.push(event);
        if let (Some(i), Some(name)) = (positions.created_timestamp, pull.created()) {
            arrays.push(self.micros(name, at(i))?);
        }
        if let Some(order) = columns.last().filter(|_| self.has_order) {
            arrays.push(Arc::clone(order));
        }
        let failed = |error| pull.unreadable("in memory", error);
        let mut batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(failed)?;
        if inside.true_count() < batch.num_rows() {
            batch = filter_record_batch(&batch, &inside).map_err(failed)?;
        }
        match has_null {
            // Only a row of the range may be blamed.
            Some(i) if batch.column(i).null_count() > 0 => Err(Error::NullKey {
                view: pull.view.clone(),
                column: pull.keys[i].name.clone(),
            }),
            _ => Ok(batch),
        }
    }

    /// Rows of the range in which none of `not_null` is null.
    fn inside(&self, event: &ArrayRef, not_null: &[ArrayRef]) -> Result<BooleanArray, Error> {
        let times = event.as_primitive::<TimestampMicrosecondType>();
        let inside = |time: Option<i64>| Some(time.is_some_and(|time| self.range.contains(&time)));
        let mut inside: BooleanArray = times.iter().map(inside).collect();
        for array in not_null.iter().filter(|array| array.null_count() > 0) {
            inside = is_not_null(array)
                .and_then(|there| and(&inside, &there))
                .map_err(|error| self.pull.unreadable("in memory", error))?;
        }
        Ok(inside)
    }

    /// A time column in microseconds; naive times are UTC.
    fn micros(&self, name: &str, array: &ArrayRef) -> Result<ArrayRef, Error> {
        micros(array)
            .map_err(|error| wrong_value(&self.pull.view, name, ValueType::UnixTimestamp, error))
    }
}

/// Times in microseconds; naive ones are UTC.
pub(super) fn micros(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    // A cast that drops the zone would shift the clock; one by way of the number does not.
    let micros = DataType::Timestamp(TimeUnit::Microsecond, zone);
    strict_cast(array, &micros)
        .and_then(|array| strict_cast(&array, &DataType::Int64))
        .and_then(|array| strict_cast(&array, &MICROS))
}

fn schema<'a>(
    pull: &PullLatest,
    types: impl Iterator<Item = &'a DataType>,
) -> Result<SchemaRef, Error> {
    let n_keys = pull.keys.len();
    let n_features = pull.features.len();
    let mut fields = Vec::new();
    for (i, kind) in types.enumerate() {
        let (name, kind) = if i < n_keys {
            let column = &pull.keys[i];
            let empty = arrow::array::new_empty_array(kind);
            (
                format!("key_{i}"),
                key(pull, column, &empty)?.data_type().clone(),
            )
        } else if i < n_keys + n_features {
            (format!("feature_{}", i - n_keys), unpacked(kind).clone())
        } else if i == n_keys + n_features {
            ("event_timestamp".to_owned(), MICROS)
        } else {
            ("created_timestamp".to_owned(), MICROS)
        };
        fields.push(Field::new(name, kind, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A key column in the one type that its entity keys are made of.
fn key(pull: &PullLatest, column: &Column, array: &ArrayRef) -> Result<ArrayRef, Error> {
    let wanted = column.field.value_type;
    match convert::canonical(array, wanted) {
        Ok(Some(array)) => Ok(array),
        Ok(None) => Err(wrong_type(
            &pull.view,
            &column.name,
            &column.field,
            array.data_type(),
        )),
        Err(error) => Err(wrong_value(&pull.view, &column.name, wanted, error)),
    }
}

/// A feature column without its dictionary, which would grow with every batch that is merged.
fn plain(pull: &PullLatest, column: &Column, array: &ArrayRef) -> Result<ArrayRef, Error> {
    let kind = unpacked(array.data_type());
    if kind == array.data_type() {
        return Ok(array.clone());
    }
    arrow::compute::cast(array, kind)
        .map_err(|error| wrong_value(&pull.view, &column.name, column.field.value_type, error))
}

fn unpacked(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}
