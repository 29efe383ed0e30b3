//! Rows of an on-demand feature view that is kept in the online store (`write_to_online_store=True`).
//!
//! The frame has the join keys and what the view is computed from, each column as `feature` or as `view__feature`. A push to a
//! source of the view does not write the view: so Feast does it.

use super::rows::{Columns as FrameColumns, ViewRows, are_all_null, entity_keys};
use super::{Error, Frame};
use crate::features::columns::{Column, Columns};
use crate::features::definitions::{Field, OnDemandFeatureView};
use crate::features::plan::Rules;
use crate::features::registry::Registry;
use crate::features::suggest::Known;
use crate::features::transform::Inputs;
use crate::features::{Error as FeatureError, FeatureStore, written};
use crate::types::deadline::Deadline;
use crate::types::value::Value;

/// Computes the view's features of the frame's rows; `None` where all of them are null.
pub(super) async fn computed(
    store: &FeatureStore,
    registry: &Registry,
    view: &OnDemandFeatureView,
    frame: &Frame,
) -> Result<Option<ViewRows>, FeatureError> {
    check(view)?;
    let inputs = Inputs::of(view, registry)?;
    let transform = store.transforms().compile(view, &inputs.fields)?;
    let input = input(view, &inputs, frame)?;
    let deadline = Deadline::after(store.time_for(input.n_rows));
    let output = transform.run(input, deadline).await?;
    rows(view, frame, output.columns, Rules::of(&store.0.repo))
}

/// Takes the view's features as the frame has them.
pub(super) fn taken(
    store: &FeatureStore,
    view: &OnDemandFeatureView,
    frame: &Frame,
) -> Result<Option<ViewRows>, FeatureError> {
    check(view)?;
    let columns = columns(view, frame);
    let mut features = Vec::with_capacity(view.features.len());
    for field in &view.features {
        features.push(columns.named(&field.name)?);
    }
    if are_all_null(features.iter().copied()) {
        return Ok(None);
    }
    let mut output = Vec::with_capacity(features.len());
    for (field, values) in view.features.iter().zip(features) {
        output.push(column(&columns, field, values)?);
    }
    rows(view, frame, output, Rules::of(&store.0.repo))
}

fn check(view: &OnDemandFeatureView) -> Result<(), Error> {
    match view.write_to_online_store {
        true => Ok(()),
        false => Err(Error::NotWritten {
            view: view.name.clone(),
        }),
    }
}

fn columns<'a>(view: &'a OnDemandFeatureView, frame: &'a Frame) -> FrameColumns<'a> {
    FrameColumns {
        view: &view.name,
        frame,
        source: None,
    }
}

/// The frame's columns under every name that the transformation may know them by.
fn input(
    view: &OnDemandFeatureView,
    inputs: &Inputs,
    frame: &Frame,
) -> Result<Columns, FeatureError> {
    let columns = columns(view, frame);
    let mut given: Vec<Column> = Vec::with_capacity(inputs.fields.len());
    for field in inputs.entities.iter().chain(&inputs.request) {
        if given.iter().all(|column| column.name != field.name) {
            given.push(column(&columns, field, columns.named(&field.name)?)?);
        }
    }
    for source in &inputs.sources {
        let names = source.plain.iter().zip(&source.full);
        for (field, (plain, full)) in source.projection.features.iter().zip(names) {
            let own = plain.as_deref().and_then(|plain| frame.column(plain));
            let values = own
                .or_else(|| frame.column(full))
                .ok_or_else(|| missing(view, plain.as_deref().unwrap_or(full), frame))?;
            let converted = column(&columns, field, values)?;
            for name in [plain.as_ref(), Some(full)].into_iter().flatten() {
                if given.iter().all(|column| column.name != *name) {
                    given.push(Column {
                        name: name.clone(),
                        ..converted.clone()
                    });
                }
            }
        }
    }
    Ok(Columns {
        n_rows: frame.n_rows()?,
        columns: given,
    })
}

fn missing(view: &OnDemandFeatureView, column: &str, frame: &Frame) -> Error {
    Error::MissingColumn {
        view: view.name.clone(),
        column: column.to_owned(),
        known: Known::instead_of(column, frame.names()),
    }
}

fn column(
    columns: &FrameColumns<'_>,
    field: &Field,
    values: &[serde_json::Value],
) -> Result<Column, Error> {
    Ok(Column {
        name: field.name.clone(),
        value_type: field.value_type,
        values: columns.convert(&field.name, values, field.value_type)?,
    })
}

fn rows(
    view: &OnDemandFeatureView,
    frame: &Frame,
    features: Vec<Column>,
    rules: Rules,
) -> Result<Option<ViewRows>, FeatureError> {
    let is_null = |column: &Column| column.values.iter().all(Value::is_null);
    if features.iter().all(is_null) {
        return Ok(None);
    }
    let columns = columns(view, frame);
    let keys = entity_keys(&columns, &view.join_keys, rules)?;
    let mut join_keys = Vec::with_capacity(view.join_keys.len());
    for field in &view.join_keys {
        if features.iter().all(|column| column.name != field.name) {
            join_keys.push(column(&columns, field, columns.named(&field.name)?)?);
        }
    }
    let (stored, rows) = written::rows(view, rules, keys, features, join_keys);
    Ok(Some(ViewRows {
        view: view.name.clone(),
        stored,
        rows,
    }))
}
