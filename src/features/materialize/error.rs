//! What can go wrong with a materialization, before and beside its source.

use crate::error::{ErrorClass, Failure};
use crate::features::offline;
use crate::features::suggest::Known;
use crate::types::timestamp::Timestamp;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "feature view `{view}` is not in the registry of project `{project}`, which has {known}"
    )]
    UnknownView {
        view: String,
        project: String,
        known: Box<Known>,
    },
    #[error("feature view `{view}` is not online")]
    NotOnline { view: String },
    #[error("the range ends at {end}, before its start at {start}")]
    EmptyRange { start: Timestamp, end: Timestamp },
    #[error("feature view `{view}` has {what}, which this build cannot materialize")]
    Unsupported { view: String, what: String },
    #[error(transparent)]
    Offline(#[from] offline::Error),
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownView { .. } => ErrorClass::NotFound,
            Self::NotOnline { .. } | Self::EmptyRange { .. } | Self::Unsupported { .. } => {
                ErrorClass::InvalidInput
            }
            Self::Offline(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownView { .. } => "feature_view_unknown",
            Self::NotOnline { .. } => "feature_view_not_online",
            Self::EmptyRange { .. } => "materialize_range_empty",
            Self::Unsupported { .. } => "materialize_unsupported",
            Self::Offline(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownView { known, .. } => known.hint(),
            Self::NotOnline { .. } => {
                Some("set `online=True` in its definition and run `feast apply`".to_owned())
            }
            Self::EmptyRange { .. } => None,
            Self::Unsupported { .. } => Some("use `feast materialize` for this view".to_owned()),
            Self::Offline(error) => error.hint(),
        }
    }
}
