//! `terrarium models check`: what keeps registered versions from going live.

use serde::Serialize;

use super::show::show_loaded;
use super::{Bench, problem};
use crate::cli::output::Output;
use crate::cli::{Failed, explain};
use crate::config::Config;
use crate::error::Failure;
use crate::http::models::{Loaded, describe, describe_loaded};
use crate::models;
use crate::models::registry::ModelRegistry;
use crate::predict::Models;
use crate::types::names::ModelRef;

/// The report on one version.
#[derive(Serialize)]
pub(super) struct Report {
    model: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Loaded>,
}

impl Report {
    pub(super) fn ok(model: String, version: Loaded) -> Self {
        Self {
            model,
            ok: true,
            code: None,
            problem: None,
            version: Some(version),
        }
    }

    fn failed(model: String, code: &'static str, problem: String) -> Self {
        Self {
            model,
            ok: false,
            code: Some(code),
            problem: Some(problem),
            version: None,
        }
    }
}

pub(super) async fn check(
    bench: &Bench,
    registry: &dyn ModelRegistry,
    config: &Config,
    names: &[String],
    output: Output,
) -> Result<(), Failed> {
    let reports = match names {
        [] => check_all(&bench.load_all(registry, config).await?),
        names => check_named(bench, registry, config, names).await?,
    };
    if reports.is_empty() {
        return Err(Failed::Command(Some(
            "there is no model in the registry".to_owned(),
        )));
    }
    print(&reports, output)?;
    match reports.iter().filter(|report| !report.ok).count() {
        0 => Ok(()),
        n => Err(Failed::Command(Some(format!(
            "{n} of {} would not go live",
            reports.len()
        )))),
    }
}

/// Everything that the server would load.
fn check_all(catalog: &Models) -> Vec<Report> {
    let mut reports = Vec::new();
    for status in catalog.models() {
        let model = describe(&status);
        if let Some(error) = &model.error {
            reports.push(Report::failed(
                model.name.clone(),
                error.code,
                problem(error),
            ));
        }
        for version in model.versions {
            let name = format!("{}:{}", model.name, version.version);
            match (version.loaded, version.error) {
                (Some(loaded), _) => reports.push(Report::ok(name, loaded)),
                (None, Some(error)) => {
                    reports.push(Report::failed(name, error.code, problem(&error)))
                }
                (None, None) => {}
            }
        }
    }
    reports
}

async fn check_named(
    bench: &Bench,
    registry: &dyn ModelRegistry,
    config: &Config,
    names: &[String],
) -> Result<Vec<Report>, Failed> {
    let mut reports = Vec::new();
    for name in names {
        let reference: ModelRef = name
            .parse()
            .map_err(|error| Failed::Start(format!("{error}")))?;
        let checked = models::check_one(
            registry,
            &bench.runtime,
            &bench.binder,
            &config.serving,
            &reference,
        )
        .await;
        reports.push(match checked {
            Ok(version) => Report::ok(
                format!("{}:{}", version.name, version.version),
                describe_loaded(&version),
            ),
            Err(error) => Report::failed(reference.to_string(), error.code(), explain(&error)),
        });
    }
    Ok(reports)
}

fn print(reports: &[Report], output: Output) -> Result<(), Failed> {
    if output.is_json() {
        return Ok(output.json(&reports)?);
    }
    for report in reports {
        match &report.problem {
            None => output.line(&format!("{}: ok", report.model))?,
            Some(problem) => output.line(&format!("{}: {problem}", report.model))?,
        }
        if let Some(version) = &report.version {
            show_loaded(version, output)?;
        }
    }
    Ok(())
}
