//! Why a scoring call does not fit the model. The texts are MLflow's, as far as they say something about the data.

use crate::error::{ErrorClass, Failure};
use crate::types::dtype::DType;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "Invalid input. Data is not compatible with model signature. Failed to convert column {column} to type '{wanted}'. Error: '{reason}'"
    )]
    Column {
        column: String,
        wanted: DType,
        reason: String,
    },
    #[error("Invalid input. {reason}")]
    Value { reason: String },
    #[error("Failed to parse input as a Pandas DataFrame. Error: '{reason}'")]
    Csv { reason: String },
    #[error("Failed to enforce schema of data. Error: {reason}")]
    Schema { reason: String },
    #[error("{reason}")]
    Params { reason: String },
    /// What ONNX Runtime would not take.
    #[error("{reason}")]
    Model { reason: String },
    #[error(
        "Unable to map numpy array input to the expected model input. Numpy arrays can only be used as input for MLflow ONNX models that have a single input. This model requires {} inputs. Please pass in data as either a dictionary or a DataFrame with the following tensors: {}.", .inputs.len(), python_list(.inputs)
    )]
    SeveralInputs { inputs: Vec<String> },
}

/// `['a', 'b']`
pub(super) fn python_list(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|name| format!("'{}'", name.as_ref()))
        .collect();
    format!("[{}]", quoted.join(", "))
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Column { .. }
            | Self::Value { .. }
            | Self::Csv { .. }
            | Self::Schema { .. }
            | Self::Params { .. }
            | Self::Model { .. }
            | Self::SeveralInputs { .. } => ErrorClass::InvalidInput,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Column { .. } | Self::Value { .. } | Self::Csv { .. } => "scoring_value_invalid",
            Self::Schema { .. } => "schema_enforcement_failed",
            Self::Params { .. } => "scoring_params_invalid",
            Self::Model { .. } | Self::SeveralInputs { .. } => "model_inputs_refused",
        }
    }
}
