//! What can go wrong with a prediction.

use std::time::Duration;

use super::scoring;
use crate::error::{ErrorClass, Failure};
use crate::features::key::KeyError;
use crate::types::dtype::DType;
use crate::types::names::ModelVersion;
use crate::{audit, features, inference, models};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Audit(#[from] audit::Error),
    #[error(transparent)]
    Models(#[from] models::Error),
    #[error(transparent)]
    Features(#[from] features::Error),
    #[error(transparent)]
    Inference(#[from] inference::Error),
    #[error(transparent)]
    Scoring(#[from] scoring::Error),

    #[error("the model has no use for `{place}.{name}`")]
    UnknownColumn {
        place: &'static str,
        name: String,
        known: String,
    },
    #[error("`{place}.{name}` gives a value that is given already under another name")]
    GivenTwice { place: &'static str, name: String },
    #[error("input `{name}` is not given")]
    InputMissing { name: String },
    #[error("input `{name}` is not given; feature `{feature}` is computed from it")]
    RequestDataMissing { name: String, feature: String },
    #[error("row {row} of `{place}.{name}`: {source}")]
    RequestData {
        place: &'static str,
        name: String,
        row: usize,
        source: features::ValueError,
    },
    #[error("entity `{name}` is not given; feature `{feature}` is looked up by it")]
    EntityMissing { name: String, feature: String },
    #[error("row {row} of `{place}.{name}`: {source}")]
    EntityKey {
        place: &'static str,
        name: String,
        row: usize,
        source: KeyError,
    },
    #[error("the model takes exactly {wanted} rows in one call, not {actual}")]
    FixedRows { wanted: usize, actual: usize },

    #[error("row {row} of column `{column}`: {actual} where {wanted} is wanted")]
    Type {
        row: usize,
        column: String,
        wanted: DType,
        actual: &'static str,
    },
    #[error("row {row} of column `{column}`: {actual} where a list is wanted")]
    NotAList {
        row: usize,
        column: String,
        actual: &'static str,
    },
    #[error("row {row} of column `{column}`: the integer does not fit {wanted}")]
    Range {
        row: usize,
        column: String,
        wanted: DType,
    },
    #[error("row {row} of column `{column}`: null where {wanted} is wanted")]
    Null {
        row: usize,
        column: String,
        wanted: DType,
    },
    #[error("row {row} of column `{column}`: {actual} values where {wanted} are wanted")]
    Length {
        row: usize,
        column: String,
        wanted: usize,
        actual: usize,
    },
    #[error("row {row} of input `{input}` has {actual} values, and row {first} has {wanted}")]
    Ragged {
        row: usize,
        first: usize,
        input: String,
        wanted: usize,
        actual: usize,
    },

    #[error("tensor `{name}` is of type {actual} where {wanted} is wanted")]
    TensorType {
        name: String,
        wanted: DType,
        actual: DType,
    },
    #[error("tensor `{}` has the shape {:?} where {:?} is wanted", .0.name, .0.actual, .0.wanted)]
    TensorShape(Box<WrongShape>),
    #[error("tensor `{name}` has {actual} rows where the first one has {wanted}")]
    TensorRows {
        name: String,
        wanted: usize,
        actual: usize,
    },

    #[error("row {row}: feature `{feature}` is {status}")]
    FeatureMissing {
        row: usize,
        feature: String,
        status: &'static str,
    },
    #[error("row {row}: feature `{feature}` is {} old, more than {}", seconds(.age), seconds(.limit))]
    FeatureStale {
        row: usize,
        feature: String,
        age: Duration,
        limit: Duration,
    },

    #[error("output `{output}` of the model has {actual} rows where the request has {wanted}")]
    OutputRows {
        output: String,
        wanted: usize,
        actual: usize,
    },
    #[error("output `{output}` of versions {one} and {other} does not go together: {difference}")]
    VersionsDisagree {
        output: String,
        one: ModelVersion,
        other: ModelVersion,
        difference: &'static str,
    },
}

/// A shape that the graph does not take; -1 is any size.
#[derive(Debug)]
pub struct WrongShape {
    pub name: String,
    pub wanted: Vec<i64>,
    pub actual: Vec<usize>,
}

fn seconds(duration: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

impl Error {
    /// The same error of a call that was made of the given rows of another: rows are named as they stand there.
    pub(super) fn of_rows(mut self, rows: &[usize]) -> Self {
        let outer = |row: &mut usize| *row = rows.get(*row).copied().unwrap_or(*row);
        if let Self::Ragged { first, .. } = &mut self {
            outer(first);
        }
        if let Some(row) = self.row_mut() {
            outer(row);
        }
        self
    }

    /// The row that is to blame, if one is: without it the others may be answered.
    pub(super) fn row_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::EntityKey { row, .. }
            | Self::RequestData { row, .. }
            | Self::Type { row, .. }
            | Self::NotAList { row, .. }
            | Self::Range { row, .. }
            | Self::Null { row, .. }
            | Self::Length { row, .. }
            | Self::Ragged { row, .. }
            | Self::FeatureMissing { row, .. }
            | Self::FeatureStale { row, .. } => Some(row),
            Self::Audit(_)
            | Self::Models(_)
            | Self::Features(_)
            | Self::Inference(_)
            | Self::UnknownColumn { .. }
            | Self::GivenTwice { .. }
            | Self::InputMissing { .. }
            | Self::RequestDataMissing { .. }
            | Self::EntityMissing { .. }
            | Self::FixedRows { .. }
            | Self::OutputRows { .. }
            | Self::VersionsDisagree { .. }
            | Self::Scoring(_)
            | Self::TensorRows { .. }
            | Self::TensorShape(_)
            | Self::TensorType { .. } => None,
        }
    }
}

impl Failure for Error {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Inference(error) => error.retry_after(),
            _ => None,
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Audit(error) => error.class(),
            Self::Models(error) => error.class(),
            Self::Features(error) => error.class(),
            Self::Inference(error) => error.class(),
            Self::Scoring(error) => error.class(),
            Self::UnknownColumn { .. }
            | Self::GivenTwice { .. }
            | Self::InputMissing { .. }
            | Self::RequestDataMissing { .. }
            | Self::RequestData { .. }
            | Self::EntityMissing { .. }
            | Self::EntityKey { .. }
            | Self::FixedRows { .. }
            | Self::Type { .. }
            | Self::NotAList { .. }
            | Self::Range { .. }
            | Self::Null { .. }
            | Self::Length { .. }
            | Self::Ragged { .. }
            | Self::TensorType { .. }
            | Self::TensorShape(_)
            | Self::TensorRows { .. } => ErrorClass::InvalidInput,
            Self::FeatureMissing { .. } | Self::FeatureStale { .. } => ErrorClass::Unprocessable,
            Self::OutputRows { .. } | Self::VersionsDisagree { .. } => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Audit(error) => error.code(),
            Self::Models(error) => error.code(),
            Self::Features(error) => error.code(),
            Self::Inference(error) => error.code(),
            Self::Scoring(error) => error.code(),
            Self::UnknownColumn { .. } => "column_unknown",
            Self::GivenTwice { .. } => "column_duplicate",
            Self::InputMissing { .. } | Self::RequestDataMissing { .. } => "input_missing",
            Self::RequestData { .. } => "value_type_wrong",
            Self::EntityMissing { .. } => "entity_missing",
            Self::EntityKey { .. } => "entity_key_invalid",
            Self::FixedRows { .. } => "rows_fixed",
            Self::Type { .. }
            | Self::NotAList { .. }
            | Self::Null { .. }
            | Self::TensorType { .. } => "value_type_wrong",
            Self::TensorShape(_) => "tensor_shape_wrong",
            Self::Range { .. } => "value_out_of_range",
            Self::Length { .. } | Self::Ragged { .. } | Self::TensorRows { .. } => {
                "value_length_wrong"
            }
            Self::FeatureMissing { .. } => "feature_missing",
            Self::FeatureStale { .. } => "feature_stale",
            Self::OutputRows { .. } => "model_output_rows_wrong",
            Self::VersionsDisagree { .. } => "traffic_versions_disagree",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Audit(error) => error.hint(),
            Self::Models(error) => error.hint(),
            Self::Features(error) => error.hint(),
            Self::Inference(error) => error.hint(),
            Self::Scoring(error) => error.hint(),
            Self::UnknownColumn { known, .. } if known.is_empty() => Some("leave it out".to_owned()),
            Self::UnknownColumn { known, .. } => Some(format!("leave it out, or use one of: {known}")),
            Self::GivenTwice { .. } => Some("give each value once, under one name".to_owned()),
            Self::RequestDataMissing { name, .. } => Some(format!(
                "add `{name}` to `inputs`, or to each of `rows`, or give every feature that is computed from it"
            )),
            Self::RequestData { .. } => {
                Some("send values of the type that the request source has in Feast".to_owned())
            }
            Self::InputMissing { name } => Some(format!("add `{name}` to `inputs`, or to each of `rows`")),
            Self::EntityMissing { name, .. } => {
                Some(format!("add `{name}` to `entities`, or give every feature that needs it under `inputs`"))
            }
            Self::EntityKey { .. } => Some("send keys of the type that the entity has in Feast".to_owned()),
            Self::FixedRows { .. } => Some("the graph's first dimension is fixed; export it with a free one".to_owned()),
            Self::Type { wanted, .. } => Some(format!("send {}", describe(*wanted))),
            Self::TensorType { wanted, .. } => Some(format!("send a tensor of type {wanted}")),
            Self::NotAList { .. } => Some("send one list for each row".to_owned()),
            Self::Range { wanted, .. } => Some(format!("send an integer within the range of {wanted}")),
            Self::Null { .. } => Some("send a value; only floating-point columns take null".to_owned()),
            Self::Length { .. } | Self::Ragged { .. } => Some("send lists of the length that the model takes".to_owned()),
            Self::TensorShape(_) => Some("-1 is any size; the first dimension counts rows".to_owned()),
            Self::TensorRows { .. } => Some("give every tensor one item per row".to_owned()),
            Self::FeatureMissing { .. } => {
                Some("materialize the feature, give it under `inputs`, or relax `on_missing` of the model".to_owned())
            }
            Self::FeatureStale { .. } => {
                Some("materialize the feature, give it under `inputs`, or relax `on_stale` or `max_age`".to_owned())
            }
            Self::OutputRows { .. } => Some("the graph must give one row for each row it takes".to_owned()),
            Self::VersionsDisagree { .. } => {
                Some("versions that share calls must give outputs of one shape; name a version, or send one row a call".to_owned())
            }
        }
    }
}

fn describe(dtype: DType) -> &'static str {
    match dtype.json_type() {
        "integer" => "a whole number without a decimal point",
        "boolean" => "true or false",
        "string" => "a string",
        _ => "a number",
    }
}
