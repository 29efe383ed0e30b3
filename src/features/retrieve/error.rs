//! What can be wrong with a request for features, beside what can be wrong with features.

use crate::error::{ErrorClass, Failure};
use crate::features;
use crate::features::key::KeyError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Features(#[from] features::Error),
    #[error("neither a feature service nor features are named")]
    NothingSelected,
    #[error("`{reference}` is not `view:feature` or `view@version:feature`")]
    Reference { reference: String },
    #[error("`{view}@v{version}` names a version, and views are not versioned in this repository")]
    NotVersioned { view: String, version: u32 },
    #[error("several of the selected features are called `{}`", names.join("`, `"))]
    Collision {
        /// As they would appear in the answer.
        names: Vec<String>,
        /// Whether names have their views before them.
        full: bool,
    },
    #[error("the request data `{}` is not given", columns.join("`, `"))]
    RequestData { columns: Vec<String> },
    #[error("no entity column is given")]
    NoEntities,
    #[error("entity column `{column}` has {actual} values where another has {expected}")]
    UnequalLengths {
        column: String,
        expected: usize,
        actual: usize,
    },
    #[error("feature view `{view}` is read by `{}`, of which no value is given", join_keys.join("`, `"))]
    NoJoinKey {
        view: String,
        join_keys: Vec<String>,
    },
    #[error("row {row} of entity column `{column}`: {source}")]
    Value {
        column: String,
        row: usize,
        source: ValueError,
    },
    #[error(
        "`{view}:{feature}` of entity key {key} is stored as bytes that are not a feature value"
    )]
    Stored {
        view: String,
        feature: String,
        /// In hexadecimal.
        key: String,
    },
}

/// Why a value of a request cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("the value is null")]
    Null,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("wanted {wanted}, got {got}")]
    Type {
        wanted: &'static str,
        got: &'static str,
    },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Features(error) => error.class(),
            Self::NothingSelected
            | Self::Reference { .. }
            | Self::NotVersioned { .. }
            | Self::Collision { .. }
            | Self::RequestData { .. }
            | Self::NoEntities
            | Self::UnequalLengths { .. }
            | Self::NoJoinKey { .. }
            | Self::Value { .. } => ErrorClass::InvalidInput,
            Self::Stored { .. } => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Features(error) => error.code(),
            Self::NothingSelected => "features_not_selected",
            Self::Reference { .. } => "feature_reference_malformed",
            Self::NotVersioned { .. } => "feature_views_not_versioned",
            Self::Collision { .. } => "feature_names_collide",
            Self::RequestData { .. } => "request_data_missing",
            Self::NoEntities | Self::NoJoinKey { .. } => "entity_key_missing",
            Self::UnequalLengths { .. } => "column_lengths_unequal",
            Self::Value { .. } => "entity_key_invalid",
            Self::Stored { .. } => "online_value_invalid",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Features(error) => return error.hint(),
            Self::NothingSelected => "name a `feature_service`, or list `features`",
            Self::Reference { .. } => "write `view:feature`",
            Self::NotVersioned { .. } => {
                "set `registry.enable_online_feature_view_versioning` in feature_store.yaml, or leave the version out"
            }
            Self::Collision { full: false, .. } => "ask for `full_feature_names`",
            Self::Collision { full: true, .. } => "name every feature once",
            Self::RequestData { .. } => "send it as further columns of `entities`",
            Self::NoEntities | Self::NoJoinKey { .. } => {
                "send the join keys of the views in `entities`"
            }
            Self::UnequalLengths { .. } => "give every column one value per row",
            Self::Value { .. } => "send keys of the type that the entity has in Feast",
            Self::Stored { .. } => {
                "another program may have written them; materialize the view anew"
            }
        };
        Some(hint.to_owned())
    }
}
