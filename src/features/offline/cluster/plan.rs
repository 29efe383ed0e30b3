//! From the logical plan to one that Ballista can cut into stages.
//!
//! Shuffles are laid here and nowhere else: both inputs of a join are divided by the view's keys into equally many parts,
//! without keys into one. Nothing may move them, so the session has no optimizer rules.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::execution::context::{QueryPlanner, SessionConfig};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion_proto::physical_plan::{AsExecutionPlan, DefaultPhysicalExtensionCodec};
use datafusion_proto::protobuf::PhysicalPlanNode;

use super::as_of::AsOfExec;
use super::node::{Node, Spec};
use super::rows::RowsExec;
use super::stores::Stores;
use super::wire::{AsOf, unfit};

/// A scheduler's session: it knows the nodes of these planners beside those of joins.
pub(crate) fn session(
    config: SessionConfig,
    planners: &[Arc<dyn ExtensionPlanner + Send + Sync>],
) -> Result<SessionState> {
    let mut planners = planners.to_vec();
    planners.push(Arc::new(Joins));
    let runtime = RuntimeEnvBuilder::new().with_object_store_registry(Arc::new(Stores::default()));
    Ok(SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime.build_arc()?)
        .with_analyzer_rules(Vec::new())
        .with_optimizer_rules(Vec::new())
        .with_physical_optimizer_rules(Vec::new())
        .with_query_planner(Arc::new(Queries { planners }))
        .build())
}

struct Queries {
    planners: Vec<Arc<dyn ExtensionPlanner + Send + Sync>>,
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queries").finish_non_exhaustive()
    }
}

#[async_trait]
impl QueryPlanner for Queries {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(self.planners.clone());
        planner.create_physical_plan(plan, session).await
    }
}

struct Joins;

#[async_trait]
impl ExtensionPlanner for Joins {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<Node>() else {
            return Ok(None);
        };
        let plan: Arc<dyn ExecutionPlan> = match (&node.spec, inputs) {
            (Spec::Rows(rows), []) => {
                let scan = PhysicalPlanNode::try_decode(&node.scan)?;
                let codec = DefaultPhysicalExtensionCodec {};
                let scan = scan.try_into_physical_plan(&session.task_ctx(), &codec)?;
                Arc::new(RowsExec::try_new(rows.clone(), scan)?)
            }
            (Spec::AsOf(spec), [entities, rows]) => {
                let n_parts = session.config().target_partitions();
                Arc::new(join(spec, entities, rows, n_parts)?)
            }
            (Spec::InOrder, [rows]) => merged(&sorted(rows)?)?,
            (Spec::Merged, [rows]) => merged(rows)?,
            (spec, inputs) => {
                return Err(unfit(format!("{} inputs for {spec:?}", inputs.len())));
            }
        };
        Ok(Some(plan))
    }
}

fn join(
    spec: &AsOf,
    entities: &Arc<dyn ExecutionPlan>,
    rows: &Arc<dyn ExecutionPlan>,
    n_parts: usize,
) -> Result<AsOfExec> {
    let keys: Vec<usize> = (0..spec.keys.len()).collect();
    let (entities, rows) = match keys.is_empty() {
        true => (
            shuffled(entities, &[spec.time], 1)?,
            shuffled(rows, &[0], 1)?,
        ),
        false => (
            shuffled(entities, &spec.keys, n_parts)?,
            shuffled(rows, &keys, n_parts)?,
        ),
    };
    AsOfExec::try_new(spec.clone(), entities, rows)
}

/// The rows of all partitions, divided by these columns.
fn shuffled(
    plan: &Arc<dyn ExecutionPlan>,
    columns: &[usize],
    n_parts: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let column = |place: &usize| -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(plan.schema().field(*place).name(), *place))
    };
    shuffled_by(plan, columns.iter().map(column).collect(), n_parts)
}

pub(crate) fn shuffled_by(
    plan: &Arc<dyn ExecutionPlan>,
    by: Vec<Arc<dyn PhysicalExpr>>,
    n_parts: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let partitioning = Partitioning::Hash(by, n_parts);
    Ok(Arc::new(RepartitionExec::try_new(
        Arc::clone(plan),
        partitioning,
    )?))
}

/// Each partition by the first column, the number of the row.
pub(crate) fn sorted(rows: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let sort = SortExec::new(order(rows)?, Arc::clone(rows));
    Ok(Arc::new(sort.with_preserve_partitioning(true)))
}

/// All of them in one.
fn merged(rows: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let order = order(rows)?;
    Ok(Arc::new(SortPreservingMergeExec::new(
        order,
        Arc::clone(rows),
    )))
}

fn order(rows: &Arc<dyn ExecutionPlan>) -> Result<LexOrdering> {
    let row = Arc::new(Column::new(rows.schema().field(0).name(), 0));
    LexOrdering::new([PhysicalSortExpr::new_default(row)])
        .ok_or_else(|| unfit("rows without numbers".to_owned()))
}
