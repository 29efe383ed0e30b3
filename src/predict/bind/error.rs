//! Why a model version cannot be served as it is.

use crate::error::{ErrorClass, Failure};
use crate::features;
use crate::types::dtype::DType;
use crate::types::names::FeatureRefError;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the model wants features (`{features}`), and there is no feature repository")]
    NoFeatureStore { features: String },
    #[error("features `{features}` of the model: {source}")]
    Features {
        features: String,
        source: Box<features::Error>,
    },
    #[error(
        "features `{features}` of the model are neither a feature service nor a list of features: {source}"
    )]
    Selection {
        features: String,
        source: FeatureRefError,
    },
    #[error("no input of the model takes any of the features `{features}`")]
    Unused { features: String },
    #[error("column `{column}` could be any of {candidates}")]
    Ambiguous { column: String, candidates: String },
    #[error("column `{column}` wants {wanted}, and feature `{feature}` is {actual}")]
    Type {
        column: String,
        wanted: DType,
        feature: String,
        actual: &'static str,
    },
    #[error("column `{column}` has the type `{dtype}`, which no graph input takes")]
    ColumnType { column: String, dtype: String },
    #[error("column {place} of the signature has no name")]
    Unnamed { place: usize },
    #[error("input `{input}` of the graph is not in the signature (it has {known})")]
    InputUnknown { input: String, known: String },
    #[error("column `{column}` of the signature is no input of the graph (it has {known})")]
    ColumnUnknown { column: String, known: String },
    #[error(
        "input `{input}` of the graph takes {wanted} values a row, and its columns are {actual}"
    )]
    Width {
        input: String,
        wanted: usize,
        actual: usize,
    },
    #[error("input `{input}` of the graph takes one value a row, and its columns are {actual}")]
    NotOneColumn { input: String, actual: usize },
    #[error("input `{input}` of the graph has no axis for rows")]
    NoRows { input: String },
    #[error("input `{input}` of the graph has the element type {dtype}, which is not supported")]
    ElementType { input: String, dtype: DType },
    #[error(
        "input `{input}` of the graph has more than one axis beside that for rows, which no list of features fills"
    )]
    NotAMatrix { input: String },
    #[error("the default of feature `{feature}` is {actual}, and its column wants {wanted}")]
    DefaultType {
        feature: String,
        wanted: DType,
        actual: &'static str,
    },
    #[error("the default for `{name}` is for no feature that the model takes")]
    DefaultUnknown { name: String },
    #[error("feature `{feature}` has no default, and the policy of the model needs one")]
    DefaultMissing { feature: String },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Features { source, .. } => source.class(),
            Self::NoFeatureStore { .. }
            | Self::Selection { .. }
            | Self::Unused { .. }
            | Self::Ambiguous { .. }
            | Self::Type { .. }
            | Self::ColumnType { .. }
            | Self::Unnamed { .. }
            | Self::InputUnknown { .. }
            | Self::ColumnUnknown { .. }
            | Self::Width { .. }
            | Self::NotOneColumn { .. }
            | Self::NoRows { .. }
            | Self::ElementType { .. }
            | Self::NotAMatrix { .. }
            | Self::DefaultType { .. }
            | Self::DefaultUnknown { .. }
            | Self::DefaultMissing { .. } => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoFeatureStore { .. } => "binding_no_feature_store",
            Self::Features { source, .. } => source.code(),
            Self::Selection { .. } => "binding_features_malformed",
            Self::Unused { .. } => "binding_features_unused",
            Self::Ambiguous { .. } => "binding_ambiguous",
            Self::Type { .. } => "binding_type_impossible",
            Self::ColumnType { .. } | Self::ElementType { .. } => "binding_type_unsupported",
            Self::Unnamed { .. } => "binding_column_unnamed",
            Self::InputUnknown { .. } | Self::ColumnUnknown { .. } => "binding_column_unknown",
            Self::Width { .. } | Self::NotOneColumn { .. } | Self::NotAMatrix { .. } => {
                "binding_width_wrong"
            }
            Self::NoRows { .. } => "binding_rows_missing",
            Self::DefaultType { .. } => "binding_default_type",
            Self::DefaultUnknown { .. } => "binding_default_unknown",
            Self::DefaultMissing { .. } => "binding_default_missing",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoFeatureStore { .. } => "set `features.repo` to a Feast repository",
            Self::Features { source, .. } => return source.hint(),
            Self::Selection { .. } => {
                "write the name of a feature service, or `view:feature, view:feature`"
            }
            Self::Unused { .. } => {
                "name the model's columns like the features, or take the binding away"
            }
            Self::Ambiguous { .. } => {
                "name the column `view__feature`, the view by its alias if it has one"
            }
            Self::Type { .. } => {
                "numbers become floating point, integers narrow, text never becomes a number"
            }
            Self::ColumnType { .. } | Self::ElementType { .. } => {
                "export the model with plain numbers, booleans or text"
            }
            Self::Unnamed { .. } => "save the model with a named signature",
            Self::InputUnknown { .. } | Self::ColumnUnknown { .. } => {
                "save the model again with the signature it has"
            }
            Self::Width { .. } | Self::NotOneColumn { .. } => {
                "give the signature, or the list of features, as many columns as the graph takes"
            }
            Self::NotAMatrix { .. } => {
                "take the binding away, and send the input with each request"
            }
            Self::NoRows { .. } => "export the graph with a first dimension that counts rows",
            Self::DefaultType { .. } => "give a default of the column's type",
            Self::DefaultUnknown { .. } => {
                "use the feature's name, `view__feature` or `view:feature`"
            }
            Self::DefaultMissing { .. } => "add it under `[models.<name>.defaults]`",
        };
        Some(hint.to_owned())
    }
}
