//! The answers of several versions put together in the order of the rows. Pure.
//!
//! Outputs go by their place; names, types and row shapes must be the same. A feature that only some versions take is
//! `not_used` in the rows of the others. Of each step's time the longest counts.

use std::sync::Arc;
use std::time::Duration;

use crate::predict::error::Error;
use crate::types::feature::{FeatureCell, FeatureRows};
use crate::types::prediction::{NamedOutput, Prediction, Timings, VariantRows};
use crate::types::tensor::Output;

/// One prediction of `answers`, aligned with `variants`, which between them have every row once. There is at least one.
pub(super) fn merge(variants: &[VariantRows], answers: &[Prediction]) -> Result<Prediction, Error> {
    let order = order(variants);
    let first = &answers[0];
    let mut outputs = Vec::with_capacity(first.outputs.len());
    for (place, output) in first.outputs.iter().enumerate() {
        outputs.push(merge_output(answers, place, &output.name, &order)?);
    }
    let largest = variants
        .iter()
        .rev()
        .max_by_key(|variant| variant.rows.len());
    Ok(Prediction {
        id: first.id,
        served_by: largest.map_or_else(
            || first.served_by.clone(),
            |largest| largest.served_by.clone(),
        ),
        variants: variants.to_vec(),
        n_rows: order.len(),
        layout: first.layout,
        outputs,
        features: merge_features(answers, &order),
        timings: longest(answers),
        cached: answers.iter().all(|answer| answer.cached),
    })
}

/// For each row of the call its place among the rows of all answers, one answer behind the other.
fn order(variants: &[VariantRows]) -> Vec<usize> {
    let rows = variants.iter().flat_map(|variant| &variant.rows);
    let mut order = vec![0; rows.clone().count()];
    for (place, row) in rows.enumerate() {
        order[*row] = place;
    }
    order
}

fn merge_output(
    answers: &[Prediction],
    place: usize,
    name: &Arc<str>,
    order: &[usize],
) -> Result<NamedOutput, Error> {
    let disagree = |other: &Prediction, difference| Error::VersionsDisagree {
        output: name.to_string(),
        one: answers[0].served_by.version,
        other: other.served_by.version,
        difference,
    };
    let mut parts: Vec<&Output> = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer.outputs.get(place) {
            Some(output) if output.name == *name => parts.push(&output.output),
            _ => return Err(disagree(answer, "they have other outputs")),
        }
    }
    match Output::join_rows(&parts, order) {
        Some(output) => Ok(NamedOutput {
            name: Arc::clone(name),
            output,
        }),
        None => {
            let alone = |part: &&Output| Output::join_rows(&[parts[0], *part], &[]).is_none();
            let other = parts.iter().position(alone).unwrap_or_default();
            Err(disagree(&answers[other], "they have other types or shapes"))
        }
    }
}

fn merge_features(answers: &[Prediction], order: &[usize]) -> FeatureRows {
    let mut names: Vec<String> = Vec::new();
    for name in answers
        .iter()
        .flat_map(|answer| answer.features.names.iter())
    {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let mut rows: Vec<Vec<FeatureCell>> = Vec::with_capacity(order.len());
    for answer in answers {
        let features = &answer.features;
        let place = |name: &String| features.names.iter().position(|own| own == name);
        let places: Vec<Option<usize>> = names.iter().map(place).collect();
        for row in 0..answer.n_rows {
            let cells = places.iter().map(|place| match place {
                Some(place) => features.cell(row, *place).clone(),
                None => FeatureCell::not_used(),
            });
            rows.push(cells.collect());
        }
    }
    let mut cells = Vec::with_capacity(order.len() * names.len());
    for place in order {
        cells.append(&mut rows[*place]);
    }
    let with_features = answers
        .iter()
        .find(|answer| answer.features.n_features() > 0);
    FeatureRows {
        names: names.into(),
        n_rows: order.len(),
        cells,
        read_at: with_features.unwrap_or(&answers[0]).features.read_at,
    }
}

fn longest(answers: &[Prediction]) -> Timings {
    let longest = |step: fn(&Timings) -> Duration| {
        let steps = answers.iter().map(|answer| step(&answer.timings));
        steps.max().unwrap_or_default()
    };
    Timings {
        features: longest(|timings| timings.features),
        assemble: longest(|timings| timings.assemble),
        queue: longest(|timings| timings.queue),
        engine: longest(|timings| timings.engine),
        total: longest(|timings| timings.total),
    }
}
