//! What the server says of itself, the same on REST and gRPC.

use super::error::Error;

pub const SERVER_NAME: &str = "terrarium";

pub const PLATFORM: &str = "onnx_onnxv1";

/// What says of an input in the metadata that a call may leave it out: a parameter, as MLServer has them, and Triton's
/// member of a model's config.
pub const OPTIONAL: &str = "optional";

/// Triton's names of the parts that there are.
pub const EXTENSIONS: [&str; 5] = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
];

/// `load` looks at the registry; it takes no model with it.
pub fn check_load_parameters<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), Error> {
    for name in names {
        if name == "config" || name.starts_with("file:") {
            return Err(Error::Unsupported {
                what: format!("loading a model with `{name}` of the request"),
                hint: "register the model, then load it without parameters",
            });
        }
    }
    Ok(())
}

/// Nothing is unloaded by a call.
pub fn unload_refused(model: &str) -> Error {
    Error::Unsupported {
        what: format!("unloading `{model}` by a call"),
        hint: "what is served follows the model registry: take its alias away there",
    }
}
