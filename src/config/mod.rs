//! The configuration of the whole product: the tree of every module's own `Config`.
//!
//! A new section is one field of `Config`; loading, printing and the reference follow from its type.
//! `load` merges the sources, `environment` is the only reader of the process environment, `print` shows what is in
//! effect and where from, `docs` writes the reference.
//! Not here: what an option means (its module), and how a backend is reached (its `connect`).

mod check;
pub mod docs;
mod environment;
mod file;
mod key;
mod load;
pub mod print;
mod problem;
mod schema;
#[cfg(test)]
mod tests;
mod text;
mod tree;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::environment::{Environment, PREFIX};
pub use self::key::Key;
pub use self::load::{DEFAULT_FILE, Loaded, Sources, load};
pub use self::problem::{Error, Problem};
pub use self::tree::Origin;

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen and how much to take.
    pub http: crate::http::Config,
    /// The Feast repository that features come from.
    pub features: crate::features::Config,
    /// Where joins over the history of features are done.
    pub offline: crate::features::OfflineOptions,
    /// Where registered models come from.
    pub registry: crate::models::registry::Config,
    /// Which versions of the registered models are served.
    pub serving: crate::models::Config,
    /// How single models are served, by the model's name.
    pub models: BTreeMap<String, crate::predict::Config>,
    /// How models are run.
    pub inference: crate::inference::Config,
    /// Jobs: where they are queued, and how they are run.
    pub jobs: crate::jobs::Config,
    /// The trail of all predictions.
    pub audit: crate::audit::Config,
    /// What is logged, and how it looks.
    pub log: crate::telemetry::logging::Config,
}
