//! From a selection and the registry to a plan. Every name is looked up here, once.

use std::sync::Arc;

use super::on_demand::{self, Origin, ViewDraft};
use super::views::{
    Held, View, enabled, feature_of, held, held_on_demand, split_version, versioned_name,
};
use super::{JoinKey, OnlinePlan, PlannedFeature, PlannedGroup, Rules, Selection};
use crate::features::Error;
use crate::features::definitions::{Field, Projection, ViewState};
use crate::features::key::{KeyLayout, KeyType, KeyVersion};
use crate::features::online::{KeyGroup, OnlineStore, StoredView};
use crate::features::registry::Registry;
use crate::features::suggest::Known;
use crate::features::transform::{self, Transforms};
use crate::types::names::FeatureRef;

/// What a plan is compiled against.
#[derive(Clone, Copy)]
pub(in crate::features) struct Against<'a> {
    pub(in crate::features) registry: &'a Registry,
    pub(in crate::features) rules: Rules,
    pub(in crate::features) store: &'a dyn OnlineStore,
    pub(in crate::features) transforms: &'a Transforms,
}

pub(in crate::features) fn compile(
    against: Against<'_>,
    selection: &Selection,
    wanted: &dyn Fn(&FeatureRef) -> bool,
) -> Result<OnlinePlan, Error> {
    let mut builder = Builder::new(against.registry, against.rules, wanted);
    match selection {
        Selection::Service(name) => builder.service(name)?,
        Selection::Features(references) => {
            for reference in references {
                builder.reference(reference)?;
            }
        }
    }
    builder.check_names()?;
    match builder.views.is_empty() {
        true => Ok(builder.finish(against.store)),
        false => on_demand::finish(builder, against.store, against.transforms),
    }
}

/// A view of a selection that was resolved elsewhere.
pub(in crate::features) struct SelectedView<'a> {
    pub(in crate::features) view: Held<'a>,
    /// The alias where it has one.
    pub(in crate::features) effective_name: &'a str,
    pub(in crate::features) join_key_map: &'a [(String, String)],
    pub(in crate::features) features: &'a [String],
}

/// Compiles views as they are given: whether they may be served is not asked again. No feature may be named twice.
pub(in crate::features) fn compile_views(
    registry: &Registry,
    rules: Rules,
    store: &dyn OnlineStore,
    views: &[SelectedView<'_>],
) -> Result<OnlinePlan, Error> {
    let mut builder = Builder::new(registry, rules, &|_| true);
    for selected in views {
        let source = Source {
            view: selected.view,
            effective_name: selected.effective_name,
            join_key_map: selected.join_key_map,
        };
        for feature in selected.features {
            builder.feature(&source, feature)?;
        }
    }
    Ok(builder.finish(store))
}

pub(super) struct Builder<'a> {
    pub(super) registry: &'a Registry,
    rules: Rules,
    /// Of the selected features, those that the plan shall have, by effective view name.
    wanted: &'a dyn Fn(&FeatureRef) -> bool,
    /// The features of the plan.
    pub(super) selected: Vec<(PlannedFeature, Origin)>,
    /// The on-demand views that some of them are computed by.
    pub(super) views: Vec<ViewDraft<'a>>,
    /// The features that are read.
    pub(super) read: Vec<PlannedFeature>,
    join_keys: Vec<JoinKey>,
    groups: Vec<GroupDraft>,
    /// For each feature that is read its group, its view in the group, and its place in the view.
    places: Vec<(usize, usize, usize)>,
}

/// A group whose views still grow: a feature's final place is known at the end only.
struct GroupDraft {
    /// The views' own join keys, with the plan's join key that gives each value.
    keys: Vec<(String, usize)>,
    views: Vec<StoredView>,
}

/// One view as it is selected.
pub(super) struct Source<'a> {
    pub(super) view: Held<'a>,
    pub(super) effective_name: &'a str,
    pub(super) join_key_map: &'a [(String, String)],
}

impl<'a> Builder<'a> {
    fn new(registry: &'a Registry, rules: Rules, wanted: &'a dyn Fn(&FeatureRef) -> bool) -> Self {
        Self {
            registry,
            rules,
            wanted,
            selected: Vec::new(),
            views: Vec::new(),
            read: Vec::new(),
            join_keys: Vec::new(),
            groups: Vec::new(),
            places: Vec::new(),
        }
    }

    fn service(&mut self, name: &str) -> Result<(), Error> {
        let registry = self.registry;
        let Some(service) = registry.feature_service(name) else {
            if let Some(error) = registry.left_out(name) {
                return Err(error.into());
            }
            let names = registry
                .feature_services
                .iter()
                .map(|service| service.name.as_str());
            return Err(Error::UnknownFeatureService {
                service: name.to_owned(),
                project: registry.project.clone(),
                known: Known::instead_of(name, names),
            });
        };
        for projection in &service.projections {
            self.projection(projection)?;
        }
        Ok(())
    }

    fn projection(&mut self, projection: &'a Projection) -> Result<(), Error> {
        let view = self.view(&projection.view)?;
        self.check_version(&view, projection.version)?;
        let name = projection.effective_name();
        for field in &projection.features {
            self.select(&view, name, &projection.join_key_map, &field.name)?;
        }
        Ok(())
    }

    fn reference(&mut self, reference: &'a FeatureRef) -> Result<(), Error> {
        let (name, version) = split_version(&reference.view);
        let view = self.view(name)?;
        self.check_version(&view, version)?;
        self.select(&view, &reference.view, &[], &reference.feature)
    }

    fn select(
        &mut self,
        view: &View<'a>,
        effective_name: &'a str,
        join_key_map: &'a [(String, String)],
        feature: &str,
    ) -> Result<(), Error> {
        match view {
            View::Held(view) => {
                let source = Source {
                    view: *view,
                    effective_name,
                    join_key_map,
                };
                self.feature(&source, feature)
            }
            View::Computed(definition) => {
                let view = ViewDraft {
                    definition,
                    effective_name,
                };
                self.computed_feature(view, feature)
            }
        }
    }

    /// A view that the online store holds and that may be served.
    pub(super) fn stored(&self, name: &str) -> Result<Held<'a>, Error> {
        match self.view(name)? {
            View::Held(view) => Ok(view),
            View::Computed(view) => Err(transform::Error::UnknownSource {
                view: view.name.clone(),
                source_view: name.to_owned(),
            }
            .into()),
        }
    }

    /// A view that may be served.
    fn view(&self, name: &str) -> Result<View<'a>, Error> {
        let registry = self.registry;
        let Some(view) = registry.feature_view(name) else {
            if let Some(error) = registry.left_out(name) {
                return Err(error.into());
            }
            if let Some(view) = registry.on_demand_feature_view(name) {
                return match view.write_to_online_store {
                    true => held_on_demand(view).map(View::Held),
                    false => enabled(view).map(View::Computed),
                };
            }
            let names = registry.feature_views.iter().map(|view| view.name.as_str());
            return Err(Error::UnknownFeatureView {
                view: name.to_owned(),
                project: registry.project.clone(),
                known: Known::instead_of(name, names),
            });
        };
        let served = match view.state {
            ViewState::Unspecified | ViewState::AvailableOnline => true,
            ViewState::Materializing => self.rules.serve_while_materializing,
            ViewState::Created | ViewState::Generated | ViewState::Other(_) => false,
        };
        if view.disabled || !served {
            let state = if view.disabled {
                "DISABLED"
            } else {
                view.state.name()
            };
            return Err(Error::NotServed {
                view: name.to_owned(),
                state,
            });
        }
        Ok(View::Held(held(view)))
    }

    /// Only the current version of a view can be read.
    fn check_version(&self, view: &View<'_>, wanted: Option<u32>) -> Result<(), Error> {
        let (name, version) = match view {
            View::Held(view) => (view.name, view.version),
            View::Computed(view) => (view.name.as_str(), view.version),
        };
        match wanted {
            Some(wanted) if wanted != version => Err(Error::UnknownVersion {
                view: name.to_owned(),
                wanted,
                current: version,
            }),
            _ => Ok(()),
        }
    }

    fn feature(&mut self, source: &Source<'_>, name: &str) -> Result<(), Error> {
        let field = feature_of(source.view.name, source.view.features, name)?;
        if !self.is_wanted(source.effective_name, &field.name) {
            return Ok(());
        }
        let (group, view) = self.stored_view(source)?;
        let place = self.read(source, field, group, view);
        let feature = self.read[place].clone();
        self.selected.push((feature, Origin::Read(place)));
        Ok(())
    }

    fn computed_feature(&mut self, view: ViewDraft<'a>, name: &str) -> Result<(), Error> {
        let fields = &view.definition.features;
        let field = feature_of(&view.definition.name, fields, name)?;
        if !self.is_wanted(view.effective_name, &field.name) {
            return Ok(());
        }
        let feature = fields.iter().position(|own| own.name == field.name);
        let feature = feature.unwrap_or_default();
        let planned = on_demand::computed_feature(&view, feature);
        let name = view.effective_name;
        let known = self
            .views
            .iter()
            .position(|view| view.effective_name == name);
        let view = known.unwrap_or_else(|| {
            self.views.push(view);
            self.views.len() - 1
        });
        let origin = Origin::Computed { view, feature };
        self.selected.push((planned, origin));
        Ok(())
    }

    fn is_wanted(&self, effective_name: &str, feature: &str) -> bool {
        (self.wanted)(&FeatureRef {
            view: effective_name.to_owned(),
            feature: feature.to_owned(),
        })
    }

    /// The group of the view, and its position in it.
    fn stored_view(&mut self, source: &Source<'_>) -> Result<(usize, usize), Error> {
        let group = self.group(source)?;
        let stored_name = versioned_name(source.view.name, source.view.version, self.rules);
        let views = &mut self.groups[group].views;
        let position = match views.iter().position(|view| view.name == stored_name) {
            Some(position) => position,
            None => {
                views.push(StoredView {
                    name: stored_name,
                    features: Vec::new(),
                });
                views.len() - 1
            }
        };
        Ok((group, position))
    }

    /// Reads a feature for itself alone: no stored value is wanted at two places. Returns its place.
    fn read(&mut self, source: &Source<'_>, field: &Field, group: usize, view: usize) -> usize {
        let features = &mut self.groups[group].views[view].features;
        features.push(field.name.clone());
        self.places.push((group, view, features.len() - 1));
        self.read.push(PlannedFeature {
            view: source.effective_name.to_owned(),
            feature: field.name.clone(),
            value_type: field.value_type,
            ttl: source.view.ttl,
            max_age: Some(source.view.ttl).filter(|ttl| !ttl.is_zero()),
        });
        self.read.len() - 1
    }

    /// The place of a feature that may be read for others as well.
    pub(super) fn read_shared(&mut self, source: &Source<'_>, name: &str) -> Result<usize, Error> {
        let field = feature_of(source.view.name, source.view.features, name)?;
        let (group, view) = self.stored_view(source)?;
        let features = &self.groups[group].views[view].features;
        if let Some(feature) = features.iter().position(|own| *own == field.name) {
            let mut places = self.places.iter();
            if let Some(place) = places.position(|place| *place == (group, view, feature)) {
                return Ok(place);
            }
        }
        Ok(self.read(source, field, group, view))
    }

    /// The group that is read by the view's keys under their request names.
    fn group(&mut self, source: &Source<'_>) -> Result<usize, Error> {
        let mut keys = Vec::new();
        for field in source.view.join_keys {
            keys.push((field.name.clone(), self.join_key(source, field)?));
        }
        keys.sort();
        if let Some(position) = self.groups.iter().position(|group| group.keys == keys) {
            return Ok(position);
        }
        self.groups.push(GroupDraft {
            keys,
            views: Vec::new(),
        });
        Ok(self.groups.len() - 1)
    }

    /// The plan's join key for a view's own.
    fn join_key(&mut self, source: &Source<'_>, field: &Field) -> Result<usize, Error> {
        let Some(key_type) = KeyType::from_value_type(field.value_type) else {
            return Err(Error::UnusableJoinKey {
                view: source.view.name.to_owned(),
                join_key: field.name.clone(),
                value_type: field.value_type,
            });
        };
        let mapped = source
            .join_key_map
            .iter()
            .find(|(own, _)| *own == field.name);
        let name = mapped.map_or(&field.name, |(_, column)| column);
        let known = |key: &JoinKey| key.name == *name && key.key_type == key_type;
        let position = match self.join_keys.iter().position(known) {
            Some(position) => position,
            None => {
                self.join_keys.push(JoinKey {
                    name: name.clone(),
                    key_type,
                    used_by: Vec::new(),
                });
                self.join_keys.len() - 1
            }
        };
        let used_by = &mut self.join_keys[position].used_by;
        if !used_by.iter().any(|view| view == source.effective_name) {
            used_by.push(source.effective_name.to_owned());
        }
        Ok(position)
    }

    fn check_names(&self) -> Result<(), Error> {
        for (i, (feature, _)) in self.selected.iter().enumerate() {
            let same = |(other, _): &(PlannedFeature, Origin)| {
                other.view == feature.view && other.feature == feature.feature
            };
            if self.selected[..i].iter().any(same) {
                return Err(Error::SelectedTwice {
                    view: feature.view.clone(),
                    feature: feature.feature.clone(),
                });
            }
        }
        Ok(())
    }

    /// The plan of what is read.
    pub(super) fn finish(self, store: &dyn OnlineStore) -> OnlinePlan {
        let mut stored = Vec::with_capacity(self.groups.len());
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut first_places = Vec::with_capacity(self.groups.len());
        for draft in self.groups {
            let mut firsts = Vec::with_capacity(draft.views.len());
            let mut n_features = 0;
            let mut views = Vec::new();
            for (i, view) in draft.views.iter().enumerate() {
                firsts.push(n_features);
                n_features += view.features.len();
                views.resize(n_features, i);
            }
            first_places.push(firsts);
            groups.push(PlannedGroup {
                layout: layout(self.rules.key_version, &draft.keys),
                columns: draft.keys.iter().map(|(_, column)| *column).collect(),
                n_features,
                n_views: draft.views.len(),
                views,
                stored_views: Vec::new(),
            });
            stored.push(KeyGroup { views: draft.views });
        }
        let lookup = store.prepare(&stored);
        for (group, stored) in groups.iter_mut().zip(stored) {
            group.stored_views = stored.views.into_iter().map(|view| view.name).collect();
        }
        let places = self.places.iter();
        OnlinePlan {
            names: names(&self.read),
            places: places
                .map(|&(group, view, feature)| (group, first_places[group][view] + feature))
                .collect(),
            features: self.read,
            join_keys: self.join_keys,
            request_data: Vec::new(),
            groups: groups.into(),
            lookup,
            on_demand: None,
        }
    }
}

pub(super) fn names(features: &[PlannedFeature]) -> Arc<[String]> {
    let name = |feature: &PlannedFeature| format!("{}:{}", feature.view, feature.feature);
    features.iter().map(name).collect()
}

fn layout(version: KeyVersion, keys: &[(String, usize)]) -> KeyLayout {
    if keys.is_empty() {
        return KeyLayout::entityless(version);
    }
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    KeyLayout::new(version, &names)
}
