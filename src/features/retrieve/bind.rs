//! Request columns become entity keys, columns to echo and request data.

use super::error::ValueError;
use super::given::{Given, inferred};
use super::precomputed::Precomputed;
use super::resolve::Role;
use super::{Error, GivenColumns, Retrieval};
use crate::features::definitions::Field;
use crate::features::key::{KeyType, KeyValue};
use crate::features::plan::OnlinePlan;
use crate::features::rows::{EntityRows, KeyColumn};
use crate::types::value::Value;

/// A request, checked and converted.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) keys: EntityRows,
    pub(super) echoed: Vec<Echoed>,
    /// One per field of the retrieval's request data.
    pub(super) request_data: Vec<Vec<Value>>,
}

/// An entity column of the answer.
#[derive(Debug)]
pub(super) struct Echoed {
    pub(super) name: String,
    pub(super) values: EchoedValues,
}

#[derive(Debug)]
pub(super) enum EchoedValues {
    /// Those of the plan's join key.
    Key(usize),
    /// A column that no view of the request is read by.
    Inferred(Vec<Value>),
}

impl Bound {
    /// The keys of the precomputed vectors, whose plan has join keys of its own.
    pub(super) fn first_keys(&self, precomputed: &Precomputed) -> EntityRows {
        let columns = precomputed.keys.iter();
        EntityRows {
            n_rows: self.keys.n_rows,
            columns: columns.map(|&key| self.keys.columns[key].clone()).collect(),
        }
    }
}

pub(super) fn bind(retrieval: &Retrieval, columns: &GivenColumns<'_>) -> Result<Bound, Error> {
    let n_rows = n_rows(columns)?;
    let plan = &retrieval.plan;
    let mut keys = EntityRows {
        n_rows,
        columns: vec![None; plan.join_keys.len()],
    };
    let mut echoed: Vec<Echoed> = Vec::with_capacity(columns.len());
    let mut request_data: Vec<Option<Vec<Value>>> = vec![None; retrieval.request_data.len()];
    for (name, values) in columns {
        match retrieval.roles.get(&**name) {
            None => {}
            Some(Role::RequestData(i)) => {
                let field = &retrieval.request_data[*i];
                request_data[*i] = Some(data_column(field, values)?);
            }
            Some(Role::JoinKey { name, keys: takers }) => {
                let mut shown = None;
                for &key in takers {
                    let column = key_column(name, plan.join_keys[key].key_type, values)?;
                    keys.columns[key] = Some(KeyColumn::List(column));
                    shown = Some(EchoedValues::Key(key));
                }
                let values = match shown {
                    Some(shown) => shown,
                    None => EchoedValues::Inferred(inferred(values).map_err(wrong(name))?),
                };
                // The entity's name and its join key are one column; the later one counts, in the place of the first.
                match echoed.iter_mut().find(|echoed| echoed.name == *name) {
                    Some(echoed) => echoed.values = values,
                    None => echoed.push(Echoed {
                        name: name.clone(),
                        values,
                    }),
                }
            }
        }
    }
    let request_data = complete(&retrieval.request_data, request_data)?;
    check_keys(plan, &keys)?;
    Ok(Bound {
        keys,
        echoed,
        request_data,
    })
}

/// The length that all columns have, also those that nobody needs.
fn n_rows(columns: &GivenColumns<'_>) -> Result<usize, Error> {
    let Some((_, first)) = columns.first() else {
        return Err(Error::NoEntities);
    };
    let other = columns
        .iter()
        .find(|(_, values)| values.len() != first.len());
    match other {
        None => Ok(first.len()),
        Some((name, values)) => Err(Error::UnequalLengths {
            column: name.clone().into_owned(),
            expected: first.len(),
            actual: values.len(),
        }),
    }
}

fn key_column(name: &str, key_type: KeyType, values: &[Given<'_>]) -> Result<Vec<KeyValue>, Error> {
    let mut column = Vec::with_capacity(values.len());
    for (row, given) in values.iter().enumerate() {
        let key = given.key(key_type);
        column.push(key.map_err(|source| wrong(name)((row, source)))?);
    }
    Ok(column)
}

fn data_column(field: &Field, values: &[Given<'_>]) -> Result<Vec<Value>, Error> {
    let mut column = Vec::with_capacity(values.len());
    for (row, given) in values.iter().enumerate() {
        let value = given.value(field.value_type);
        column.push(value.map_err(|source| wrong(&field.name)((row, source)))?);
    }
    Ok(column)
}

fn wrong(column: &str) -> impl Fn((usize, ValueError)) -> Error {
    move |(row, source)| Error::Value {
        column: column.to_owned(),
        row,
        source,
    }
}

fn complete(fields: &[Field], given: Vec<Option<Vec<Value>>>) -> Result<Vec<Vec<Value>>, Error> {
    let missing = fields
        .iter()
        .zip(&given)
        .filter(|(_, column)| column.is_none());
    let columns: Vec<String> = missing.map(|(field, _)| field.name.clone()).collect();
    if !columns.is_empty() {
        return Err(Error::RequestData { columns });
    }
    Ok(given.into_iter().flatten().collect())
}

/// A view of which some join keys are given is a missing row, as in Feast; one of which none is given is a mistake, and so
/// is a request without rows.
fn check_keys(plan: &OnlinePlan, keys: &EntityRows) -> Result<(), Error> {
    for (i, group) in plan.groups.iter().enumerate() {
        let is_given = |key: &usize| keys.columns[*key].is_some();
        let is_readable = group.columns.is_empty() || group.columns.iter().any(is_given);
        if is_readable && keys.n_rows > 0 {
            continue;
        }
        let feature = plan.places.iter().position(|(group, _)| *group == i);
        let view = feature.map(|feature| plan.features[feature].view.clone());
        let join_keys = group.columns.iter();
        return Err(Error::NoJoinKey {
            view: view.unwrap_or_default(),
            join_keys: join_keys
                .map(|&key| plan.join_keys[key].name.clone())
                .collect(),
        });
    }
    Ok(())
}
