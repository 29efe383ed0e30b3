//! What can go wrong with an on-demand feature view: when it is compiled, and when it is run.

use crate::error::{ErrorClass, Failure};
use crate::features::columns;
use crate::features::definitions::{OnDemandFeatureView, Transformation, ValueType};
use crate::features::suggest::Known;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("on-demand feature view `{view}` (mode `{mode}`) cannot be computed here: {reason}")]
    NoWay {
        view: String,
        mode: String,
        reason: &'static str,
    },
    #[error(
        "`features.on_demand.{view}` is no on-demand feature view of the registry, which has {known}"
    )]
    UnknownView { view: String, known: Box<Known> },
    #[error(
        "on-demand feature view `{view}` is computed from feature view `{source_view}`, which is not in the registry"
    )]
    UnknownSource { view: String, source_view: String },
    #[error(
        "on-demand feature view `{view}` is computed from `{source_view}:{feature}`, which is not in the registry"
    )]
    UnknownSourceFeature {
        view: String,
        source_view: String,
        feature: String,
    },
    #[error(
        "on-demand feature view `{view}` needs {what}, and this build is without feature `{feature}`"
    )]
    WithoutFeature {
        view: String,
        what: &'static str,
        feature: &'static str,
    },
    /// The query or plan itself is wrong.
    #[error("the {what} of on-demand feature view `{view}` does not compile: {reason}")]
    DoesNotCompile {
        view: String,
        what: &'static str,
        reason: String,
    },
    #[error(
        "the {what} of on-demand feature view `{view}` gives no column `{column}`, which the view declares; it gives {found}"
    )]
    MissingColumn {
        view: String,
        what: &'static str,
        column: String,
        found: Box<Known>,
    },
    #[error("the {what} of on-demand feature view `{view}` gives column `{column}` as {actual}, which is no {}", value_type.name())]
    WrongType {
        view: String,
        what: &'static str,
        column: String,
        value_type: ValueType,
        actual: String,
    },
    #[error("the {what} of on-demand feature view `{view}` gives {actual} rows for {expected}")]
    WrongRows {
        view: String,
        what: &'static str,
        expected: usize,
        actual: usize,
    },
    /// One value is wrong: it divides by zero, does not fit.
    #[error("on-demand feature view `{view}` cannot be computed from these values: {reason}")]
    Value { view: String, reason: String },
    #[error("input column `{column}` of on-demand feature view `{view}` is absent")]
    MissingInput { view: String, column: String },
    #[error("input column `{column}` of on-demand feature view `{view}` is {}, not {}", actual.name(), expected.name())]
    WrongInput {
        view: String,
        column: String,
        expected: ValueType,
        actual: ValueType,
    },
    #[error(transparent)]
    Columns(#[from] columns::Error),
    #[error("transformation service {endpoint} is not reachable")]
    Unreachable {
        endpoint: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    #[error("transformation service {endpoint} refused {what}: {status}")]
    Refused {
        what: String,
        endpoint: String,
        /// The code and the message of the service.
        status: String,
    },
    #[error(
        "transformation service {endpoint} gave an answer for on-demand feature view `{view}` that is no Arrow file: {reason}"
    )]
    Answer {
        view: String,
        endpoint: String,
        reason: String,
    },
    #[error("`{endpoint}` is no address of a transformation service")]
    Endpoint { endpoint: String },
    #[error("the deadline passed before the answer to {what} was there")]
    DeadlineExceeded { what: String },
}

impl Error {
    pub(super) fn no_way(view: &OnDemandFeatureView) -> Self {
        let (mode, reason) = match &view.transformation {
            Transformation::Pandas { .. } => ("pandas", "no transformation service is configured"),
            Transformation::Python { .. } => (
                "python",
                "its function is Python, and no SQL is declared for it",
            ),
            Transformation::Substrait { .. } => ("substrait", "its plan cannot be executed"),
            Transformation::Other(mode) => (mode.as_str(), "this mode is unknown"),
        };
        Self::NoWay {
            view: view.name.clone(),
            mode: mode.to_owned(),
            reason,
        }
    }
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoWay { .. }
            | Self::UnknownView { .. }
            | Self::UnknownSource { .. }
            | Self::UnknownSourceFeature { .. }
            | Self::WithoutFeature { .. }
            | Self::DoesNotCompile { .. }
            | Self::MissingColumn { .. }
            | Self::WrongType { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Endpoint { .. } => ErrorClass::Unavailable,
            Self::Value { .. } | Self::MissingInput { .. } => ErrorClass::InvalidInput,
            Self::DeadlineExceeded { .. } => ErrorClass::DeadlineExceeded,
            Self::WrongRows { .. } | Self::WrongInput { .. } | Self::Columns(_) => {
                ErrorClass::Internal
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoWay { .. } | Self::WithoutFeature { .. } => "on_demand_uncomputable",
            Self::UnknownView { .. }
            | Self::UnknownSource { .. }
            | Self::UnknownSourceFeature { .. }
            | Self::DoesNotCompile { .. }
            | Self::MissingColumn { .. }
            | Self::WrongType { .. }
            | Self::WrongRows { .. } => "on_demand_invalid",
            Self::Value { .. } => "on_demand_value",
            Self::MissingInput { .. } => "on_demand_input_missing",
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Endpoint { .. } => "transformation_service_failed",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::WrongInput { .. } | Self::Columns(_) => "internal",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoWay { view, .. } => Some(format!(
                "declare `[features.on_demand.{view}] sql = \"SELECT ... FROM input\"`, or make it `mode=\"pandas\"` and run \
                 Feast's transformation server (`features.transformation_service`), or make it `mode=\"substrait\"`"
            )),
            Self::UnknownView { known, .. } | Self::MissingColumn { found: known, .. } => {
                known.hint()
            }
            Self::UnknownSource { .. } | Self::UnknownSourceFeature { .. } => {
                Some("run `feast apply`".to_owned())
            }
            Self::WithoutFeature { feature, .. } => {
                Some(format!("use a build with Cargo feature `{feature}`"))
            }
            Self::WrongType { value_type, .. } => Some(format!(
                "convert it with CAST to what a feature of type {} is made of",
                value_type.name()
            )),
            Self::Unreachable { .. } => Some(
                "start it with `feast serve_transformations`, or check `features.transformation_service`"
                    .to_owned(),
            ),
            Self::Endpoint { .. } => {
                Some("write `host:port`, `http://host:port` or `https://host:port`".to_owned())
            }
            Self::DoesNotCompile { .. }
            | Self::WrongRows { .. }
            | Self::Value { .. }
            | Self::MissingInput { .. }
            | Self::WrongInput { .. }
            | Self::Columns(_)
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::DeadlineExceeded { .. } => None,
        }
    }
}
