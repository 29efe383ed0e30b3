//! From a selection and the registry to a plan. Every name is looked up here, once.

use std::sync::Arc;
use std::time::Duration;

use super::{JoinKey, OnlinePlan, PlannedFeature, PlannedGroup, Rules, Selection};
use crate::features::Error;
use crate::features::definitions::{
    DUMMY_JOIN_KEY, FeatureView, Field, OnDemandFeatureView, Projection, ViewState,
};
use crate::features::key::{KeyLayout, KeyType, KeyVersion};
use crate::features::online::{KeyGroup, OnlineStore, StoredView};
use crate::features::registry::Registry;
use crate::features::suggest::Known;
use crate::types::names::FeatureRef;

pub(in crate::features) fn compile(
    registry: &Registry,
    rules: Rules,
    store: &dyn OnlineStore,
    selection: &Selection,
    wanted: &dyn Fn(&FeatureRef) -> bool,
) -> Result<OnlinePlan, Error> {
    let mut builder = Builder {
        registry,
        rules,
        wanted,
        features: Vec::new(),
        join_keys: Vec::new(),
        groups: Vec::new(),
        places: Vec::new(),
    };
    match selection {
        Selection::Service(name) => builder.service(name)?,
        Selection::Features(references) => {
            for reference in references {
                builder.reference(reference)?;
            }
        }
    }
    builder.check_names()?;
    Ok(builder.finish(store))
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
    let mut builder = Builder {
        registry,
        rules,
        wanted: &|_| true,
        features: Vec::new(),
        join_keys: Vec::new(),
        groups: Vec::new(),
        places: Vec::new(),
    };
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

struct Builder<'a> {
    registry: &'a Registry,
    rules: Rules,
    /// Of the selected features, those that the plan shall read, by effective view name.
    wanted: &'a dyn Fn(&FeatureRef) -> bool,
    features: Vec<PlannedFeature>,
    join_keys: Vec<JoinKey>,
    groups: Vec<GroupDraft>,
    places: Vec<(usize, usize, usize)>,
}

/// A group whose views still grow: a feature's final place is known at the end only.
struct GroupDraft {
    /// The views' own join keys, with the plan's join key that gives each value.
    keys: Vec<(String, usize)>,
    views: Vec<StoredView>,
}

/// A view that the online store holds: one that is materialized or pushed, or an on-demand view that is computed when it is
/// written.
#[derive(Clone, Copy)]
pub(in crate::features) struct Held<'a> {
    pub(in crate::features) name: &'a str,
    pub(in crate::features) version: u32,
    /// None for an entityless view.
    pub(in crate::features) join_keys: &'a [Field],
    pub(in crate::features) features: &'a [Field],
    pub(in crate::features) ttl: Duration,
}

/// One view as it is selected.
struct Source<'a> {
    view: Held<'a>,
    effective_name: &'a str,
    join_key_map: &'a [(String, String)],
}

impl<'a> Builder<'a> {
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
        self.check_version(view, projection.version)?;
        let source = Source {
            view,
            effective_name: projection.effective_name(),
            join_key_map: &projection.join_key_map,
        };
        for field in &projection.features {
            self.feature(&source, &field.name)?;
        }
        Ok(())
    }

    fn reference(&mut self, reference: &'a FeatureRef) -> Result<(), Error> {
        let (name, version) = split_version(&reference.view);
        let view = self.view(name)?;
        self.check_version(view, version)?;
        let source = Source {
            view,
            effective_name: &reference.view,
            join_key_map: &[],
        };
        self.feature(&source, &reference.feature)
    }

    /// A view that may be served.
    fn view(&self, name: &str) -> Result<Held<'a>, Error> {
        let registry = self.registry;
        let Some(view) = registry.feature_view(name) else {
            if let Some(error) = registry.left_out(name) {
                return Err(error.into());
            }
            if let Some(view) = registry.on_demand_feature_view(name) {
                return held_on_demand(view);
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
        Ok(held(view))
    }

    /// Only the current version of a view can be read.
    fn check_version(&self, view: Held<'_>, wanted: Option<u32>) -> Result<(), Error> {
        match wanted {
            Some(wanted) if wanted != view.version => Err(Error::UnknownVersion {
                view: view.name.to_owned(),
                wanted,
                current: view.version,
            }),
            _ => Ok(()),
        }
    }

    fn feature(&mut self, source: &Source<'_>, name: &str) -> Result<(), Error> {
        let field = feature_of(source.view, name)?;
        let reference = FeatureRef {
            view: source.effective_name.to_owned(),
            feature: field.name.clone(),
        };
        if !(self.wanted)(&reference) {
            return Ok(());
        }
        let group = self.group(source)?;
        let stored_name = versioned_name(source.view.name, source.view.version, self.rules);
        let views = &mut self.groups[group].views;
        // One entry per view and name in the plan, so that no stored value is wanted at two places.
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
        let features = &mut views[position].features;
        features.push(field.name.clone());
        self.places.push((group, position, features.len() - 1));
        self.features.push(PlannedFeature {
            view: source.effective_name.to_owned(),
            feature: field.name.clone(),
            value_type: field.value_type,
            ttl: source.view.ttl,
            max_age: Some(source.view.ttl).filter(|ttl| !ttl.is_zero()),
        });
        Ok(())
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
        for (i, feature) in self.features.iter().enumerate() {
            let same = |other: &PlannedFeature| {
                other.view == feature.view && other.feature == feature.feature
            };
            if self.features[..i].iter().any(same) {
                return Err(Error::SelectedTwice {
                    view: feature.view.clone(),
                    feature: feature.feature.clone(),
                });
            }
        }
        Ok(())
    }

    fn finish(self, store: &dyn OnlineStore) -> OnlinePlan {
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
            names: names(&self.features),
            places: places
                .map(|&(group, view, feature)| (group, first_places[group][view] + feature))
                .collect(),
            features: self.features,
            join_keys: self.join_keys,
            groups: groups.into(),
            lookup,
        }
    }
}

/// The name under which the online store keeps a view.
pub(in crate::features) fn stored_name(view: &FeatureView, rules: Rules) -> String {
    versioned_name(&view.name, view.version, rules)
}

fn versioned_name(name: &str, version: u32, rules: Rules) -> String {
    if rules.versioned_views && version > 0 {
        format!("{name}_v{version}")
    } else {
        name.to_owned()
    }
}

pub(in crate::features) fn held(view: &FeatureView) -> Held<'_> {
    Held {
        name: &view.name,
        version: view.version,
        join_keys: if view.entities.is_empty() {
            &[]
        } else {
            &view.join_keys
        },
        features: &view.features,
        ttl: view.ttl,
    }
}

/// One that is computed when it is read is in no store. Its features have no age limit in Feast.
pub(in crate::features) fn held_on_demand(view: &OnDemandFeatureView) -> Result<Held<'_>, Error> {
    if !view.write_to_online_store {
        return Err(Error::OnDemand {
            view: view.name.clone(),
        });
    }
    if view.disabled {
        return Err(Error::NotServed {
            view: view.name.clone(),
            state: "DISABLED",
        });
    }
    let is_entityless = view.join_keys.iter().all(|key| key.name == DUMMY_JOIN_KEY);
    Ok(Held {
        name: &view.name,
        version: view.version,
        join_keys: if is_entityless { &[] } else { &view.join_keys },
        features: &view.features,
        ttl: Duration::ZERO,
    })
}

fn names(features: &[PlannedFeature]) -> Arc<[String]> {
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

fn feature_of<'a>(view: Held<'a>, name: &str) -> Result<&'a Field, Error> {
    let found = view.features.iter().find(|field| field.name == name);
    found.ok_or_else(|| {
        let names = view.features.iter().map(|field| field.name.as_str());
        Error::UnknownFeature {
            view: view.name.to_owned(),
            feature: name.to_owned(),
            known: Known::instead_of(name, names),
        }
    })
}

/// `view@v3` pins a version; `view@latest` is `view`.
fn split_version(name: &str) -> (&str, Option<u32>) {
    match name.rsplit_once('@') {
        Some((view, "latest")) => (view, None),
        Some((view, tag)) => match tag.strip_prefix('v').and_then(|number| number.parse().ok()) {
            Some(number) => (view, Some(number)),
            None => (name, None),
        },
        None => (name, None),
    }
}
