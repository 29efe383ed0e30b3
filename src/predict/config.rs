//! `[models.<name>]`: which features a model takes and what to do when one is missing or stale.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gate;
use crate::inference::{batcher, response_cache};
use crate::models::traffic;
use crate::types::cell::Cell;
use crate::types::names::ModelVersion;

/// How one model is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The version that the plain name stands for, whatever the aliases say.
    #[schemars(with = "Option<u64>")]
    pub version: Option<ModelVersion>,
    /// The alias that the plain name stands for, in place of `serving.alias`.
    pub alias: Option<String>,
    /// The features that the model takes: the name of a feature service, or a comma-separated list of `view:feature`.
    /// Without it the tag `terrarium.features` of the model version decides.
    pub features: Option<String>,
    /// What to do with a feature that is not in the store, or null in it.
    pub on_missing: OnMissing,
    /// What to do with a feature that is older than it may be.
    pub on_stale: OnStale,
    /// Age from which a feature counts as stale, for all features of the model. Without it the `ttl` of the feature's
    /// view decides; zero is no limit.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub max_age: Option<Duration>,
    /// The newest so many recorded rows are run on a version before it serves, so that it does so warm; 0 for none.
    pub warm_up_rows: usize,
    /// Values that stand in for features, by feature name, `view__feature` or `view:feature`; used by the policy
    /// `default` of `on_missing` and `on_stale`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub defaults: BTreeMap<String, Cell>,
    /// Which versions share the calls for the model's plain name, and which run beside them unseen.
    pub traffic: traffic::Config,
    /// How calls that wait for an engine become one run.
    pub batching: batcher::Config,
    /// Whether answers are kept for calls with the same inputs.
    pub cache: response_cache::Config,
    /// What a newer version must show before the plain name moves to it.
    #[serde(deserialize_with = "gate::checked")]
    pub gate: gate::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: None,
            alias: None,
            features: None,
            on_missing: OnMissing::default(),
            on_stale: OnStale::default(),
            max_age: None,
            warm_up_rows: 32,
            defaults: BTreeMap::new(),
            traffic: traffic::Config::default(),
            batching: batcher::Config::default(),
            cache: response_cache::Config::default(),
            gate: gate::Config::default(),
        }
    }
}

/// What to do with a feature that is not in the store, or null in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// The model gets a null: NaN in a floating-point column, an error in any other.
    #[default]
    Null,
    /// The model gets the configured default.
    Default,
    /// The request fails with `feature_missing`.
    Error,
}

/// What to do with a feature that is older than it may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStale {
    /// The model gets the old value.
    #[default]
    Serve,
    /// The model gets a null: NaN in a floating-point column, an error in any other.
    Null,
    /// The model gets the configured default.
    Default,
    /// The request fails with `feature_stale`.
    Error,
}
