//! From names to a compiled retrieval: which views are read, under which names their features appear, what each request
//! column means. Every name is looked up here, once per registry snapshot.
//!
//! The order in which mistakes are found is Feast's: views, colliding names, features.

use std::collections::HashMap;
use std::sync::Arc;

use super::on_demand::{self, OnDemand};
use super::precomputed::Precomputed;
use super::reference::{Reference, effective};
use super::{Error, Naming, Retrieval, Wanted};
use crate::features::definitions::{
    DUMMY_ENTITY, FeatureService, FeatureView, Field, OnDemandFeatureView, ViewState,
};
use crate::features::plan::{
    Held, OnlinePlan, Rules, SelectedView, compile_views, held, held_on_demand,
};
use crate::features::registry::Registry;
use crate::features::suggest::Known;
use crate::features::{self, FeatureStore, Statuses};

/// A feature of the answer.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Which of the plan's features.
    pub(super) feature: usize,
    /// Which of the views that are read.
    pub(super) view: usize,
}

/// A view that is read.
#[derive(Debug)]
pub(super) struct ReadView {
    /// As metadata of the answer names it: the alias, without a version.
    pub(super) name: String,
    pub(super) version: u32,
}

/// What a request column is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// Values of a join key, which is echoed under this name; with the plan's join keys that take them.
    JoinKey { name: String, keys: Vec<usize> },
    /// Input of on-demand views, by position in `Retrieval::request_data`.
    RequestData(usize),
}

pub(super) fn resolve(
    store: &FeatureStore,
    registry: &Registry,
    wanted: &Wanted,
    naming: Naming,
) -> Result<Retrieval, Error> {
    let (draft, service) = Draft::of(store, registry, wanted, naming, Purpose::Serving)?;
    draft.finish(service, naming)
}

/// What a selection is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// From the online store, as far as views may be served from it.
    Serving,
    /// From the views' sources; nothing that is in the online store plays a part.
    History,
}

/// Feast compares names, and with full names the references as they are written.
fn check_names(references: &[Reference], naming: Naming) -> Result<(), Error> {
    let full = naming == Naming::Full;
    let name = |reference: &Reference| match naming {
        Naming::Short => reference.feature.clone(),
        Naming::Full => reference.text.replace(':', "__"),
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::new();
    for reference in references {
        let count = seen.entry(name(reference)).or_default();
        *count += 1;
        if *count == 2 {
            names.push(name(reference));
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::Collision { names, full })
}

pub(super) struct Draft<'a> {
    store: &'a FeatureStore,
    registry: &'a Registry,
    rules: Rules,
    purpose: Purpose,
    /// Views that may be selected, by the names under which they appear.
    pub(super) usable: Vec<Usable<'a>>,
    /// Positions in `usable`, in order of first selection.
    pub(super) order: Vec<usize>,
}

/// A view that the selection names, or that an on-demand view is computed from.
pub(super) struct Usable<'a> {
    pub(super) effective: String,
    /// The alias, without a version.
    clean: String,
    pub(super) kind: Kind<'a>,
    /// Features that the answer has, in order of selection.
    pub(super) requested: Vec<String>,
    /// Features that are read: those, and what on-demand views need.
    pub(super) read: Vec<String>,
}

pub(super) enum Kind<'a> {
    Stored {
        view: Held<'a>,
        join_key_map: &'a [(String, String)],
    },
    Computed(&'a OnDemandFeatureView),
}

impl<'a> Draft<'a> {
    /// The selection with every name looked up, and the service that it names.
    pub(super) fn of(
        store: &'a FeatureStore,
        registry: &'a Registry,
        wanted: &Wanted,
        naming: Naming,
        purpose: Purpose,
    ) -> Result<(Self, Option<&'a FeatureService>), Error> {
        let mut draft = Self {
            store,
            registry,
            rules: Rules::of(&store.0.repo),
            purpose,
            usable: Vec::new(),
            order: Vec::new(),
        };
        let mut references = Vec::new();
        let service = match wanted {
            Wanted::Service(name) => Some(draft.service(name, &mut references)?),
            Wanted::Features(texts) => {
                draft.features(texts, &mut references)?;
                None
            }
        };
        check_names(&references, naming)?;
        for reference in &references {
            draft.select(reference)?;
        }
        Ok((draft, service))
    }

    fn service(
        &mut self,
        name: &str,
        references: &mut Vec<Reference>,
    ) -> Result<&'a FeatureService, Error> {
        let registry = self.registry;
        let Some(service) = registry.feature_service(name) else {
            if let Some(error) = registry.left_out(name) {
                return Err(features::Error::from(error).into());
            }
            let services = registry.feature_services.iter();
            return Err(Error::Features(features::Error::UnknownFeatureService {
                service: name.to_owned(),
                project: registry.project.clone(),
                known: Known::instead_of(name, services.map(|service| service.name.as_str())),
            }));
        };
        for projection in &service.projections {
            let clean = projection.effective_name();
            let name = effective(clean, projection.version);
            self.admit(
                &projection.view,
                clean,
                projection.version,
                &projection.join_key_map,
            )?;
            for field in &projection.features {
                references.push(Reference {
                    text: format!("{name}:{}", field.name),
                    view: clean.to_owned(),
                    version: projection.version,
                    feature: field.name.clone(),
                });
            }
        }
        Ok(service)
    }

    fn features(&mut self, texts: &[String], references: &mut Vec<Reference>) -> Result<(), Error> {
        if texts.is_empty() {
            return Err(Error::NothingSelected);
        }
        for text in texts {
            references.push(Reference::parse(text)?);
        }
        for reference in references {
            self.admit(&reference.view, &reference.view, reference.version, &[])?;
        }
        Ok(())
    }

    /// Checks that a view may be served and notes it; with it what it is computed from.
    fn admit(
        &mut self,
        view: &str,
        clean: &str,
        version: Option<u32>,
        join_key_map: &'a [(String, String)],
    ) -> Result<(), Error> {
        let effective = effective(clean, version);
        if self.position(&effective).is_some() {
            return Ok(());
        }
        if let Some(version) = version
            && !self.rules.versioned_views
        {
            let view = view.to_owned();
            return Err(Error::NotVersioned { view, version });
        }
        let kind = self.kind(view, version, join_key_map)?;
        if let Kind::Computed(view) = &kind {
            for projection in on_demand::sources(view) {
                let name = projection.effective_name();
                self.admit(&projection.view, name, None, &projection.join_key_map)?;
            }
        }
        self.usable.push(Usable {
            effective,
            clean: clean.to_owned(),
            kind,
            requested: Vec::new(),
            read: Vec::new(),
        });
        Ok(())
    }

    fn kind(
        &self,
        name: &str,
        version: Option<u32>,
        join_key_map: &'a [(String, String)],
    ) -> Result<Kind<'a>, Error> {
        if let Some(view) = self.registry.feature_view(name) {
            match self.purpose {
                Purpose::Serving => check_state(view, self.rules)?,
                Purpose::History if view.disabled => {
                    return Err(not_served(&view.name, "DISABLED"));
                }
                Purpose::History => {}
            }
            check_version(&view.name, view.version, version)?;
            let view = held(view);
            return Ok(Kind::Stored { view, join_key_map });
        }
        if let Some(error) = self.registry.left_out(name) {
            return Err(features::Error::from(error).into());
        }
        let Some(view) = self.registry.on_demand_feature_view(name) else {
            let views = self.registry.feature_views.iter();
            return Err(Error::Features(features::Error::UnknownFeatureView {
                view: name.to_owned(),
                project: self.registry.project.clone(),
                known: Known::instead_of(name, views.map(|view| view.name.as_str())),
            }));
        };
        if view.disabled {
            return Err(not_served(&view.name, "DISABLED"));
        }
        check_version(&view.name, view.version, version)?;
        if view.write_to_online_store && self.purpose == Purpose::Serving {
            let view = held_on_demand(view)?;
            return Ok(Kind::Stored { view, join_key_map });
        }
        Ok(Kind::Computed(view))
    }

    fn position(&self, effective: &str) -> Option<usize> {
        self.usable
            .iter()
            .position(|usable| usable.effective == effective)
    }

    /// Adds a feature to what is read, and to the answer.
    fn select(&mut self, reference: &Reference) -> Result<(), Error> {
        let effective = reference.effective_view();
        let Some(position) = self.position(&effective) else {
            // Every reference's view was admitted.
            return Err(Error::Reference {
                reference: reference.text.clone(),
            });
        };
        let usable = &mut self.usable[position];
        let (fields, is_computed) = match &usable.kind {
            Kind::Stored { view, .. } => (view.features, false),
            Kind::Computed(view) => (view.features.as_slice(), true),
        };
        if !fields.iter().any(|field| field.name == reference.feature) {
            let names = fields.iter().map(|field| field.name.as_str());
            return Err(Error::Features(features::Error::UnknownFeature {
                view: effective,
                feature: reference.feature.clone(),
                known: Known::instead_of(&reference.feature, names),
            }));
        }
        push_new(&mut usable.requested, &reference.feature);
        if is_computed {
            self.read_sources(position);
        } else {
            self.read(position, &reference.feature);
        }
        Ok(())
    }

    fn read(&mut self, position: usize, feature: &str) {
        if !self.order.contains(&position) {
            self.order.push(position);
        }
        push_new(&mut self.usable[position].read, feature);
    }

    /// Everything that an on-demand view is computed from.
    fn read_sources(&mut self, position: usize) {
        let Kind::Computed(view) = self.usable[position].kind else {
            return;
        };
        for projection in on_demand::sources(view) {
            if let Some(source) = self.position(projection.effective_name()) {
                for field in &projection.features {
                    self.read(source, &field.name);
                }
            }
        }
    }

    fn finish(self, service: Option<&FeatureService>, naming: Naming) -> Result<Retrieval, Error> {
        let mut selected = Vec::new();
        let mut read_views = Vec::new();
        let mut columns = Vec::new();
        let mut n_features = 0;
        for &position in &self.order {
            let usable = &self.usable[position];
            let Kind::Stored { view, join_key_map } = usable.kind else {
                continue;
            };
            for feature in &usable.requested {
                let place = usable.read.iter().position(|read| read == feature);
                columns.push(Column {
                    name: label(&usable.effective, feature, naming),
                    feature: n_features + place.unwrap_or(0),
                    view: read_views.len(),
                });
            }
            n_features += usable.read.len();
            read_views.push(ReadView {
                name: usable.clean.clone(),
                version: view.version,
            });
            selected.push(SelectedView {
                view,
                effective_name: &usable.effective,
                join_key_map,
                features: &usable.read,
            });
        }
        let online = &*self.store.0.online;
        let plan = compile_views(self.registry, self.rules, online, &selected)?;
        let mut on_demand = Vec::new();
        for usable in &self.usable {
            if let Kind::Computed(view) = usable.kind
                && !usable.requested.is_empty()
            {
                let features = usable.requested.iter();
                let outputs = features
                    .map(|feature| (feature.clone(), label(&usable.effective, feature, naming)));
                let outputs = outputs.collect();
                let computed = OnDemand::compile(self.store, self.registry, view, outputs, &plan)?;
                on_demand.push(computed);
            }
        }
        // Feast's server loses the columns of Python functions when names are full; whoever asks for exact statuses wants
        // what was asked for.
        if naming == Naming::Full && self.store.0.statuses == Statuses::Python {
            for computed in &mut on_demand {
                computed.hide_python_columns();
            }
        }
        let request_data = on_demand::request_data(&on_demand);
        let precomputed = match service {
            Some(service) if service.precompute_online && on_demand.is_empty() => {
                Precomputed::compile(self.registry, self.rules, online, &service.name, &selected)?
            }
            _ => None,
        };
        Ok(Retrieval {
            roles: self.roles(&plan, &request_data),
            plan,
            columns,
            views: read_views,
            on_demand,
            request_data,
            precomputed,
        })
    }

    /// Join keys and entity names of the whole project count, as in Feast; what is none of them is dropped.
    fn roles(&self, plan: &OnlinePlan, request_data: &[Field]) -> HashMap<String, Role> {
        let join_key = |name: &str| {
            let keys = plan.join_keys.iter().enumerate();
            Role::JoinKey {
                name: name.to_owned(),
                keys: keys
                    .filter(|(_, key)| key.name == name)
                    .map(|(i, _)| i)
                    .collect(),
            }
        };
        let mut roles = HashMap::new();
        let entities = self.registry.entities.iter();
        let entities = entities.filter(|entity| entity.name != DUMMY_ENTITY);
        for entity in entities.clone() {
            roles.insert(entity.name.clone(), join_key(&entity.join_key));
        }
        for entity in entities {
            roles.insert(entity.join_key.clone(), join_key(&entity.join_key));
        }
        for key in &plan.join_keys {
            roles.insert(key.name.clone(), join_key(&key.name));
        }
        for (i, field) in request_data.iter().enumerate() {
            roles.insert(field.name.clone(), Role::RequestData(i));
        }
        roles
    }
}

pub(super) fn label(view: &str, feature: &str, naming: Naming) -> String {
    match naming {
        Naming::Short => feature.to_owned(),
        Naming::Full => format!("{view}__{feature}"),
    }
}

fn push_new(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|other| other == name) {
        names.push(name.to_owned());
    }
}

fn check_state(view: &FeatureView, rules: Rules) -> Result<(), Error> {
    let served = match view.state {
        ViewState::Unspecified | ViewState::AvailableOnline => true,
        ViewState::Materializing => rules.serve_while_materializing,
        ViewState::Created | ViewState::Generated | ViewState::Other(_) => false,
    };
    if view.disabled {
        return Err(not_served(&view.name, "DISABLED"));
    }
    if !served {
        return Err(not_served(&view.name, view.state.name()));
    }
    Ok(())
}

fn not_served(view: &str, state: &'static str) -> Error {
    Error::Features(features::Error::NotServed {
        view: view.to_owned(),
        state,
    })
}

/// Only the current version of a view can be read.
fn check_version(view: &str, current: u32, wanted: Option<u32>) -> Result<(), Error> {
    match wanted {
        Some(wanted) if wanted != current => {
            Err(Error::Features(features::Error::UnknownVersion {
                view: view.to_owned(),
                wanted,
                current,
            }))
        }
        _ => Ok(()),
    }
}

/// A longer selection is compiled for each request: what is kept must not fill the memory.
const MAX_TEXT: usize = 64 * 1024;

/// What is kept of the snapshot for one way of naming; the way is a part of the type and so of the key.
struct Kept<const FULL: bool>(Arc<Retrieval>);

impl FeatureStore {
    /// The compiled form of a selection, kept with the registry's snapshot. `text` is how the request wrote the selection, and
    /// `wanted` what it says, asked for only when it is new.
    pub fn retrieval<E: From<Error>>(
        &self,
        text: &str,
        naming: Naming,
        wanted: impl FnOnce() -> Result<Wanted, E>,
    ) -> Result<Arc<Retrieval>, E> {
        let snapshot = self.snapshot();
        let make = |registry: &Registry| {
            let retrieval = resolve(self, registry, &wanted()?, naming)?;
            Ok::<_, E>(Arc::new(retrieval))
        };
        if text.len() > MAX_TEXT {
            return make(snapshot.registry());
        }
        match naming {
            Naming::Short => {
                let kept = snapshot.cached(text, |registry| make(registry).map(Kept::<false>))?;
                Ok(Arc::clone(&kept.0))
            }
            Naming::Full => {
                let kept = snapshot.cached(text, |registry| make(registry).map(Kept::<true>))?;
                Ok(Arc::clone(&kept.0))
            }
        }
    }
}
