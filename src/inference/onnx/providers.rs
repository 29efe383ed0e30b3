//! Execution providers: which of the wanted ones the library has, and sessions that use them.
//!
//! What the library or the machine has not is said once at the start or when a session is opened, and the next one in line
//! runs the graph, at last the CPU.

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;

use super::Machine;
use crate::inference::{Arena, Provider};

/// Those of the wanted ones that the loaded library was built with.
pub(super) fn available(wanted: &[Provider]) -> Vec<Provider> {
    let mut found = Vec::new();
    for provider in wanted {
        if is_in_library(*provider) {
            found.push(*provider);
        } else {
            tracing::warn!(
                provider = provider.as_str(),
                "the loaded ONNX Runtime library has no such execution provider; models run on what `inference.providers` names after it, at last on the CPU"
            );
        }
    }
    found
}

fn is_in_library(provider: Provider) -> bool {
    let found = match provider {
        Provider::Cpu => return true,
        Provider::Cuda => ep::CUDA::is_available(),
        Provider::Tensorrt => ep::TensorRT::is_available(),
        Provider::Openvino => ep::OpenVINO::is_available(),
    };
    found.unwrap_or(false)
}

/// A builder whose sessions run on the first of the machine's providers that takes them.
pub(super) fn register(
    mut builder: SessionBuilder,
    machine: &Machine,
) -> ort::Result<SessionBuilder> {
    for provider in &machine.providers {
        let Some(dispatch) = dispatch(*provider) else {
            // What is named after the CPU has nothing left to run.
            break;
        };
        builder = match builder.with_execution_providers([dispatch.error_on_failure()]) {
            Ok(builder) => builder,
            Err(error) => {
                tracing::warn!(
                    provider = provider.as_str(),
                    %error,
                    "the execution provider cannot be used; the model runs on the next one, at last on the CPU"
                );
                error.recover()
            }
        };
    }
    let cpu = ep::CPU::default().with_arena_allocator(machine.arena != Arena::Off);
    Ok(builder.with_execution_providers([cpu.build()])?)
}

/// `None` for the CPU, which is always there.
fn dispatch(provider: Provider) -> Option<ExecutionProviderDispatch> {
    match provider {
        Provider::Cpu => None,
        Provider::Cuda => Some(ep::CUDA::default().build()),
        Provider::Tensorrt => Some(ep::TensorRT::default().build()),
        Provider::Openvino => Some(ep::OpenVINO::default().build()),
    }
}
