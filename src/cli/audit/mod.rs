//! `terrarium audit`: looks at the trail of predictions.

mod query;
mod replay;
mod schema;
mod tail;
mod verify;

use super::Failed;
use super::output::Output;
use crate::audit::topic;
use crate::config::{Config, Environment};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print audit events as they come, one JSON object on a line
    Tail(tail::Args),
    /// Prove that no event is missing: exit code 1 if one is, or is damaged
    Verify(verify::Args),
    /// Ask the recorded predictions in SQL
    Query(query::Args),
    /// Answer recorded predictions with another version, from the features that they had, and tell what differs
    Replay(replay::Args),
    /// Print the schema of the events
    Schema(schema::Args),
}

pub(super) async fn run(
    command: Command,
    config: Config,
    environment: Environment,
    output: Output,
) -> Result<(), Failed> {
    match command {
        Command::Tail(args) => tail::run(args, config, output).await,
        Command::Verify(args) => verify::run(args, config, output).await,
        Command::Query(args) => query::run(args, &config, output).await,
        Command::Replay(args) => Box::pin(replay::run(args, config, environment, output)).await,
        Command::Schema(args) => schema::run(&args, output),
    }
}

/// Where the topic is.
fn topic(config: Config) -> Result<topic::Config, Failed> {
    let missing = "there is no topic: `[audit.kafka]` is not set (set `audit.kafka.brokers` and `audit.kafka.topic`)";
    let topic = config.audit.kafka;
    topic.ok_or_else(|| Failed::Start(missing.into()))
}
