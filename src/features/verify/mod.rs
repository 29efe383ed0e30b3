//! Train/serve skew: what the online store gives, held against what a training set would have of the same entities.
//!
//! ```text
//! select     names -> views with the features that are wanted; what cannot be verified, and why
//!   sample   entity keys, of the view's source or of a file
//!   online   their rows as they are stored, with their own event timestamps
//!   offline  the point-in-time join of the same keys at these times
//!   compare  feature by feature
//! Report
//! ```
//! Stores that keep whole seconds cut event timestamps, so a time of a whole second is joined as of that second's end.
//!
//! A key that the online store does not have is no mismatch, unless the source has a row of it in a range that was
//! materialized, by the registry, and rows do not expire by themselves in the store: then each feature is one.
//! Not here: what a source row becomes when it is stored (`convert`), how sources are joined (`offline`).

mod compare;
mod error;
mod offline;
mod online;
mod report;
mod sample;
mod sampler;
mod select;
#[cfg(test)]
mod tests;
mod view;

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::error::Error;
pub use self::report::{FeatureSkew, Mismatch, NotVerified, Report, Side, ViewReport, ViewSkew};
use super::FeatureStore;
use super::historical::Entities;

/// The check for train/serve skew that a server does by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often the online store is held against the offline store. A run may take as long. `0s` for never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub every: Duration,
    /// Entity keys of each feature view in one run, others each time. The view's source is read twice for them.
    pub sample: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            every: Duration::ZERO,
            sample: NonZeroUsize::MIN.saturating_add(99),
        }
    }
}

/// What is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All views that are online and enabled.
    All,
    /// These feature views, all of their features.
    Views(Vec<String>),
    /// The features of a feature service, and those that its on-demand features are computed from.
    Service(String),
}

/// How it is verified.
#[derive(Debug, Clone)]
pub struct Request {
    pub scope: Scope,
    /// Entity keys of each view.
    pub sample: NonZeroUsize,
    /// Chooses the keys: the same ones for the same seed, as long as the source has the same.
    pub seed: u64,
    /// How far two numbers of floating point may lie apart and count as equal: absolutely where both are below 1, else in
    /// proportion to the larger. At 0 they have the same bits.
    pub tolerance: f64,
    /// Where the keys are sampled from, in columns named as the views' join keys; without it each view's source.
    pub entities: Option<Entities>,
}

impl FeatureStore {
    /// Verifies view by view. A view that cannot be read does not keep the others from being verified. Errors: what can be seen
    /// to be wrong with the request. Cancel safe.
    pub async fn verify(&self, request: &Request) -> Result<Report, super::Error> {
        let mut selected = select::selected(&self.registry(), &request.scope)?;
        if let Some(entities) = &request.entities {
            selected.leave_out_without_keys(entities);
        }
        let select::Selected {
            targets,
            not_verified,
        } = selected;
        if targets.is_empty() {
            return Err(Error::Nothing { not_verified }.into());
        }
        let mut views = Vec::with_capacity(targets.len());
        for target in targets {
            let outcome = self.verify_view(&target, request).await;
            let view = target.view.name;
            views.push(ViewReport { view, outcome });
        }
        Ok(Report {
            views,
            not_verified,
        })
    }
}
