//! How urgent a call is: by when its answer must exist, and whom it may overtake while it waits.

use std::str::FromStr;

use super::deadline::Deadline;

/// Which waiting calls go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    /// From the most to the least urgent.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// A word that is none of `high`, `normal` and `low`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a priority: `high`, `normal` or `low`")]
pub struct PriorityError(pub String);

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Self, PriorityError> {
        let known = Self::ALL
            .into_iter()
            .find(|priority| priority.as_str().eq_ignore_ascii_case(text));
        known.ok_or_else(|| PriorityError(text.to_owned()))
    }
}

/// A deadline and a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Urgency {
    pub deadline: Deadline,
    pub priority: Priority,
}

impl From<Deadline> for Urgency {
    fn from(deadline: Deadline) -> Self {
        Self {
            deadline,
            priority: Priority::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_priority_is_known_by_its_word_and_no_other_word_is() {
        for priority in Priority::ALL {
            assert_eq!(priority.as_str().parse(), Ok(priority));
            assert_eq!(priority.as_str().to_uppercase().parse(), Ok(priority));
        }
        assert!("urgent".parse::<Priority>().is_err());
        assert!("".parse::<Priority>().is_err());
    }
}
