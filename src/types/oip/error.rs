//! What can be wrong with an infer request before its model is asked, and what this server has no part of.

use crate::error::{ErrorClass, Failure};
use crate::types::names::ModelRefError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    ModelRef(#[from] ModelRefError),
    #[error("`{model}` names a version already, beside version `{version}`")]
    TwoVersions { model: String, version: String },
    #[error("the request is malformed: {reason}")]
    Malformed { reason: String },
    #[error("tensor `{tensor}`: datatype `{datatype}` is not known or not supported")]
    Datatype { tensor: String, datatype: String },
    #[error("tensor `{tensor}`: shape {shape:?} {reason}")]
    Shape {
        tensor: String,
        shape: Vec<i64>,
        reason: &'static str,
    },
    #[error("tensor `{tensor}` has {actual} dimensions, more than the limit of {limit}")]
    Dimensions {
        tensor: String,
        limit: usize,
        actual: usize,
    },
    #[error("the request has {actual} inputs, more than the limit of {limit}")]
    TooManyInputs { actual: usize, limit: usize },
    #[error("output `{output}` is asked for twice")]
    OutputTwice { output: String },
    #[error(
        "tensor `{tensor}`: {actual} where its shape {shape:?} and datatype {datatype} make {wanted}"
    )]
    Length {
        tensor: String,
        shape: Vec<usize>,
        datatype: &'static str,
        wanted: String,
        actual: String,
    },
    #[error("tensor `{tensor}`: {reason}")]
    Data { tensor: String, reason: String },
    #[error("output `{output}` is not an output of the model")]
    UnknownOutput { output: String, known: String },
    #[error("{what} is not supported by this server")]
    Unsupported { what: String, hint: &'static str },
    #[error("the request has {actual} rows, more than the limit of {limit}")]
    TooManyRows { actual: usize, limit: usize },
    #[error("the body is larger than the limit of {limit} bytes")]
    BodyTooLarge { limit: usize },
}

impl Error {
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed {
            reason: reason.into(),
        }
    }

    pub(super) fn data(tensor: &str, reason: impl Into<String>) -> Self {
        Self::Data {
            tensor: tensor.to_owned(),
            reason: reason.into(),
        }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ModelRef(_)
            | Self::TwoVersions { .. }
            | Self::Malformed { .. }
            | Self::Datatype { .. }
            | Self::Shape { .. }
            | Self::Dimensions { .. }
            | Self::TooManyInputs { .. }
            | Self::OutputTwice { .. }
            | Self::Length { .. }
            | Self::Data { .. }
            | Self::UnknownOutput { .. } => ErrorClass::InvalidInput,
            Self::TooManyRows { .. } | Self::BodyTooLarge { .. } => ErrorClass::TooLarge,
            Self::Unsupported { .. } => ErrorClass::Unsupported,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ModelRef(_) | Self::TwoVersions { .. } => "model_reference_malformed",
            Self::Malformed { .. } | Self::TooManyInputs { .. } | Self::OutputTwice { .. } => {
                "infer_request_malformed"
            }
            Self::Datatype { .. } => "tensor_datatype_unsupported",
            Self::Shape { .. } | Self::Dimensions { .. } => "tensor_shape_invalid",
            Self::Length { .. } => "tensor_length_wrong",
            Self::Data { .. } => "tensor_data_invalid",
            Self::UnknownOutput { .. } => "output_unknown",
            Self::TooManyRows { .. } => "rows_too_many",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Unsupported { .. } => "operation_unsupported",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::ModelRef(_) => "write `name`, `name@alias` or `name:version`",
            Self::TwoVersions { .. } => "give the version once",
            Self::Malformed { .. } | Self::Length { .. } | Self::Data { .. } => return None,
            Self::Datatype { .. } => {
                "use BOOL, INT8 to INT64, UINT8 to UINT64, FP16, BF16, FP32, FP64 or BYTES"
            }
            Self::Shape { .. } | Self::Dimensions { .. } => {
                "give the whole shape, the number of rows first"
            }
            Self::TooManyInputs { .. } => "give each input of the model once",
            Self::OutputTwice { .. } => "ask for each output once, or for none to get all",
            Self::UnknownOutput { known, .. } => {
                return Some(format!("its outputs are {known}"));
            }
            Self::Unsupported { hint, .. } => hint,
            Self::TooManyRows { .. } => "send fewer rows a call, or raise `http.max_rows`",
            Self::BodyTooLarge { .. } => "send fewer rows a call, or raise `http.oip.max_body`",
        };
        Some(hint.to_owned())
    }
}
