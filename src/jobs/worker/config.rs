//! `[jobs.worker]`, `[jobs.functions.<name>]`: how much a worker runs at once, and how often it tries.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::handler::Function;

/// What workers do with jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "JobWorker")]
pub struct Config {
    /// Whether `terrarium serve` runs jobs too, beside answering requests.
    pub in_server: bool,
    /// Jobs of one worker at once.
    pub concurrency: NonZeroUsize,
    /// Longest that an attempt may take; then the job has failed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
    /// Attempts of a job that fails for a reason that may pass, such as a store that is away. What fails because of what the
    /// job says, or takes too long, is not tried again.
    pub tries: NonZeroU32,
    /// Pause after the first attempt, less up to a half by chance; it doubles with each further one.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub backoff: Duration,
    /// Longest such pause.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub max_backoff: Duration,
    /// How long results are kept; a job's id is taken for as long. `0s` for not at all.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub keep_result: Duration,
    /// Longest that running jobs may go on once the worker was told to stop; then they are handed back to the queue.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub drain_timeout: Duration,
    /// How often a worker says that it is there, in the queue's health-check key that `arq --check` looks for.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub health_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_server: true,
            concurrency: const { NonZeroUsize::new(64).unwrap() },
            timeout: Duration::from_secs(300),
            tries: const { NonZeroU32::new(5).unwrap() },
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            keep_result: Duration::from_secs(3600),
            drain_timeout: Duration::from_secs(20),
            health_interval: Duration::from_secs(10),
        }
    }
}

/// What one function has other than all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "JobFunction")]
pub struct FunctionConfig {
    /// In place of `jobs.worker.timeout`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub timeout: Option<Duration>,
    /// In place of `jobs.worker.tries`.
    pub tries: Option<NonZeroU32>,
    /// In place of `jobs.worker.backoff`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub backoff: Option<Duration>,
    /// In place of `jobs.worker.keep_result`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub keep_result: Option<Duration>,
}

/// What holds for the jobs of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) timeout: Duration,
    pub(super) tries: u32,
    pub(super) backoff: Backoff,
    pub(super) keep_result: Duration,
}

impl Policy {
    /// What is configured for the function, else what it asks for itself, else what holds for all.
    pub(super) fn new(
        config: &Config,
        own: Option<&FunctionConfig>,
        function: Option<&Function>,
    ) -> Self {
        let tries = own.and_then(|own| own.tries);
        let tries = tries.or(function.and_then(|function| function.tries));
        let own = |get: fn(&FunctionConfig) -> Option<Duration>| own.and_then(get);
        Self {
            timeout: own(|own| own.timeout)
                .or(function.and_then(|function| function.timeout))
                .unwrap_or(config.timeout),
            tries: tries.unwrap_or(config.tries).get(),
            backoff: Backoff {
                first: own(|own| own.backoff).unwrap_or(config.backoff),
                longest: config.max_backoff,
            },
            keep_result: own(|own| own.keep_result).unwrap_or(config.keep_result),
        }
    }
}
