//! The worker: claims jobs, runs them, settles them; whatever it holds it keeps alive or hands back.
//!
//! ```text
//! claim    as many jobs as there are free places, in one call; waits where there are none
//!   job    decode, run with a time limit, decide: a result, another attempt, or back to the queue
//!     settle   results of all jobs that have ended meanwhile, in one call
//! renew    extends the leases of everything that is held, until it is settled
//! abort    asks which of the running jobs somebody wants to end
//! cron     enqueues what is due by the calendar, under an id that all workers agree on
//! health   says in the queue that a worker is there
//! ```
//!
//! Invariants:
//! - a job that was claimed is settled by this worker, or its lease runs out;
//! - a job whose lease was lost is dropped without a result;
//! - a worker that is told to stop claims nothing more, and hands back what has not ended in time: the attempt does not count;
//! - while the queue is away running jobs go on, and their results are settled once it is back, if their leases still hold.
//!
//! Overload: a worker claims no more than it has places for.
//! Not here: what a job does (`JobHandler`), how jobs are kept (`JobQueue`).

mod abort;
mod backoff;
mod claim;
mod config;
mod cron;
mod ending;
mod handler;
mod health;
mod job;
mod outage;
mod renew;
mod running;
mod schedule;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::config::{Config, FunctionConfig};
pub use self::cron::Config as CronConfig;
pub use self::handler::{Call, Function, JobError, JobHandler};
pub use self::schedule::{Schedule, ScheduleError};

use self::config::Policy;
use self::cron::Planned;
use self::running::Running;
use super::{Client, Error, JobQueue};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::JobMetrics;

/// Runs the jobs of one queue.
pub struct Worker {
    shared: Arc<Shared>,
    cron: Vec<Planned>,
}

/// What the parts of a worker have in common.
struct Shared {
    client: Client,
    handler: Arc<dyn JobHandler>,
    config: Config,
    /// In bytes, as it is stored.
    max_result: usize,
    policies: HashMap<&'static str, Policy>,
    /// For jobs of which nobody knows the function.
    unknown: Policy,
    places: Arc<Semaphore>,
    running: Running,
    counts: Counts,
    metrics: JobMetrics,
    shutdown: Shutdown,
    /// What has not ended by now is handed back.
    release: CancellationToken,
    /// Everything is settled.
    done: CancellationToken,
}

/// As arq's workers count.
#[derive(Default)]
struct Counts {
    complete: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
}

/// What a worker is made from.
pub struct Parts<'a> {
    pub client: Client,
    pub handler: Arc<dyn JobHandler>,
    pub config: &'a super::Config,
    pub metrics: JobMetrics,
    pub shutdown: Shutdown,
}

impl Worker {
    /// Errors: settings for functions that there are not, or a cron job of one.
    pub fn new(parts: Parts<'_>) -> Result<Self, Error> {
        let functions = parts.handler.functions();
        let is_known = |name: &str| functions.iter().any(|function| function.name == name);
        let config = parts.config;
        if let Some(name) = config.functions.keys().find(|name| !is_known(name)) {
            return Err(unknown(&format!("jobs.functions.{name}"), name, functions));
        }
        let mut cron = Vec::with_capacity(config.cron.len());
        for (name, config) in &config.cron {
            if !is_known(&config.function) {
                let option = format!("jobs.cron.{name}.function");
                return Err(unknown(&option, &config.function, functions));
            }
            cron.push(Planned::new(name, config)?);
        }
        let policies = functions.iter().map(|function| {
            let own = config.functions.get(function.name);
            let policy = Policy::new(&config.worker, own, Some(function));
            (function.name, policy)
        });
        let shared = Shared {
            policies: policies.collect(),
            unknown: Policy::new(&config.worker, None, None),
            client: parts.client,
            handler: parts.handler,
            places: Arc::new(Semaphore::new(config.worker.concurrency.get())),
            config: config.worker.clone(),
            max_result: config.max_result_size.as_usize(),
            running: Running::default(),
            counts: Counts::default(),
            metrics: parts.metrics,
            shutdown: parts.shutdown,
            release: CancellationToken::new(),
            done: CancellationToken::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            cron,
        })
    }

    /// Works until the shutdown is told to stop and everything that was claimed is settled or handed back.
    pub async fn run(self) {
        let Self { shared, cron } = self;
        tracing::info!(
            queue = shared.queue().describe(),
            concurrency = shared.config.concurrency,
            "the worker takes jobs"
        );
        let (settlements, receiver) = mpsc::channel(shared.config.concurrency.get());
        let spawn = &shared.shutdown;
        spawn.spawn("job leases", renew::run(Arc::clone(&shared)));
        spawn.spawn("job aborts", abort::run(Arc::clone(&shared)));
        spawn.spawn("job health", health::run(Arc::clone(&shared)));
        spawn.spawn("job cron", cron::run(Arc::clone(&shared), cron));
        spawn.spawn("job drain", release_late(Arc::clone(&shared)));
        let settling = settle::run(&shared, receiver);
        tokio::join!(claim::run(&shared, settlements), settling);
        shared.done.cancel();
        tracing::info!("the worker has stopped");
    }
}

/// Once the worker is told to stop, jobs have so long to end by themselves.
async fn release_late(shared: Arc<Shared>) {
    shared.shutdown.stopped().await;
    tokio::select! {
        () = shared.done.cancelled() => return,
        () = tokio::time::sleep(shared.config.drain_timeout) => {}
    }
    tracing::info!(
        running = shared.running.len(),
        limit = ?shared.config.drain_timeout,
        "jobs that have not ended go back to the queue"
    );
    shared.release.cancel();
}

impl Shared {
    fn queue(&self) -> &dyn JobQueue {
        self.client.queue()
    }

    fn policy(&self, function: &str) -> Policy {
        self.policies.get(function).copied().unwrap_or(self.unknown)
    }

    /// The function's name if there is such a function, for labels.
    fn label(&self, function: &str) -> &'static str {
        let known = self.policies.get_key_value(function);
        known.map_or("", |(name, _)| name)
    }

    /// Waits, unless everything is settled before; `false` then.
    async fn pause(&self, pause: std::time::Duration) -> bool {
        tokio::select! {
            () = self.done.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    fn n_places(&self) -> NonZeroUsize {
        self.config.concurrency
    }
}

fn unknown(option: &str, function: &str, functions: &[Function]) -> Error {
    let names: Vec<&str> = functions.iter().map(|function| function.name).collect();
    Error::Settings {
        what: format!(
            "`{option}`: there is no function `{function}`; there are {}",
            names.join(", ")
        ),
    }
}
