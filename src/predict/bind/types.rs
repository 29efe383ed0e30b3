//! Which features can become which columns, as far as types tell before any value is there.

use super::error::Error;
use crate::features::OnlinePlan;
use crate::features::definitions::ValueType;
use crate::predict::plan::{PlannedColumn, Source, Width};
use crate::types::dtype::DType;

/// Refuses a feature whose values can never become what the column declares.
pub(super) fn check_convertible(
    column: &PlannedColumn,
    online: Option<&OnlinePlan>,
) -> Result<(), Error> {
    let (Source::Feature(index), Some(online)) = (column.source, online) else {
        return Ok(());
    };
    let feature = &online.features[index];
    let (element, is_list) = element_of(feature.value_type);
    let shape_fits = is_list == (column.width != Width::One);
    if shape_fits && element_converts(element, column.declared) {
        return Ok(());
    }
    Err(Error::Type {
        column: column.name.clone(),
        wanted: column.declared,
        feature: format!("{}:{}", feature.view, feature.feature),
        actual: feature.value_type.name(),
    })
}

pub(super) fn is_list(value_type: ValueType) -> bool {
    element_of(value_type).1
}

/// The scalar type inside, and whether it is a list of it.
fn element_of(value_type: ValueType) -> (ValueType, bool) {
    match value_type {
        ValueType::StringList => (ValueType::String, true),
        ValueType::Int32List => (ValueType::Int32, true),
        ValueType::Int64List => (ValueType::Int64, true),
        ValueType::DoubleList => (ValueType::Double, true),
        ValueType::FloatList => (ValueType::Float, true),
        ValueType::BoolList => (ValueType::Bool, true),
        ValueType::UnixTimestampList => (ValueType::UnixTimestamp, true),
        other => (other, false),
    }
}

/// Whether some value of this type can become the wanted one; each value is checked when it comes.
fn element_converts(value_type: ValueType, wanted: DType) -> bool {
    match value_type {
        ValueType::String
        | ValueType::Uuid
        | ValueType::TimeUuid
        | ValueType::Decimal
        | ValueType::Json => wanted == DType::String,
        ValueType::Bool => wanted == DType::Bool || wanted.is_float() || wanted.is_integer(),
        ValueType::Int32 | ValueType::Int64 | ValueType::UnixTimestamp => {
            wanted.is_float() || wanted.is_integer()
        }
        ValueType::Float | ValueType::Double => wanted.is_float(),
        _ => false,
    }
}
