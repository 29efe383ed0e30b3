//! Why a version does not get past its gate.

use super::config::Share;
use crate::error::{ErrorClass, Failure};

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "of {n_rows} recorded rows {:.2} % flip, and `max_flip_rate` is {limit}",
        100.0 * actual
    )]
    Flips {
        n_rows: usize,
        actual: f64,
        limit: Share,
    },
    #[error(
        "output `{output}` changes by up to {actual} in {within} of {n_rows} recorded rows, and `max_change` is {limit}"
    )]
    Changes {
        output: String,
        n_rows: usize,
        within: Share,
        actual: f64,
        limit: f64,
    },
    #[error("refused at {judged_at}, and too few rows are on record to judge it anew: {reason}")]
    Stands { judged_at: String, reason: String },
    #[error("recorded predictions cannot be replayed: {source}")]
    Unreadable { source: Source },
}

impl Error {
    pub(super) fn of(source: impl Into<Source>) -> Self {
        Self::Unreadable {
            source: source.into(),
        }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Flips { .. } | Self::Changes { .. } | Self::Stands { .. } => {
                ErrorClass::Unprocessable
            }
            Self::Unreadable { .. } => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Flips { .. } | Self::Changes { .. } | Self::Stands { .. } => "model_gate_refused",
            Self::Unreadable { .. } => "model_gate_unreadable",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Flips { .. } | Self::Changes { .. } | Self::Stands { .. } => Some(
                "read the report; point the alias back, or raise the limits in `[models.<name>.gate]` if the difference is wanted"
                    .to_owned(),
            ),
            Self::Unreadable { .. } => {
                Some("it is tried again; without `[models.<name>.gate]` nothing is judged".to_owned())
            }
        }
    }
}
