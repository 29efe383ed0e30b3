//! Which views are verified, which of their features, and what cannot be.

use super::{Error, NotVerified, Scope};
use crate::features;
use crate::features::definitions::{
    FeatureView, Field, OnDemandFeatureView, OnDemandSource, Projection, SourceKind,
};
use crate::features::historical::Entities;
use crate::features::registry::Registry;
use crate::features::suggest::Known;

/// A view that can be verified.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) view: FeatureView,
    /// In the order of the view.
    pub(super) features: Vec<Field>,
}

#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) targets: Vec<Target>,
    pub(super) not_verified: Vec<NotVerified>,
}

/// All views that are online and enabled, by name.
pub(super) fn all(registry: &Registry) -> Selected {
    let mut selected = Selected::default();
    let views = registry.feature_views.iter();
    for view in views.filter(|view| view.online && !view.disabled) {
        selected.add(view, &view.features);
    }
    let views = registry.on_demand_feature_views.iter();
    for view in views.filter(|view| !view.disabled) {
        selected.leave_out(&view.name, of_on_demand(view));
    }
    selected
        .targets
        .sort_by(|one, other| one.view.name.cmp(&other.view.name));
    selected
        .not_verified
        .sort_by(|one, other| one.view.cmp(&other.view));
    selected
}

/// Views that were asked for by name must be such that they can be verified; of others it is said why they are not.
pub(super) fn selected(registry: &Registry, scope: &Scope) -> Result<Selected, features::Error> {
    let mut selected = Selected::default();
    match scope {
        Scope::All => return Ok(all(registry)),
        Scope::Views(names) => {
            for name in names {
                if let Some(view) = registry.on_demand_feature_view(name) {
                    return Err(impossible(name, of_on_demand(view)));
                }
                let view = registry.feature_view(name);
                let view = view.ok_or_else(|| unknown_view(registry, name))?;
                if let Some(reason) = obstacle(view) {
                    return Err(impossible(name, reason));
                }
                selected.add(view, &view.features);
            }
        }
        Scope::Service(name) => {
            let Some(service) = registry.feature_service(name) else {
                return Err(unknown_service(registry, name));
            };
            for projection in &service.projections {
                selected.project(registry, projection)?;
            }
        }
    }
    // Each view once, its features in its own order.
    for target in &mut selected.targets {
        let order = |field: &Field| {
            let names = target.view.features.iter();
            names.clone().position(|own| own.name == field.name)
        };
        target.features.sort_by_key(order);
    }
    Ok(selected)
}

impl Selected {
    /// Views whose join keys are no columns of the entity rows.
    pub(super) fn leave_out_without_keys(&mut self, entities: &Entities) {
        for target in std::mem::take(&mut self.targets) {
            match target.lacks(entities) {
                Some(reason) => self.leave_out(&target.view.name, reason),
                None => self.targets.push(target),
            }
        }
    }

    fn add(&mut self, view: &FeatureView, features: &[Field]) {
        if let Some(reason) = obstacle(view) {
            self.leave_out(&view.name, reason);
            return;
        }
        let mut known = self.targets.iter_mut();
        let Some(target) = known.find(|own| own.view.name == view.name) else {
            let (view, features) = (view.clone(), features.to_vec());
            self.targets.push(Target { view, features });
            return;
        };
        for field in features {
            if target.features.iter().all(|own| own.name != field.name) {
                target.features.push(field.clone());
            }
        }
    }

    fn leave_out(&mut self, view: &str, reason: String) {
        if self.not_verified.iter().all(|own| own.view != view) {
            let view = view.to_owned();
            self.not_verified.push(NotVerified { view, reason });
        }
    }

    /// What a feature service, or an on-demand view, takes from a view.
    fn project(
        &mut self,
        registry: &Registry,
        projection: &Projection,
    ) -> Result<(), features::Error> {
        if let Some(view) = registry.on_demand_feature_view(&projection.view) {
            self.leave_out(&view.name, of_on_demand(view));
            for source in &view.sources {
                if let OnDemandSource::View(source) = source {
                    self.project(registry, source)?;
                }
            }
            return Ok(());
        }
        let view = registry.feature_view(&projection.view);
        let view = view.ok_or_else(|| unknown_view(registry, &projection.view))?;
        let mut features = Vec::with_capacity(projection.features.len());
        for field in &projection.features {
            let own = view.feature(&field.name);
            features.push(
                own.ok_or_else(|| unknown_feature(view, &field.name))?
                    .clone(),
            );
        }
        self.add(view, &features);
        Ok(())
    }
}

impl Target {
    /// Why entity rows have no keys of the view, if they do not.
    fn lacks(&self, entities: &Entities) -> Option<String> {
        if self.view.entities.is_empty() {
            return None;
        }
        let schema = entities.schema();
        let mut keys = self.view.join_keys.iter();
        let key = keys.find(|key| schema.index_of(&key.name).is_err())?;
        Some(format!("the entity rows have no column `{}`", key.name))
    }
}

/// Why a view cannot be verified, if it cannot.
fn obstacle(view: &FeatureView) -> Option<String> {
    if !view.online {
        return Some("it is not online".to_owned());
    }
    if view.disabled {
        return Some("it is disabled".to_owned());
    }
    match &view.batch_source {
        None => {
            Some("it has no batch source that its online values could be held against".to_owned())
        }
        Some(source) => match &source.kind {
            SourceKind::Other(kind) => Some(format!(
                "its batch source is of kind {kind}, which this build cannot read"
            )),
            SourceKind::File { .. } | SourceKind::Postgres { .. } => None,
        },
    }
}

fn of_on_demand(view: &OnDemandFeatureView) -> String {
    let sources = view.sources.iter().filter_map(|source| match source {
        OnDemandSource::View(projection) => Some(format!("`{}`", projection.view)),
        OnDemandSource::Request { .. } => None,
    });
    let sources: Vec<String> = sources.collect();
    let sources = match sources.is_empty() {
        true => "nothing that is stored".to_owned(),
        false => sources.join(", "),
    };
    match view.write_to_online_store {
        true => format!(
            "its rows bear the time of their writing, not that of what they were computed from; verify {sources}"
        ),
        false => format!("nothing of it is stored: it is computed from {sources}"),
    }
}

fn impossible(view: &str, reason: String) -> features::Error {
    let view = view.to_owned();
    Error::Impossible(NotVerified { view, reason }).into()
}

fn unknown_view(registry: &Registry, name: &str) -> features::Error {
    let names = registry.feature_views.iter().map(|view| view.name.as_str());
    features::Error::UnknownFeatureView {
        view: name.to_owned(),
        project: registry.project.clone(),
        known: Known::instead_of(name, names),
    }
}

fn unknown_service(registry: &Registry, name: &str) -> features::Error {
    let services = registry.feature_services.iter();
    features::Error::UnknownFeatureService {
        service: name.to_owned(),
        project: registry.project.clone(),
        known: Known::instead_of(name, services.map(|service| service.name.as_str())),
    }
}

fn unknown_feature(view: &FeatureView, name: &str) -> features::Error {
    let names = view.features.iter().map(|field| field.name.as_str());
    features::Error::UnknownFeature {
        view: view.name.clone(),
        feature: name.to_owned(),
        known: Known::instead_of(name, names),
    }
}
