//! What can be wrong with a file that is to be scored, beside what can be wrong with a prediction and with features.

use std::io;
use std::path::PathBuf;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::error::{ErrorClass, Failure};
use crate::features::historical;
use crate::predict;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Predict(Box<predict::Error>),
    #[error("{}: {error}", file.display())]
    Call {
        file: PathBuf,
        error: Box<predict::Error>,
    },
    #[error(transparent)]
    Features(Box<historical::Error>),
    #[error("{}: {error}", file.display())]
    Rows {
        file: PathBuf,
        error: Box<historical::Error>,
    },
    #[error("{}: the name of the result must end in `.parquet` or `.csv`", path.display())]
    DestinationName { path: PathBuf },
    #[error(
        "{} is a directory, and {} names a file", source_directory.display(), path.display()
    )]
    DestinationOfDirectory {
        source_directory: PathBuf,
        path: PathBuf,
    },
    #[error("{} would be read as well as written", path.display())]
    DestinationInSource { path: PathBuf },
    #[error("{} holds no rows: it is no file `*.parquet` or `*.csv`, no directory and no query", path.display())]
    SourceName { path: PathBuf },
    #[error("{} has no files `*.parquet`", directory.display())]
    SourceEmpty { directory: PathBuf },
    #[error("{} leads out of the directory", path.display())]
    SourceOutside { path: PathBuf },
    #[error("{} cannot be read: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{} cannot be written: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("the calls of `{model}` are shared among versions")]
    SharedModel { model: String },
    #[error(
        "`{model}` takes no features of the feature repository, and `{features}` ones are asked for"
    )]
    NoFeatures {
        model: String,
        features: &'static str,
    },
    #[error("there is no feature repository, in whose database a query could run")]
    NoFeatureRepository,
    #[error("{}: column `{column}` is {found}, which no input of a model can be", file.display())]
    ColumnType {
        file: PathBuf,
        column: String,
        found: Box<DataType>,
    },
    #[error("column `{column}` would be there twice")]
    ColumnTwice { column: String },
    #[error("output `{output}` has the shape {shape:?}, which is not what the graph states")]
    OutputShape { output: String, shape: Vec<usize> },
    #[error("none of the {n_rows} rows of {} was answered; the first: {first}", file.display())]
    NothingScored {
        file: PathBuf,
        n_rows: u64,
        first: String,
    },
    #[error("the rows cannot be put together: {0}")]
    Arrow(#[source] ArrowError),
    #[error("a task in the background panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

impl From<predict::Error> for Error {
    fn from(error: predict::Error) -> Self {
        Self::Predict(Box::new(error))
    }
}

impl From<historical::Error> for Error {
    fn from(error: historical::Error) -> Self {
        Self::Features(Box::new(error))
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Predict(error) | Self::Call { error, .. } => error.class(),
            Self::Features(error) | Self::Rows { error, .. } => error.class(),
            Self::DestinationName { .. }
            | Self::DestinationOfDirectory { .. }
            | Self::DestinationInSource { .. }
            | Self::SourceName { .. }
            | Self::SourceEmpty { .. }
            | Self::SourceOutside { .. }
            | Self::Read { .. }
            | Self::SharedModel { .. }
            | Self::NoFeatures { .. }
            | Self::ColumnType { .. }
            | Self::ColumnTwice { .. } => ErrorClass::InvalidInput,
            Self::NoFeatureRepository => ErrorClass::NotFound,
            Self::NothingScored { .. } => ErrorClass::Unprocessable,
            Self::Write { .. } | Self::OutputShape { .. } | Self::Arrow(_) | Self::Panicked(_) => {
                ErrorClass::Internal
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Predict(error) | Self::Call { error, .. } => error.code(),
            Self::Features(error) | Self::Rows { error, .. } => error.code(),
            Self::DestinationName { .. }
            | Self::DestinationOfDirectory { .. }
            | Self::DestinationInSource { .. } => "score_destination_invalid",
            Self::SourceName { .. }
            | Self::SourceEmpty { .. }
            | Self::SourceOutside { .. }
            | Self::Read { .. } => "score_source_invalid",
            Self::Write { .. } => "features_file_unwritable",
            Self::SharedModel { .. } => "score_model_shared",
            Self::NoFeatures { .. } => "score_features_unused",
            Self::NoFeatureRepository => "feature_repository_absent",
            Self::ColumnType { .. } => "value_type_wrong",
            Self::ColumnTwice { .. } => "feature_names_collide",
            Self::OutputShape { .. } => "score_output_shape",
            Self::NothingScored { .. } => "score_nothing_scored",
            Self::Arrow(_) | Self::Panicked(_) => "internal",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Predict(error) | Self::Call { error, .. } => return hint_of_call(error),
            Self::Features(error) | Self::Rows { error, .. } => return error.hint(),
            Self::DestinationName { .. } => "call it `scores.parquet`",
            Self::DestinationOfDirectory { .. } => {
                "name a directory: it gets a file for each file of the source"
            }
            Self::DestinationInSource { .. } => "write to another place",
            Self::SourceName { .. } => {
                "name a file, a directory, or a query that begins with SELECT or WITH"
            }
            Self::SourceEmpty { .. } => {
                "names that begin with `.` or `_` do not count; is it the right directory?"
            }
            Self::SourceOutside { .. } => "put the file itself there, and no link to it",
            Self::SharedModel { model } => {
                return Some(format!(
                    "name one of them: `{model}@champion`, or by its number, `{model}:1`"
                ));
            }
            Self::NoFeatures { .. } => {
                "leave out the choice of features, and give its inputs as columns"
            }
            Self::NoFeatureRepository => "set `features.repo`, or give the rows as a file",
            Self::ColumnType { .. } => "give it a type of numbers, texts, booleans or lists",
            Self::ColumnTwice { .. } => "rename the column of the entity rows, or leave it out",
            Self::OutputShape { .. } => "export the graph with the shapes of its outputs",
            Self::NothingScored { .. } => "what is wrong with that row is wrong with all of them",
            Self::Read { .. } | Self::Write { .. } | Self::Arrow(_) | Self::Panicked(_) => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

/// Where a request would have `inputs` and `entities`, rows have columns.
fn hint_of_call(error: &predict::Error) -> Option<String> {
    match error {
        predict::Error::InputMissing { name }
        | predict::Error::RequestDataMissing { name, .. }
        | predict::Error::EntityMissing { name, .. } => {
            Some(format!("add a column `{name}` to the entity rows"))
        }
        other => other.hint(),
    }
}
