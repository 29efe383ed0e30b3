//! Reading on an executor: a scan of files, whose rows become those that a join takes.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::{Schema, SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::StreamExt;

use super::super::Error;
use super::super::canonical::{Canonical, NullKeys};
use super::node::Rows;
use super::wire::unfit;
use crate::error::with_causes;

/// Rows of a piece are counted in these bits of `SOURCE_ORDER`; the piece's number is in those above.
const ROW_BITS: u32 = 40;

#[derive(Debug)]
pub(super) struct RowsExec {
    pub(super) rows: Rows,
    scan: Arc<dyn ExecutionPlan>,
    /// Of a view's rows.
    canonical: Option<Arc<Canonical>>,
    properties: Arc<PlanProperties>,
}

impl RowsExec {
    pub(super) fn try_new(rows: Rows, scan: Arc<dyn ExecutionPlan>) -> Result<Self> {
        // What is read in another order would be numbered in it. The flag does not travel with a scan.
        let scan = scan.with_preserve_order(true).unwrap_or(scan);
        let (canonical, schema) = match &rows {
            Rows::Staged(_) => (None, scan.schema()),
            Rows::View(view) => {
                let canonical = canonical(view, &scan.schema())?;
                let schema = canonical.schema.clone();
                (Some(Arc::new(canonical)), schema)
            }
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(scan.output_partitioning().partition_count()),
            scan.pipeline_behavior(),
            scan.boundedness(),
        );
        Ok(Self {
            rows,
            scan,
            canonical,
            properties: Arc::new(properties),
        })
    }
}

/// `scan` has the columns that the view needs, in the source's order, then the piece.
fn canonical(view: &super::wire::View, scan: &SchemaRef) -> Result<Canonical> {
    let pull = view.pull()?;
    let n_columns = scan.fields().len().saturating_sub(1);
    let columns: Vec<_> = scan.fields().iter().take(n_columns).cloned().collect();
    let canonical = Canonical::new(&pull, &Schema::new(columns), "the plan").map_err(failed)?;
    if canonical.needed().len() != n_columns {
        return Err(unfit(format!(
            "a scan of {n_columns} columns for view `{}`",
            pull.view
        )));
    }
    Ok(canonical
        .with_null_keys(NullKeys::PassedOver)
        .with_source_order())
}

/// The error and its causes, as text: it has to travel.
fn failed(error: Error) -> DataFusionError {
    DataFusionError::Execution(with_causes(&error))
}

impl DisplayAs for RowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rows {
            Rows::Staged(url) => write!(f, "StagedRowsExec: {url}"),
            Rows::View(view) => write!(f, "ViewRowsExec: {view}"),
        }
    }
}

impl ExecutionPlan for RowsExec {
    fn name(&self) -> &str {
        "RowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(scan), true) => Ok(Arc::new(Self::try_new(self.rows.clone(), scan)?)),
            _ => Err(unfit("RowsExec has one input".to_owned())),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batches = self.scan.execute(partition, context)?;
        let Some(canonical) = self.canonical.clone() else {
            return Ok(batches);
        };
        let mut n_before = 0;
        let rows = batches.map(move |batch| {
            let batch = numbered(&batch?, n_before)?;
            n_before += batch.num_rows() as u64;
            canonical.batch(batch.columns()).map_err(failed)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

/// The rows with their place in the source instead of their piece. `n_before` rows of the partition came before them.
fn numbered(batch: &RecordBatch, n_before: u64) -> Result<RecordBatch> {
    let (Some((pieces, columns)), schema) = (batch.columns().split_last(), batch.schema()) else {
        return Err(unfit("a scan without columns".to_owned()));
    };
    let pieces = pieces.as_primitive::<UInt64Type>().values().iter();
    let places = pieces
        .zip(n_before..)
        .map(|(piece, row)| (piece << ROW_BITS) | row);
    let places: ArrayRef = Arc::new(UInt64Array::from_iter_values(places));
    let mut columns = columns.to_vec();
    columns.push(places);
    Ok(RecordBatch::try_new(schema, columns)?)
}
