//! `terrarium models check`: what keeps registered versions from going live.

use serde::Serialize;

use super::problem;
use super::show::show_loaded;
use crate::cli::output::Output;
use crate::cli::{Failed, explain};
use crate::error::Failure;
use crate::http::models::{Loaded, describe, describe_loaded};
use crate::models::Loader;
use crate::predict::{Models, PlanBinder};
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
    loader: &Loader<PlanBinder>,
    names: &[String],
    output: Output,
) -> Result<(), Failed> {
    let reports = match names {
        [] => {
            let loaded = loader.load_all().await;
            check_all(&*loaded.map_err(|error| Failed::start(&error))?)
        }
        names => check_named(loader, names).await?,
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
        for left_out in model.traffic.iter().flat_map(|traffic| &traffic.left_out) {
            let failure = &left_out.failure;
            let name = format!("{}@{}", model.name, left_out.alias);
            reports.push(Report::failed(name, failure.code, problem(failure)));
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

async fn check_named(loader: &Loader<PlanBinder>, names: &[String]) -> Result<Vec<Report>, Failed> {
    let mut reports = Vec::new();
    for name in names {
        let reference: ModelRef = name
            .parse()
            .map_err(|error| Failed::Start(format!("{error}")))?;
        reports.push(match loader.check(&reference).await {
            Ok(checked) => Report::ok(
                format!("{}:{}", checked.version.name, checked.version.version),
                describe_loaded(&checked.version, checked.aliases),
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
