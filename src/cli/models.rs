//! `terrarium models`: list, show and check.

use std::sync::Arc;

use serde::Serialize;

use super::output::Output;
use super::{Failed, explain};
use crate::app;
use crate::config::{Config, Environment};
use crate::error::Failure;
use crate::http::models::{
    LoadFailure, Loaded, Model, ModelList, Traffic, Version, describe, describe_loaded,
};
use crate::models;
use crate::predict::{self, Models, PlanBinder};
use crate::telemetry::metrics::Metrics;
use crate::types::names::ModelRef;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the registered models and what is served of them
    List,
    /// Show one model: versions, serving plan, outputs
    Show {
        /// `name`, `name@alias` or `name:version`
        model: String,
    },
    /// Load models as the server would and say what keeps them from going live; exit code 1 if something does
    Check {
        /// `name`, `name@alias` or `name:version` [default: everything that would be served]
        models: Vec<String>,
    },
}

pub(super) async fn run(
    command: Command,
    config: Config,
    environment: Environment,
    output: Output,
) -> Result<(), Failed> {
    let bench = Bench::open(&config, &environment).await?;
    match command {
        Command::List => list(&bench.load_all(&config).await?, output),
        Command::Show { model } => show(&bench.load_all(&config).await?, &model, output),
        Command::Check { models } => check(&bench, &config, &models, output).await,
    }
}

/// What models are loaded with, without a server.
struct Bench {
    runtime: crate::inference::Runtime,
    binder: PlanBinder,
}

impl Bench {
    async fn open(config: &Config, environment: &Environment) -> Result<Self, Failed> {
        // Plans are compiled from the registry alone; the online store need not be there.
        let features = app::open_feature_repo(&config.features, environment);
        let features = features
            .await
            .map_err(|error| Failed::Start(format!("{error:#}")))?;
        let runtime = app::open_runtime(config, environment)
            .map_err(|error| Failed::Start(format!("{error:#}")))?;
        let binder = PlanBinder::new(features, config.models.clone(), Arc::new(Metrics::new()));
        Ok(Self { runtime, binder })
    }

    async fn load_all(&self, config: &Config) -> Result<Models, Failed> {
        let catalog = predict::catalog(&config.models);
        let registry = config.registry.connect();
        models::load_into(
            &catalog,
            &*registry,
            &self.runtime,
            &self.binder,
            &config.serving,
        )
        .await
        .map_err(|error| Failed::start(&error))?;
        Ok(catalog)
    }
}

fn list(catalog: &Models, output: Output) -> Result<(), Failed> {
    let models: Vec<Model> = catalog
        .models()
        .iter()
        .map(|model| describe(model))
        .collect();
    if output.is_json() {
        return Ok(output.json(&ModelList { models })?);
    }
    let mut rows = Vec::new();
    for model in &models {
        if let Some(error) = &model.error {
            rows.push(vec![
                model.name.clone(),
                "-".into(),
                "failed".into(),
                String::new(),
                error.message.clone(),
            ]);
        }
        for version in &model.versions {
            let serves = model
                .serving
                .as_ref()
                .is_some_and(|serving| serving.version == version.version);
            let aliases = model
                .aliases
                .iter()
                .filter(|(_, target)| **target == version.version);
            rows.push(vec![
                model.name.clone(),
                version.version.clone(),
                if serves && version.state == "loaded" {
                    "serving".into()
                } else {
                    version.state.into()
                },
                aliases
                    .map(|(alias, _)| alias.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
                version
                    .error
                    .as_ref()
                    .map_or_else(String::new, |error| error.message.clone()),
            ]);
        }
    }
    Ok(output.table(&["model", "version", "state", "aliases", "error"], &rows)?)
}

fn show(catalog: &Models, name: &str, output: Output) -> Result<(), Failed> {
    let model =
        crate::http::models::find(catalog, name).map_err(|error| Failed::command(&error))?;
    if output.is_json() {
        return Ok(output.json(&model)?);
    }
    if let Some(traffic) = &model.traffic {
        show_traffic(&model.name, traffic, output)?;
    }
    for version in &model.versions {
        show_version(&model.name, version, output)?;
    }
    match &model.error {
        None => Ok(()),
        Some(error) => Err(Failed::Command(Some(format!("{name}: {}", problem(error))))),
    }
}

/// A load failure on one line.
fn problem(error: &LoadFailure) -> String {
    match &error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message.clone(),
    }
}

fn show_traffic(name: &str, traffic: &Traffic, output: Output) -> Result<(), Failed> {
    output.line(&format!("{name} (traffic)"))?;
    for share in &traffic.shares {
        let alias = share.alias.as_deref().unwrap_or("highest version");
        let percent = share.share * 100.0;
        output.line(&format!(
            "  {alias}: version {}, {percent:.1} %",
            share.version
        ))?;
    }
    for shadow in &traffic.shadows {
        let alias = shadow.alias.as_deref().unwrap_or_default();
        output.line(&format!("  {alias}: version {}, shadow", shadow.version))?;
    }
    for left_out in &traffic.left_out {
        output.line(&format!(
            "  {}: {}",
            left_out.failure.code,
            problem(&left_out.failure)
        ))?;
    }
    Ok(())
}

fn show_version(name: &str, version: &Version, output: Output) -> Result<(), Failed> {
    output.line(&format!("{name}:{} ({})", version.version, version.state))?;
    if let Some(error) = &version.error {
        output.line(&format!("  {}: {}", error.code, error.message))?;
        if let Some(hint) = &error.hint {
            output.line(&format!("  {hint}"))?;
        }
    }
    match &version.loaded {
        Some(loaded) => show_loaded(loaded, output),
        None => Ok(()),
    }
}

fn show_loaded(loaded: &Loaded, output: Output) -> Result<(), Failed> {
    if !loaded.aliases.is_empty() {
        output.line(&format!("  aliases: {}", loaded.aliases.join(", ")))?;
    }
    for entity in &loaded.plan.entities {
        let views = entity.views.join(", ");
        output.line(&format!(
            "  entity {} ({}), for {views}",
            entity.name, entity.value_type
        ))?;
    }
    for column in &loaded.plan.columns {
        let source = match &column.feature {
            Some(feature) => format!("feature {feature}"),
            None => column.source.to_owned(),
        };
        output.line(&format!(
            "  input {} ({}) from {source}",
            column.name, column.dtype
        ))?;
    }
    for name in &loaded.plan.outputs {
        output.line(&format!("  output {name}"))?;
    }
    Ok(())
}

/// The report on one version.
#[derive(Serialize)]
struct Report {
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
    fn ok(model: String, version: Loaded) -> Self {
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

async fn check(
    bench: &Bench,
    config: &Config,
    names: &[String],
    output: Output,
) -> Result<(), Failed> {
    let reports = match names {
        [] => check_all(&bench.load_all(config).await?),
        names => check_named(bench, config, names).await?,
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

async fn check_named(
    bench: &Bench,
    config: &Config,
    names: &[String],
) -> Result<Vec<Report>, Failed> {
    let registry = config.registry.connect();
    let mut reports = Vec::new();
    for name in names {
        let reference: ModelRef = name
            .parse()
            .map_err(|error| Failed::Start(format!("{error}")))?;
        let checked = models::check_one(
            &*registry,
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
