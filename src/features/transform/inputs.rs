//! What an on-demand feature view is computed from: features of other views, request data, entity columns.

use super::Error;
use crate::features::definitions::{
    DUMMY_JOIN_KEY, FeatureView, Field, OnDemandFeatureView, OnDemandSource, Projection, ValueType,
};
use crate::features::registry::Registry;

/// The input of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// The entity columns under their request names, by which the sources are read, each once.
    pub entities: Vec<Field>,
    /// What the request must bring, each once.
    pub request: Vec<Field>,
    /// The features to read.
    pub sources: Vec<SourceInput>,
    /// The columns of the input, in order: entities, request data, then per source all features as `feature` and all as
    /// `view__feature`. A name stands for the first that bears it; a plain name that two sources share for none of them.
    pub fields: Vec<Field>,
}

/// Features of one source view.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInput {
    /// As the view was selected as a source: its name, alias, join key map. The features' types are the view's own.
    pub projection: Projection,
    /// The column of `Inputs::fields` under which each feature goes by its own name; `None` where another one has it.
    pub plain: Vec<Option<String>>,
    /// The column under which each feature goes by `view__feature`, the view by its alias.
    pub full: Vec<String>,
}

impl Inputs {
    /// Looks the view's sources up in the registry.
    pub fn of(view: &OnDemandFeatureView, registry: &Registry) -> Result<Self, Error> {
        let mut entities = Vec::new();
        let mut request = Vec::new();
        let mut projections = Vec::new();
        for source in &view.sources {
            match source {
                OnDemandSource::Request { fields, .. } => {
                    for field in fields {
                        push_new(&mut request, field);
                    }
                }
                OnDemandSource::View(projection) => {
                    let source_view = source_view(view, projection, registry)?;
                    for key in entity_columns(projection, source_view) {
                        push_new(&mut entities, &key);
                    }
                    projections.push(typed(view, projection, source_view)?);
                }
            }
        }
        let mut fields = entities.clone();
        for field in &request {
            push_new(&mut fields, field);
        }
        let n_taken = fields.len();
        let mut sources = Vec::with_capacity(projections.len());
        for projection in &projections {
            let is_free = |name: &str| {
                let bearers = projections
                    .iter()
                    .flat_map(|projection| &projection.features)
                    .filter(|field| field.name == name);
                bearers.count() == 1 && !fields[..n_taken].iter().any(|field| field.name == name)
            };
            let plain = projection.features.iter().map(|field| {
                let is_free = is_free(&field.name);
                is_free.then(|| field.name.clone())
            });
            sources.push(SourceInput {
                plain: plain.collect(),
                full: full_names(projection),
                projection: projection.clone(),
            });
        }
        for source in &sources {
            let features = &source.projection.features;
            for (name, feature) in source.plain.iter().zip(features) {
                if let Some(name) = name {
                    push_named(&mut fields, name, feature.value_type);
                }
            }
            for (name, feature) in source.full.iter().zip(features) {
                push_named(&mut fields, name, feature.value_type);
            }
        }
        Ok(Self {
            entities,
            request,
            sources,
            fields,
        })
    }
}

fn source_view<'a>(
    view: &OnDemandFeatureView,
    projection: &Projection,
    registry: &'a Registry,
) -> Result<&'a FeatureView, Error> {
    registry
        .feature_view(&projection.view)
        .ok_or_else(|| Error::UnknownSource {
            view: view.name.clone(),
            source_view: projection.view.clone(),
        })
}

/// The source's join keys under their request names.
fn entity_columns(projection: &Projection, view: &FeatureView) -> Vec<Field> {
    let keys = view.join_keys.iter();
    let keys = keys.filter(|key| key.name != DUMMY_JOIN_KEY);
    let named = keys.map(|key| {
        let mapped = projection.join_key_map.iter();
        let mapped = mapped.clone().find(|(own, _)| *own == key.name);
        Field {
            name: mapped.map_or(&key.name, |(_, column)| column).clone(),
            value_type: key.value_type,
        }
    });
    named.collect()
}

/// The projection with the types that the source view has now.
fn typed(
    view: &OnDemandFeatureView,
    projection: &Projection,
    source: &FeatureView,
) -> Result<Projection, Error> {
    let mut projection = projection.clone();
    for feature in &mut projection.features {
        let Some(field) = source.feature(&feature.name) else {
            return Err(Error::UnknownSourceFeature {
                view: view.name.clone(),
                source_view: source.name.clone(),
                feature: feature.name.clone(),
            });
        };
        *feature = field.clone();
    }
    Ok(projection)
}

/// `view__feature` of every feature.
pub(super) fn full_names(projection: &Projection) -> Vec<String> {
    let name = projection.effective_name();
    let features = projection.features.iter();
    features
        .map(|field| format!("{name}__{}", field.name))
        .collect()
}

fn push_new(fields: &mut Vec<Field>, field: &Field) {
    push_named(fields, &field.name, field.value_type);
}

fn push_named(fields: &mut Vec<Field>, name: &str, value_type: ValueType) {
    if !fields.iter().any(|other| other.name == name) {
        fields.push(Field {
            name: name.to_owned(),
            value_type,
        });
    }
}
