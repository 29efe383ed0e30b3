//! A Substrait plan, as Feast keeps one for `mode="substrait"`, to a logical plan.
//!
//! Feast makes the plan with `ibis-substrait` from a function of one table. What is understood: a read of that table,
//! projections over it, and the scalar functions that `ibis-substrait` writes and DataFusion has. The rest is refused with a
//! reason. By hand, because the crate that reads all of Substrait needs the `protoc` program to build.
//! A null condition is like a false one, but of a single condition makes null: so does the engine that Feast runs (Acero).

mod expression;
mod proto;
mod types;

use std::collections::HashMap;

use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, table_scan};
use prost::Message;

use self::expression::Scope;
use self::proto::{Plan, ProjectRel, ReadRel, Rel, RelCommon, RelType};
use super::functions::{INPUT, Input};
use crate::features::definitions::Field;

/// The plan's table is `input`, by the names of its columns; integers and floating point become what the plan takes them for.
pub(super) fn plan(bytes: &[u8], input: &[Field]) -> Result<LogicalPlan> {
    let plan = match Plan::decode(bytes) {
        Ok(plan) => plan,
        Err(error) => return plan_err!("it does not decode: {error}"),
    };
    let functions = plan.extensions.into_iter();
    let functions = functions.filter_map(|extension| extension.function);
    let reader = Reader {
        functions: functions
            .map(|function| (function.anchor, function.name))
            .collect(),
        input,
    };
    let [relation] = plan.relations.as_slice() else {
        return plan_err!("it has {} relations, not one", plan.relations.len());
    };
    let Some(root) = &relation.root else {
        return plan_err!("it has no root");
    };
    let relation = reader.relation(root.input.as_ref())?;
    let columns = relation.schema().columns();
    if columns.len() != root.names.len() {
        return plan_err!(
            "it names {} columns and gives {}",
            root.names.len(),
            columns.len()
        );
    }
    let named = columns.into_iter().zip(&root.names);
    let named: Vec<Expr> = named
        .map(|(column, name)| Expr::Column(column).alias(name))
        .collect();
    LogicalPlanBuilder::from(relation).project(named)?.build()
}

struct Reader<'a> {
    functions: HashMap<u32, String>,
    input: &'a [Field],
}

impl Reader<'_> {
    fn relation(&self, relation: Option<&Rel>) -> Result<LogicalPlan> {
        let why = match relation.and_then(|relation| relation.kind.as_ref()) {
            Some(RelType::Read(read)) => return self.read(read),
            Some(RelType::Project(project)) => return self.project(project),
            Some(RelType::Filter(_)) => "it filters rows",
            Some(RelType::Fetch(_)) => "it limits rows",
            Some(RelType::Aggregate(_)) => "it aggregates rows",
            Some(RelType::Sort(_)) => "it sorts rows",
            Some(RelType::Join(_) | RelType::Cross(_)) => "it joins tables",
            Some(RelType::Set(_)) => "it merges tables",
            None => "it has a relation that is not known here",
        };
        plan_err!("{why}; it must give one row for each row of the input, in its order")
    }

    fn read(&self, read: &ReadRel) -> Result<LogicalPlan> {
        if read.named_table.is_none() {
            return plan_err!("it reads something else than a named table");
        }
        if read.filter.is_some() || read.projection.is_some() {
            return plan_err!("it reads a part of a table");
        }
        let Some(schema) = &read.base_schema else {
            return plan_err!("it does not say the columns of its table");
        };
        let types = schema.types.as_ref().map_or(&[][..], |types| &types.types);
        let table = Input::new(self.input);
        let columns = table.arrow();
        let mut expressions = Vec::with_capacity(schema.names.len());
        for (i, name) in schema.names.iter().enumerate() {
            let Ok(found) = columns.field_with_name(name) else {
                return plan_err!("it reads column `{name}`, which the view's sources do not have");
            };
            let column = Expr::Column(Column::new(Some(INPUT), name));
            let is_number = found.data_type().is_numeric();
            expressions.push(match types.get(i).map(types::data_type) {
                Some(Ok(wanted)) if is_number && wanted.is_numeric() => cast(column, wanted),
                _ => column,
            });
        }
        let scan = table_scan(Some(INPUT), &columns, None)?;
        emit(scan, read.common.as_ref(), expressions)
    }

    fn project(&self, project: &ProjectRel) -> Result<LogicalPlan> {
        let input = self.relation(project.input.as_deref())?;
        let scope = Scope {
            functions: &self.functions,
            fields: input.schema().columns(),
        };
        let mut expressions: Vec<Expr> = scope.fields.iter().cloned().map(Expr::Column).collect();
        for expression in &project.expressions {
            expressions.push(scope.expression(expression)?);
        }
        let input = LogicalPlanBuilder::from(input);
        emit(input, project.common.as_ref(), expressions)
    }
}

/// The expressions that a relation gives, in its order, under names of their own.
fn emit(
    input: LogicalPlanBuilder,
    common: Option<&RelCommon>,
    expressions: Vec<Expr>,
) -> Result<LogicalPlan> {
    let emitted = match common.and_then(|common| common.emit.as_ref()) {
        None => expressions,
        Some(emit) => {
            let mut emitted = Vec::with_capacity(emit.output_mapping.len());
            for &position in &emit.output_mapping {
                let expression = usize::try_from(position)
                    .ok()
                    .and_then(|position| expressions.get(position));
                let Some(expression) = expression else {
                    return plan_err!("it gives a column that is not there");
                };
                emitted.push(expression.clone());
            }
            emitted
        }
    };
    let named = emitted.into_iter().enumerate();
    let named: Vec<Expr> = named
        .map(|(i, expression)| expression.alias(format!("c{i}")))
        .collect();
    input.project(named)?.build()
}
