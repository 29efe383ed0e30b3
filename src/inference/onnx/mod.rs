//! The engine over ONNX Runtime, through the `ort` crate.
//!
//! Inputs are lent to the session, not copied; outputs are copied out of its memory once.
//! A session is never shared: ONNX Runtime's own `Run` is not safe to call from two threads on every platform.
//! ONNX Runtime's warnings and errors go to our log, target `onnxruntime`, level debug.
//! Not here: where the library is (`library`), whether a file may be opened (`external_data`).

mod graph;
mod providers;
mod values;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue, SessionInputs};

use super::library::Place;
use super::{
    Arena, Config, Engine, Error, ExecutionMode, GraphOptimization, Inputs, Provider,
    SessionOptions,
};
use crate::types::signature::{Graph, TensorSpec};
use crate::types::tensor::{Output, Tensor};

/// The library loaded into this process, if one is: there cannot be a second.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// What sessions are to run on, whatever their model.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) arena: Arena,
    /// Those that the library has, in order.
    pub(super) providers: Vec<Provider>,
}

/// The loaded library.
#[derive(Clone)]
pub(super) struct Library {
    environment: Environment,
    version: Arc<str>,
}

impl Library {
    pub(super) fn load(place: &Place) -> Result<Self, Error> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = &*loaded {
            return Ok(library.clone());
        }
        let library = connect(place)?;
        *loaded = Some(library.clone());
        Ok(library)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// What is configured, without the providers that the library has not; those are named in the log.
    pub(super) fn machine(&self, config: &Config) -> Machine {
        Machine {
            arena: config.arena,
            providers: providers::available(&config.providers),
        }
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Opens a session on a file that was checked before.
    pub(super) fn open(
        &self,
        path: &Path,
        options: &SessionOptions,
        machine: &Machine,
    ) -> Result<(Graph, OnnxEngine), Error> {
        // `ort` panics on a graph with kinds of values that it does not know.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            build(&self.environment, options, machine)?.commit_from_file(path)
        }));
        let session = match opened {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return Err(not_loaded(path, &error)),
            Err(_) => {
                return Err(not_loaded(
                    path,
                    &"its inputs or outputs are of an unknown kind",
                ));
            }
        };
        let graph = graph::describe(&session, path)?;
        let run_options = match machine.arena {
            Arena::Keep | Arena::Off => None,
            Arena::Shrink => Some(shrinking().map_err(|error| not_loaded(path, &error))?),
        };
        let engine = OnnxEngine {
            names: names(&graph.inputs),
            optional: names(&graph.optional),
            session,
            run_options,
        };
        Ok((graph, engine))
    }
}

fn not_loaded(path: &Path, reason: &dyn Display) -> Error {
    Error::Load {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn connect(place: &Place) -> Result<Library, Error> {
    let path = match place {
        Place::File(path) => path,
        Place::System { name, .. } => name,
    };
    let unusable = |reason: &dyn Display| Error::Library {
        path: path.clone(),
        reason: reason.to_string(),
    };
    if matches!(place, Place::File(path) if !path.exists()) {
        return Err(Error::LibraryMissing {
            looked_at: vec![path.clone()],
        });
    }
    let builder = ort::init_from(path).map_err(|error| match (place, &error) {
        // The system's loader does not know the name.
        (Place::System { name, looked_at }, ort::LoadDynamicError::Dlopen { .. }) => {
            let looked_at = looked_at.iter().chain([name]).cloned().collect();
            Error::LibraryMissing { looked_at }
        }
        (_, ort::LoadDynamicError::Dlopen { error, .. }) => unusable(&with_source(error)),
        _ => unusable(&error),
    })?;
    let environment = builder
        .with_name("terrarium")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| unusable(&error))?;
    environment.set_log_level(LogLevel::Warning);
    // `ort` tells no more of the version than this.
    let version = match ort::util::probe(path) {
        Some(minor) => format!("1.{minor}"),
        None => "unknown".to_owned(),
    };
    Ok(Library {
        environment,
        version: Arc::from(version),
    })
}

/// The loader's own words stand in the source.
fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whatever matters comes back as an error too, and is logged by whoever asked: here a caller's bad input would
/// otherwise fill the log.
fn log(level: LogLevel, category: &str, _id: &str, _location: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info | LogLevel::Warning | LogLevel::Error => {
            tracing::debug!(target: "onnxruntime", category, "{message}");
        }
        LogLevel::Fatal => tracing::error!(target: "onnxruntime", category, "{message}"),
    }
}

/// Has the processor's arena give back what a run left unused.
fn shrinking() -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
    Ok(options)
}

fn build(
    environment: &Environment,
    options: &SessionOptions,
    machine: &Machine,
) -> ort::Result<SessionBuilder> {
    let mut builder = Session::builder(environment)?
        .with_optimization_level(match options.graph_optimization {
            GraphOptimization::Disabled => GraphOptimizationLevel::Disable,
            GraphOptimization::Basic => GraphOptimizationLevel::Level1,
            GraphOptimization::Extended => GraphOptimizationLevel::Level2,
            GraphOptimization::All => GraphOptimizationLevel::All,
        })?
        .with_parallel_execution(options.execution_mode == ExecutionMode::Parallel)?
        // Threads that spin between runs would take the cores from everything else in this process.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // It remembers every number of rows that it ever saw, and helps only where that number stays the same.
        .with_memory_pattern(false)?;
    builder = providers::register(builder, machine)?;
    if let Some(threads) = options.intra_op_threads {
        builder = builder.with_intra_threads(threads.get())?;
    }
    if let Some(threads) = options.inter_op_threads {
        builder = builder.with_inter_threads(threads.get())?;
    }
    for (key, value) in &options.config_entries {
        if stays_in_session(key) {
            builder = builder.with_config_entry(key, value)?;
        } else {
            tracing::warn!(
                key,
                "session setting of the model is ignored: it is not one that a model may set"
            );
        }
    }
    Ok(builder)
}

/// Whether a setting from a model's own files may be applied: those that name files, formats or devices may not.
fn stays_in_session(key: &str) -> bool {
    const PREFIXES: [&str; 2] = ["optimization.", "mlas."];
    const KEYS: [&str; 13] = [
        "session.disable_aot_function_inlining",
        "session.disable_double_qdq_remover",
        "session.disable_prepacking",
        "session.disable_quant_qdq",
        "session.dynamic_block_base",
        "session.enable_quant_qdq_cleanup",
        "session.force_spinning_stop",
        "session.inter_op.allow_spinning",
        "session.intra_op.allow_spinning",
        "session.qdqisint8allowed",
        "session.set_denormal_as_zero",
        "session.use_device_allocator_for_initializers",
        "session.x64quantprecision",
    ];
    KEYS.contains(&key) || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

fn names(specs: &[TensorSpec]) -> Vec<String> {
    let names = specs.iter();
    names
        .map(|spec| spec.name.clone().unwrap_or_default())
        .collect()
}

/// One session.
pub(super) struct OnnxEngine {
    session: Session,
    /// Of the inputs that every run takes.
    names: Vec<String>,
    /// Of those that it may leave out.
    optional: Vec<String>,
    /// Where runs need other than the defaults.
    run_options: Option<RunOptions>,
}

impl Engine for OnnxEngine {
    fn run(&mut self, inputs: Inputs) -> Result<Vec<Output>, Error> {
        if inputs.required().len() != self.names.len() {
            let (wanted, actual) = (self.names.len(), inputs.required().len());
            return Err(Error::Rejected {
                reason: format!("{actual} tensors are given where the graph takes {wanted}"),
            });
        }
        let mut lent = Vec::with_capacity(inputs.required().len());
        for (input, name) in inputs.required().iter().zip(&self.names) {
            lent.push(lend(input, name)?);
        }
        // By place, unless something is given of what may be left out, or left out among the session's own inputs.
        if inputs.optional().is_empty() && self.names.len() == self.session.inputs().len() {
            return run(
                &mut self.session,
                self.run_options.as_ref(),
                lent.as_slice(),
            );
        }
        let names = self.names.iter().map(String::as_str);
        let mut named: Vec<(&str, SessionInputValue<'_>)> = names.zip(lent).collect();
        for (place, input) in inputs.optional() {
            let Some(name) = self.optional.get(*place) else {
                let reason = format!("the graph has no optional input {place}");
                return Err(Error::Rejected { reason });
            };
            named.push((name, lend(input, name)?));
        }
        run(&mut self.session, self.run_options.as_ref(), named)
    }
}

fn lend<'a>(input: &'a Tensor, name: &str) -> Result<SessionInputValue<'a>, Error> {
    values::lend(input).map_err(|error| Error::Rejected {
        reason: format!("input `{name}`: {error}"),
    })
}

fn run<'i, 'v: 'i>(
    session: &mut Session,
    options: Option<&RunOptions>,
    inputs: impl Into<SessionInputs<'i, 'v>>,
) -> Result<Vec<Output>, Error> {
    let outputs = match options {
        None => session.run(inputs),
        Some(options) => session.run_with_options(inputs, options),
    };
    let outputs = outputs.map_err(run_error)?;
    let mut taken = Vec::with_capacity(outputs.len());
    for value in outputs.values() {
        taken.push(values::take(&value).map_err(run_error)?);
    }
    Ok(taken)
}

fn run_error(error: ort::Error) -> Error {
    match error.code() {
        ort::ErrorCode::InvalidArgument => Error::Rejected {
            reason: error.to_string(),
        },
        _ => Error::Run {
            source: Box::new(error),
        },
    }
}

#[cfg(test)]
mod tests;
