//! What a request gives for on-demand features, converted as on Feast's own routes.
//!
//! Not here: how they are computed (`features`).

use super::call::Call;
use super::error::Error;
use crate::features::definitions::ValueType;
use crate::features::{OnlinePlan, RequestData, RequestField, request_value};
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::request::{Cells, RequestColumn};
use crate::types::value::Value;

/// `columns` are aligned with the plan's request data. One that is not given is left out where every feature that is computed
/// from it is overridden.
pub(super) fn request_data(
    online: &OnlinePlan,
    columns: &[Option<&RequestColumn>],
    call: &Call<'_>,
) -> Result<RequestData, Error> {
    let overridden = call.overrides.iter().enumerate();
    let overridden = overridden.filter(|(_, cells)| cells.is_some());
    let mut data = RequestData {
        columns: Vec::with_capacity(columns.len()),
        given: overridden.map(|(feature, _)| feature).collect(),
    };
    for (i, (field, column)) in online.request_data.iter().zip(columns).enumerate() {
        data.columns.push(match column {
            Some(column) => Some(values(field, column, call.n_rows)?),
            None => {
                let mut features = online.features_of_request_data(i);
                if let Some(feature) = features.find(|f| !data.given.contains(f)) {
                    return Err(Error::RequestDataMissing {
                        name: field.name.clone(),
                        feature: online.names[feature].clone(),
                    });
                }
                None
            }
        });
    }
    Ok(data)
}

fn values(
    field: &RequestField,
    column: &RequestColumn,
    n_rows: usize,
) -> Result<Vec<Value>, Error> {
    let value = |(row, cell): (usize, &Cell)| {
        request_value(cell, field.value_type).map_err(|source| Error::RequestData {
            place: column.place.as_str(),
            name: column.name.clone(),
            row,
            source,
        })
    };
    match &column.cells {
        Cells::Scalar(cell) => Ok(vec![value((0, cell))?; n_rows]),
        Cells::List(cells) => cells.iter().enumerate().map(value).collect(),
    }
}

/// The type in which a field is described to who speaks of tensors.
pub(super) fn dtype(field: &RequestField) -> DType {
    match field.value_type {
        ValueType::Int32 => DType::Int32,
        ValueType::Int64 | ValueType::UnixTimestamp => DType::Int64,
        ValueType::Double => DType::Float64,
        ValueType::Float => DType::Float32,
        ValueType::Bool => DType::Bool,
        _ => DType::String,
    }
}
