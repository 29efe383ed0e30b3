//! `terrarium models`: what is registered, whether it would go live, and registering more.

mod alias;
mod check;
mod list;
mod register;
mod show;

use std::sync::Arc;

use super::Failed;
use super::output::Output;
use crate::app;
use crate::config::{Config, Environment};
use crate::http::models::LoadFailure;
use crate::models::registry::ModelRegistry;
use crate::models::{self, Loader};
use crate::predict::{self, Models, PlanBinder};
use crate::telemetry::metrics::Metrics;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the registered models and what is served of them
    List(list::Args),
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
    /// Register an ONNX file or a model directory as a new version, once it was tried
    Register(Box<register::Args>),
    /// Set and delete aliases
    #[command(subcommand)]
    Alias(alias::Command),
}

pub(super) async fn run(
    command: Command,
    config: Config,
    environment: Environment,
    output: Output,
) -> Result<(), Failed> {
    match command {
        Command::List(args) if args.registry => {
            list::registry(&*opened(&config, &environment)?, output).await
        }
        Command::List(_) => list::served(&*load_all(&config, &environment).await?, output),
        Command::Show { model } => {
            show::show(&*load_all(&config, &environment).await?, &model, output)
        }
        Command::Check { models } => {
            check::check(&loader(&config, &environment).await?, &models, output).await
        }
        Command::Register(args) => register::run(*args, &config, &environment, output).await,
        Command::Alias(command) => alias::run(command, &config, &environment, output).await,
    }
}

/// What models are loaded with, without a server.
struct Bench {
    runtime: crate::inference::Runtime,
    binder: PlanBinder,
    /// Whether there is a feature repository.
    has_features: bool,
}

impl Bench {
    async fn open(config: &Config, environment: &Environment) -> Result<Self, Failed> {
        // Plans are compiled from the registry alone; the online store need not be there.
        let features = app::open_feature_repo(config, environment);
        let features = features
            .await
            .map_err(|error| Failed::Start(format!("{error:#}")))?;
        let runtime = app::open_runtime(config, environment)
            .map_err(|error| Failed::Start(format!("{error:#}")))?;
        let has_features = features.is_some();
        let binder = PlanBinder::new(features, config.models.clone(), Arc::new(Metrics::new()));
        Ok(Self {
            runtime,
            binder,
            has_features,
        })
    }
}

/// What loads versions as the server does.
async fn loader(config: &Config, environment: &Environment) -> Result<Loader<PlanBinder>, Failed> {
    let Bench {
        runtime, binder, ..
    } = Bench::open(config, environment).await?;
    let registry = opened(config, environment)?;
    let loader = Loader::new(registry, runtime, binder, app::policy(config));
    Ok(loader.with_traffic(predict::traffic_rules(&config.models)))
}

async fn load_all(config: &Config, environment: &Environment) -> Result<Arc<Models>, Failed> {
    let loaded = loader(config, environment).await?.load_all().await;
    loaded.map_err(|error| Failed::start(&error))
}

/// A load failure on one line.
fn problem(error: &LoadFailure) -> String {
    match &error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message.clone(),
    }
}

/// The registry that is read.
fn opened(config: &Config, environment: &Environment) -> Result<Arc<dyn ModelRegistry>, Failed> {
    app::open_registry(config, environment).map_err(|error| Failed::Start(format!("{error:#}")))
}

/// The registry that is written to: the server at an address, else the configured one.
fn registry(
    address: Option<&str>,
    config: &Config,
    environment: &Environment,
) -> Result<models::register::Registry, Failed> {
    let variable = |name: &str| environment.get(name).map(str::to_owned);
    let registry = models::register::Registry::open(&configured(address, config), &variable);
    registry.map_err(|error| Failed::start(&error))
}

/// The registry at an address, else the configured one.
fn configured<'a>(
    address: Option<&str>,
    config: &'a Config,
) -> std::borrow::Cow<'a, models::registry::Config> {
    match address {
        Some(address) => std::borrow::Cow::Owned(models::registry::Config::at(address)),
        None => std::borrow::Cow::Borrowed(&config.registry),
    }
}

/// Exit code 2 for a command that could not be meant.
fn failed(error: &models::register::Error) -> Failed {
    match error.is_usage() {
        true => Failed::start(error),
        false => Failed::command(error),
    }
}
