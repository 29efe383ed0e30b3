//! What is wrong with a predict call as JSON, before or beside the prediction.

use std::time::Duration;

use crate::error::{ErrorClass, Failure};
use crate::predict;
use crate::types::names::ModelRefError;
use crate::types::request::ColumnsError;

/// What a body looks like, for hints.
pub(super) const FORMS: &str = r#"send {"entities": {...}, "inputs": {...}} with columns of values, or {"rows": [{...}]} with flat objects"#;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Predict(#[from] predict::Error),
    #[error(transparent)]
    ModelRef(#[from] ModelRefError),
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    #[error("the body is empty")]
    BodyEmpty,
    #[error("the body is not valid{}: {message}", at(.path))]
    BodyMalformed {
        path: String,
        message: String,
        hint: &'static str,
    },
    #[error("`rows` stands beside `{other}`")]
    TwoForms { other: &'static str },
    #[error("neither `rows` nor `entities` or `inputs` is given")]
    NoForm,
    #[error("row {row} has {problem} `{name}`")]
    RowColumns {
        row: usize,
        problem: &'static str,
        name: String,
    },
    #[error("the answer cannot be written as JSON")]
    Encode { source: serde_json::Error },
}

fn at(path: &str) -> String {
    if path.is_empty() || path == "." {
        String::new()
    } else {
        format!(" at `{path}`")
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Predict(error) => error.class(),
            Self::Columns(ColumnsError::TooManyRows { .. }) => ErrorClass::TooLarge,
            Self::ModelRef(_)
            | Self::Columns(_)
            | Self::BodyEmpty
            | Self::BodyMalformed { .. }
            | Self::TwoForms { .. }
            | Self::NoForm
            | Self::RowColumns { .. } => ErrorClass::InvalidInput,
            Self::Encode { .. } => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Predict(error) => error.code(),
            Self::ModelRef(_) => "model_reference_malformed",
            Self::Columns(ColumnsError::UnequalLengths { .. }) => "column_lengths_unequal",
            Self::Columns(ColumnsError::Duplicate { .. }) => "column_duplicate",
            Self::Columns(ColumnsError::NoRows) => "rows_empty",
            Self::Columns(ColumnsError::TooManyRows { .. }) => "rows_too_many",
            Self::BodyEmpty => "body_empty",
            Self::BodyMalformed { .. } => "body_malformed",
            Self::TwoForms { .. } | Self::NoForm => "body_form_ambiguous",
            Self::RowColumns { .. } => "row_columns_unequal",
            Self::Encode { .. } => "answer_encoding",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Predict(error) => error.retry_after(),
            Self::ModelRef(_)
            | Self::Columns(_)
            | Self::BodyEmpty
            | Self::BodyMalformed { .. }
            | Self::TwoForms { .. }
            | Self::NoForm
            | Self::RowColumns { .. }
            | Self::Encode { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Predict(error) => return error.hint(),
            Self::ModelRef(_) => "write `name`, `name@alias` or `name:version`",
            Self::Columns(ColumnsError::UnequalLengths { .. }) => {
                "give every list one value per row; a single value counts for every row"
            }
            Self::Columns(ColumnsError::Duplicate { .. }) => "give each column once",
            Self::Columns(ColumnsError::NoRows) => "give at least one row",
            Self::Columns(ColumnsError::TooManyRows { .. }) => {
                "send fewer rows a call, or raise `http.max_rows`"
            }
            Self::BodyEmpty | Self::NoForm => FORMS,
            Self::BodyMalformed { hint, .. } => hint,
            Self::TwoForms { .. } => {
                "use one form: columns under `entities` and `inputs`, or objects in `rows`"
            }
            Self::RowColumns { .. } => "give every row the same columns; null is a value",
            Self::Encode { .. } => return None,
        };
        (!hint.is_empty()).then(|| hint.to_owned())
    }
}
