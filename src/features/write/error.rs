//! What can go wrong with a write.

use std::io;
use std::path::PathBuf;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use serde_json::Value as Json;

use super::kind::Clash;
use super::{times, values};
use crate::error::{ErrorClass, Failure};
use crate::features::definitions::ValueType;
use crate::features::online;
use crate::features::suggest::Known;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "push source `{source_name}` feeds no feature view of project `{project}`; the push sources are {known}"
    )]
    UnknownPushSource {
        source_name: String,
        project: String,
        known: Box<Known>,
    },
    #[error("on-demand feature view `{view}` is not kept in the online store")]
    NotWritten { view: String },
    #[error("feature view `{view}` has no batch source, which would tell its timestamp column")]
    NoBatchSource { view: String },
    #[error("column `{column}` has {actual} values where column `{first}` has {expected}")]
    UnequalColumns {
        column: String,
        actual: usize,
        first: String,
        expected: usize,
    },
    #[error("feature view `{view}` needs column `{column}`; there are {known}")]
    MissingColumn {
        view: String,
        column: String,
        known: Box<Known>,
    },
    #[error("row {row} of column `{column}` has a {found} where the rows before have a {was}")]
    MixedColumn {
        column: String,
        row: usize,
        was: &'static str,
        found: &'static str,
    },
    #[error("the objects of column `{column}` have too many different keys by row {row}")]
    TooManyKeys { column: String, row: usize },
    #[error("row {row} of column `{column}` of feature view `{view}`: wanted {}, got {got}", wanted.name())]
    WrongValue {
        view: String,
        column: String,
        row: usize,
        wanted: ValueType,
        got: String,
    },
    #[error("row {row} of join key `{column}` of feature view `{view}` is null")]
    NullKey {
        view: String,
        column: String,
        row: usize,
    },
    #[error(
        "row {row} of timestamp column `{column}` of feature view `{view}` is not a time: {got}"
    )]
    WrongTimestamp {
        view: String,
        column: String,
        row: usize,
        got: String,
    },
    #[error(
        "row {row} of timestamp column `{column}` of feature view `{view}` is written in another form than row {first}: {got}"
    )]
    MixedTimestamps {
        view: String,
        column: String,
        row: usize,
        first: usize,
        got: String,
    },
    #[error("{}", incomplete(.view, *.n_rows, .done))]
    Incomplete {
        view: String,
        n_rows: usize,
        /// The views that are written.
        done: Vec<String>,
        source: Box<online::Error>,
    },
    #[error("rows cannot be appended to {what}")]
    OfflineUnsupported { what: String },
    #[error("the columns do not match those of {}: {}", path.display(), column_difference(.missing, .unexpected))]
    OfflineColumns {
        path: PathBuf,
        missing: Vec<String>,
        unexpected: Vec<String>,
    },
    #[error("column `{column}` cannot be stored as {wanted} in {}: {problem}", path.display())]
    OfflineValue {
        path: PathBuf,
        column: String,
        wanted: Box<DataType>,
        problem: String,
    },
    #[error("{} does not exist", path.display())]
    OfflineMissing { path: PathBuf },
    #[error("{} cannot be read", path.display())]
    OfflineRead {
        path: PathBuf,
        #[source]
        source: ParquetError,
    },
    #[error("{}", not_appended(.path, .done))]
    OfflineWrite {
        path: PathBuf,
        /// The views that are written online.
        done: Vec<String>,
        #[source]
        source: io::Error,
    },
}

fn incomplete(view: &str, n_rows: usize, done: &[String]) -> String {
    let before = match done.is_empty() {
        true => String::new(),
        false => format!(" after `{}` was written", done.join("`, `")),
    };
    format!("writing feature view `{view}` failed{before}; of its {n_rows} rows some may be stored")
}

fn not_appended(path: &std::path::Path, done: &[String]) -> String {
    let path = path.display();
    match done.is_empty() {
        true => format!("rows could not be appended to {path}, which is as it was"),
        false => format!(
            "rows could not be appended to {path}, which is as it was; `{}` is written",
            done.join("`, `")
        ),
    }
}

fn column_difference(missing: &[String], unexpected: &[String]) -> String {
    let list = |names: &[String]| format!("`{}`", names.join("`, `"));
    match (missing.is_empty(), unexpected.is_empty()) {
        (false, true) => format!("{} missing", list(missing)),
        (true, _) => format!("{} too many", list(unexpected)),
        (false, false) => format!("{} missing, {} too many", list(missing), list(unexpected)),
    }
}

/// Boxed: it is much larger than what else goes wrong with features.
impl From<Error> for crate::features::Error {
    fn from(error: Error) -> Self {
        Self::Write(Box::new(error))
    }
}

impl Error {
    pub(super) fn of_values(
        view: &str,
        column: &str,
        wanted: ValueType,
        problem: values::Problem,
    ) -> Self {
        let column = column.to_owned();
        match problem {
            values::Problem::Clash(row, Clash::Mixed { was, found }) => Self::MixedColumn {
                column,
                row,
                was,
                found,
            },
            values::Problem::Clash(row, Clash::TooManyKeys) => Self::TooManyKeys { column, row },
            values::Problem::Unfit(values::Unfit { row, got }) => Self::WrongValue {
                view: view.to_owned(),
                column,
                row,
                wanted,
                got,
            },
        }
    }

    pub(super) fn of_times(
        view: &str,
        column: &str,
        values: &[Json],
        problem: times::Problem,
    ) -> Self {
        let (view, column) = (view.to_owned(), column.to_owned());
        match problem {
            times::Problem::Unreadable { row } | times::Problem::Null { row } => {
                Self::WrongTimestamp {
                    view,
                    column,
                    row,
                    got: values::describe(&values[row]),
                }
            }
            times::Problem::OtherForm { row, first } => Self::MixedTimestamps {
                view,
                column,
                row,
                first,
                got: values::describe(&values[row]),
            },
        }
    }

    pub(super) fn offline_value(
        path: &std::path::Path,
        column: &str,
        wanted: &DataType,
        problem: ArrowError,
    ) -> Self {
        Self::OfflineValue {
            path: path.to_owned(),
            column: column.to_owned(),
            wanted: Box::new(wanted.clone()),
            problem: problem.to_string(),
        }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownPushSource { .. } => ErrorClass::NotFound,
            Self::NotWritten { .. }
            | Self::NoBatchSource { .. }
            | Self::UnequalColumns { .. }
            | Self::MissingColumn { .. }
            | Self::MixedColumn { .. }
            | Self::TooManyKeys { .. }
            | Self::WrongValue { .. }
            | Self::NullKey { .. }
            | Self::WrongTimestamp { .. }
            | Self::MixedTimestamps { .. }
            | Self::OfflineUnsupported { .. }
            | Self::OfflineColumns { .. }
            | Self::OfflineValue { .. } => ErrorClass::InvalidInput,
            Self::Incomplete { source, .. } => source.class(),
            Self::OfflineMissing { .. } | Self::OfflineRead { .. } | Self::OfflineWrite { .. } => {
                ErrorClass::Unavailable
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownPushSource { .. } => "push_source_unknown",
            Self::NotWritten { .. } => "feature_view_not_written",
            Self::NoBatchSource { .. } => "feature_view_without_source",
            Self::UnequalColumns { .. } => "frame_columns_unequal",
            Self::MissingColumn { .. } => "frame_column_missing",
            Self::MixedColumn { .. } | Self::TooManyKeys { .. } => "frame_column_mixed",
            Self::WrongValue { .. } => "frame_value_invalid",
            Self::NullKey { .. } => "frame_key_null",
            Self::WrongTimestamp { .. } => "frame_timestamp_invalid",
            Self::MixedTimestamps { .. } => "frame_timestamps_mixed",
            Self::Incomplete { source, .. } => source.code(),
            Self::OfflineUnsupported { .. } => "push_offline_unsupported",
            Self::OfflineColumns { .. } => "push_offline_columns",
            Self::OfflineValue { .. } => "push_offline_value_invalid",
            Self::OfflineMissing { .. } => "feature_source_missing",
            Self::OfflineRead { .. } => "feature_source_unreadable",
            Self::OfflineWrite { .. } => "feature_source_unwritable",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPushSource { known, .. } => Some(known.hint().unwrap_or_else(|| {
                "make it the source of a feature view and run `feast apply`".to_owned()
            })),
            Self::NotWritten { .. } => Some(
                "set `write_to_online_store=True` in its definition and run `feast apply`"
                    .to_owned(),
            ),
            Self::NoBatchSource { .. } => {
                Some("give it one in its definition and run `feast apply`".to_owned())
            }
            Self::MissingColumn { known, .. } => Some(known.hint().unwrap_or_else(|| {
                "send the join keys, all features and the timestamp columns of the view's source"
                    .to_owned()
            })),
            Self::WrongTimestamp { .. } => Some(
                "write it like `2026-11-01T00:00:00Z`, or as nanoseconds since 1970".to_owned(),
            ),
            Self::MixedTimestamps { .. } => Some(
                "write all of a column alike: the same digits, all or none with a zone".to_owned(),
            ),
            Self::Incomplete { source, .. } => source.hint(),
            Self::OfflineUnsupported { .. } => Some("push to `online` only".to_owned()),
            Self::OfflineColumns { .. } => {
                Some("send the columns of the file, no more and no less".to_owned())
            }
            Self::UnequalColumns { .. }
            | Self::MixedColumn { .. }
            | Self::TooManyKeys { .. }
            | Self::WrongValue { .. }
            | Self::NullKey { .. }
            | Self::OfflineValue { .. }
            | Self::OfflineRead { .. }
            | Self::OfflineWrite { .. } => None,
            Self::OfflineMissing { .. } => Some(
                "relative paths start at the feature repository; check the source's path"
                    .to_owned(),
            ),
        }
    }
}
