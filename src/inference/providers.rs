//! What may run a graph: ONNX Runtime's execution providers, by the words of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// The processor.
    Cpu,
    /// A GPU of NVIDIA's.
    Cuda,
    /// A GPU of NVIDIA's, with graphs compiled for it.
    Tensorrt,
    /// Intel's processors and GPUs.
    Openvino,
}

impl Provider {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
            Self::Openvino => "openvino",
        }
    }
}
