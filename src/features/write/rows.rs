//! A frame as rows of one feature view, ready for the online store.

use serde_json::Value as Json;

use super::{Error, Frame, times, values};
use crate::features::Error as FeatureError;
use crate::features::definitions::{DataSource, FeatureView, Field, ValueType};
use crate::features::key::{KeyLayout, KeyType, KeyValue};
use crate::features::online::{Row, StoredView};
use crate::features::plan::{Rules, stored_name};
use crate::features::suggest::Known;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// What one view is to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ViewRows {
    /// The view's own name.
    pub(super) view: String,
    pub(super) stored: StoredView,
    pub(super) rows: Vec<Row>,
}

/// The frame's rows as rows of the view; `None` where all its features are null.
pub(super) fn of_view(
    view: &FeatureView,
    frame: &Frame,
    rules: Rules,
) -> Result<Option<ViewRows>, FeatureError> {
    let Some(source) = &view.batch_source else {
        let view = view.name.clone();
        return Err(Error::NoBatchSource { view }.into());
    };
    let columns = Columns {
        view: &view.name,
        frame,
        source: Some(source),
    };
    let mut features = Vec::with_capacity(view.features.len());
    for field in &view.features {
        features.push((field, columns.named(&field.name)?));
    }
    if are_all_null(features.iter().map(|(_, values)| *values)) {
        return Ok(None);
    }
    let entities: &[Field] = if view.entities.is_empty() {
        &[]
    } else {
        &view.join_keys
    };
    let keys = entity_keys(&columns, entities, rules)?;
    let event_timestamps = columns.moments(&source.timestamp_field)?;
    let created_timestamps = match source.created_timestamp_column.as_str() {
        "" => None,
        column => Some(columns.moments(column)?),
    };
    let mut rows = Vec::with_capacity(keys.len());
    for (i, (key, event_timestamp)) in keys.into_iter().zip(event_timestamps).enumerate() {
        rows.push(Row {
            key,
            values: Vec::with_capacity(features.len()),
            event_timestamp,
            created_timestamp: created_timestamps.as_ref().map(|created| created[i]),
        });
    }
    let mut names = Vec::with_capacity(features.len());
    for (field, column) in features {
        let converted = columns.convert(&field.name, column, field.value_type)?;
        for (row, value) in rows.iter_mut().zip(converted) {
            row.values.push(value);
        }
        names.push(field.name.clone());
    }
    Ok(Some(ViewRows {
        view: view.name.clone(),
        stored: StoredView {
            name: stored_name(view, rules),
            features: names,
        },
        rows,
    }))
}

pub(super) fn are_all_null<'a>(columns: impl Iterator<Item = &'a [Json]>) -> bool {
    let mut columns = columns.peekable();
    columns.peek().is_some() && columns.all(|values| values.iter().all(Json::is_null))
}

/// The columns of a frame, as one view needs them.
pub(super) struct Columns<'a> {
    pub(super) view: &'a str,
    pub(super) frame: &'a Frame,
    /// Columns may also have the source's names, where it maps them.
    pub(super) source: Option<&'a DataSource>,
}

impl<'a> Columns<'a> {
    /// The column of a feature, join key or timestamp: under its own name, else under the source's.
    pub(super) fn named(&self, name: &str) -> Result<&'a [Json], Error> {
        let own = self.frame.column(name);
        let mapped = || self.frame.column(self.source?.column_of(name));
        own.or_else(mapped).ok_or_else(|| Error::MissingColumn {
            view: self.view.to_owned(),
            column: name.to_owned(),
            known: Known::instead_of(name, self.frame.names()),
        })
    }

    pub(super) fn convert(
        &self,
        column: &str,
        values: &[Json],
        wanted: ValueType,
    ) -> Result<Vec<Value>, Error> {
        let converted = values::convert(values, wanted);
        converted.map_err(|problem| Error::of_values(self.view, column, wanted, problem))
    }

    fn moments(&self, column: &str) -> Result<Vec<Timestamp>, Error> {
        let values = self.named(column)?;
        let moments = times::timestamps(values);
        moments.map_err(|problem| Error::of_times(self.view, column, values, problem))
    }
}

/// An entity key per row. Without entities every row has the one key that there is then.
pub(super) fn entity_keys(
    columns: &Columns<'_>,
    entities: &[Field],
    rules: Rules,
) -> Result<Vec<Vec<u8>>, FeatureError> {
    let names: Vec<&str> = entities.iter().map(|field| field.name.as_str()).collect();
    let layout = match names.is_empty() {
        true => KeyLayout::entityless(rules.key_version),
        false => KeyLayout::new(rules.key_version, &names),
    };
    let mut keys: Vec<Vec<KeyValue>> = Vec::with_capacity(entities.len());
    for field in entities {
        keys.push(key_column(columns, field)?);
    }
    let n_rows = columns.frame.n_rows()?;
    let mut encoded = Vec::with_capacity(n_rows);
    encoded.extend((0..n_rows).map(|row| {
        let mut key = Vec::with_capacity(layout.size_hint());
        layout.encode(|column| &keys[column][row], &mut key);
        key
    }));
    Ok(encoded)
}

fn key_column(columns: &Columns<'_>, field: &Field) -> Result<Vec<KeyValue>, FeatureError> {
    if KeyType::from_value_type(field.value_type).is_none() {
        return Err(FeatureError::UnusableJoinKey {
            view: columns.view.to_owned(),
            join_key: field.name.clone(),
            value_type: field.value_type,
        });
    }
    let values = columns.named(&field.name)?;
    let converted = columns.convert(&field.name, values, field.value_type)?;
    let mut keys = Vec::with_capacity(converted.len());
    for (row, value) in converted.into_iter().enumerate() {
        keys.push(match value {
            Value::Bytes(bytes) => KeyValue::Bytes(bytes),
            Value::String(text) => KeyValue::String(text),
            Value::Int32(number) => KeyValue::Int32(number),
            Value::Int64(number) => KeyValue::Int64(number),
            Value::UnixTimestamp(seconds) if !values[row].is_null() => {
                KeyValue::UnixTimestamp(seconds)
            }
            _ => {
                return Err(Error::NullKey {
                    view: columns.view.to_owned(),
                    column: field.name.clone(),
                    row,
                }
                .into());
            }
        });
    }
    Ok(keys)
}
