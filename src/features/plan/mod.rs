//! A plan: everything about a read of features that does not depend on the request.
//!
//! Views that are read by the same request columns form one key group. Features keep the order of the selection: a feature
//! service's own, or the list's.
//! Not here: how a selection becomes a plan (`compile`), the read itself (`FeatureStore::online`).

mod compile;
#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::compile::{
    Held, SelectedView, compile, compile_views, held, held_on_demand, stored_name,
};
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
    pub(super) groups: Arc<[PlannedGroup]>,
    /// Of each feature: its group, and its place among the group's features.
    pub(super) places: Arc<[(usize, usize)]>,
    pub(super) lookup: Arc<dyn Lookup>,
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
    pub fn set_max_age(&mut self, max_age: Option<Duration>) {
        for feature in &mut self.features {
            feature.max_age = Some(max_age.unwrap_or(feature.ttl)).filter(|age| !age.is_zero());
        }
    }

    /// Whether `other` reads every feature of this plan as well: under the same name, from the same view, by the same
    /// request columns.
    pub fn is_part_of(&self, other: &Self) -> bool {
        self.features.iter().enumerate().all(|(own, feature)| {
            let mut others = other.features.iter().enumerate();
            others.any(|(place, theirs)| {
                feature == theirs
                    && self.stored_view(own) == other.stored_view(place)
                    && self.key_columns(own).eq(other.key_columns(place))
            })
        })
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

    /// The features, by position, that cannot be read without the `i`th join key.
    pub fn features_of_join_key(&self, i: usize) -> impl Iterator<Item = usize> {
        let places = self.places.iter().enumerate();
        places.filter_map(move |(feature, (group, _))| {
            self.groups[*group].columns.contains(&i).then_some(feature)
        })
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
