//! Which of the entity columns has the time, and which the keys.

use arrow::datatypes::{DataType, Schema};

use super::Error;
use crate::features::suggest::Known;

/// The column that has the time where several could.
pub(super) const EVENT_TIMESTAMP: &str = "event_timestamp";

/// `event_timestamp`, else the only column of times.
pub(super) fn time(schema: &Schema) -> Result<usize, Error> {
    if let Ok(place) = schema.index_of(EVENT_TIMESTAMP) {
        let found = schema.field(place).data_type();
        return match is_time(found) || matches!(found, DataType::Date32 | DataType::Date64) {
            true => Ok(place),
            false => Err(Error::NotATime {
                found: Box::new(found.clone()),
            }),
        };
    }
    let fields = schema.fields().iter().enumerate();
    let times: Vec<usize> = fields
        .filter(|(_, field)| is_time(field.data_type()))
        .map(|(place, _)| place)
        .collect();
    match times[..] {
        [] => Err(Error::NoTime),
        [place] => Ok(place),
        _ => Err(Error::SeveralTimes {
            columns: times
                .iter()
                .map(|&place| schema.field(place).name().clone())
                .collect(),
        }),
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..))
}

/// The place of a column, or what there is instead.
pub(super) fn place(schema: &Schema, column: &str) -> Result<usize, Box<Known>> {
    schema.index_of(column).map_err(|_| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        Known::instead_of(column, names)
    })
}

/// No name may come twice: nobody could tell the columns apart.
pub(super) fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            let column = name.to_owned();
            return Err(Error::ColumnTwice { column });
        }
    }
    Ok(())
}
