//! What is wrong with a configuration: every problem at once, each with its place.

use std::fmt;
use std::io;

use crate::error::{ErrorClass, Failure};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `terrarium.toml:3:1`, `TERRARIUM__HTTP__LISTEN` or `--set http.listen`.
    pub place: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration cannot be read: {source}")]
    Read { source: io::Error },
    /// At least one.
    #[error("{}", listed(.0))]
    Invalid(Vec<Problem>),
    #[error("the configuration cannot be shown: {source}")]
    Show { source: serde_json::Error },
}

fn listed(problems: &[Problem]) -> String {
    if let [problem] = problems {
        return problem.to_string();
    }
    let mut text = format!("the configuration has {} problems", problems.len());
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { .. } | Self::Invalid(_) => ErrorClass::InvalidInput,
            Self::Show { .. } => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "config_unreadable",
            Self::Invalid(_) => "config_invalid",
            Self::Show { .. } => "config_not_shown",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("it must be a readable file of UTF-8 text".into()),
            Self::Invalid(_) => Some("`docs/configuration.md` lists every option".into()),
            Self::Show { .. } => None,
        }
    }
}
