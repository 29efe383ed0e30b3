//! `terrarium audit`: looks at the trail of predictions.

mod tail;

use super::Failed;
use super::output::Output;
use crate::config::Config;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print audit events as they come, one JSON object on a line
    Tail(tail::Args),
}

pub(super) async fn run(command: Command, config: Config, output: Output) -> Result<(), Failed> {
    match command {
        Command::Tail(args) => tail::run(args, config, output).await,
    }
}
