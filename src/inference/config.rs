//! `[inference]`: where the ONNX Runtime library is and how many runs may go on at once.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::batcher::{Cores, Limits};
use super::providers::Provider;

/// How models are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The ONNX Runtime library, version 1.24 or later. Without it: `ORT_DYLIB_PATH`, else
    /// `.terrarium/lib/libonnxruntime.so` below the working directory or a folder above the executable, else the
    /// system's.
    pub library: Option<PathBuf>,
    /// How many runs of one model go on at once; each holds its own copy of the weights. Without it, as many as this
    /// process has cores: CPU affinity and the cgroup's quota count, not the machine's cores.
    pub threads: Option<NonZeroUsize>,
    /// How many calls of one model may wait for a free engine. More are refused as overloaded.
    pub max_waiting: NonZeroUsize,
    /// How many rows they may have between them. A single call may have more.
    pub max_waiting_rows: NonZeroUsize,
    /// Threads within one run, for models that do not state it themselves. More than one helps only large models
    /// under little load.
    pub intra_op_threads: NonZeroUsize,
    /// What becomes of the memory that runs needed.
    pub arena: Arena,
    /// What runs models, the first that the library and the machine have. The CPU is always the last.
    pub providers: Vec<Provider>,
}

/// What becomes of the memory that runs of a model needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arena {
    /// It stays with the model for its next runs: fastest, and as large as the largest run made it.
    #[default]
    Keep,
    /// What a run leaves unused goes back after it.
    Shrink,
    /// There is no such memory: each run asks the system's allocator.
    Off,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            library: None,
            threads: None,
            max_waiting: const { NonZeroUsize::new(256).unwrap() },
            max_waiting_rows: const { NonZeroUsize::new(65_536).unwrap() },
            intra_op_threads: NonZeroUsize::MIN,
            arena: Arena::default(),
            providers: vec![Provider::Cpu],
        }
    }
}

impl Config {
    pub(super) fn engines_per_model(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(available_cores)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            calls: self.max_waiting,
            rows: self.max_waiting_rows,
        }
    }

    /// As many as there are cores; more if one model alone may run so often at once.
    pub(super) fn cores(&self) -> Cores {
        Arc::new(Semaphore::new(
            available_cores().max(self.engines_per_model()).get(),
        ))
    }
}

/// Cores that this process may use.
pub(super) fn available_cores() -> NonZeroUsize {
    // On Linux the standard library takes the smallest of the affinity mask and the CPU quota of cgroup v1 or v2.
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_an_error() {
        let error = toml::from_str::<Config>("thread = 2").unwrap_err();
        assert!(
            error.to_string().contains("unknown field `thread`"),
            "{error}"
        );
    }

    #[test]
    fn settings_left_out_have_defaults() {
        let config: Config = toml::from_str("threads = 3").unwrap();
        assert_eq!(config.engines_per_model().get(), 3);
        assert_eq!(config.intra_op_threads.get(), 1);
    }
}
