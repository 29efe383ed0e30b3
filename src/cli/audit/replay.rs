//! `terrarium audit replay`: what a version answers to the feature values of recorded predictions.
//!
//! The features are those of the event, given as overrides: nothing that the stores hold today decides an answer. A version
//! that wants a feature that was not recorded cannot be replayed, and that is told. Replaying leaves no audit events.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::{Failed, Output};
use crate::app::App;
use crate::audit::read;
use crate::audit::topic::{self, Begin, End};
use crate::config::{Config, Environment};
use crate::predict::replay::{self, Comparison};
use crate::shutdown::run_blocking;
use crate::types::deadline::Deadline;
use crate::types::names::ModelRef;
use crate::types::timestamp::Timestamp;

/// Whoever waits for the command ends it.
const NO_LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The version that answers: `name@alias` or `name:version`
    #[arg(long)]
    model: String,
    /// Predictions that were made since so long ago
    #[arg(long, value_name = "AGO", default_value = "1h", value_parser = humantime::parse_duration)]
    since: Duration,
    /// Where the events are read from
    #[arg(long, value_enum, default_value_t = Source::Files)]
    from: Source,
    /// The directory of `--from files`, instead of `audit.file.directory`
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Predictions that are replayed at most; the oldest go first
    #[arg(long, default_value_t = 10_000)]
    limit: usize,
    /// Also write the differences as a page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// The files of `[audit.file]`
    Files,
    /// The Kafka topic of `[audit.kafka]`, in any format but `connect_json`
    Topic,
}

pub(super) async fn run(
    args: Args,
    config: Config,
    environment: Environment,
    output: Output,
) -> Result<(), Failed> {
    let selection = Selection::of(&args);
    let events = recorded(&args, &config, selection).await?;
    let comparison = replayed(&args, config, &environment, &events).await?;
    if let Some(path) = &args.report {
        fs_err::write(path, replay::page(&args.model, &comparison.summary()))?;
    }
    if output.is_json() {
        return Ok(output.json(&comparison.summary())?);
    }
    for line in comparison.lines() {
        output.line(&line)?;
    }
    Ok(())
}

/// Which events are replayed.
#[derive(Debug, Clone)]
struct Selection {
    model: String,
    since: Timestamp,
    limit: usize,
}

impl Selection {
    fn of(args: &Args) -> Self {
        let name = args.model.split(['@', ':']).next().unwrap_or_default();
        let micros = i64::try_from(args.since.as_micros()).unwrap_or(i64::MAX);
        let since = Timestamp::now().as_micros().saturating_sub(micros);
        Self {
            model: name.to_owned(),
            since: Timestamp::from_micros(since),
            limit: args.limit,
        }
    }

    /// Answered predictions of the model; runs of shadow versions answered nobody, and files hold their rows themselves.
    fn takes(&self, event: &Value) -> bool {
        let time = event["time"]
            .as_str()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok());
        event["status"] == "ok"
            && event["shadow_of"].is_null()
            && event["batch"].is_null()
            && event["model"]["name"] == self.model.as_str()
            && time.is_some_and(|time| time.as_microsecond() >= self.since.as_micros())
    }
}

async fn recorded(
    args: &Args,
    config: &Config,
    selection: Selection,
) -> Result<Vec<Value>, Failed> {
    let read = match args.from {
        Source::Topic => {
            let (topic, since) = (super::topic(config.clone())?, args.since);
            run_blocking(move || of_topic(&topic, since, &selection)).await
        }
        Source::Files => {
            let configured = || config.audit.file.directory.clone();
            let directory = args.directory.clone().unwrap_or_else(configured);
            run_blocking(move || of_files(&directory, &selection)).await
        }
    };
    let events = read.map_err(|error| Failed::Command(Some(error.to_string())))??;
    if events.is_empty() {
        let since = humantime::format_duration(args.since);
        let nothing = format!(
            "no prediction of `{}` was recorded in the last {since}",
            args.model
        );
        return Err(Failed::Command(Some(nothing)));
    }
    Ok(events)
}

fn of_files(directory: &std::path::Path, selection: &Selection) -> Result<Vec<Value>, Failed> {
    let mut events = Vec::new();
    for event in read::events(directory).map_err(|error| Failed::command(&error))? {
        let event = event.map_err(|error| Failed::command(&error))?;
        if events.len() < selection.limit && selection.takes(&event) {
            events.push(event);
        }
    }
    Ok(events)
}

fn of_topic(
    topic: &topic::Config,
    since: Duration,
    selection: &Selection,
) -> Result<Vec<Value>, Failed> {
    let mut events = Vec::new();
    let read = topic::events(topic, Begin::Ago(since), End::Last);
    for event in read.map_err(|error| Failed::command(&error))? {
        let event = event.map_err(|error| Failed::command(&error))?;
        if let Some(event) = event.json
            && events.len() < selection.limit
            && selection.takes(&event)
        {
            events.push(event);
        }
    }
    Ok(events)
}

/// Answers each event anew, in this process, with a trail of its own that is thrown away.
async fn replayed(
    args: &Args,
    mut config: Config,
    environment: &Environment,
    events: &[Value],
) -> Result<Comparison, Failed> {
    let trail = std::env::temp_dir().join(format!("terrarium-replay-{}", uuid::Uuid::now_v7()));
    config.audit.kafka = None;
    config.audit.file.directory.clone_from(&trail);
    config.audit.spool.directory = None;
    let app = App::start(config, environment)
        .await
        .map_err(|error| Failed::Start(format!("{error:#}")))?;
    let compared = compare(&app, &args.model, events).await;
    app.stop().await;
    // It is this process's alone.
    if let Err(error) = fs_err::remove_dir_all(&trail) {
        tracing::warn!(%error, "the replay's own audit files are left");
    }
    compared
}

async fn compare(app: &App, model: &str, events: &[Value]) -> Result<Comparison, Failed> {
    let model = model
        .parse::<ModelRef>()
        .map_err(|error| Failed::Command(Some(error.to_string())))?;
    let resolved = app.api().predictor.models().resolve(&model);
    let version = resolved.map_err(|error| Failed::command(&error))?.version;
    let deadline = Deadline::after(NO_LIMIT);
    Ok(replay::compare(&version, events, deadline).await)
}
