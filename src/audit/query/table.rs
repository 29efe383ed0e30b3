//! The tables of a question, as DataFusion reads them: `predictions`, `features`, `outputs`.
//!
//! Nothing is read before a plan runs, then on a thread of its own, which waits while the plan is busy and ends when nobody
//! wants its rows any more. A table that a plan reads twice is read twice.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use tokio::sync::mpsc::Sender;

use super::super::columns;
use super::engine::Blame;
use super::scan::{Output, Scan};
use super::unfold::{Unfold, Unfolding};
use super::{Error, LeftOut};

/// Batches that wait for the plan.
const WAITING: usize = 2;

/// What a table has a row for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows {
    /// Each event.
    Events,
    /// Each value of each event.
    Values(Unfold),
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: Rows,
    pub(super) scan: Scan,
    pub(super) left_out: LeftOut,
    pub(super) blame: Blame,
}

/// The tables by their names.
pub(super) const TABLES: [(&str, Rows); 3] = [
    ("predictions", Rows::Events),
    ("features", Rows::Values(Unfold::Features)),
    ("outputs", Rows::Values(Unfold::Outputs)),
];

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        match self.rows {
            Rows::Events => columns::schema(&columns::all()),
            Rows::Values(unfold) => unfold.schema(),
        }
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let all = || (0..schema.fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(schema.project(&columns)?);
        let stream = Stream {
            rows: self.rows,
            scan: self.scan.clone(),
            left_out: self.left_out.clone(),
            blame: self.blame.clone(),
            columns,
            schema: schema.clone(),
        };
        let stream: Arc<dyn PartitionStream> = Arc::new(stream);
        let plan = StreamingTableExec::try_new(schema, vec![stream], None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

#[derive(Debug)]
struct Stream {
    rows: Rows,
    scan: Scan,
    left_out: LeftOut,
    blame: Blame,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl PartitionStream for Stream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), WAITING);
        let mut sending = Sending(stream.tx());
        let (rows, scan) = (self.rows, self.scan.clone());
        let (left_out, blame) = (self.left_out.clone(), self.blame.clone());
        let columns = self.columns.clone();
        stream.spawn_blocking(move || {
            let read = match rows {
                Rows::Events => scan.run(&columns, &mut sending),
                Rows::Values(unfold) => {
                    let mut unfolding = Unfolding::new(unfold, &columns, &left_out, &mut sending);
                    let read = scan.run(&unfold.needs(), &mut unfolding);
                    read.and_then(|()| unfolding.finish())
                }
            };
            read.map_err(|error| blame.put(error))
        });
        stream.build()
    }
}

struct Sending(Sender<Result<RecordBatch, DataFusionError>>);

impl Output for Sending {
    fn take(&mut self, batch: RecordBatch) -> bool {
        self.0.blocking_send(Ok(batch)).is_ok()
    }

    fn is_wanted(&self) -> bool {
        !self.0.is_closed()
    }
}

impl Blame {
    fn put(&self, error: Error) -> DataFusionError {
        let message = error.to_string();
        self.first(error);
        DataFusionError::Execution(message)
    }
}
