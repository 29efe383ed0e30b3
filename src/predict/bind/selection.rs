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
            selection: parse(&text)?,
            max_age: config.max_age,
            text,
        }))
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
            source,
        })?;
        if self.max_age.is_some() {
            plan.set_max_age(self.max_age);
        }
        Ok(plan)
    }
}

/// A feature service, or a comma-separated list of `view:feature`.
fn parse(text: &str) -> Result<Selection, Error> {
    if !text.contains([':', ',']) {
        if text.is_empty() {
            return Err(Error::Selection {
                features: text.to_owned(),
                reason: "nothing is named".to_owned(),
            });
        }
        return Ok(Selection::Service(text.to_owned()));
    }
    let mut features = Vec::new();
    for part in text.split(',') {
        let feature: FeatureRef =
            part.trim()
                .parse()
                .map_err(
                    |error: crate::types::names::FeatureRefError| Error::Selection {
                        features: text.to_owned(),
                        reason: error.to_string(),
                    },
                )?;
        features.push(feature);
    }
    Ok(Selection::Features(features))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_a_service_and_a_colon_makes_a_list() {
        assert!(matches!(parse("svc"), Ok(Selection::Service(name)) if name == "svc"));
        assert!(
            matches!(parse("a:b, c:d"), Ok(Selection::Features(features)) if features.len() == 2)
        );
    }

    #[test]
    fn a_malformed_list_names_the_part() {
        let error = parse("a:b, c")
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains("`c` is not a feature reference"), "{error}");
    }
}
