//! The logical node, and how a scheduler plans it: the rows of a call come into one partition, in their order.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchemaRef, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, LogicalPlan, Operator, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::Spec;
use super::exec::ScoreExec;
use crate::features::cluster::{shuffled_by, sorted};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Score {
    pub(super) spec: Spec,
    /// Columns of the entity rows.
    pub(super) entities: SchemaRef,
    pub(super) input: LogicalPlan,
    /// Row number, table, counts.
    pub(super) schema: DFSchemaRef,
}

impl UserDefinedLogicalNodeCore for Score {
    fn name(&self) -> &str {
        "Score"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Score: {}:{}", self.spec.model, self.spec.version)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.pop().filter(|_| inputs.is_empty());
        let input = input.ok_or_else(|| DataFusionError::Plan("Score has one input".to_owned()))?;
        Ok(Self {
            input,
            ..self.clone()
        })
    }
}

/// Nodes have no order; DataFusion asks for one.
impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

/// Of a scheduler.
pub(crate) struct ScorePlanner;

#[async_trait]
impl ExtensionPlanner for ScorePlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(score), [rows]) = (node.as_any().downcast_ref::<Score>(), inputs) else {
            return Ok(None);
        };
        let n_parts = session.config().target_partitions();
        let by_call = shuffled_by(rows, vec![call(rows, score.spec.rows_per_call)], n_parts)?;
        let schema = Arc::new(score.schema.as_arrow().clone());
        let exec = ScoreExec::new(
            score.spec.clone(),
            Arc::clone(&score.entities),
            sorted(&by_call)?,
            schema,
            None,
        );
        Ok(Some(Arc::new(exec)))
    }
}

/// The number of a row's call.
fn call(rows: &Arc<dyn ExecutionPlan>, rows_per_call: usize) -> Arc<dyn PhysicalExpr> {
    let row = Arc::new(Column::new(rows.schema().field(0).name(), 0));
    let per_call = ScalarValue::UInt64(Some(rows_per_call.max(1) as u64));
    let per_call = Arc::new(Literal::new(per_call));
    Arc::new(BinaryExpr::new(row, Operator::Divide, per_call))
}
