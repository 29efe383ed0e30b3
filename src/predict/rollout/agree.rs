//! Whether two versions can answer calls in turn: what one takes and gives, the other takes and gives.
//!
//! Asked for names and shapes only. Types of inputs may differ: how narrow a version is shows in its errors.

use crate::models::ServedVersion;
use crate::predict::ServingPlan;
use crate::types::signature::{OutputKind, OutputSpec};

/// The first difference that a caller would notice, in words.
pub(super) fn agree(
    main: &ServedVersion<ServingPlan>,
    other: &ServedVersion<ServingPlan>,
) -> Result<(), String> {
    let (here, there) = (&other.plan, &main.plan);
    same("entities", &here.entity_names(), &there.entity_names())?;
    same("required inputs", &required(here), &required(there))?;
    if here.fixed_rows != there.fixed_rows {
        let rows = |rows: Option<usize>| rows.map_or("any number of".to_owned(), |n| n.to_string());
        let (here, there) = (rows(here.fixed_rows), rows(there.fixed_rows));
        return Err(format!("it takes {here} rows in a call, not {there}"));
    }
    let names = |plan: &ServingPlan| plan.output_names().map(str::to_owned).collect::<Vec<_>>();
    same("outputs", &names(here), &names(there))?;
    let specs = other.model.graph().outputs.iter();
    for ((name, here), there) in names(here)
        .iter()
        .zip(specs)
        .zip(&main.model.graph().outputs)
    {
        if !go_together(here, there) {
            let (here, there) = (describe(here), describe(there));
            return Err(format!("its output `{name}` is {here}, not {there}"));
        }
    }
    Ok(())
}

fn same<T: AsRef<str> + PartialEq>(what: &str, here: &[T], there: &[T]) -> Result<(), String> {
    if here == there {
        return Ok(());
    }
    let (here, there) = (list(here), list(there));
    Err(format!("its {what} are {here}, not {there}"))
}

fn list<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted = names.iter().map(|name| format!("`{}`", name.as_ref()));
    quoted.collect::<Vec<_>>().join(", ")
}

/// The inputs that every call must give, in order.
fn required(plan: &ServingPlan) -> Vec<String> {
    let plan = plan.describe();
    let columns = plan.columns.into_iter().filter(|column| column.required);
    let request_data = plan.request_data.into_iter().map(|field| field.name);
    let mut names: Vec<String> = columns
        .map(|column| column.name)
        .chain(request_data)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether rows of both outputs can stand in one list. A size that is only known when a model runs goes with any.
fn go_together(one: &OutputSpec, other: &OutputSpec) -> bool {
    match (&one.kind, &other.kind) {
        (OutputKind::Maps, OutputKind::Maps) => true,
        (OutputKind::Tensor { dtype: a, shape: s }, OutputKind::Tensor { dtype: b, shape: t }) => {
            let sizes = s.iter().zip(t).skip(1);
            let fits = |(s, t): (&i64, &i64)| s == t || *s < 0 || *t < 0;
            a == b && s.len() == t.len() && sizes.into_iter().all(fits)
        }
        (OutputKind::Maps, _) | (_, OutputKind::Maps) => false,
    }
}

fn describe(output: &OutputSpec) -> String {
    match &output.kind {
        OutputKind::Maps => "a map per row".to_owned(),
        OutputKind::Tensor { dtype, shape } => format!("{dtype} {shape:?}"),
    }
}
