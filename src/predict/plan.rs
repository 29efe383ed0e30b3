//! The serving plan: what a model version needs, compiled once when it loads.
//!
//! For each graph input: the columns that fill it, where each comes from, its type. For each name that a request may
//! use: what it feeds. Below the plan nothing is looked up by name except the request's own column names, once a call.
//! Not here: how a plan is compiled (`bind`), how a request is fitted to it (`call`), conversions (`convert`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::config::{OnMissing, OnStale};
use super::scoring::Scorer;
use crate::features::{OnlinePlan, RequestField, Selection};
use crate::telemetry::metrics::ModelMetrics;
use crate::types::dtype::DType;
use crate::types::value::Value;

/// A compiled serving plan.
pub struct ServingPlan {
    /// The features to read; without any the store is not asked.
    pub(super) online: Option<OnlinePlan>,
    /// What `online` was compiled from.
    pub(super) selection: Option<Selection>,
    /// Aligned with the features of `online`.
    pub(super) defaults: Vec<Option<Value>>,
    pub(super) on_missing: OnMissing,
    pub(super) on_stale: OnStale,
    /// All columns, those of one tensor beside each other.
    pub(super) columns: Vec<PlannedColumn>,
    /// In graph order.
    pub(super) tensors: Vec<PlannedTensor>,
    /// Graph inputs that a call may leave out, in the order of `Graph::optional`.
    pub(super) optional: Vec<OptionalTensor>,
    /// What each name that a request may use feeds.
    pub(super) slots: HashMap<String, Slot>,
    /// In graph order.
    pub(super) outputs: Vec<Arc<str>>,
    /// The graph's own names of them.
    pub(super) graph_outputs: Vec<Arc<str>>,
    /// How MLflow's scoring protocol types a request for this model.
    pub(super) scoring: Scorer,
    /// The only number of rows that the graph takes, where it takes only one.
    pub(super) fixed_rows: Option<usize>,
    pub(super) metrics: ModelMetrics,
}

/// One model input column.
#[derive(Debug, Clone)]
pub(super) struct PlannedColumn {
    pub(super) name: String,
    /// The type that the signature states, else the graph's.
    pub(super) declared: DType,
    pub(super) source: Source,
    /// A null where the request gives nothing, instead of an error.
    pub(super) optional: bool,
    pub(super) width: Width,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From `inputs` of the request.
    Request,
    /// From `entities` of the request: a join key that is also a model input.
    JoinKey,
    /// The feature of this index in the online plan.
    Feature(usize),
}

/// How many places of a row a column fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// A scalar.
    One,
    /// A list of exactly this length.
    List(usize),
    /// A list as long as it is; the row's places must come out right together.
    AnyList,
    /// Nested lists in the shape of the tensor's rows.
    Rows,
}

/// One graph input.
#[derive(Debug, Clone)]
pub(super) struct PlannedTensor {
    pub(super) name: String,
    /// The graph's element type.
    pub(super) dtype: DType,
    /// Its columns.
    pub(super) columns: Range<usize>,
    /// The shape of one row: the graph's dimensions after the first; -1 is any size. Empty: a row is one scalar.
    pub(super) row_shape: Vec<i64>,
}

/// One graph input that a call may leave out.
#[derive(Debug, Clone)]
pub(super) struct OptionalTensor {
    /// Without columns where rows do not fill it: then only whole tensors can.
    pub(super) tensor: PlannedTensor,
    /// The graph's; empty if it is a scalar or not stated.
    pub(super) shape: Vec<i64>,
}

/// What a name in a request feeds.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    /// Join keys of the online plan; one name may be wanted as two types.
    pub(super) join_keys: Vec<usize>,
    /// Columns.
    pub(super) columns: Vec<usize>,
    /// Features that it overrides.
    pub(super) features: Vec<usize>,
    /// The field of the online plan's request data that it gives.
    pub(super) request_data: Option<usize>,
    /// The type that a value of this name becomes; absent for a name that is only a join key.
    pub(super) declared: Option<DType>,
}

impl ServingPlan {
    pub fn metrics(&self) -> &ModelMetrics {
        &self.metrics
    }

    pub(super) fn n_join_keys(&self) -> usize {
        self.online
            .as_ref()
            .map_or(0, |online| online.join_keys.len())
    }

    pub(super) fn n_features(&self) -> usize {
        self.online
            .as_ref()
            .map_or(0, |online| online.features.len())
    }

    pub(super) fn request_data(&self) -> &[RequestField] {
        let online = self.online.as_ref();
        online.map_or(&[][..], |online| &online.request_data)
    }

    /// The names that a request may use under `entities`, in order.
    pub fn entity_names(&self) -> Vec<&str> {
        self.names_where(|slot| !slot.join_keys.is_empty())
    }

    /// The names that a request may use under `inputs`, in order.
    pub fn input_names(&self) -> Vec<&str> {
        self.names_where(|slot| {
            !slot.features.is_empty()
                || slot.request_data.is_some()
                || !slot.columns.is_empty() && slot.join_keys.is_empty()
        })
    }

    /// The names under which outputs are answered, in graph order.
    pub fn output_names(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|name| &**name)
    }

    fn names_where(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .slots
            .iter()
            .filter(|(_, slot)| wanted(slot))
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    fn names_of_feature(&self, feature: usize) -> Vec<String> {
        let names = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.features.contains(&feature));
        let mut names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// What the plan says, for `/v1/models/{model}`, `models check` and OpenAPI.
    pub fn describe(&self) -> Description {
        let features = self
            .online
            .as_ref()
            .map_or(&[][..], |online| &online.features);
        let entities = self
            .online
            .iter()
            .flat_map(|online| &online.join_keys)
            .map(|key| EntityDescription {
                name: key.name.clone(),
                value_type: key.key_type.to_string(),
                views: key.used_by.clone(),
            });
        let columns = self.columns.iter().map(|column| {
            let feature = match column.source {
                Source::Feature(feature) => Some(feature),
                Source::Request | Source::JoinKey => None,
            };
            ColumnDescription {
                name: column.name.clone(),
                dtype: column.declared,
                source: match column.source {
                    Source::Request => "request",
                    Source::JoinKey => "entity",
                    Source::Feature(_) => "feature",
                },
                feature: feature.map(|f| format!("{}:{}", features[f].view, features[f].feature)),
                overrides: feature.map_or_else(Vec::new, |feature| self.names_of_feature(feature)),
                required: column.source == Source::Request && !column.optional,
                list: column.width != Width::One,
                max_age: feature.and_then(|f| features[f].max_age),
                default: feature.and_then(|f| self.defaults[f].clone()),
            }
        });
        let request_data = self.request_data().iter();
        let request_data = request_data.map(|field| RequestDataDescription {
            name: field.name.clone(),
            value_type: field.value_type.name(),
            views: field.used_by.clone(),
        });
        Description {
            entities: entities.collect(),
            request_data: request_data.collect(),
            columns: columns.collect(),
            on_missing: self.on_missing,
            on_stale: self.on_stale,
            outputs: self.outputs.clone(),
        }
    }
}

/// A serving plan in words.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// The entity columns that a request gives.
    pub entities: Vec<EntityDescription>,
    /// The inputs that a request gives because on-demand features are computed from them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_data: Vec<RequestDataDescription>,
    /// The model's input columns in model order.
    pub columns: Vec<ColumnDescription>,
    pub on_missing: OnMissing,
    pub on_stale: OnStale,
    pub outputs: Vec<Arc<str>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct EntityDescription {
    pub name: String,
    /// Feast's name of the type.
    pub value_type: String,
    pub views: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct RequestDataDescription {
    pub name: String,
    /// Feast's name of the type.
    pub value_type: &'static str,
    /// The on-demand feature views that are computed from it.
    pub views: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ColumnDescription {
    pub name: String,
    #[serde(serialize_with = "display")]
    pub dtype: DType,
    /// `feature`, `entity` or `request`.
    pub source: &'static str,
    /// `view:feature`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// Names under which a request can give it in place of the feature.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    /// The request must give it.
    pub required: bool,
    /// Takes a list per row.
    pub list: bool,
    /// Age from which the feature counts as stale.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

fn display<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
