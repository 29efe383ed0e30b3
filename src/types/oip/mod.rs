//! What REST and gRPC have in common in the Open Inference Protocol: tensors as bytes and as JSON, model names, outputs.
//!
//! A shape is believed only once it was checked (`shape`), and nothing is allocated by it: buffers grow by the bytes and
//! elements that are there. Choices that the protocol leaves to a server: docs/oip.md.
//! Not here: bodies and messages (`http`, `grpc`), what a model takes (`predict`).

mod elements;
mod error;
mod outputs;
mod raw;
mod round_trip;
mod server;
mod shape;

pub use elements::{json_data, write_json_data};
pub use error::Error;
pub use outputs::{OutputTensor, select};
pub use raw::{decode as decode_raw, encode as encode_raw, text};
#[doc(hidden)]
pub use round_trip::check_round_trip;
pub use server::{
    EXTENSIONS, OPTIONAL, PLATFORM, SERVER_NAME, check_load_parameters, unload_refused,
};
pub use shape::Shape;

use super::dtype::DType;
use super::names::{ModelRef, ModelVersion, VersionSelector, repeated};
use super::urgency::Priority;

/// The element type that a request names.
pub fn dtype(tensor: &str, name: &str) -> Result<DType, Error> {
    DType::from_oip(name).ok_or_else(|| Error::Datatype {
        tensor: tensor.to_owned(),
        datatype: name.to_owned(),
    })
}

/// More than any model has.
const MAX_INPUTS: usize = 16_384;

/// The names of a request's inputs: each once, and not too many.
pub fn check_inputs<'a>(
    names: impl ExactSizeIterator<Item = &'a str> + Clone,
) -> Result<(), Error> {
    if names.len() > MAX_INPUTS {
        return Err(Error::TooManyInputs {
            actual: names.len(),
            limit: MAX_INPUTS,
        });
    }
    match repeated(names) {
        Some(name) => Err(Error::malformed(format!("input `{name}` is given twice"))),
        None => Ok(()),
    }
}

/// The model of a path or message: `name`, `name@alias` or `name:version`, and a version beside it, empty for none. A
/// version that is no number is an alias.
pub fn model_ref(name: &str, version: &str) -> Result<ModelRef, Error> {
    let mut reference: ModelRef = name.parse()?;
    if version.is_empty() {
        return Ok(reference);
    }
    if reference.version != VersionSelector::Serving {
        return Err(Error::TwoVersions {
            model: name.to_owned(),
            version: version.to_owned(),
        });
    }
    reference.version = match version.parse() {
        Ok(number) => VersionSelector::Version(ModelVersion(number)),
        Err(_) => VersionSelector::Alias(version.to_owned()),
    };
    Ok(reference)
}

/// The protocol's priorities: 0 is the default, 1 the highest, and what is larger is lower.
pub fn priority(number: u64) -> Priority {
    match number {
        1 => Priority::High,
        0 | 2 => Priority::Normal,
        _ => Priority::Low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_or_an_alias_and_is_given_once() {
        let text = |name, version| model_ref(name, version).map(|model| model.to_string());
        assert_eq!(text("m", "").unwrap(), "m");
        assert_eq!(text("m", "3").unwrap(), "m:3");
        assert_eq!(text("m", "champion").unwrap(), "m@champion");
        assert_eq!(text("m@a", "").unwrap(), "m@a");
        assert!(matches!(text("m@a", "3"), Err(Error::TwoVersions { .. })));
        assert!(matches!(text("", "3"), Err(Error::ModelRef(_))));
    }

    #[test]
    fn an_unknown_datatype_is_refused_by_its_name() {
        let error = dtype("x", "FP8").unwrap_err();
        assert!(error.to_string().contains("`FP8`"), "{error}");
    }
}
