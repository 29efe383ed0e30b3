//! Which features a model version takes: configuration, else tag, else none.

use std::time::Duration;

use super::error::Error;
use crate::features::{FeatureStore, OnlinePlan, PlannedFeature, Selection};
use crate::models::Candidate;
use crate::predict::config::Config;
use crate::types::names::FeatureRef;

/// The MLflow tag that names a version's features.
const TAG: &str = "terrarium.features";

/// The features that a version may take, before it is known which of them it does.
pub(super) struct Selected<'a> {
    store: &'a FeatureStore,
    selection: Selection,
    max_age: Option<Duration>,
    /// As it was written.
    text: String,
}

impl<'a> Selected<'a> {
    /// What configuration or tag names, if they name something.
    pub(super) fn of(
        store: Option<&'a FeatureStore>,
        candidate: &Candidate<'_>,
        config: &Config,
    ) -> Result<Option<Self>, Error> {
        let Some(text) = config
            .features
            .as_deref()
            .or_else(|| candidate.tags.get(TAG).map(String::as_str))
        else {
            return Ok(None);
        };
        let text = text.trim().to_owned();
        let Some(store) = store else {
            return Err(Error::NoFeatureStore { features: text });
        };
        Ok(Some(Self {
            store,
            selection: text.parse().map_err(|source| Error::Selection {
                features: text.clone(),
                source,
            })?,
            max_age: config.max_age,
            text,
        }))
    }

    pub(super) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// All selected features.
    pub(super) fn all(&self) -> Result<OnlinePlan, Error> {
        self.plan(&|_| true)
    }

    /// Those of them that are used, so that no others are read.
    pub(super) fn only(&self, used: &[FeatureRef]) -> Result<OnlinePlan, Error> {
        self.plan(&|feature| used.contains(feature))
    }

    fn plan(&self, wanted: &dyn Fn(&FeatureRef) -> bool) -> Result<OnlinePlan, Error> {
        let plan = self.store.plan_where(&self.selection, wanted);
        let mut plan = plan.map_err(|source| Error::Features {
            features: self.text.clone(),
            source: Box::new(source),
        })?;
        if self.max_age.is_some() {
            plan.set_max_age(self.max_age);
        }
        Ok(plan)
    }
}

/// Whether `name` means the feature: by its own name, `view__feature` or `view:feature`.
pub(super) fn is_named(feature: &PlannedFeature, name: &str) -> bool {
    let in_view = |rest: &str, separator: &str| {
        rest.strip_prefix(&feature.view)
            .and_then(|rest| rest.strip_prefix(separator))
            .is_some_and(|rest| rest == feature.feature)
    };
    name == feature.feature || in_view(name, "__") || in_view(name, ":")
}
