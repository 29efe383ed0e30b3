//! What can be wrong with a request for point-in-time features, beside what can be wrong with features.

use std::path::PathBuf;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::error::{ErrorClass, Failure};
use crate::features::definitions::ValueType;
use crate::features::suggest::Known;
use crate::features::{offline, retrieve, transform};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Selection(#[from] retrieve::Error),
    #[error(transparent)]
    Offline(#[from] offline::Error),
    #[error(transparent)]
    Transform(#[from] transform::Error),
    #[error(
        "feature view `{view}` is joined by `{column}`, which is no column of the entity rows; they have {known}"
    )]
    NoKeyColumn {
        view: String,
        column: String,
        known: Box<Known>,
    },
    #[error(
        "on-demand feature view `{view}` is computed from `{column}`, which is no column of the entity rows; they have {known}"
    )]
    NoRequestColumn {
        view: String,
        column: String,
        known: Box<Known>,
    },
    #[error("the entity rows have no column with times")]
    NoTime,
    #[error("the entity rows have several columns with times, `{}`, and none is called `event_timestamp`", columns.join("`, `"))]
    SeveralTimes { columns: Vec<String> },
    #[error("column `event_timestamp` of the entity rows is {found} and no time")]
    NotATime { found: Box<DataType> },
    #[error("row {row} of `{column}` is no time such as 2026-11-01T00:00:00Z")]
    UnreadableTime { column: String, row: usize },
    #[error("`{column}` has a time with an offset in row {with} and one without in row {without}")]
    MixedTimes {
        column: String,
        with: usize,
        without: usize,
    },
    #[error("column `{column}` would be there twice")]
    ColumnTwice { column: String },
    #[error("feature `{feature}` of feature view `{view}` is {}, of which there are no columns", value_type.name())]
    NoColumnType {
        view: String,
        feature: String,
        value_type: ValueType,
    },
    #[error("the entity rows cannot be read: {0}")]
    Entities(#[source] ArrowError),
    #[error("the entity rows are {problem}")]
    Malformed { problem: String },
    #[error("column `{column}` has values of several kinds; row {row} is the first of another one")]
    MixedKinds { column: String, row: usize },
    #[error("{n_rows} entity rows are more than the limit of {limit}")]
    TooManyRows { n_rows: usize, limit: usize },
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the joined rows cannot be encoded: {0}")]
    Encode(#[source] std::io::Error),
    #[error("the joined rows cannot be put together: {0}")]
    Assemble(#[source] ArrowError),
    #[error("the views' joins gave different numbers of rows")]
    Uneven,
    #[error("a background read of features panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Selection(error) => error.class(),
            Self::Offline(error) => error.class(),
            Self::Transform(error) => error.class(),
            Self::NoKeyColumn { .. }
            | Self::NoRequestColumn { .. }
            | Self::NoTime
            | Self::SeveralTimes { .. }
            | Self::NotATime { .. }
            | Self::UnreadableTime { .. }
            | Self::MixedTimes { .. }
            | Self::ColumnTwice { .. }
            | Self::NoColumnType { .. }
            | Self::Entities(_)
            | Self::Malformed { .. }
            | Self::MixedKinds { .. } => ErrorClass::InvalidInput,
            Self::TooManyRows { .. } => ErrorClass::TooLarge,
            Self::Write { .. }
            | Self::Encode(_)
            | Self::Assemble(_)
            | Self::Uneven
            | Self::Panicked(_) => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Selection(error) => error.code(),
            Self::Offline(error) => error.code(),
            Self::Transform(error) => error.code(),
            Self::NoKeyColumn { .. } => "entity_key_missing",
            Self::NoRequestColumn { .. } => "request_data_missing",
            Self::NoTime => "entity_time_missing",
            Self::SeveralTimes { .. } => "entity_time_ambiguous",
            Self::NotATime { .. } | Self::UnreadableTime { .. } | Self::MixedTimes { .. } => {
                "entity_time_invalid"
            }
            Self::ColumnTwice { .. } => "feature_names_collide",
            Self::NoColumnType { .. } => "feature_type_unsupported",
            Self::Entities(_) | Self::Malformed { .. } | Self::MixedKinds { .. } => {
                "entity_rows_malformed"
            }
            Self::TooManyRows { .. } => "entity_rows_too_many",
            Self::Write { .. } => "features_file_unwritable",
            Self::Encode(_) => "answer_encoding",
            Self::Assemble(_) | Self::Uneven | Self::Panicked(_) => "internal",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Selection(error) => return error.hint(),
            Self::Offline(error) => return error.hint(),
            Self::Transform(error) => return error.hint(),
            Self::NoKeyColumn { known, .. } | Self::NoRequestColumn { known, .. } => {
                return Some(known.hint().unwrap_or_else(|| "add the column".to_owned()));
            }
            Self::NoTime => "add a column `event_timestamp`",
            Self::SeveralTimes { .. } => "call the one that counts `event_timestamp`",
            Self::NotATime { .. } => "give it a type of times",
            Self::UnreadableTime { .. } => "write RFC 3339",
            Self::MixedTimes { .. } => {
                "write all of them with an offset, or all without: those are in UTC"
            }
            Self::ColumnTwice { .. } => "ask for full feature names, or rename the column",
            Self::NoColumnType { .. } => "leave the feature out",
            Self::MixedKinds { .. } => "give a column values of one kind",
            Self::TooManyRows { .. } => "send fewer rows, or join on the command line or in a job",
            Self::Entities(_)
            | Self::Malformed { .. }
            | Self::Write { .. }
            | Self::Encode(_)
            | Self::Assemble(_)
            | Self::Uneven
            | Self::Panicked(_) => return None,
        };
        Some(hint.to_owned())
    }
}
