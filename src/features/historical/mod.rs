//! Point-in-time features: for rows of entities and times, what serving would have given then.
//!
//! ```text
//! entities    rows of keys and times: a file, a query, a body        load
//! resolve     names -> views and on-demand views                     plan
//!   join      each view by itself, in the store of its source        offline
//!   zip       entity rows and the views' features, side by side      zip
//!   convert   source types -> the features' types                    assemble
//!   compute   on-demand views
//! Historical  batches of a table: entity columns, features, on-demand features
//! ```
//! Rules (Feast 0.67, its Postgres store): a row counts from its event timestamp until `ttl` after it, both ends included; of
//! equal event timestamps the greatest created timestamp wins, whenever that was; naive times are UTC. Unlike Feast, each
//! entity row gives one row, in the order in which they came, whatever is found or not found.
//! Values are those that materialization would store.
//! Not here: how a store joins (`offline`), what is trained with it.

mod assemble;
mod entity_columns;
mod error;
mod feature_columns;
mod file;
mod fingerprint;
mod json;
mod load;
#[cfg(feature = "cluster")]
mod on_cluster;
mod plan;
mod table;
#[cfg(test)]
mod tests;
mod writing;
mod zip;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};

pub use self::error::Error;
pub use self::file::{FeatureSummary, FileSummary};
pub use self::json::json_values;
pub use self::load::EntityTypes;
#[cfg(feature = "cluster")]
pub use self::on_cluster::Assembler;
use self::plan::Plan;
pub use self::table::{FileFormat, TableFile, WholeFile, parquet_properties};
pub use self::writing::Writing;
use super::FeatureStore;
pub use super::offline::Entities;
use super::offline::{Joined, Meter};
use super::retrieve::{Naming, Wanted};
use crate::types::deadline::Deadline;

/// For the joins of one request, all views together.
const JOIN_BYTES: usize = 640 * 1024 * 1024;
/// A view's share of it at least.
const LEAST_JOIN_BYTES: usize = 16 * 1024 * 1024;

/// For each of so many views.
fn max_bytes(n_views: usize) -> usize {
    (JOIN_BYTES / n_views.max(1)).max(LEAST_JOIN_BYTES)
}

/// What is wanted of which entity rows.
#[derive(Debug, Clone)]
pub struct Request {
    pub wanted: Wanted,
    pub naming: Naming,
    pub entities: Entities,
    /// Leave out rows that were created after the entity row's time.
    pub filter_by_created_timestamp: bool,
}

/// A table on its way, in batches.
pub struct Historical {
    /// Of every batch. Its metadata says what the features are made of (`fingerprint`).
    pub schema: SchemaRef,
    /// Position of the first feature; the entity columns are before it.
    pub first_feature: usize,
    pub n_rows: usize,
    /// One row for each entity row, in their order. Dropping it ends the work.
    pub batches: BoxStream<'static, Result<RecordBatch, Error>>,
    meters: Vec<Arc<Meter>>,
}

/// How far it is, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rows of sources that were read, and about how many there are.
    pub rows_read: u64,
    pub rows_to_read: u64,
    /// Entity rows that all views are through with.
    pub rows_joined: u64,
}

/// Tells how far a table is while somebody else takes its batches.
#[derive(Debug, Clone)]
pub struct Watch(Vec<Arc<Meter>>);

impl Watch {
    pub fn progress(&self) -> Progress {
        let read: u64 = self.0.iter().map(|meter| meter.read()).sum();
        let expected: u64 = self.0.iter().map(|meter| meter.expected()).sum();
        Progress {
            rows_read: read,
            rows_to_read: expected.max(read),
            rows_joined: self.0.iter().map(|meter| meter.passed()).min().unwrap_or(0),
        }
    }
}

/// Whether entity rows have a time that features could be joined at: `event_timestamp`, else the only column of times.
///
/// Errors where that cannot be told: several columns of times, or an `event_timestamp` that is none.
pub fn has_time(entities: &Schema) -> Result<bool, Error> {
    match entity_columns::time(entities) {
        Ok(_) => Ok(true),
        Err(Error::NoTime) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Entities {
    /// All rows in their order, read on a thread of their own while they are asked for. Dropping it ends that.
    pub fn batches(&self) -> BoxStream<'static, Result<RecordBatch, Error>> {
        zip::entity_rows(self)
    }
}

impl Historical {
    pub fn watch(&self) -> Watch {
        Watch(self.meters.clone())
    }
}

impl FeatureStore {
    /// Entity rows that are the result of a query in the Postgres of the offline store. Cancel safe.
    pub async fn query_entities(&self, query: &str) -> Result<Entities, Error> {
        Ok(self.0.repo.offline_store.query_entities(query).await?)
    }

    /// Begins the joins. What can be seen to be wrong without reading a source is refused here; the rest comes with the
    /// batches. `deadline` ends calls of a transformation server. Cancel safe.
    pub async fn historical(
        &self,
        request: Request,
        deadline: Deadline,
    ) -> Result<Historical, Error> {
        let snapshot = self.snapshot();
        let plan = Plan::compile(self, snapshot.registry(), &request)?;
        let n_views = plan.views.len();
        let max_bytes = max_bytes(n_views);
        let mut parts = Vec::with_capacity(n_views + 1);
        let mut meters = Vec::with_capacity(n_views);
        parts.push(zip::entity_rows(&request.entities));
        for view in &plan.views {
            let join = view.join(&request, plan.time, max_bytes);
            let joined = self.0.repo.offline_store.point_in_time(join).await?;
            let Joined { batches, meter } = joined;
            parts.push(batches.map_err(Error::Offline).boxed());
            meters.push(meter);
        }
        let schema = plan.schema.clone();
        let first_feature = request.entities.schema().fields().len();
        let plan = Arc::new(plan);
        let batches = zip::zipped(parts).and_then(move |parts| {
            let plan = plan.clone();
            async move { plan.assemble(parts, deadline).await }
        });
        Ok(Historical {
            schema,
            first_feature,
            n_rows: request.entities.n_rows(),
            batches: batches.boxed(),
            meters,
        })
    }
}
