//! `terrarium features verify`: the online store held against what a training set would have.
//!
//! Exit codes: 0 all equal; 1 a feature differs; 2 nothing differs, but a view could not be read, or nothing was compared.

use std::num::NonZeroUsize;

use serde_json::{Map, Value as Json, json};

use super::Failed;
use super::historical;
use super::output::{Output, complain, remark};
use crate::error::{Failure, with_causes};
use crate::features::FeatureStore;
use crate::features::historical::Entities;
use crate::features::verify::{FeatureSkew, Mismatch, Report, Request, Scope, Side, ViewSkew};
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Only these feature views; may be repeated, or comma-separated [default: all that are online]
    #[arg(
        long = "view",
        value_name = "VIEW",
        value_delimiter = ',',
        conflicts_with = "service"
    )]
    views: Vec<String>,
    /// Only the features of a feature service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Entity keys of each feature view
    #[arg(long, value_name = "N", default_value = "1000")]
    sample: NonZeroUsize,
    /// Which keys: the same number chooses the same ones [default: others each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How far floating point numbers may lie apart, in proportion where they are above 1 [default: not at all]
    #[arg(
        long,
        value_name = "T",
        default_value_t = 0.0,
        hide_default_value = true
    )]
    tolerance: f64,
    /// Take the keys from here and not from the views' sources: a file of Parquet or CSV, or a query (`SELECT ...`) in the
    /// Postgres of the offline store
    #[arg(long, value_name = "FILE|QUERY")]
    entities: Option<String>,
}

pub(super) async fn run(
    store: &FeatureStore,
    verify: Verify,
    output: Output,
) -> Result<(), Failed> {
    if !(verify.tolerance >= 0.0 && verify.tolerance.is_finite()) {
        return Err(Failed::Start(format!(
            "`--tolerance` is {}, and must be a number from 0",
            verify.tolerance
        )));
    }
    let request = Request {
        scope: match verify.service {
            Some(service) => Scope::Service(service),
            None if verify.views.is_empty() => Scope::All,
            None => Scope::Views(verify.views),
        },
        sample: verify.sample,
        seed: verify.seed.unwrap_or_else(now),
        tolerance: verify.tolerance,
        entities: match &verify.entities {
            Some(entities) => Some(entity_rows(store, entities).await?),
            None => None,
        },
    };
    let report = store.verify(&request).await;
    let report = report.map_err(|error| Failed::start(&error))?;
    match output.is_json() {
        true => output.json(&json_of(&report, request.seed))?,
        false => show(&report, request.seed, output)?,
    }
    outcome(&report)
}

fn now() -> u64 {
    Timestamp::now().as_micros().unsigned_abs()
}

async fn entity_rows(store: &FeatureStore, text: &str) -> Result<Entities, Failed> {
    let types = store.join_key_types();
    historical::entities(store, text, types).await
}

/// A difference counts more than a view that could not be read.
fn outcome(report: &Report) -> Result<(), Failed> {
    let (n_mismatched, n_compared) = (report.n_mismatched(), report.n_compared());
    let n_failed = report.failed().count();
    if n_mismatched > 0 {
        let message = format!("{n_mismatched} of {n_compared} values differ online and offline");
        return Err(Failed::Command(Some(message)));
    }
    if n_failed > 0 {
        let message = format!("{n_failed} feature views could not be verified");
        return Err(Failed::Start(message));
    }
    match n_compared {
        0 => Err(Failed::Start(
            "nothing was compared: the online store has none of the entity keys".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn show(report: &Report, seed: u64, output: Output) -> Result<(), Failed> {
    let rows = report.features().map(|(view, feature)| {
        vec![
            format!("{view}:{}", feature.feature),
            feature.n_compared.to_string(),
            feature.n_equal().to_string(),
            feature.n_mismatched.to_string(),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    output.table(&["feature", "compared", "equal", "mismatched"], &rows)?;
    let differ = report.features().flat_map(|(view, feature)| {
        let examples = feature.examples.iter();
        examples.map(move |example| example_cells(view, feature, example))
    });
    let differ: Vec<Vec<String>> = differ.collect();
    if !differ.is_empty() {
        output.line("")?;
        let headings = [
            "mismatch",
            "entity key",
            "event timestamp",
            "online",
            "offline",
        ];
        output.table(&headings, &differ)?;
    }
    for (view, skew) in report.verified() {
        remark(&format!("{view}: {}", keys_of(skew)));
    }
    for one in &report.not_verified {
        remark(&format!("{}: not verified: {}", one.view, one.reason));
    }
    for (view, error) in report.failed() {
        complain(&format!("{view}: {}", explained(error)));
    }
    remark(&format!("the keys were chosen by `--seed {seed}`"));
    Ok(())
}

fn keys_of(skew: &ViewSkew) -> String {
    let mut text = format!("{} entity keys", skew.n_sampled);
    if skew.n_not_online > 0 {
        text = format!("{text}, {} of them not online", skew.n_not_online);
    }
    if skew.n_missed > 0 {
        text = format!("{text}, {} of which should be", skew.n_missed);
    }
    text
}

fn example_cells(view: &str, feature: &FeatureSkew, example: &Mismatch) -> Vec<String> {
    let key = example.entity_key.iter();
    let key = key.map(|(name, value)| format!("{name}={}", text(value)));
    vec![
        format!("{view}:{}", feature.feature),
        key.collect::<Vec<_>>().join(" "),
        example.event_timestamp.to_string(),
        side_text(&example.online),
        side_text(&example.offline),
    ]
}

fn side_text(side: &Side) -> String {
    match side {
        Side::Value(value) => text(value),
        Side::Missing | Side::Invalid => side.status().to_owned(),
    }
}

fn text(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}

fn explained(error: &crate::features::Error) -> String {
    let text = with_causes(error);
    match error.hint() {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}

fn json_of(report: &Report, seed: u64) -> Json {
    let views = report.views.iter().map(|view| match &view.outcome {
        Ok(skew) => json!({
            "view": view.view,
            "sampled": skew.n_sampled,
            "not_online": skew.n_not_online,
            "missed": skew.n_missed,
            "features": skew.features.iter().map(json_of_feature).collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "view": view.view, "error": explained(error) }),
    });
    let not_verified = report.not_verified.iter();
    let not_verified = not_verified.map(|one| json!({ "view": one.view, "reason": one.reason }));
    json!({
        "compared": report.n_compared(),
        "mismatched": report.n_mismatched(),
        "seed": seed,
        "views": views.collect::<Vec<_>>(),
        "not_verified": not_verified.collect::<Vec<_>>(),
    })
}

fn json_of_feature(feature: &FeatureSkew) -> Json {
    let examples = feature.examples.iter().map(|example| {
        let key = example.entity_key.iter();
        let key = key.map(|(name, value)| (name.clone(), json!(value)));
        json!({
            "entity_key": key.collect::<Map<_, _>>(),
            "event_timestamp": example.event_timestamp,
            "online": json_of_side(&example.online),
            "offline": json_of_side(&example.offline),
        })
    });
    json!({
        "feature": feature.feature,
        "compared": feature.n_compared,
        "equal": feature.n_equal(),
        "mismatched": feature.n_mismatched,
        "examples": examples.collect::<Vec<_>>(),
    })
}

fn json_of_side(side: &Side) -> Json {
    match side {
        Side::Value(value) => json!({ "status": side.status(), "value": value }),
        Side::Missing | Side::Invalid => json!({ "status": side.status() }),
    }
}
