//! On-demand feature views computed in this process: declared SQL and Substrait plans, both as DataFusion expressions.
//!
//! A query or a plan is compiled once into expressions over the columns that it uses; a run evaluates them on the batch, with
//! no plan, no catalog and no thread of its own. So it must be made of projections: what filters, merges or orders rows,
//! or lets a row depend on others, is refused when it is compiled.

#[cfg(feature = "datafusion")]
mod clock;
#[cfg(feature = "datafusion")]
mod fits;
#[cfg(feature = "datafusion")]
mod functions;
#[cfg(feature = "datafusion")]
mod program;
#[cfg(feature = "datafusion")]
mod query;
#[cfg(feature = "datafusion")]
mod substrait;
#[cfg(test)]
#[cfg(feature = "datafusion")]
mod tests;

use std::sync::Arc;

use super::{Error, Transform};
use crate::features::definitions::{Field, OnDemandFeatureView};

pub(super) const SQL: &str = "SQL";
pub(super) const PLAN: &str = "Substrait plan";

/// A declared query.
#[cfg(feature = "datafusion")]
pub(super) fn sql(
    sql: &str,
    view: &OnDemandFeatureView,
    input: &[Field],
) -> Result<Arc<dyn Transform>, Error> {
    let plan = query::plan(sql, input);
    program::compile(plan, SQL, view, input)
}

/// The view's own plan.
#[cfg(feature = "datafusion")]
pub(super) fn substrait(
    plan: &[u8],
    view: &OnDemandFeatureView,
    input: &[Field],
) -> Result<Arc<dyn Transform>, Error> {
    let plan = substrait::plan(plan, input);
    program::compile(plan, PLAN, view, input)
}

#[cfg(not(feature = "datafusion"))]
pub(super) fn sql(
    _: &str,
    view: &OnDemandFeatureView,
    _: &[Field],
) -> Result<Arc<dyn Transform>, Error> {
    Err(without_datafusion(view, SQL))
}

#[cfg(not(feature = "datafusion"))]
pub(super) fn substrait(
    _: &[u8],
    view: &OnDemandFeatureView,
    _: &[Field],
) -> Result<Arc<dyn Transform>, Error> {
    Err(without_datafusion(view, PLAN))
}

#[cfg(not(feature = "datafusion"))]
fn without_datafusion(view: &OnDemandFeatureView, what: &'static str) -> Error {
    Error::WithoutFeature {
        view: view.name.clone(),
        what,
        feature: "datafusion",
    }
}
