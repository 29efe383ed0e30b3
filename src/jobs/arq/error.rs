//! What bytes are refused for, and what values cannot be written.

use super::Codec;
use crate::error::{ErrorClass, Failure};

/// Why bytes are no job or no result.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("{size} bytes are more than the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("bytes that begin with `{start}` are neither a pickle nor MessagePack nor JSON")]
    UnknownCodec { start: String },
    #[error("{found} is not accepted; only {wanted} is")]
    CodecRefused { found: Codec, wanted: Codec },
    #[error("{codec}: {what} at byte {offset}")]
    Malformed {
        codec: Codec,
        what: String,
        offset: usize,
    },
    /// A pickle that runs to its end, and leaves what cannot be.
    #[error("pickle: {what}")]
    NoValue { what: String },
    /// A pickle that would make Python look up or call something that is no plain value.
    #[error("pickle: {what} at byte {offset} is no plain value")]
    NotPlain { what: String, offset: usize },
    #[error("nested more than {limit} levels deep")]
    TooDeep { limit: usize },
    #[error("the value needs more than {limit} bytes of memory")]
    TooMuchMemory { limit: usize },
    #[error("the {of} has no field `{field}`")]
    FieldMissing {
        of: &'static str,
        field: &'static str,
    },
    #[error("field `{field}` of the {of} is {found}; wanted is {wanted}")]
    FieldType {
        of: &'static str,
        field: &'static str,
        found: String,
        wanted: &'static str,
    },
}

impl Failure for DecodeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::TooLarge { .. } => ErrorClass::TooLarge,
            Self::UnknownCodec { .. }
            | Self::CodecRefused { .. }
            | Self::Malformed { .. }
            | Self::NoValue { .. }
            | Self::NotPlain { .. }
            | Self::TooDeep { .. }
            | Self::TooMuchMemory { .. }
            | Self::FieldMissing { .. }
            | Self::FieldType { .. } => ErrorClass::InvalidInput,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "job_too_large",
            Self::UnknownCodec { .. }
            | Self::CodecRefused { .. }
            | Self::Malformed { .. }
            | Self::NoValue { .. }
            | Self::NotPlain { .. }
            | Self::TooDeep { .. }
            | Self::TooMuchMemory { .. }
            | Self::FieldMissing { .. }
            | Self::FieldType { .. } => "job_undecodable",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotPlain { .. } => {
                "send plain values: numbers, text, bytes, lists, dicts, dates, UUIDs, NumPy arrays of numbers"
            }
            Self::TooLarge { .. } | Self::TooMuchMemory { .. } => {
                "send less in one job, or raise the limit"
            }
            Self::UnknownCodec { .. } | Self::CodecRefused { .. } => {
                "let the client serialize with pickle, `msgpack.packb` or JSON"
            }
            Self::Malformed { .. }
            | Self::NoValue { .. }
            | Self::TooDeep { .. }
            | Self::FieldMissing { .. }
            | Self::FieldType { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

/// Why a value cannot be written in a codec.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("{what} cannot be written as {codec}")]
    NoForm { what: String, codec: Codec },
}

impl Failure for EncodeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoForm { .. } => ErrorClass::InvalidInput,
        }
    }

    fn code(&self) -> &'static str {
        "job_unencodable"
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoForm {
                codec: Codec::Pickle,
                ..
            } => None,
            Self::NoForm { .. } => {
                Some("only pickle carries all plain values of Python".to_owned())
            }
        }
    }
}
