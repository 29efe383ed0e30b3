//! A plan of projections as expressions that are evaluated one after the other.
//!
//! `stages[0]` reads the columns of the input that are used, each further stage what the one before gave; the last gives the
//! view's features in the view's order.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field as ArrowField, Schema, SchemaRef};
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::physical_expr::{PhysicalExpr, create_physical_exprs};

use super::super::{Error, Transform};
use super::fits::can_hold;
use super::functions;
use crate::features::arrays;
use crate::features::columns::{Column, Columns};
use crate::features::definitions::{Field, OnDemandFeatureView};
use crate::features::suggest::Known;
use crate::types::deadline::Deadline;
use crate::types::value::Value;

/// So many rows are computed at a time; between them the deadline is looked at. More than that leave the async worker.
const CHUNK: usize = 4_096;

/// The columns that are used, with their types, and what is made of them.
#[derive(Debug)]
struct Program {
    view: String,
    what: &'static str,
    inputs: Vec<Field>,
    input_schema: SchemaRef,
    stages: Vec<Stage>,
    outputs: Vec<Field>,
}

#[derive(Debug)]
struct Stage {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

pub(super) fn compile(
    plan: Result<LogicalPlan>,
    what: &'static str,
    view: &OnDemandFeatureView,
    input: &[Field],
) -> std::result::Result<Arc<dyn Transform>, Error> {
    let failed = |error: DataFusionError| Error::DoesNotCompile {
        view: view.name.clone(),
        what,
        reason: reason(&error),
    };
    let analyzed = plan.and_then(analyze).map_err(failed)?;
    check_outputs(&analyzed, what, view)?;
    let (scanned, stages) = features_of(analyzed, view)
        .and_then(optimize)
        .and_then(|plan| expressions(&plan))
        .map_err(failed)?;
    let used = |name: &String| input.iter().find(|field| field.name == *name).cloned();
    Ok(Arc::new(Program {
        view: view.name.clone(),
        what,
        inputs: scanned
            .fields()
            .iter()
            .filter_map(|field| used(field.name()))
            .collect(),
        input_schema: scanned,
        stages,
        outputs: view.features.clone(),
    }))
}

/// Without the prefixes and the hints that are for programmers.
fn reason(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.trim_start_matches("Error during planning: ");
    text.trim_end_matches('.').to_owned()
}

/// Types are put right; then every node must be one that keeps rows as they are.
fn analyze(plan: LogicalPlan) -> Result<LogicalPlan> {
    check_rows(&plan)?;
    Analyzer::new().execute_and_check(plan, functions::options(), |_, _| {})
}

fn check_rows(plan: &LogicalPlan) -> Result<()> {
    let why = match plan {
        LogicalPlan::Projection(projection) => {
            if projection.expr.iter().any(has_subquery) {
                return plan_err!(
                    "it has a subquery in an expression, but a row may not depend on others"
                );
            }
            return check_rows(&projection.input);
        }
        LogicalPlan::SubqueryAlias(alias) => return check_rows(&alias.input),
        LogicalPlan::TableScan(_) => return Ok(()),
        LogicalPlan::Filter(_) => "WHERE drops rows; use CASE to give null instead",
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => {
            "an aggregate or DISTINCT merges rows"
        }
        LogicalPlan::Window(_) => "with a window function a row depends on others",
        LogicalPlan::Sort(_) => "ORDER BY changes the order of rows",
        LogicalPlan::Limit(_) => "LIMIT drops rows",
        LogicalPlan::Join(_) | LogicalPlan::Union(_) | LogicalPlan::Unnest(_) => {
            "a join, a union or UNNEST makes other rows"
        }
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
            "it reads something else than `input`; write FROM input"
        }
        other => return plan_err!("`{}` is not possible here", other.display()),
    };
    plan_err!("{why}; it must give one row for each row of `input`, in its order")
}

fn has_subquery(expression: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let is_subquery = |expression: &Expr| {
        Ok(matches!(
            expression,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
        ))
    };
    expression.exists(is_subquery).unwrap_or(true)
}

fn check_outputs(
    plan: &LogicalPlan,
    what: &'static str,
    view: &OnDemandFeatureView,
) -> std::result::Result<(), Error> {
    let found = plan.schema();
    for feature in &view.features {
        let Some(column) = found
            .fields()
            .iter()
            .find(|field| *field.name() == feature.name)
        else {
            let names = found.fields().iter().map(|field| field.name().as_str());
            return Err(Error::MissingColumn {
                view: view.name.clone(),
                what,
                column: feature.name.clone(),
                found: Known::instead_of(&feature.name, names),
            });
        };
        if !can_hold(feature.value_type, column.data_type()) {
            return Err(Error::WrongType {
                view: view.name.clone(),
                what,
                column: feature.name.clone(),
                value_type: feature.value_type,
                actual: column.data_type().to_string(),
            });
        }
    }
    Ok(())
}

/// The view's features and nothing else, in the view's order.
fn features_of(plan: LogicalPlan, view: &OnDemandFeatureView) -> Result<LogicalPlan> {
    let schema = plan.schema().clone();
    let columns = view.features.iter().filter_map(|feature| {
        let (qualifier, field) = schema
            .iter()
            .find(|(_, field)| *field.name() == feature.name)?;
        Some(Expr::from((qualifier, field)))
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// Constants are folded, common expressions computed once, and of the input only what is used is read.
fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let options = Arc::new(functions::options().clone());
    let context = OptimizerContext::new_with_config_options(options).with_skip_failing_rules(false);
    optimizer.optimize(plan, &context, |_, _| {})
}

/// What is scanned of the input, and the stages over it.
fn expressions(plan: &LogicalPlan) -> Result<(SchemaRef, Vec<Stage>)> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let schema = scan.projected_schema.as_arrow();
            Ok((Arc::new(schema.clone()), Vec::new()))
        }
        LogicalPlan::SubqueryAlias(alias) => expressions(&alias.input),
        LogicalPlan::Projection(projection) => {
            let (scanned, mut stages) = expressions(&projection.input)?;
            let expressions = create_physical_exprs(
                &projection.expr,
                projection.input.schema(),
                &ExecutionProps::new(),
                &PhysicalPlanningContext::default(),
            )?;
            let mut fields = Vec::with_capacity(expressions.len());
            for (expression, field) in expressions.iter().zip(projection.schema.fields()) {
                // What the expression gives, and not what the plan promises, decides: nulls are allowed everywhere.
                let input = projection.input.schema().as_arrow();
                let data_type = expression.data_type(input)?;
                fields.push(ArrowField::new(field.name(), data_type, true));
            }
            stages.push(Stage {
                expressions,
                schema: Arc::new(Schema::new(fields)),
            });
            Ok((scanned, stages))
        }
        other => plan_err!("`{}` is not possible here", other.display()),
    }
}

#[async_trait]
impl Transform for Program {
    async fn run(&self, input: Columns, deadline: Deadline) -> std::result::Result<Columns, Error> {
        let is_long = input.n_rows > CHUNK;
        crate::shutdown::run_here(is_long, || self.compute(&input, deadline))
    }
}

impl Program {
    fn compute(&self, input: &Columns, deadline: Deadline) -> std::result::Result<Columns, Error> {
        let batch = self.batch(input)?;
        let mut outputs: Vec<Vec<Value>> = Vec::with_capacity(self.outputs.len());
        for _ in &self.outputs {
            outputs.push(Vec::with_capacity(input.n_rows));
        }
        let mut start = 0;
        while start < input.n_rows {
            if deadline.is_past() {
                return Err(Error::DeadlineExceeded {
                    what: format!("on-demand feature view `{}`", self.view),
                });
            }
            let length = CHUNK.min(input.n_rows - start);
            let columns = self.evaluate(batch.slice(start, length))?;
            for ((column, feature), values) in columns.iter().zip(&self.outputs).zip(&mut outputs) {
                values.extend(self.values(column, feature)?);
            }
            start += length;
        }
        let fields = self.outputs.iter().zip(outputs);
        let columns = fields.map(|(field, values)| Column {
            name: field.name.clone(),
            value_type: field.value_type,
            values,
        });
        Ok(Columns::new(input.n_rows, columns.collect())?)
    }

    /// The columns of the input that are used.
    fn batch(&self, input: &Columns) -> std::result::Result<RecordBatch, Error> {
        let mut arrays = Vec::with_capacity(self.inputs.len());
        for field in &self.inputs {
            let Some(column) = input.get(&field.name) else {
                return Err(Error::MissingInput {
                    view: self.view.clone(),
                    column: field.name.clone(),
                });
            };
            if column.value_type != field.value_type {
                return Err(Error::WrongInput {
                    view: self.view.clone(),
                    column: field.name.clone(),
                    expected: field.value_type,
                    actual: column.value_type,
                });
            }
            arrays.push(arrays::array(column).map_err(|error| self.failed(&error.into()))?);
        }
        batch(&self.input_schema, arrays, input.n_rows).map_err(|error| self.failed(&error.into()))
    }

    fn evaluate(&self, input: RecordBatch) -> std::result::Result<Vec<ArrayRef>, Error> {
        let n_rows = input.num_rows();
        let mut input = input;
        for stage in &self.stages {
            let arrays = stage.expressions.iter().map(|expression| {
                let column = expression.evaluate(&input)?;
                column.into_array(n_rows)
            });
            let arrays = arrays.collect::<Result<Vec<_>>>();
            let arrays = arrays.map_err(|error| self.failed(&error))?;
            input =
                batch(&stage.schema, arrays, n_rows).map_err(|error| self.failed(&error.into()))?;
        }
        Ok(input.columns().to_vec())
    }

    fn values(&self, column: &ArrayRef, feature: &Field) -> std::result::Result<Vec<Value>, Error> {
        let converted = arrays::values(column, feature.value_type);
        let converted = converted.map_err(|error| Error::Value {
            view: self.view.clone(),
            reason: format!("feature `{}`: {error}", feature.name),
        })?;
        converted.ok_or_else(|| Error::WrongType {
            view: self.view.clone(),
            what: self.what,
            column: feature.name.clone(),
            value_type: feature.value_type,
            actual: column.data_type().to_string(),
        })
    }

    fn failed(&self, error: &DataFusionError) -> Error {
        Error::Value {
            view: self.view.clone(),
            reason: reason(error),
        }
    }
}

/// Also of no columns.
fn batch(
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
    n_rows: usize,
) -> std::result::Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
}
