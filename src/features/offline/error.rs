//! What can go wrong with a view's source.

use std::error::Error as StdError;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::pull::PullLatest;
use crate::error::{ErrorClass, Failure};
use crate::features::definitions::{Field, ValueType};
use crate::features::suggest::Known;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("feature view `{view}` has {what}, which this build cannot read")]
    Unsupported { view: String, what: String },
    #[error("feature view `{view}` has a source in Postgres, and {problem}")]
    Settings { view: String, problem: String },
    #[error("source {place} of feature view `{view}` does not exist")]
    Missing { view: String, place: String },
    #[error("source {place} of feature view `{view}` cannot be read")]
    Read {
        view: String,
        place: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("source {place} of feature view `{view}` has no column `{column}`; it has {known}")]
    NoColumn {
        view: String,
        place: String,
        column: String,
        known: Box<Known>,
    },
    #[error("column `{column}` of feature view `{view}` is {found} in its source and cannot become {}", wanted.name())]
    WrongType {
        view: String,
        column: String,
        found: Box<DataType>,
        wanted: ValueType,
    },
    #[error("column `{column}` of feature view `{view}` has a value that cannot become {}", wanted.name())]
    WrongValue {
        view: String,
        column: String,
        wanted: ValueType,
        #[source]
        source: ArrowError,
    },
    #[error("join key `{column}` of feature view `{view}` is null in a row of its source")]
    NullKey { view: String, column: String },
    #[error("column `{column}` of the entity rows is {found}; join key `{column}` of feature view `{view}` is {}, and one cannot become the other", wanted.name())]
    EntityType {
        view: String,
        column: String,
        found: Box<DataType>,
        wanted: ValueType,
    },
    #[error("column `{column}` of the entity rows has a value that cannot become {}: {source}", wanted.name())]
    EntityValue {
        column: String,
        wanted: ValueType,
        source: ArrowError,
    },
    #[error("row {row} of the entity rows has no time in column `{column}`")]
    EntityTimeNull { column: String, row: usize },
    #[error("the entity rows cannot be read: {0}")]
    EntityRows(#[source] ArrowError),
    #[error("entity rows come from a query, and {problem}")]
    NoEntityDatabase { problem: String },
    #[error("the query for entity rows fails in {place}: {source}")]
    EntityQuery {
        place: String,
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("entity rows cannot be laid down in {place}: {source}")]
    Staging {
        place: String,
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("the cluster at {scheduler} did not do it: {problem}")]
    Cluster { scheduler: String, problem: String },
    #[error("a background read of features panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// The column `name` of the source, which holds `field`, is of a type that cannot become the field's.
pub(in crate::features) fn wrong_type(
    view: &str,
    name: &str,
    field: &Field,
    found: &DataType,
) -> Error {
    Error::WrongType {
        view: view.to_owned(),
        column: name.to_owned(),
        found: Box::new(found.clone()),
        wanted: field.value_type,
    }
}

pub(in crate::features) fn wrong_value(
    view: &str,
    name: &str,
    wanted: ValueType,
    source: ArrowError,
) -> Error {
    Error::WrongValue {
        view: view.to_owned(),
        column: name.to_owned(),
        wanted,
        source,
    }
}

impl PullLatest {
    pub(super) fn unsupported(&self, what: String) -> Error {
        let view = self.view.clone();
        Error::Unsupported { view, what }
    }

    pub(super) fn missing(&self, place: &str) -> Error {
        let (view, place) = (self.view.clone(), place.to_owned());
        Error::Missing { view, place }
    }

    pub(super) fn unreadable(
        &self,
        place: &str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        Error::Read {
            view: self.view.clone(),
            place: place.to_owned(),
            source: source.into(),
        }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unsupported { .. }
            | Self::EntityType { .. }
            | Self::EntityValue { .. }
            | Self::EntityTimeNull { .. }
            | Self::EntityRows(_)
            | Self::NoEntityDatabase { .. }
            | Self::EntityQuery { .. } => ErrorClass::InvalidInput,
            Self::Settings { .. }
            | Self::Missing { .. }
            | Self::Read { .. }
            | Self::NoColumn { .. }
            | Self::WrongType { .. }
            | Self::WrongValue { .. }
            | Self::NullKey { .. }
            | Self::Staging { .. }
            | Self::Cluster { .. } => ErrorClass::Unavailable,
            Self::Panicked(_) => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "materialize_unsupported",
            Self::Settings { .. } => "offline_store_invalid",
            Self::Missing { .. } => "feature_source_missing",
            Self::Read { .. } => "feature_source_unreadable",
            Self::NoColumn { .. } => "feature_source_column_missing",
            Self::WrongType { .. } | Self::WrongValue { .. } => "feature_source_type_mismatch",
            Self::NullKey { .. } => "feature_source_key_null",
            Self::EntityType { .. } | Self::EntityValue { .. } => "entity_key_invalid",
            Self::EntityTimeNull { .. } => "entity_time_missing",
            Self::EntityRows(_) => "entity_rows_malformed",
            Self::NoEntityDatabase { .. } => "offline_store_invalid",
            Self::EntityQuery { .. } => "entity_query_failed",
            Self::Staging { .. } => "offline_staging_failed",
            Self::Cluster { .. } => "offline_cluster_failed",
            Self::Panicked(_) => "internal",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { .. } => Some("use `feast materialize` for this view".to_owned()),
            Self::Settings { .. } => {
                Some("complete `offline_store` in feature_store.yaml".to_owned())
            }
            Self::Missing { .. } => Some(
                "relative paths start at the feature repository; check the source's path"
                    .to_owned(),
            ),
            Self::NoColumn { .. } => {
                Some("check the view's schema and the source's `field_mapping`".to_owned())
            }
            Self::WrongType { .. } | Self::WrongValue { .. } | Self::NullKey { .. } => {
                Some("make the source and the view's schema agree".to_owned())
            }
            Self::EntityType { .. } | Self::EntityValue { .. } => {
                Some("give keys of the type that the entity has in Feast".to_owned())
            }
            Self::EntityTimeNull { .. } => Some("give every entity row a time".to_owned()),
            Self::NoEntityDatabase { .. } => Some(
                "name a Parquet or CSV file, or set `offline_store` in feature_store.yaml"
                    .to_owned(),
            ),
            Self::Staging { .. } => Some("check `offline.cluster.staging`".to_owned()),
            Self::Cluster { .. } => Some(
                "check `offline.cluster.scheduler`, and the logs of the scheduler and the executors"
                    .to_owned(),
            ),
            Self::Read { .. }
            | Self::EntityRows(_)
            | Self::EntityQuery { .. }
            | Self::Panicked(_) => None,
        }
    }
}
