//! Features as Feast's own API gives them: by names, column by column, with its statuses.
//!
//! ```text
//! retrieval   names -> Retrieval: views, columns, roles of request columns; cached per registry snapshot
//!   bind      request columns -> entity keys, echoed columns, request data
//!   read_raw  one round trip; values stay the bytes that are stored
//!   on_demand request data and features -> computed columns
//! Answer      columns for a surface to write; each stored value is looked at once, while it is written
//! ```
//! Semantics: Feast 0.67's feature server. Not here: JSON and protobuf (`http`, `grpc`), what models read (`plan`).

mod answer;
mod bind;
mod error;
mod given;
pub(super) mod history;
mod on_demand;
mod precomputed;
mod reference;
mod resolve;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::answer::{Answer, Cell, EntityColumn, FieldStatus, StoredColumn};
pub use self::error::{Error, ValueError};
pub use self::given::{Given, request_value};
use self::on_demand::OnDemand;
use self::precomputed::Precomputed;
use self::resolve::{Column, ReadView, Role};
use super::definitions::Field;
use super::key::EntityKeys;
use super::online::{self, RawRows};
use super::plan::OnlinePlan;
use super::{FeatureStore, rows};
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;

/// Which statuses Feast's API gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Statuses {
    /// What Feast's Python server says: a null is `PRESENT`, and so is what a Redis store does not have; `ttl` plays no part.
    #[default]
    Python,
    /// `NOT_FOUND`, `NULL_VALUE`, and `OUTSIDE_MAX_AGE` by the view's `ttl`.
    Exact,
}

/// What happens to a request when the online store holds bytes that are not a feature value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InvalidValues {
    /// That value is null with status `INVALID`, the rest of the answer is as it should be, and the log says which it was.
    #[default]
    Null,
    /// The request fails.
    Error,
}

/// The features that somebody wants, by Feast's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Service(String),
    /// `view:feature`, also with a version.
    Features(Vec<String>),
}

/// How features are called in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Naming {
    /// `feature`
    Short,
    /// `view__feature`
    Full,
}

/// A compiled selection.
#[derive(Debug)]
pub struct Retrieval {
    plan: OnlinePlan,
    /// Stored features of the answer.
    columns: Vec<Column>,
    views: Vec<ReadView>,
    on_demand: Vec<OnDemand>,
    request_data: Vec<Field>,
    /// What each known request column is for.
    roles: HashMap<String, Role>,
    precomputed: Option<Precomputed>,
}

/// Request columns in the order they came.
pub type GivenColumns<'a> = Vec<(Cow<'a, str>, Vec<Given<'a>>)>;

impl FeatureStore {
    /// Reads a compiled selection for the rows that the columns make. One round trip, whatever number of views and rows;
    /// a second one only where a precomputed vector is missing. Cancel safe.
    pub async fn retrieve(
        &self,
        retrieval: &Arc<Retrieval>,
        columns: &GivenColumns<'_>,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let bound = bind::bind(retrieval, columns)?;
        if let Some(precomputed) = &retrieval.precomputed {
            let (keys, row_keys) =
                rows::entity_keys(&precomputed.plan, &bound.first_keys(precomputed));
            let vectors = self.read_raw(&precomputed.plan, &keys, deadline).await?;
            if let Some(stored) = precomputed.rows(&vectors, Timestamp::now()) {
                return Ok(Answer::precomputed(
                    retrieval, bound, keys, row_keys, stored,
                ));
            }
        }
        let (keys, row_keys) = rows::entity_keys(&retrieval.plan, &bound.keys);
        let stored = self.read_raw(&retrieval.plan, &keys, deadline).await?;
        let tells_missing = self.0.repo.online_store.tells_missing();
        let rule = answer::Rule::new(self.0.statuses, tells_missing);
        let mut answer = Answer::new(retrieval, bound, keys, row_keys, stored, rule);
        if !retrieval.on_demand.is_empty() {
            answer.compute(&retrieval.on_demand, deadline).await?;
        }
        Ok(answer)
    }

    /// How bytes that are no value are to be taken.
    pub fn invalid_values(&self) -> InvalidValues {
        self.0.invalid_values
    }

    async fn read_raw(
        &self,
        plan: &OnlinePlan,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<RawRows>, Error> {
        let n_keys: usize = keys.iter().map(EntityKeys::len).sum();
        if n_keys == 0 {
            return Ok(plan.groups.iter().map(|_| RawRows::default()).collect());
        }
        let limit = deadline.at_most(self.time_for(n_keys));
        match plan.lookup.read_raw(keys, limit).await {
            Err(online::Error::Timeout { .. }) if deadline.is_past() => {
                let store = self.0.online.describe().to_owned();
                Err(Error::Features(super::Error::DeadlineExceeded { store }))
            }
            outcome => Ok(outcome.map_err(super::Error::from)?),
        }
    }
}
