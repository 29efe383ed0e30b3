//! What can be wrong with a verification, beside what can be wrong with features and their stores.

use std::time::Duration;

use super::NotVerified;
use crate::error::{ErrorClass, Failure};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("feature view `{}` cannot be verified: {}", .0.view, .0.reason)]
    Impossible(NotVerified),
    #[error("there is no feature view to verify{}", listed(.not_verified))]
    Nothing { not_verified: Vec<NotVerified> },
    #[error("the run was not through with the view after {limit:?}, when the next one is due")]
    TimedOut { limit: Duration },
}

fn listed(not_verified: &[NotVerified]) -> String {
    let one = |one: &NotVerified| format!("; `{}`: {}", one.view, one.reason);
    not_verified.iter().map(one).collect()
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Impossible(_) | Self::Nothing { .. } => ErrorClass::InvalidInput,
            Self::TimedOut { .. } => ErrorClass::DeadlineExceeded,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Impossible(_) | Self::Nothing { .. } => "feature_view_unverifiable",
            Self::TimedOut { .. } => "feature_verification_timeout",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Impossible(_) | Self::Nothing { .. } => None,
            Self::TimedOut { .. } => Some(
                "raise `features.verify.every`, or verify with `terrarium features verify`"
                    .to_owned(),
            ),
        }
    }
}
