//! Deleting what the online store has of a view that was dropped.
//!
//! Nothing here looks at the registry: the definition is the caller's, since a dropped view is in no registry any more.

use super::definitions::{DUMMY_JOIN_KEY, FeatureView};
use super::key::KeyLayout;
use super::online::StoredView;
use super::plan::{Rules, stored_name};
use super::{Error, FeatureStore};

impl FeatureStore {
    /// Deletes the view's values from the online store, and returns of how many entity keys. Of a versioned view only the
    /// version of this definition. May be repeated. Not cancel safe.
    pub async fn delete_view(&self, view: &FeatureView) -> Result<usize, Error> {
        let rules = Rules::of(&self.0.repo);
        let features = view.features.iter().map(|field| field.name.clone());
        let stored = StoredView {
            name: stored_name(view, rules),
            features: features.collect(),
        };
        let names: Vec<&str> = view
            .join_keys
            .iter()
            .map(|key| key.name.as_str())
            .filter(|name| *name != DUMMY_JOIN_KEY)
            .collect();
        let keys = if names.is_empty() {
            KeyLayout::entityless(rules.key_version)
        } else {
            KeyLayout::new(rules.key_version, &names)
        };
        Ok(self.0.online.delete_view(&stored, &keys).await?)
    }
}
