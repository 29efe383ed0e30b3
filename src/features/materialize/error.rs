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
    #[error(
        "on-demand feature view `{view}` is computed when it is read, so nothing of it is stored"
    )]
    NotWritten { view: String },
    #[error(
        "on-demand feature view `{view}` is computed from request data (`{}`), which no source has", fields.join("`, `")
    )]
    RequestData { view: String, fields: Vec<String> },
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
            Self::NotOnline { .. }
            | Self::NotWritten { .. }
            | Self::RequestData { .. }
            | Self::EmptyRange { .. }
            | Self::Unsupported { .. } => ErrorClass::InvalidInput,
            Self::Offline(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownView { .. } => "feature_view_unknown",
            Self::NotOnline { .. } | Self::NotWritten { .. } => "feature_view_not_online",
            Self::EmptyRange { .. } => "materialize_range_empty",
            Self::RequestData { .. } | Self::Unsupported { .. } => "materialize_unsupported",
            Self::Offline(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownView { known, .. } => known.hint(),
            Self::NotOnline { .. } => {
                Some("set `online=True` in its definition and run `feast apply`".to_owned())
            }
            Self::NotWritten { .. } => {
                Some("define it with `write_to_online_store=True` and run `feast apply`".to_owned())
            }
            Self::RequestData { .. } => {
                Some("write its rows with `terrarium features write`".to_owned())
            }
            Self::EmptyRange { .. } => None,
            Self::Unsupported { .. } => Some("use `feast materialize` for this view".to_owned()),
            Self::Offline(error) => error.hint(),
        }
    }
}
