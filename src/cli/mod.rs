//! The command line: one file per command.
//!
//! Exit codes: 0 done; 1 the command ran and failed (a model that does not bind, a refused prediction); 2 wrong usage,
//! configuration, or something that the start needs is missing.

mod audit;
mod cluster;
mod config;
mod features;
mod historical;
mod jobs;
mod models;
mod output;
mod predict;
mod push;
mod request;
mod score;
mod serve;
mod verify;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Environment, Loaded, Sources};
use crate::error::Failure;
use crate::memory::IDLE_THREAD;
use crate::telemetry::logging;
use output::Output;

/// Feature and model serving runtime: MLflow ONNX models fed by Feast's online store.
#[derive(Debug, Parser)]
#[command(name = "terrarium", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Nobody waits for a command but the one who started it, who can stop it.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

const AFTER_HELP: &str = "\
Without a configuration file, `terrarium.toml`, `feature_repo/` and `models/` of the current directory are used.
Exit codes: 0 done, 1 the command failed, 2 wrong usage or configuration.";

#[derive(Debug, Args)]
struct Global {
    /// Configuration file [default: terrarium.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one configuration value, such as `http.listen=127.0.0.1:9000`; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the models over HTTP
    Serve,
    /// Run the jobs of a queue
    Worker(worker::Args),
    /// Give the tasks of joins and batch scores to executors: a Ballista scheduler that knows them
    Scheduler(cluster::Scheduler),
    /// Run the tasks of joins and batch scores: a Ballista executor that knows them
    Executor(cluster::Executor),
    /// Ask a model for a prediction, in this process
    Predict(predict::Args),
    /// Score files of entity rows: with a model's outputs, and features as they were or are
    Score(score::Args),
    /// List, show, check and register models
    #[command(subcommand)]
    Models(models::Command),
    /// Read, load and write features
    #[command(subcommand)]
    Features(features::Command),
    /// Enqueue, show, list, abort and retry jobs
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Look at the audit trail, verify it, replay it
    #[command(subcommand)]
    Audit(audit::Command),
    /// Check and print the configuration
    #[command(subcommand)]
    Config(config::Command),
}

/// How a command ends when it does not succeed.
enum Failed {
    /// Exit code 1: the command ran, and this is what it found. Said already, or with this message.
    Command(Option<String>),
    /// Exit code 2: the command could not start.
    Start(String),
}

impl Failed {
    fn start(failure: &dyn Failure) -> Self {
        Self::Start(explain(failure))
    }

    fn command(failure: &dyn Failure) -> Self {
        Self::Command(Some(explain(failure)))
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        // The reader of our output left: nothing more to say, and nothing wrong.
        let quiet = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self::Command((!quiet).then(|| error.to_string()))
    }
}

/// Message and hint in one line.
fn explain(failure: &dyn Failure) -> String {
    let mut text = failure.to_string();
    if let Some(hint) = failure.hint() {
        text = format!("{text} ({hint})");
    }
    text
}

/// Runs the command and gives the exit code.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Command(message)) => {
            if let Some(message) = message {
                output::complain(&message);
            }
            ExitCode::from(1)
        }
        Err(Failed::Start(message)) => {
            output::complain(&message);
            ExitCode::from(2)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failed> {
    let environment = Environment::of_process();
    let output = Output::new(cli.global.json);
    if let Command::Config(command) = cli.command {
        return config::run(command, &cli.global, &environment, output);
    }
    let config = load(&cli.global, &environment)?;
    let log = match cli.command {
        Command::Serve | Command::Worker(_) | Command::Scheduler(_) | Command::Executor(_) => {
            config.log.clone()
        }
        _ => quiet(&config.log),
    };
    logging::init(&log).map_err(|error| Failed::start(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .build()
        .map_err(|error| Failed::Start(format!("the async runtime does not start: {error}")))?;
    runtime.block_on(async {
        match cli.command {
            Command::Serve => serve::run(config, environment).await,
            Command::Worker(args) => worker::run(args, config, environment).await,
            Command::Scheduler(args) => cluster::run_scheduler(args).await,
            Command::Executor(args) => cluster::run_executor(args, config, environment).await,
            Command::Jobs(command) => jobs::run(command, config, environment, output).await,
            Command::Predict(args) => predict::run(args, config, environment, output).await,
            Command::Score(args) => Box::pin(score::run(args, config, environment, output)).await,
            Command::Models(command) => models::run(command, config, environment, output).await,
            Command::Features(command) => features::run(command, config, environment, output).await,
            Command::Audit(command) => {
                Box::pin(audit::run(command, config, environment, output)).await
            }
            Command::Config(_) => Ok(()),
        }
    })
}

/// Only warnings, unless the configuration asks for something: what a command prints is its result.
fn quiet(config: &logging::Config) -> logging::Config {
    let mut config = config.clone();
    if config.filter == logging::Filter::default() {
        config.filter = logging::Filter::warnings();
    }
    config
}

fn load(global: &Global, environment: &Environment) -> Result<Config, Failed> {
    load_from(global, environment).map(|loaded| loaded.config)
}

fn load_from(global: &Global, environment: &Environment) -> Result<Loaded<Config>, Failed> {
    let sources = Sources {
        file: global.config.as_deref(),
        directory: Path::new(""),
        environment,
        flags: &global.settings,
    };
    crate::config::load(&sources).map_err(|error| Failed::start(&error))
}
