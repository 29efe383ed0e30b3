//! The operator on an executor: rows of a partition in, tables of its calls out.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};

use super::Spec;
use super::task::{Here, score};

#[derive(Debug)]
pub(super) struct ScoreExec {
    pub(super) spec: Spec,
    /// Columns of the entity rows.
    pub(super) entities: SchemaRef,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    /// What scores; `None` where nothing is run.
    here: Option<Here>,
}

impl ScoreExec {
    pub(super) fn new(
        spec: Spec,
        entities: SchemaRef,
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        here: Option<Here>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            spec,
            entities,
            input,
            properties: Arc::new(properties),
            here,
        }
    }
}

impl DisplayAs for ScoreExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScoreExec: {}:{}", self.spec.model, self.spec.version)
    }
}

impl ExecutionPlan for ScoreExec {
    fn name(&self) -> &str {
        "ScoreExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
        let input = children.pop().filter(|_| children.is_empty());
        let input =
            input.ok_or_else(|| DataFusionError::Plan("ScoreExec has one input".to_owned()))?;
        Ok(Arc::new(Self::new(
            self.spec.clone(),
            Arc::clone(&self.entities),
            input,
            self.schema(),
            self.here.clone(),
        )))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(here) = &self.here else {
            return Err(DataFusionError::Plan(
                "nothing scores in a scheduler".to_owned(),
            ));
        };
        let rows = self.input.execute(partition, context)?;
        let tables = score(here, &self.spec, &self.entities, rows, self.schema())?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            tables,
        )))
    }
}
