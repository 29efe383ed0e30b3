//! What can go wrong between a question and its answer.

use std::time::Duration;

use crate::audit::{read, topic};
use crate::error::{ErrorClass, Failure};
use crate::types::byte_size::ByteSize;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the query cannot be planned: {reason}")]
    Plan { reason: String },
    #[error("the query is {found}; only one SELECT, or WITH and SELECT, is answered")]
    NotASelect { found: String },
    #[error("`{name}`: {reason}")]
    Question { name: &'static str, reason: String },
    #[error("the query failed: {reason}")]
    Failed { reason: String },
    #[error("the query gives more than {limit} rows")]
    Rows { limit: usize },
    #[error("the query needs more than {limit} of memory")]
    Memory { limit: ByteSize },
    #[error("the query was not done within {limit:?}")]
    Late { limit: Duration },
    #[error("{limit} queries run already")]
    Busy { limit: usize },
    #[error("there is no topic to ask")]
    NoTopic,
    #[error(transparent)]
    Read(#[from] read::Error),
    #[error(transparent)]
    Topic(#[from] topic::ReadError),
    #[error("queries are switched off")]
    Off,
    #[error("the answer cannot be written: {reason}")]
    Encode { reason: String },
    #[error("the query stopped: {reason}")]
    Stopped { reason: String },
    #[error("this binary was built without feature `datafusion`")]
    NotBuilt,
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Self::Read(source.into())
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Plan { .. } | Self::NotASelect { .. } | Self::Question { .. } | Self::NoTopic => {
                ErrorClass::InvalidInput
            }
            Self::Failed { .. } | Self::Rows { .. } | Self::Memory { .. } => {
                ErrorClass::Unprocessable
            }
            Self::Late { .. } => ErrorClass::DeadlineExceeded,
            Self::Busy { .. } => ErrorClass::Overloaded,
            Self::Read(error) => error.class(),
            Self::Topic(error) => error.class(),
            Self::Off => ErrorClass::NotFound,
            Self::Encode { .. } | Self::Stopped { .. } => ErrorClass::Internal,
            Self::NotBuilt => ErrorClass::Unsupported,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "audit_query_invalid",
            Self::NotASelect { .. } => "audit_query_not_select",
            Self::Question { .. } => "audit_question_malformed",
            Self::Failed { .. } => "audit_query_failed",
            Self::Rows { .. } => "audit_query_rows",
            Self::Memory { .. } => "audit_query_memory",
            Self::Late { .. } => "audit_query_late",
            Self::Busy { .. } => "audit_query_busy",
            Self::NoTopic => "audit_query_no_topic",
            Self::Read(error) => error.code(),
            Self::Topic(error) => error.code(),
            Self::Off => "audit_query_off",
            Self::Encode { .. } | Self::Stopped { .. } => "audit_query_broken",
            Self::NotBuilt => "audit_query_not_built",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Plan { .. } => {
                "the tables are `predictions`, `features` and `outputs`; docs/audit-query.md has their columns"
            }
            Self::NotASelect { .. } => "the trail can only be read",
            Self::Rows { .. } => "write LIMIT, or aggregate; or raise `audit.query.max_rows`",
            Self::Memory { .. } => "narrow the range of time, or raise `audit.query.memory`",
            Self::Late { .. } => "narrow the range of time, or raise `audit.query.timeout`",
            Self::Busy { .. } => "try again later, or raise `audit.query.max_queries`",
            Self::NoTopic => {
                "`[audit.kafka]` says where brokers and topic are; without it ask the files or the spool"
            }
            Self::Off => "`audit.query.http = true` switches them on",
            Self::NotBuilt => "build it with `cargo build --features datafusion`",
            Self::Read(error) => return error.hint(),
            Self::Topic(error) => return error.hint(),
            Self::Question { .. }
            | Self::Failed { .. }
            | Self::Encode { .. }
            | Self::Stopped { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
