//! The files of one model version, as MLflow writes them: the `MLmodel` file and what it points to.
//!
//! MLflow 3.17 is the reference; files of MLflow 2 read alike. Unknown keys and files are ignored.
//! Paths in `MLmodel` are confined to the version's directory. Nothing is executed, no pickle is opened.
//! Not here: tensor data beside the ONNX file (`inference` checks it), whether the graph fits the signature (`predict`).

mod error;
mod example;
mod mlmodel;
mod signature;

use std::path::{Path, PathBuf};

pub use error::Error;
pub use example::InputExample;

use crate::inference::{SessionOptions, confine};
use crate::types::signature::Signature;

/// `MLmodel` and input examples are small texts; larger files are not read.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// One version's files.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    pub directory: PathBuf,
    pub onnx_file: PathBuf,
    /// Size of the ONNX file, without tensor data in other files.
    pub n_bytes: u64,
    pub session_options: SessionOptions,
    /// Both sides absent for a model logged without a signature.
    pub signature: Signature,
    /// The example that was logged with the model, if there is one that can be read.
    pub input_example: Option<InputExample>,
    pub mlflow_version: Option<String>,
    pub model_uuid: Option<String>,
    /// As MLflow writes it: `YYYY-MM-DD HH:MM:SS.ffffff`.
    pub utc_time_created: Option<String>,
}

impl Artifact {
    /// Reads what `MLmodel` says. The ONNX file itself is not opened.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("MLmodel");
        let text = read_text(&path)?;
        let malformed = |reason| Error::Malformed {
            path: path.clone(),
            reason,
        };
        let mlmodel = mlmodel::parse(&text).map_err(malformed)?;
        let flavor = mlmodel.onnx_flavor().ok_or_else(|| Error::NoOnnxFlavor {
            path: path.clone(),
            flavors: mlmodel.flavor_names(),
        })?;
        let flavor = flavor.map_err(malformed)?;
        let onnx_file = confine(directory, &flavor.data).map_err(|reason| Error::Escapes {
            path: path.clone(),
            file: flavor.data.clone(),
            reason,
        })?;
        let n_bytes = fs_err::metadata(&onnx_file)
            .map_err(Error::unreadable)?
            .len();
        Ok(Self {
            session_options: flavor.session_options().map_err(malformed)?,
            signature: signature::parse(&mlmodel.signature).map_err(malformed)?,
            input_example: read_example(directory, mlmodel.saved_input_example_info.as_ref()),
            directory: directory.to_owned(),
            onnx_file,
            n_bytes,
            mlflow_version: mlmodel.mlflow_version,
            model_uuid: mlmodel.model_uuid,
            utc_time_created: mlmodel.utc_time_created,
        })
    }
}

/// A signature from MLflow's JSON text of each side. Errors: in words, with the side and the entry.
pub(in crate::models) fn parse_signature(
    inputs: Option<&str>,
    outputs: Option<&str>,
    params: Option<&str>,
) -> Result<Signature, String> {
    signature::parse(&Some(mlmodel::SignatureText {
        inputs: inputs.map(str::to_owned),
        outputs: outputs.map(str::to_owned),
        params: params.map(str::to_owned),
    }))
}

/// An example from its JSON; `kind` is MLflow's `dataframe` or `ndarray`. Errors: in words.
pub(in crate::models) fn parse_example(json: &str, kind: &str) -> Result<InputExample, String> {
    example::parse(json, kind)
}

fn read_text(path: &Path) -> Result<String, Error> {
    let n_bytes = fs_err::metadata(path).map_err(Error::unreadable)?.len();
    if n_bytes > MAX_TEXT_BYTES {
        return Err(Error::Malformed {
            path: path.to_owned(),
            reason: format!("it has {n_bytes} bytes; at most {MAX_TEXT_BYTES} are read"),
        });
    }
    fs_err::read_to_string(path).map_err(Error::unreadable)
}

/// An example is a convenience: one that cannot be read is as good as none.
fn read_example(directory: &Path, info: Option<&mlmodel::ExampleInfo>) -> Option<InputExample> {
    let info = info?;
    let path = confine(directory, &info.artifact_path).ok()?;
    let example = read_text(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| example::parse(&text, &info.kind));
    match example {
        Ok(example) => Some(example),
        Err(reason) => {
            tracing::debug!(file = %path.display(), reason, "input example is not used");
            None
        }
    }
}

#[cfg(test)]
mod tests;
