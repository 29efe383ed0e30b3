//! `terrarium jobs`: enqueues calls and shows what became of jobs, over the queue itself; no server is needed.

mod enqueue;
mod list;
mod show;

use std::time::Duration;

use super::Failed;
use super::output::Output;
use crate::app;
use crate::config::{Config, Environment};
use crate::error::Failure;
use crate::jobs::{Client, JobId};
use crate::shutdown::Shutdown;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Queue a call of a function
    Enqueue(enqueue::Args),
    /// Show a job with its result
    Show(show::Args),
    /// List jobs, or watch them
    List(list::Args),
    /// Abort a job, be it queued or running
    Abort(show::One),
    /// Queue a dead job again, as if it were new
    Retry(show::One),
}

pub(super) async fn run(
    command: Command,
    config: Config,
    _: Environment,
    output: Output,
) -> Result<(), Failed> {
    let shutdown = Shutdown::new();
    let client = app::open_queue(&config, &shutdown)
        .await
        .map_err(|error| Failed::Start(format!("{error:#}")))?;
    let done = match command {
        Command::Enqueue(args) => enqueue::run(&client, args, output).await,
        Command::Show(args) => show::run(&client, &args, output).await,
        Command::List(args) => list::run(&client, &args, output).await,
        Command::Abort(args) => show::abort(&client, &args, output).await,
        Command::Retry(args) => show::retry(&client, &args, output).await,
    };
    shutdown.stop();
    done
}

fn failed(error: &dyn Failure) -> Failed {
    Failed::command(error)
}

fn id(text: &str) -> Result<JobId, Failed> {
    JobId::new(text).map_err(|error| Failed::start(&error))
}

/// The job once it has ended, however long that takes; or as it is after `wait`.
async fn wait(
    client: &Client,
    id: &JobId,
    wait: Duration,
) -> Result<Option<crate::jobs::View>, Failed> {
    client.wait(id, wait).await.map_err(|error| failed(&error))
}
