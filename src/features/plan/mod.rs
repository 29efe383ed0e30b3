//! A plan: everything about a read of features that does not depend on the request.
//!
//! Views that are read by the same request columns form one key group. Features keep the order of the selection: a feature
//! service's own, or the list's.
//! Features that are computed for each request are a part of their own (`on_demand`).
//! Not here: how a selection becomes a plan (`compile`), the read itself (`FeatureStore::online`).

mod compile;
mod on_demand;
#[cfg(test)]
mod tests;
mod views;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::compile::{Against, SelectedView, compile, compile_views};
pub(super) use self::on_demand::{OnDemandPart, Origin, PlannedView};
pub(super) use self::views::{Held, held, held_on_demand, stored_name};
use super::definitions::ValueType;
use super::key::{KeyLayout, KeyType, KeyVersion};
use super::online::Lookup;
use super::repo::Repo;
use crate::types::names::{FeatureRef, FeatureRefError};

/// The features that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All features of a feature service, by its name.
    Service(String),
    Features(Vec<FeatureRef>),
}

impl FromStr for Selection {
    type Err = FeatureRefError;

    /// The name of a feature service, or `view:feature` references with commas between them.
    fn from_str(text: &str) -> Result<Self, FeatureRefError> {
        if !text.contains([':', ',']) {
            return Ok(Self::Service(text.trim().to_owned()));
        }
        let references = text.split(',').map(|reference| reference.trim().parse());
        references.collect::<Result<_, _>>().map(Self::Features)
    }
}

/// A compiled selection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OnlinePlan {
    /// In order of the selection.
    pub features: Vec<PlannedFeature>,
    /// `view:feature` of each feature, the view by its alias where it has one.
    pub names: Arc<[String]>,
    /// The request columns that are needed, each once per type.
    pub join_keys: Vec<JoinKey>,
    /// What else the request must bring: columns that on-demand features are computed from, each once.
    pub request_data: Vec<RequestField>,
    pub(super) groups: Arc<[PlannedGroup]>,
    /// Of each feature: its group, and its place among the group's features. Empty where some are computed: then
    /// `on_demand` says where each comes from.
    pub(super) places: Arc<[(usize, usize)]>,
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) on_demand: Option<Arc<OnDemandPart>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFeature {
    /// The view's alias, else its name.
    pub view: String,
    pub feature: String,
    pub value_type: ValueType,
    /// The view's own limit; zero is none.
    pub ttl: Duration,
    /// How old a value may be before it is `outside_max_age`; `None` is any age.
    pub max_age: Option<Duration>,
}

/// A request column that is part of entity keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinKey {
    /// The request's name for it, after the join key map.
    pub name: String,
    pub key_type: KeyType,
    /// Views that are read by it, by their aliases.
    pub used_by: Vec<String>,
}

/// A request column that on-demand features are computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestField {
    pub name: String,
    pub value_type: ValueType,
    /// On-demand views that are computed from it, by their aliases.
    pub used_by: Vec<String>,
}

/// Views that are read by the same columns.
#[derive(Debug)]
pub(super) struct PlannedGroup {
    pub(super) layout: KeyLayout,
    /// For each join key of the layout, which of the plan's join keys gives its value; none for entityless views.
    pub(super) columns: Vec<usize>,
    pub(super) n_features: usize,
    pub(super) n_views: usize,
    /// For each feature, which of the group's views it belongs to.
    pub(super) views: Vec<usize>,
    /// The names that the online store has the views under.
    pub(super) stored_views: Vec<String>,
}

impl OnlinePlan {
    /// Sets the age limit of all features, in place of their views' `ttl`; zero is no limit, `None` goes back to the `ttl`.
    /// For on-demand features it is that of what they are computed from.
    pub fn set_max_age(&mut self, max_age: Option<Duration>) {
        for feature in &mut self.features {
            feature.max_age = Some(max_age.unwrap_or(feature.ttl)).filter(|age| !age.is_zero());
        }
        if let Some(part) = &mut self.on_demand {
            Arc::make_mut(part).read.set_max_age(max_age);
        }
    }

    /// Whether features are computed for each request.
    pub fn has_on_demand_features(&self) -> bool {
        self.on_demand.is_some()
    }

    /// Whether `other` gives every feature of this plan as well: under the same name, from the same view, by the same
    /// request columns, and computed in the same way.
    pub fn is_part_of(&self, other: &Self) -> bool {
        self.features.iter().enumerate().all(|(own, feature)| {
            let mut others = other.features.iter().enumerate();
            others.any(|(theirs, their)| feature == their && self.gives_alike(own, other, theirs))
        })
    }

    fn gives_alike(&self, own: usize, other: &Self, theirs: usize) -> bool {
        match (self.origin(own), other.origin(theirs)) {
            (Origin::Read(own), Origin::Read(theirs)) => {
                self.read_plan().reads_alike(own, other.read_plan(), theirs)
            }
            (Origin::Computed { .. }, Origin::Computed { .. }) => {
                let parts = self.on_demand.as_ref().zip(other.on_demand.as_ref());
                parts.is_some_and(|(part, their)| part.computes_alike(own, their, theirs))
            }
            (Origin::Read(_), Origin::Computed { .. })
            | (Origin::Computed { .. }, Origin::Read(_)) => false,
        }
    }

    fn origin(&self, feature: usize) -> Origin {
        match &self.on_demand {
            None => Origin::Read(feature),
            Some(part) => part.origins[feature],
        }
    }

    /// The plan of everything that is read.
    fn read_plan(&self) -> &Self {
        self.on_demand.as_ref().map_or(self, |part| &part.read)
    }

    /// Whether a feature that is read comes from the same stored place as one of another plan.
    fn reads_alike(&self, own: usize, other: &Self, theirs: usize) -> bool {
        self.stored_view(own) == other.stored_view(theirs)
            && self.key_columns(own).eq(other.key_columns(theirs))
    }

    fn stored_view(&self, feature: usize) -> &str {
        let (group, place) = self.places[feature];
        let group = &self.groups[group];
        &group.stored_views[group.views[place]]
    }

    /// The request columns that a feature is read by, in the order of the view's own join keys.
    fn key_columns(&self, feature: usize) -> impl Iterator<Item = (&str, KeyType)> {
        let (group, _) = self.places[feature];
        let columns = self.groups[group].columns.iter();
        columns.map(|column| {
            let key = &self.join_keys[*column];
            (key.name.as_str(), key.key_type)
        })
    }

    /// The features, by position, that cannot be told without the `i`th join key.
    pub fn features_of_join_key(&self, i: usize) -> impl Iterator<Item = usize> {
        (0..self.features.len()).filter(move |&feature| self.depends_on(feature, i))
    }

    fn depends_on(&self, feature: usize, join_key: usize) -> bool {
        match &self.on_demand {
            None => self.groups[self.places[feature].0]
                .columns
                .contains(&join_key),
            Some(part) => part.depends_on(feature, join_key),
        }
    }

    /// The features, by position, that cannot be computed without the `i`th field of the request data.
    pub fn features_of_request_data(&self, i: usize) -> impl Iterator<Item = usize> {
        let views = self.on_demand.iter().flat_map(|part| &part.views);
        let views = views.filter(move |view| view.request_data.contains(&i));
        views.flat_map(|view| view.features.iter().copied())
    }
}

/// What serving may do, as feature_store.yaml says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) key_version: KeyVersion,
    pub(super) versioned_views: bool,
    pub(super) serve_while_materializing: bool,
}

impl Rules {
    pub(super) fn of(repo: &Repo) -> Self {
        Self {
            key_version: repo.key_version,
            versioned_views: repo.registry.versioned_views,
            serve_while_materializing: repo.registry.serve_while_materializing,
        }
    }
}
