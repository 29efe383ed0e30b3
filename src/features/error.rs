//! What can go wrong with features, in one enum over the errors of the parts.

use super::definitions::ValueType;
use super::suggest::Known;
use super::{materialize, online, registry, repo, transform, verify, write};
use crate::error::{ErrorClass, Failure};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Repo(#[from] repo::Error),
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error(transparent)]
    Online(#[from] online::Error),
    #[error(transparent)]
    Materialize(#[from] materialize::Error),
    #[error(transparent)]
    Transform(#[from] transform::Error),
    #[error(transparent)]
    Write(Box<write::Error>),
    #[error(transparent)]
    Verify(#[from] verify::Error),
    #[error(
        "feature service `{service}` is not in the registry of project `{project}`, which has {known}"
    )]
    UnknownFeatureService {
        service: String,
        project: String,
        known: Box<Known>,
    },
    #[error(
        "feature view `{view}` is not in the registry of project `{project}`, which has {known}"
    )]
    UnknownFeatureView {
        view: String,
        project: String,
        known: Box<Known>,
    },
    #[error("feature view `{view}` has no feature `{feature}`; it has {known}")]
    UnknownFeature {
        view: String,
        feature: String,
        known: Box<Known>,
    },
    #[error(
        "feature view `{view}` is at version {current}, and only that can be read, not {wanted}"
    )]
    UnknownVersion {
        view: String,
        wanted: u32,
        current: u32,
    },
    #[error("feature view `{view}` is {state} and not served")]
    NotServed { view: String, state: &'static str },
    #[error("`{view}:{feature}` is selected twice")]
    SelectedTwice { view: String, feature: String },
    #[error("join key `{join_key}` of feature view `{view}` has type {}, of which no entity key can be made", value_type.name())]
    UnusableJoinKey {
        view: String,
        join_key: String,
        value_type: ValueType,
    },
    #[error("the read has {actual} entity columns where its plan has {expected} join keys")]
    WrongColumns { expected: usize, actual: usize },
    #[error("entity column `{column}` has {actual} values where the read has {expected} rows")]
    WrongLength {
        column: String,
        expected: usize,
        actual: usize,
    },
    #[error("the request's deadline passed while online store {store} was read")]
    DeadlineExceeded { store: String },
    #[error("a background computation on features panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repo(error) => error.class(),
            Self::Registry(error) => error.class(),
            Self::Online(error) => error.class(),
            Self::Materialize(error) => error.class(),
            Self::Transform(error) => error.class(),
            Self::Write(error) => error.class(),
            Self::Verify(error) => error.class(),
            Self::UnknownFeatureService { .. }
            | Self::UnknownFeatureView { .. }
            | Self::UnknownFeature { .. }
            | Self::UnknownVersion { .. } => ErrorClass::NotFound,
            Self::SelectedTwice { .. } | Self::UnusableJoinKey { .. } => ErrorClass::InvalidInput,
            Self::NotServed { .. } => ErrorClass::Unavailable,
            Self::DeadlineExceeded { .. } => ErrorClass::DeadlineExceeded,
            Self::WrongColumns { .. } | Self::WrongLength { .. } | Self::Panicked(_) => {
                ErrorClass::Internal
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Repo(error) => error.code(),
            Self::Registry(error) => error.code(),
            Self::Online(error) => error.code(),
            Self::Materialize(error) => error.code(),
            Self::Transform(error) => error.code(),
            Self::Write(error) => error.code(),
            Self::Verify(error) => error.code(),
            Self::UnknownFeatureService { .. } => "feature_service_unknown",
            Self::UnknownFeatureView { .. } => "feature_view_unknown",
            Self::UnknownFeature { .. } => "feature_unknown",
            Self::UnknownVersion { .. } => "feature_view_version_unknown",
            Self::NotServed { .. } => "feature_view_not_served",
            Self::SelectedTwice { .. } => "feature_selected_twice",
            Self::UnusableJoinKey { .. } => "join_key_type_unusable",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::WrongColumns { .. } | Self::WrongLength { .. } | Self::Panicked(_) => "internal",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Repo(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Online(error) => error.hint(),
            Self::Materialize(error) => error.hint(),
            Self::Transform(error) => error.hint(),
            Self::Write(error) => error.hint(),
            Self::Verify(error) => error.hint(),
            Self::UnknownFeatureService { known, .. }
            | Self::UnknownFeatureView { known, .. }
            | Self::UnknownFeature { known, .. } => {
                let check = || "check the name, or run `feast apply`".to_owned();
                Some(known.hint().unwrap_or_else(check))
            }
            Self::NotServed { .. } => Some(
                "wait until its materialization is done, enable it, or set `registry.serve_features_while_materializing`"
                    .to_owned(),
            ),
            Self::UnknownVersion { .. }
            | Self::SelectedTwice { .. }
            | Self::UnusableJoinKey { .. }
            | Self::WrongColumns { .. }
            | Self::WrongLength { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Panicked(_) => None,
        }
    }
}
