//! `terrarium scheduler` and `terrarium executor`: the processes of a cluster.
//!
//! Not here: what they run (`features::cluster`, `predict::score`).

#[cfg(feature = "cluster")]
mod cores;
#[cfg(feature = "cluster")]
mod executor;
#[cfg(feature = "cluster")]
mod scheduler;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Failed;
use crate::config::{Config, Environment};
use crate::features::cluster::Scheduler as Address;
use crate::types::byte_size::ByteSize;

#[derive(Debug, clap::Args)]
pub(super) struct Scheduler {
    /// Listen for clients and executors here
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50050")]
    bind: SocketAddr,
    /// What executors call this machine [default: the host of `--bind`]
    #[arg(long, value_name = "HOST")]
    external_host: Option<String>,
    /// Run the tasks of an executor elsewhere that has been silent for so long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    executor_timeout: Duration,
    /// Keep the results of jobs that nobody took for so long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    keep_results: Duration,
}

#[derive(Debug, clap::Args)]
pub(super) struct Executor {
    /// The scheduler, `df://host:port` [default: `offline.cluster.scheduler`]
    #[arg(long, value_name = "ADDRESS")]
    scheduler: Option<Address>,
    /// Give out results here
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50051")]
    bind: SocketAddr,
    /// Take tasks from the scheduler on this port of the same host
    #[arg(long, value_name = "PORT", default_value_t = 50052)]
    task_port: u16,
    /// What clients, the scheduler and other executors call this machine [default: where it connects from]
    #[arg(long, value_name = "HOST")]
    external_host: Option<String>,
    /// Tasks at once [default: one for each core]
    #[arg(long, value_name = "N")]
    vcores: Option<std::num::NonZeroUsize>,
    /// Memory of all tasks together; what does not fit is written to disk [default: 70 % of the machine's]
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<ByteSize>,
    /// Where shuffles and results lie until they are fetched [default: a temporary directory]
    #[arg(long, value_name = "DIRECTORY")]
    work_dir: Option<PathBuf>,
    /// Tell the scheduler so often that this is alive
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    heartbeat: Duration,
}

#[cfg(feature = "cluster")]
pub(super) async fn run_scheduler(args: Scheduler) -> Result<(), Failed> {
    hear_of_ballista()?;
    scheduler::run(args).await
}

#[cfg(feature = "cluster")]
pub(super) async fn run_executor(
    args: Executor,
    config: Config,
    environment: Environment,
) -> Result<(), Failed> {
    hear_of_ballista()?;
    executor::run(args, config, environment).await
}

/// Ballista writes to another log.
#[cfg(feature = "cluster")]
fn hear_of_ballista() -> Result<(), Failed> {
    tracing_log::LogTracer::init()
        .map_err(|error| Failed::Start(format!("logging is set up twice: {error}")))
}

/// Time-outs are whole seconds there, and none is no time-out.
#[cfg(feature = "cluster")]
fn seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}

#[cfg(not(feature = "cluster"))]
const NOT_BUILT: &str = "this binary was built without feature `cluster`";

#[cfg(not(feature = "cluster"))]
#[expect(clippy::unused_async, reason = "as the one that runs")]
pub(super) async fn run_scheduler(_: Scheduler) -> Result<(), Failed> {
    Err(Failed::Start(NOT_BUILT.to_owned()))
}

#[cfg(not(feature = "cluster"))]
#[expect(clippy::unused_async, reason = "as the one that runs")]
pub(super) async fn run_executor(_: Executor, _: Config, _: Environment) -> Result<(), Failed> {
    Err(Failed::Start(NOT_BUILT.to_owned()))
}
