//! From the registry's messages to definitions.

use std::time::Duration;

use super::{Registry, proto};
use crate::features::definitions::{
    DUMMY_ENTITY, DUMMY_JOIN_KEY, DataSource, Entity, FeatureService, FeatureView, Field,
    OnDemandFeatureView, Projection, SourceKind, ValueType, ViewKind, ViewState,
};
use crate::types::timestamp::Timestamp;

/// Every project that the registry mentions, in order of appearance.
pub(super) fn projects(message: &proto::Registry) -> Vec<String> {
    let declared = message.projects.iter().flat_map(|project| &project.spec);
    let metadata = &message.project_metadata;
    let views = message.feature_views.iter().flat_map(|view| &view.spec);
    let names = declared
        .map(|spec| &spec.name)
        .chain(metadata.iter().map(|metadata| &metadata.project))
        .chain(views.map(|spec| &spec.project));
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !name.is_empty() && !found.contains(name) {
            found.push(name.clone());
        }
    }
    found
}

/// The part of the registry that belongs to `project`.
pub(super) fn registry(message: proto::Registry, project: &str) -> Registry {
    let mut entities = Vec::new();
    for spec in message.entities.into_iter().filter_map(|m| m.spec) {
        if spec.project == project {
            entities.push(entity(spec));
        }
    }
    let mut feature_views = Vec::new();
    for view in message.feature_views {
        if let Some(spec) = view.spec.filter(|spec| spec.project == project) {
            let meta = view.meta.unwrap_or_default();
            feature_views.push(feature_view(spec, ViewKind::Batch, meta, &entities));
        }
    }
    for view in message.stream_feature_views {
        if let Some(spec) = view.spec.filter(|spec| spec.project == project) {
            let meta = view.meta.unwrap_or_default();
            let spec = batch_shape(spec);
            feature_views.push(feature_view(spec, ViewKind::Stream, meta, &entities));
        }
    }
    let mut on_demand_feature_views = Vec::new();
    for spec in message
        .on_demand_feature_views
        .into_iter()
        .filter_map(|m| m.spec)
    {
        if spec.project == project {
            on_demand_feature_views.push(OnDemandFeatureView {
                name: spec.name,
                features: fields(spec.features),
                write_to_online_store: spec.write_to_online_store,
            });
        }
    }
    let mut feature_services = Vec::new();
    for spec in message.feature_services.into_iter().filter_map(|m| m.spec) {
        if spec.project == project {
            feature_services.push(feature_service(spec));
        }
    }
    Registry {
        project: project.to_owned(),
        revision: message.version_id,
        entities,
        feature_views,
        on_demand_feature_views,
        feature_services,
    }
}

fn entity(spec: proto::EntitySpec) -> Entity {
    Entity {
        name: spec.name,
        join_key: spec.join_key,
        value_type: value_type(spec.value_type),
        description: spec.description,
    }
}

fn feature_view(
    spec: proto::FeatureViewSpec,
    kind: ViewKind,
    meta: proto::FeatureViewMeta,
    entities: &[Entity],
) -> FeatureView {
    FeatureView {
        kind,
        join_keys: join_keys(&spec.entities, fields(spec.entity_columns), entities),
        entities: spec
            .entities
            .into_iter()
            .filter(|name| name != DUMMY_ENTITY)
            .collect(),
        features: fields(spec.features),
        name: spec.name,
        ttl: spec.ttl.map_or(Duration::ZERO, duration),
        online: spec.online,
        disabled: spec.disabled,
        state: ViewState::from_number(meta.state),
        version: u32::try_from(meta.current_version_number).unwrap_or(0),
        batch_source: spec.batch_source.map(data_source),
        materialized: meta
            .materialization_intervals
            .into_iter()
            .map(interval)
            .collect(),
        description: spec.description,
    }
}

fn feature_service(spec: proto::FeatureServiceSpec) -> FeatureService {
    FeatureService {
        name: spec.name,
        projections: spec.features.into_iter().map(projection).collect(),
        description: spec.description,
    }
}

fn projection(projection: proto::Projection) -> Projection {
    let mut join_key_map: Vec<_> = projection.join_key_map.into_iter().collect();
    join_key_map.sort();
    Projection {
        view: projection.feature_view_name,
        alias: Some(projection.feature_view_name_alias).filter(|alias| !alias.is_empty()),
        features: fields(projection.feature_columns),
        join_key_map,
        version: projection
            .version_tag
            .and_then(|tag| u32::try_from(tag).ok()),
    }
}

fn fields(specs: Vec<proto::FeatureSpec>) -> Vec<Field> {
    specs
        .into_iter()
        .map(|spec| Field {
            name: spec.name,
            value_type: value_type(spec.value_type),
        })
        .collect()
}

/// A number of a newer Feast becomes `Invalid`, so that one new view does not hide all others.
fn value_type(number: i32) -> ValueType {
    ValueType::from_number(number).unwrap_or(ValueType::Invalid)
}

/// A stream view has the fields of a batch view under other numbers.
fn batch_shape(spec: proto::StreamFeatureViewSpec) -> proto::FeatureViewSpec {
    proto::FeatureViewSpec {
        name: spec.name,
        project: spec.project,
        entities: spec.entities,
        features: spec.features,
        ttl: spec.ttl,
        batch_source: spec.batch_source,
        online: spec.online,
        description: spec.description,
        entity_columns: spec.entity_columns,
        disabled: spec.disabled,
    }
}

/// The view's join keys: its entity columns; where it names none or leaves a type open, its entities tell.
pub(super) fn join_keys(
    names: &[String],
    mut columns: Vec<Field>,
    entities: &[Entity],
) -> Vec<Field> {
    let own: Vec<&Entity> = names
        .iter()
        .filter_map(|name| entities.iter().find(|entity| entity.name == *name))
        .collect();
    if columns.is_empty() {
        columns = own
            .iter()
            .map(|entity| Field {
                name: entity.join_key.clone(),
                value_type: entity.value_type,
            })
            .collect();
    }
    if columns.is_empty() {
        columns.push(Field {
            name: DUMMY_JOIN_KEY.to_owned(),
            value_type: ValueType::String,
        });
    }
    for column in &mut columns {
        if column.value_type == ValueType::Invalid {
            let entity = own.iter().find(|entity| entity.join_key == column.name);
            column.value_type = entity.map_or(ValueType::Invalid, |entity| entity.value_type);
        }
        if column.value_type == ValueType::Invalid && column.name == DUMMY_JOIN_KEY {
            column.value_type = ValueType::String;
        }
    }
    columns
}

fn data_source(source: proto::DataSource) -> DataSource {
    // A push source is only a door; the rows lie in its batch source.
    if let Some(batch) = source.batch_source {
        return data_source(*batch);
    }
    let mut field_mapping: Vec<_> = source.field_mapping.into_iter().collect();
    field_mapping.sort();
    let kind = match source.file_options {
        Some(options) => SourceKind::File { uri: options.uri },
        None => SourceKind::Other(kind_name(source.kind, &source.data_source_class_type)),
    };
    DataSource {
        name: source.name,
        kind,
        field_mapping,
        timestamp_field: source.timestamp_field,
        created_timestamp_column: source.created_timestamp_column,
    }
}

fn kind_name(kind: i32, class: &str) -> String {
    if let Some(name) = class.rsplit('.').next().filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    format!("data source kind {kind}")
}

/// A negative duration means the same as none.
fn duration(span: proto::Span) -> Duration {
    let seconds = u64::try_from(span.seconds).unwrap_or(0);
    let nanos = u32::try_from(span.nanos).unwrap_or(0).min(999_999_999);
    Duration::new(seconds, nanos)
}

fn interval(interval: proto::Interval) -> (Timestamp, Timestamp) {
    let start = interval.start_time.unwrap_or_default();
    let end = interval.end_time.unwrap_or_default();
    (timestamp(start), timestamp(end))
}

fn timestamp(span: proto::Span) -> Timestamp {
    let micros = span.seconds.saturating_mul(1_000_000);
    Timestamp::from_micros(micros.saturating_add(i64::from(span.nanos / 1_000)))
}
