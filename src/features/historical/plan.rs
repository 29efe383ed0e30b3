//! From names and entity columns to a plan: every name is looked up here, once per request.

use std::sync::Arc;

use arrow::datatypes::{Field as ArrowField, FieldRef, Schema, SchemaRef};

use super::assemble::TIME;
use super::{Error, Request, entity_columns, fingerprint};
use crate::features::FeatureStore;
use crate::features::arrays;
use crate::features::definitions::{Field, ValueType};
use crate::features::offline::{Column, Created, Entities, PointInTime, PullLatest};
use crate::features::registry::Registry;
use crate::features::retrieve::history::{self, History, HistoryOnDemand, HistoryView};
use crate::features::transform::{Inputs, Transform};
use crate::types::timestamp::Timestamp;

/// A compiled request.
#[derive(Debug)]
pub(super) struct Plan {
    /// Of the result.
    pub(super) schema: SchemaRef,
    /// The entity column with the time.
    pub(super) time: usize,
    pub(super) views: Vec<ViewPlan>,
    pub(super) on_demand: Vec<OnDemandPlan>,
}

/// One view's join.
#[derive(Debug)]
pub(super) struct ViewPlan {
    pub(super) pull: PullLatest,
    keys: Vec<usize>,
    ttl: Option<i64>,
}

/// One on-demand view.
#[derive(Debug)]
pub(super) struct OnDemandPlan {
    pub(super) transform: Arc<dyn Transform>,
    /// The columns of its input, and which column of the result so far each is made of.
    pub(super) inputs: Vec<(Field, usize)>,
    /// The features that are wanted, in order.
    pub(super) outputs: Vec<Field>,
}

impl Plan {
    pub(super) fn compile(
        store: &FeatureStore,
        registry: &Registry,
        request: &Request,
    ) -> Result<Self, Error> {
        let history = history::resolve(store, registry, &request.wanted, request.naming)?;
        let entities = request.entities.schema();
        let time = entity_columns::time(entities)?;
        let mut fields = entity_fields(&request.entities, time);
        let mut views = Vec::with_capacity(history.views.len());
        // Where the features of each source view are: (view's effective name, feature) to column.
        let mut places: Vec<(String, String, usize)> = Vec::new();
        for view in &history.views {
            for (field, label) in &view.features {
                places.push((view.effective.clone(), field.name.clone(), fields.len()));
                fields.push(feature_field(&view.view.name, field, label)?);
            }
            views.push(ViewPlan::of(view, entities)?);
        }
        let mut on_demand = Vec::with_capacity(history.on_demand.len());
        for view in &history.on_demand {
            on_demand.push(OnDemandPlan::of(store, registry, view, entities, &places)?);
            for (field, label) in &view.features {
                fields.push(feature_field(&view.view.name, field, label)?);
            }
        }
        entity_columns::check_names(fields.iter().map(|field| field.name().as_str()))?;
        let metadata = fingerprint::metadata(store, registry, &history);
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
            time,
            views,
            on_demand,
        })
    }
}

/// The entity columns as they came; the time is in microseconds and UTC.
fn entity_fields(entities: &Entities, time: usize) -> Vec<FieldRef> {
    let fields = entities.schema().fields().iter().enumerate();
    let field = |(place, field): (usize, &FieldRef)| match place == time {
        true => Arc::new(ArrowField::new(field.name(), TIME.clone(), true)),
        false => Arc::clone(field),
    };
    fields.map(field).collect()
}

fn feature_field(view: &str, field: &Field, label: &str) -> Result<FieldRef, Error> {
    match arrays::data_type(field.value_type) {
        Some(kind) if field.value_type != ValueType::ZonedTimestamp => {
            Ok(Arc::new(ArrowField::new(label, kind, true)))
        }
        _ => Err(Error::NoColumnType {
            view: view.to_owned(),
            feature: field.name.clone(),
            value_type: field.value_type,
        }),
    }
}

impl ViewPlan {
    fn of(selected: &HistoryView<'_>, entities: &Schema) -> Result<Self, Error> {
        let view = selected.view;
        let (first, last) = (i64::MIN, i64::MAX);
        let range = (Timestamp::from_micros(first), Timestamp::from_micros(last));
        let mut pull = PullLatest::of(view, range.0, range.1)?;
        let columns = |field: &Field| Column {
            name: pull.source.column_of(&field.name).to_owned(),
            field: field.clone(),
        };
        let features = selected.features.iter().map(|(field, _)| columns(field));
        pull.features = features.collect();
        let mut keys = Vec::with_capacity(pull.keys.len());
        for key in &pull.keys {
            let mut mapped = selected.join_key_map.iter();
            let mapped = mapped.find(|(own, _)| *own == key.field.name);
            let column = mapped.map_or(&key.field.name, |(_, column)| column);
            let place = entity_columns::place(entities, column);
            keys.push(place.map_err(|known| Error::NoKeyColumn {
                view: selected.effective.clone(),
                column: column.clone(),
                known,
            })?);
        }
        let ttl = i64::try_from(view.ttl.as_micros()).unwrap_or(i64::MAX);
        Ok(Self {
            pull,
            keys,
            ttl: Some(ttl).filter(|&ttl| ttl > 0),
        })
    }

    pub(super) fn join(&self, request: &Request, time: usize, max_bytes: usize) -> PointInTime {
        PointInTime {
            view: self.pull.clone(),
            entities: request.entities.clone(),
            keys: self.keys.clone(),
            time,
            ttl: self.ttl,
            created: match request.filter_by_created_timestamp {
                true => Created::MustBeKnown,
                false => Created::MayBeLater,
            },
            max_bytes,
        }
    }
}

impl OnDemandPlan {
    fn of(
        store: &FeatureStore,
        registry: &Registry,
        selected: &HistoryOnDemand<'_>,
        entities: &Schema,
        places: &[(String, String, usize)],
    ) -> Result<Self, Error> {
        let inputs = Inputs::of(selected.view, registry)?;
        let transform = store.transforms().compile(selected.view, &inputs.fields)?;
        let mut taken: Vec<(Field, usize)> = Vec::with_capacity(inputs.fields.len());
        let mut take = |name: &str, value_type: ValueType, place: usize| {
            // A name stands for the first that bears it, see `Inputs`.
            if !taken.iter().any(|(field, _)| field.name == name) {
                let name = name.to_owned();
                taken.push((Field { name, value_type }, place));
            }
        };
        for field in inputs.entities.iter().chain(&inputs.request) {
            let place = entity_columns::place(entities, &field.name);
            let place = place.map_err(|known| Error::NoRequestColumn {
                view: selected.view.name.clone(),
                column: field.name.clone(),
                known,
            })?;
            take(&field.name, field.value_type, place);
        }
        for source in &inputs.sources {
            let view = source.projection.effective_name();
            let names = source.plain.iter().zip(&source.full);
            for (field, (plain, full)) in source.projection.features.iter().zip(names) {
                let mut places = places.iter();
                let found = places.find(|(of, name, _)| of == view && *name == field.name);
                // All of them are read, see `retrieve::history`.
                let Some((_, _, place)) = found else { continue };
                if let Some(plain) = plain {
                    take(plain, field.value_type, *place);
                }
                take(full, field.value_type, *place);
            }
        }
        Ok(Self {
            transform,
            inputs: taken,
            outputs: selected
                .features
                .iter()
                .map(|(field, _)| field.clone())
                .collect(),
        })
    }
}

/// What a request reads, to say what kind of column each entity column should be.
pub(super) fn entity_types(history: &History<'_>, registry: &Registry) -> Vec<(String, ValueType)> {
    let mut types = Vec::new();
    for selected in &history.views {
        for key in &selected.view.join_keys {
            let mut mapped = selected.join_key_map.iter();
            let mapped = mapped.find(|(own, _)| *own == key.name);
            let column = mapped.map_or(&key.name, |(_, column)| column);
            types.push((column.clone(), key.value_type));
        }
    }
    for selected in &history.on_demand {
        // What is wrong with a view is told when it is compiled.
        let Ok(inputs) = Inputs::of(selected.view, registry) else {
            continue;
        };
        for field in inputs.request {
            types.push((field.name, field.value_type));
        }
    }
    types
}
