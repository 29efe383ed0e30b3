//! A declared query to a logical plan.

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::functions::{Context, Input};
use crate::features::definitions::Field;

/// Names count as they are written, in upper or lower case.
pub(super) fn plan(sql: &str, input: &[Field]) -> Result<LogicalPlan> {
    let mut statements = DFParser::parse_sql(sql)?;
    let statement = match (statements.pop_front(), statements.is_empty()) {
        (Some(Statement::Statement(statement)), true) => *statement,
        _ => return plan_err!("it is not one SELECT"),
    };
    if !matches!(statement, Sql::Query(_)) {
        return plan_err!("it is not a SELECT");
    }
    let context = Context {
        input: Input::new(input),
    };
    let options = ParserOptions::new()
        .with_enable_ident_normalization(false)
        // Text has one Arrow type here, not two.
        .with_map_string_types_to_utf8view(false);
    SqlToRel::new_with_options(&context, options).sql_statement_to_plan(statement)
}
