//! Deleting what the online store has of a view.
//!
//! A dropped view is in no registry any more; then its definition is the caller's.

use super::definitions::{DUMMY_JOIN_KEY, FeatureView};
use super::key::KeyLayout;
use super::online::StoredView;
use super::plan::{Rules, held_on_demand, stored_name};
use super::suggest::Known;
use super::{Error, FeatureStore};

/// What must be known of a view to find its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedView {
    /// As the online store has it: with `_v{N}` behind it where views are versioned.
    pub name: String,
    /// None for a view without entities.
    pub join_keys: Vec<String>,
    pub features: Vec<String>,
}

impl FeatureStore {
    /// Deletes the view's values from the online store, and returns of how many entity keys. Of a versioned view only the
    /// version of this definition. May be repeated. Not cancel safe.
    pub async fn delete_view(&self, view: &FeatureView) -> Result<usize, Error> {
        let features = view.features.iter().map(|field| field.name.clone());
        let keys = view.join_keys.iter().map(|key| key.name.clone());
        let dropped = DroppedView {
            name: stored_name(view, Rules::of(&self.0.repo)),
            join_keys: keys.filter(|name| name != DUMMY_JOIN_KEY).collect(),
            features: features.collect(),
        };
        self.delete_dropped(dropped).await
    }

    /// The same for a view of the registry, by its name; also for an on-demand feature view that is kept in the online store.
    pub async fn delete_view_named(&self, name: &str) -> Result<usize, Error> {
        let registry = self.registry();
        if let Some(view) = registry.feature_view(name) {
            return self.delete_view(view).await;
        }
        let Some(view) = registry.on_demand_feature_view(name) else {
            let names = registry.feature_views.iter().map(|view| view.name.as_str());
            return Err(Error::UnknownFeatureView {
                view: name.to_owned(),
                project: registry.project.clone(),
                known: Known::instead_of(name, names),
            });
        };
        let held = held_on_demand(view)?;
        let rules = Rules::of(&self.0.repo);
        let join_keys = held.join_keys.iter().map(|key| key.name.clone());
        // Its join keys are stored beside its features.
        let features = held.features.iter().map(|field| field.name.clone());
        let dropped = DroppedView {
            name: match rules.versioned_views && view.version > 0 {
                true => format!("{name}_v{}", view.version),
                false => name.to_owned(),
            },
            features: features.chain(join_keys.clone()).collect(),
            join_keys: join_keys.collect(),
        };
        self.delete_dropped(dropped).await
    }

    /// The same for a view that may be in no registry.
    pub async fn delete_dropped(&self, view: DroppedView) -> Result<usize, Error> {
        let version = Rules::of(&self.0.repo).key_version;
        let names: Vec<&str> = view.join_keys.iter().map(String::as_str).collect();
        let keys = if names.is_empty() {
            KeyLayout::entityless(version)
        } else {
            KeyLayout::new(version, &names)
        };
        let stored = StoredView {
            name: view.name,
            features: view.features,
        };
        Ok(self.0.online.delete_view(&stored, &keys).await?)
    }
}
