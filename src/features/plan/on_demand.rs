//! The on-demand part of a plan: features that are computed from what is read and from the request.
//!
//! Their views are compiled here, once per plan; what they are computed from is read in the plan's one round trip. Plans
//! without such features have no such part.
//! Not here: the computation itself (`features::computed`).

use std::sync::Arc;
use std::time::Duration;

use super::compile::{Builder, Source};
use super::{OnlinePlan, PlannedFeature, RequestField};
use crate::features::Error;
use crate::features::definitions::{OnDemandFeatureView, OnDemandSource};
use crate::features::online::OnlineStore;
use crate::features::transform::{CompiledView, Inputs, Transforms};

#[derive(Debug, Clone)]
pub(in crate::features) struct OnDemandPart {
    /// Everything that is read: the plan's stored features, and what its on-demand views are computed from.
    pub(in crate::features) read: OnlinePlan,
    pub(in crate::features) views: Vec<PlannedView>,
    /// Where each feature of the plan comes from.
    pub(in crate::features) origins: Vec<Origin>,
}

/// An on-demand view of a plan.
#[derive(Debug, Clone)]
pub(in crate::features) struct PlannedView {
    definition: Arc<OnDemandFeatureView>,
    pub(in crate::features) compiled: CompiledView,
    /// Which of the plan's features are its own.
    pub(in crate::features) features: Vec<usize>,
    /// Which of the plan's fields of request data it is computed from.
    pub(in crate::features) request_data: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features) enum Origin {
    /// A feature of what is read.
    Read(usize),
    /// A feature of a view, both by position.
    Computed { view: usize, feature: usize },
}

/// A selected on-demand view, before its sources are looked up.
pub(super) struct ViewDraft<'a> {
    pub(super) definition: &'a OnDemandFeatureView,
    pub(super) effective_name: &'a str,
}

impl OnDemandPart {
    /// Whether a feature of the plan cannot be told without the `i`th join key.
    pub(super) fn depends_on(&self, feature: usize, join_key: usize) -> bool {
        match self.origins[feature] {
            Origin::Read(place) => self.read.depends_on(place, join_key),
            Origin::Computed { view, .. } => {
                let mut places = self.views[view].compiled.places();
                places.any(|place| self.read.depends_on(place, join_key))
            }
        }
    }

    /// Whether a feature is computed by another plan as by this one, from the same places.
    pub(super) fn computes_alike(&self, own: usize, other: &Self, theirs: usize) -> bool {
        let (
            Origin::Computed {
                view: own,
                feature: own_feature,
            },
            Origin::Computed {
                view: theirs,
                feature: their_feature,
            },
        ) = (self.origins[own], other.origins[theirs])
        else {
            return false;
        };
        let (own, theirs) = (&self.views[own], &other.views[theirs]);
        let mut places = own.compiled.places().zip(theirs.compiled.places());
        own_feature == their_feature
            && own.definition == theirs.definition
            && own.compiled.inputs == theirs.compiled.inputs
            && places.all(|(own, theirs)| {
                self.read.features[own] == other.read.features[theirs]
                    && self.read.reads_alike(own, &other.read, theirs)
            })
    }
}

/// The plan of everything that was selected: what is read, and what is computed of it.
pub(super) fn finish(
    mut builder: Builder<'_>,
    store: &dyn OnlineStore,
    transforms: &Transforms,
) -> Result<OnlinePlan, Error> {
    let drafts = std::mem::take(&mut builder.views);
    let mut views = Vec::with_capacity(drafts.len());
    let mut request_data: Vec<RequestField> = Vec::new();
    for draft in &drafts {
        let mut view = compile(&mut builder, draft, transforms)?;
        for field in &view.compiled.inputs.request {
            let known = |known: &RequestField| known.name == field.name;
            let position = request_data.iter().position(known).unwrap_or_else(|| {
                request_data.push(RequestField {
                    name: field.name.clone(),
                    value_type: field.value_type,
                    used_by: Vec::new(),
                });
                request_data.len() - 1
            });
            let used_by = &mut request_data[position].used_by;
            used_by.push(draft.effective_name.to_owned());
            view.request_data.push(position);
        }
        views.push(view);
    }
    let mut features = Vec::with_capacity(builder.selected.len());
    let mut origins = Vec::with_capacity(builder.selected.len());
    for (position, (mut feature, origin)) in std::mem::take(&mut builder.selected)
        .into_iter()
        .enumerate()
    {
        if let Origin::Computed { view, .. } = origin {
            let view = &mut views[view];
            view.features.push(position);
            feature.ttl = shortest_ttl(&builder, &view.compiled);
            feature.max_age = Some(feature.ttl).filter(|ttl| !ttl.is_zero());
        }
        features.push(feature);
        origins.push(origin);
    }
    let read = builder.finish(store);
    Ok(OnlinePlan {
        names: super::compile::names(&features),
        features,
        join_keys: read.join_keys.clone(),
        request_data,
        groups: Arc::clone(&read.groups),
        places: Arc::from([]),
        lookup: Arc::clone(&read.lookup),
        on_demand: Some(Arc::new(OnDemandPart {
            read,
            views,
            origins,
        })),
    })
}

/// Looks up what the view is computed from, has it read, and compiles the view over it.
fn compile<'a>(
    builder: &mut Builder<'a>,
    draft: &ViewDraft<'a>,
    transforms: &Transforms,
) -> Result<PlannedView, Error> {
    let inputs = Inputs::of(draft.definition, builder.registry)?;
    let mut places = Vec::with_capacity(inputs.sources.len());
    let projections = draft.definition.sources.iter();
    let projections = projections.filter_map(|source| match source {
        OnDemandSource::View(projection) => Some(projection),
        OnDemandSource::Request { .. } => None,
    });
    // The sources of the inputs are the view's own, in its order.
    for projection in projections {
        let source = Source {
            view: builder.stored(&projection.view)?,
            effective_name: projection.effective_name(),
            join_key_map: &projection.join_key_map,
        };
        let fields = projection.features.iter();
        let fields = fields.map(|field| builder.read_shared(&source, &field.name));
        places.push(fields.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(PlannedView {
        compiled: CompiledView::new(transforms, draft.definition, inputs, places)?,
        definition: Arc::new(draft.definition.clone()),
        features: Vec::new(),
        request_data: Vec::new(),
    })
}

/// Of the views that a view is computed from; zero where none has one.
fn shortest_ttl(builder: &Builder<'_>, view: &CompiledView) -> Duration {
    let ttls = view.places().map(|place| builder.read[place].ttl);
    ttls.filter(|ttl| !ttl.is_zero()).min().unwrap_or_default()
}

/// A feature of a computed view; its age limits are known when its sources are.
pub(super) fn computed_feature(draft: &ViewDraft<'_>, feature: usize) -> PlannedFeature {
    let field = &draft.definition.features[feature];
    PlannedFeature {
        view: draft.effective_name.to_owned(),
        feature: field.name.clone(),
        value_type: field.value_type,
        ttl: Duration::ZERO,
        max_age: None,
    }
}
