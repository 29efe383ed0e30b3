//! One request fitted to a serving plan: names end here, below are only places.

use super::error::Error;
use super::on_demand;
use super::plan::{ServingPlan, Slot, Source};
use crate::features::key::KeyType;
use crate::features::{EntityRows, KeyColumn, RequestData};
use crate::types::request::{Cells, ColumnPlace, RequestColumn, RequestColumns};

/// What a request gives to each place of the plan.
pub struct Call<'a> {
    /// Aligned with the plan's join keys.
    pub(super) keys: EntityRows,
    /// Aligned with the plan's columns; set for columns that the request feeds.
    pub(super) columns: Vec<Option<&'a Cells>>,
    /// Aligned with the plan's features; set for those that the request overrides.
    pub(super) overrides: Vec<Option<&'a Cells>>,
    /// What on-demand features are computed from beside what is stored; absent for a plan without any.
    pub(super) request_data: Option<Box<RequestData>>,
    pub(super) n_rows: usize,
}

impl Call<'_> {
    /// Nothing given for any place.
    pub(super) fn empty(plan: &ServingPlan, n_rows: usize) -> Self {
        Self {
            keys: EntityRows {
                n_rows,
                columns: Vec::new(),
            },
            columns: vec![None; plan.columns.len()],
            overrides: vec![None; plan.n_features()],
            request_data: None,
            n_rows,
        }
    }
}

impl ServingPlan {
    /// Fits columns to the plan.
    ///
    /// Errors: a name that the model has no use for, a required column or entity that is not given, a key that does not
    /// convert, a number of rows that the graph cannot take.
    pub fn fit<'a>(&self, columns: &'a RequestColumns) -> Result<Call<'a>, Error> {
        let n_rows = columns.n_rows();
        if let Some(fixed) = self.fixed_rows
            && fixed != n_rows
        {
            return Err(Error::FixedRows {
                wanted: fixed,
                actual: n_rows,
            });
        }
        let mut entities: Vec<Option<&RequestColumn>> = vec![None; self.n_join_keys()];
        let mut request_data: Vec<Option<&RequestColumn>> = vec![None; self.request_data().len()];
        let mut call = Call::empty(self, n_rows);
        for column in columns.columns() {
            let slot = self.slot(column)?;
            for &key in &slot.join_keys {
                set(&mut entities[key], column, column)?;
            }
            for &index in &slot.columns {
                set(&mut call.columns[index], &column.cells, column)?;
            }
            for &feature in &slot.features {
                set(&mut call.overrides[feature], &column.cells, column)?;
            }
            if let Some(field) = slot.request_data {
                set(&mut request_data[field], column, column)?;
            }
        }
        self.check_required(&call)?;
        call.keys.columns = self.entity_rows(&entities, &call)?;
        if let Some(online) = &self.online
            && online.has_on_demand_features()
        {
            let data = on_demand::request_data(online, &request_data, &call)?;
            call.request_data = Some(Box::new(data));
        }
        Ok(call)
    }

    /// What the column feeds; a name is only good in its place.
    fn slot(&self, column: &RequestColumn) -> Result<&Slot, Error> {
        let slot = self.slots.get(column.name.as_str());
        let fits = |slot: &Slot| match column.place {
            ColumnPlace::Entities => !slot.join_keys.is_empty(),
            ColumnPlace::Inputs => {
                !slot.features.is_empty()
                    || slot.request_data.is_some()
                    || (!slot.columns.is_empty() && slot.join_keys.is_empty())
            }
            ColumnPlace::Rows => true,
        };
        slot.filter(|slot| fits(slot))
            .ok_or_else(|| Error::UnknownColumn {
                place: column.place.as_str(),
                name: column.name.clone(),
                known: match column.place {
                    ColumnPlace::Entities => self.entity_names().join(", "),
                    ColumnPlace::Inputs => self.input_names().join(", "),
                    ColumnPlace::Rows => [self.entity_names(), self.input_names()]
                        .concat()
                        .join(", "),
                },
            })
    }

    fn check_required(&self, call: &Call<'_>) -> Result<(), Error> {
        for (column, cells) in self.columns.iter().zip(&call.columns) {
            if cells.is_none() && !column.optional && column.source == Source::Request {
                return Err(Error::InputMissing {
                    name: column.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Converts the given join keys; one that is not given is left out where every feature it is for is overridden.
    fn entity_rows(
        &self,
        entities: &[Option<&RequestColumn>],
        call: &Call<'_>,
    ) -> Result<Vec<Option<KeyColumn>>, Error> {
        let Some(online) = &self.online else {
            return Ok(Vec::new());
        };
        let mut columns = Vec::with_capacity(entities.len());
        for (index, column) in entities.iter().enumerate() {
            let key = &online.join_keys[index];
            columns.push(match column {
                Some(column) => Some(key_column(column, key.key_type)?),
                None => {
                    if let Some(feature) = online
                        .features_of_join_key(index)
                        .find(|f| call.overrides[*f].is_none())
                    {
                        let feature = online.names[feature].clone();
                        return Err(Error::EntityMissing {
                            name: key.name.clone(),
                            feature,
                        });
                    }
                    None
                }
            });
        }
        self.check_join_key_columns(call)?;
        Ok(columns)
    }

    /// A join key that the model itself takes must be there even when no feature needs it.
    fn check_join_key_columns(&self, call: &Call<'_>) -> Result<(), Error> {
        for (column, cells) in self.columns.iter().zip(&call.columns) {
            if cells.is_none() && column.source == Source::JoinKey {
                return Err(Error::InputMissing {
                    name: column.name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Fills a place that only one column may fill.
fn set<T>(place: &mut Option<T>, value: T, column: &RequestColumn) -> Result<(), Error> {
    if place.is_some() {
        return Err(Error::GivenTwice {
            place: column.place.as_str(),
            name: column.name.clone(),
        });
    }
    *place = Some(value);
    Ok(())
}

fn key_column(column: &RequestColumn, key_type: KeyType) -> Result<KeyColumn, Error> {
    let at = |row: usize, source| Error::EntityKey {
        place: column.place.as_str(),
        name: column.name.clone(),
        row,
        source,
    };
    Ok(match &column.cells {
        Cells::Scalar(cell) => KeyColumn::Scalar(key_type.convert(cell).map_err(|e| at(0, e))?),
        Cells::List(cells) => {
            let mut keys = Vec::with_capacity(cells.len());
            for (row, cell) in cells.iter().enumerate() {
                keys.push(key_type.convert(cell).map_err(|e| at(row, e))?);
            }
            KeyColumn::List(keys)
        }
    })
}
