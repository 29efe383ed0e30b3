//! Running models: one `Engine` per concurrent run, pooled per model, called inline when the run is short.
//!
//! Life of a run: `ServedModel::infer` claims a free engine (`pool`), runs it on the caller's thread or on a blocking
//! thread (`estimate`), gives the engine back, and checks that per-row outputs have as many rows as the inputs. Calls
//! that find no engine free wait and become one run (`batcher`), where the model allows it (`merging`).
//! Overload: at most `max_waiting` calls per model wait for a free engine; more fail with `Overloaded`.
//! Not here: which model (`models`), rows to tensors and back (`predict`).

pub mod batcher;
mod config;
mod confine;
mod error;
mod estimate;
mod external_data;
mod inputs;
mod library;
mod merging;
mod onnx;
mod options;
mod pool;
mod providers;
pub mod response_cache;
mod served_model;
#[cfg(test)]
pub(crate) mod test_models;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use config::{Arena, Config};
pub(crate) use confine::confine;
pub use error::Error;
pub use estimate::WarmRun;
pub(crate) use external_data::files as external_data_files;
pub use inputs::{Input, Inputs};
pub use options::{ExecutionMode, GraphOptimization, SessionOptions};
pub use providers::Provider;
pub use served_model::{Inference, Queueing, ServedModel};

use crate::types::tensor::Output;

/// One loaded graph that runs one call at a time.
///
/// Sync on purpose: a run is CPU work, and who calls it decides on which thread. Inputs come in graph order, outputs
/// leave in graph order, all of them. A failed run leaves the engine usable.
pub trait Engine: Send {
    fn run(&mut self, inputs: Inputs) -> Result<Vec<Output>, Error>;
}

/// The loaded ONNX Runtime library and how models are run on it. Clones share the library.
#[derive(Clone)]
pub struct Runtime {
    library: onnx::Library,
    machine: onnx::Machine,
    config: Config,
    cores: batcher::Cores,
}

impl Runtime {
    /// Loads the ONNX Runtime library from the first place that has it: `config.library`, `ort_dylib_path` (the
    /// variable `ORT_DYLIB_PATH`), `.terrarium/lib/` below the working directory, then below each folder above the
    /// executable, then wherever the system's loader looks.
    ///
    /// A process has one library: a second call gets the one already loaded.
    pub fn load(config: &Config, ort_dylib_path: Option<PathBuf>) -> Result<Self, Error> {
        let place = library::find(config.library.as_deref(), ort_dylib_path.as_deref());
        let library = onnx::Library::load(&place)?;
        Ok(Self {
            machine: library.machine(config),
            library,
            config: config.clone(),
            cores: config.cores(),
        })
    }

    /// The version of the library: `1.32`.
    pub fn version(&self) -> &str {
        self.library.version()
    }

    /// ONNX Runtime's environment, of which a process has one: for benches, which open a session beside the engines.
    pub fn environment(&self) -> &ort::environment::Environment {
        self.library.environment()
    }

    /// Loads an ONNX file into as many engines as may run it at once.
    ///
    /// Takes from a millisecond to seconds: call it off the async workers. The file and its external data are checked
    /// before ONNX Runtime opens them: tensors may lie only in files below the file's own directory.
    pub fn load_model(&self, path: &Path, options: &SessionOptions) -> Result<ServedModel, Error> {
        external_data::files(path)?;
        let options = options.limited_to(config::available_cores(), self.config.intra_op_threads);
        let (graph, first) = self.library.open(path, &options, &self.machine)?;
        let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(first)];
        while engines.len() < self.config.engines_per_model().get() {
            let (_, engine) = self.library.open(path, &options, &self.machine)?;
            engines.push(Box::new(engine));
        }
        let cores = Arc::clone(&self.cores);
        Ok(ServedModel::new(
            graph,
            engines,
            self.config.limits(),
            cores,
        ))
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("version", &self.version())
            .field("config", &self.config)
            .finish()
    }
}
