//! How an attempt ends for good: the result that arq's clients read, and whether the job is a dead letter.

use super::handler::JobError;
use crate::error::ErrorClass;
use crate::jobs::arq::{Outcome, Raised};
use crate::jobs::value::Value;
use crate::telemetry::metrics::CODE_OK;

/// The end of an attempt that is not tried again.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    Done(Value),
    Failed(JobError),
    /// It took longer than it may.
    TimedOut,
    /// Somebody asked for its end.
    Aborted,
    /// It waited longer than it was allowed to.
    Expired,
    /// Its bytes are no job.
    Undecodable,
    UnknownFunction {
        function: String,
    },
    /// Workers died or stopped while they ran it.
    TooManyTries {
        tries: u32,
    },
    /// It panicked.
    Panicked,
    /// Its result has too many bytes.
    ResultTooLarge {
        n_bytes: usize,
        limit: usize,
    },
    /// Its result has no form in the job's codec.
    ResultUnencodable {
        problem: String,
    },
}

impl Ending {
    /// The code for metrics and logs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Done(_) => CODE_OK,
            Self::Failed(error) => error.code,
            Self::TimedOut => "job_timeout",
            Self::Aborted => "job_aborted",
            Self::Expired => "job_expired",
            Self::Undecodable => "job_undecodable",
            Self::UnknownFunction { .. } => "job_function_unknown",
            Self::TooManyTries { .. } => "job_tries_exceeded",
            Self::Panicked => "job_panicked",
            Self::ResultTooLarge { .. } => "job_result_too_large",
            Self::ResultUnencodable { .. } => "job_result_unencodable",
        }
    }

    pub(super) fn is_success(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// What a client sees: the value, or an exception with arq's own words where arq has some.
    pub(super) fn into_outcome(self) -> Outcome {
        Outcome::Raised(match self {
            Self::Done(value) => return Outcome::Returned(value),
            Self::Failed(error) => Raised::failed(error.code, &error.message),
            Self::TimedOut => Raised::TimedOut,
            Self::Aborted => Raised::Cancelled,
            Self::Expired => Raised::expired(),
            Self::Undecodable => Raised::Undecodable,
            Self::UnknownFunction { function } => Raised::function_not_found(&function),
            Self::TooManyTries { tries } => Raised::retries_exceeded(tries),
            Self::Panicked => Raised::failed(
                "job_panicked",
                "the job panicked; the worker's log says more",
            ),
            Self::ResultTooLarge { n_bytes, limit } => {
                let problem =
                    format!("the result has {n_bytes} bytes, more than the limit of {limit}");
                Raised::failed("job_result_too_large", &problem)
            }
            Self::ResultUnencodable { problem } => {
                Raised::failed("job_result_unencodable", &problem)
            }
        })
    }

    /// Why it is a dead letter: what failed for another reason than what the job says, or than that somebody ended it.
    pub(super) fn dead_reason(&self) -> Option<String> {
        match self {
            Self::Done(_) | Self::Aborted | Self::UnknownFunction { .. } => None,
            Self::Failed(error) if error.is_of_caller() => None,
            Self::TimedOut => Some("job_timeout: it took longer than its function may".to_owned()),
            Self::Failed(_)
            | Self::Expired
            | Self::Undecodable
            | Self::TooManyTries { .. }
            | Self::Panicked
            | Self::ResultTooLarge { .. }
            | Self::ResultUnencodable { .. } => self.problem(),
        }
    }

    /// What failed, in words.
    pub(super) fn problem(&self) -> Option<String> {
        match self.clone().into_outcome() {
            Outcome::Returned(_) => None,
            Outcome::Raised(raised) => Some(raised.message()),
        }
    }

    /// Whether an operator should look at it.
    pub(super) fn is_ours(&self) -> bool {
        match self {
            Self::Panicked => true,
            Self::Failed(error) => error.class == ErrorClass::Internal,
            Self::Done(_)
            | Self::TimedOut
            | Self::Aborted
            | Self::Expired
            | Self::Undecodable
            | Self::UnknownFunction { .. }
            | Self::TooManyTries { .. }
            | Self::ResultTooLarge { .. }
            | Self::ResultUnencodable { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(class: ErrorClass) -> Ending {
        Ending::Failed(JobError {
            class,
            code: "some_code",
            message: "what and where".to_owned(),
        })
    }

    #[test]
    fn failures_carry_the_code_and_message_of_http() {
        let problem = failed(ErrorClass::NotFound).problem();
        assert_eq!(problem.unwrap(), "some_code: what and where");
    }

    #[test]
    fn what_the_caller_did_wrong_is_no_dead_letter() {
        assert_eq!(failed(ErrorClass::InvalidInput).dead_reason(), None);
        assert_eq!(failed(ErrorClass::NotFound).dead_reason(), None);
        assert_eq!(Ending::Aborted.dead_reason(), None);
        for dead in [
            failed(ErrorClass::Unavailable),
            failed(ErrorClass::Internal),
            Ending::TimedOut,
            Ending::Undecodable,
            Ending::TooManyTries { tries: 5 },
        ] {
            assert!(dead.dead_reason().is_some(), "{dead:?}");
        }
    }
}
