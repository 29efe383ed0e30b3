//! How one model wants its session set up: plain data, as MLflow's `onnx_session_options` states it.

use std::num::NonZeroUsize;

/// What is absent is left to Terrarium.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionOptions {
    pub intra_op_threads: Option<NonZeroUsize>,
    pub inter_op_threads: Option<NonZeroUsize>,
    pub execution_mode: ExecutionMode,
    pub graph_optimization: GraphOptimization,
    /// Further ONNX Runtime settings by key. Keys that reach outside the session (files, other devices) are ignored.
    pub config_entries: Vec<(String, String)>,
}

/// Whether independent parts of a graph may run beside each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecutionMode {
    #[default]
    Sequential,
    Parallel,
}

/// How far ONNX Runtime rewrites a graph before it runs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GraphOptimization {
    Disabled,
    Basic,
    Extended,
    #[default]
    All,
}

impl SessionOptions {
    /// These options with thread counts filled in and none above `cores`.
    pub(super) fn limited_to(&self, cores: NonZeroUsize, default: NonZeroUsize) -> Self {
        let intra_op = self.intra_op_threads.unwrap_or(default);
        let inter_op = self.inter_op_threads.unwrap_or(NonZeroUsize::MIN);
        Self {
            intra_op_threads: Some(intra_op.min(cores)),
            inter_op_threads: Some(inter_op.min(cores)),
            ..self.clone()
        }
    }
}
