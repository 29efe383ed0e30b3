//! Joins of all views as one job on a cluster, where something is done with the rows before they come back.
//!
//! The client begins it, an executor makes features of what was found (`Assembler`). Both compile the request
//! against their own registry; whoever builds on it compares the notes of both.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};

use super::plan::Plan;
use super::{Entities, Error, Request, Watch, max_bytes};
use crate::features::FeatureStore;
use crate::features::cluster::{Chain, Then};
use crate::features::offline::{Joined, PointInTime};
use crate::features::retrieve::{Naming, Wanted};
use crate::types::deadline::Deadline;

/// Rows as the cluster gives them.
pub(crate) struct Rows {
    pub(crate) batches: BoxStream<'static, Result<RecordBatch, Error>>,
    pub(crate) watch: Watch,
}

impl FeatureStore {
    /// Begins. `None` where it is not for the cluster: none is configured, or a view is not joined there.
    pub(crate) fn on_cluster(
        &self,
        request: &Request,
        then: Then,
        codec: Arc<dyn LogicalExtensionCodec>,
    ) -> Result<Option<Rows>, Error> {
        let offline = &self.0.repo.offline_store;
        let Some(config) = offline.cluster() else {
            return Ok(None);
        };
        let snapshot = self.snapshot();
        let plan = Plan::compile(self, snapshot.registry(), request)?;
        let max_bytes = max_bytes(1);
        let joins = plan.views.iter();
        let joins = joins.map(|view| view.join(request, plan.time, max_bytes));
        let joins: Vec<PointInTime> = joins.collect();
        if joins.is_empty() || !joins.iter().all(PointInTime::is_of_files) {
            return Ok(None);
        }
        let chain = Chain {
            config: config.clone(),
            directory: self.0.repo.directory.clone(),
            entities: request.entities.clone(),
            carried: (0..request.entities.schema().fields().len()).collect(),
            joins,
            then: Some(then),
            codec,
        };
        let Joined { batches, meter } = chain.begin()?;
        Ok(Some(Rows {
            batches: batches.map_err(Error::Offline).boxed(),
            watch: Watch(vec![meter]),
        }))
    }

    /// How an executor makes features of the rows that were joined for these entity columns.
    pub fn assembler(&self, wanted: Wanted, entities: &SchemaRef) -> Result<Assembler, Error> {
        let request = Request {
            wanted,
            naming: Naming::Full,
            entities: Entities::of_batches(Arc::clone(entities), Vec::new()),
            filter_by_created_timestamp: false,
        };
        let snapshot = self.snapshot();
        let plan = Plan::compile(self, snapshot.registry(), &request)?;
        Ok(Assembler {
            n_entity_columns: entities.fields().len(),
            plan: Arc::new(plan),
        })
    }
}

/// What a request comes to, without its joins.
#[derive(Debug, Clone)]
pub struct Assembler {
    plan: Arc<Plan>,
    n_entity_columns: usize,
}

impl Assembler {
    /// Of the table: entity columns, then features.
    pub fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    /// `joined` has the entity columns, then of each view its features and their event timestamp.
    pub async fn assemble(
        &self,
        joined: &RecordBatch,
        deadline: Deadline,
    ) -> Result<RecordBatch, Error> {
        let mut lengths = vec![self.n_entity_columns];
        let views = self.plan.views.iter();
        lengths.extend(views.map(|view| view.pull.features.len() + 1));
        let n_columns: usize = lengths.iter().sum();
        if n_columns != joined.num_columns() {
            return Err(Error::Malformed {
                problem: format!(
                    "joined with {} columns, and the definitions here have {n_columns}",
                    joined.num_columns()
                ),
            });
        }
        let mut parts = Vec::with_capacity(lengths.len());
        let mut first = 0;
        for length in lengths {
            let columns: Vec<usize> = (first..first + length).collect();
            parts.push(joined.project(&columns).map_err(Error::Assemble)?);
            first += length;
        }
        Arc::clone(&self.plan).assemble(parts, deadline).await
    }
}
