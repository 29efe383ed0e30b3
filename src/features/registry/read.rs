//! From the registry's messages to definitions.

use std::time::Duration;

use prost::Message;
use serde::Deserialize;

use super::objects::{Object, ObjectKind, Objects};
use super::{LeftOut, Registry, proto};
use crate::features::definitions::{
    DUMMY_ENTITY, DUMMY_JOIN_KEY, DataSource, Entity, FeatureService, FeatureView, Field,
    OnDemandFeatureView, OnDemandSource, Projection, SourceKind, Transformation, ValueType,
    ViewKind, ViewState,
};
use crate::types::timestamp::Timestamp;

/// The part of the registry that belongs to `project`.
pub(super) fn registry(objects: Objects<'_>, project: &str) -> Registry {
    let mut registry = Registry {
        project: project.to_owned(),
        revision: objects.revision,
        entities: Vec::new(),
        feature_views: Vec::new(),
        on_demand_feature_views: Vec::new(),
        feature_services: Vec::new(),
        left_out: Vec::new(),
    };
    // Entities first: views without types of their own take them from there.
    let (entities, others): (Vec<_>, Vec<_>) = objects
        .objects
        .into_iter()
        // One that does not tell its project is damaged; it is told to every project.
        .filter(|object| object.project().is_none_or(|own| own == project))
        .partition(|object| object.kind == ObjectKind::Entity);
    for object in entities.into_iter().chain(others) {
        if let Err(reason) = add(&mut registry, &object) {
            registry.left_out.push(LeftOut {
                kind: object.kind,
                name: object.name().unwrap_or_default().to_owned(),
                reason,
            });
        }
    }
    // Batch views, then stream views, each in the order of the registry.
    registry
        .feature_views
        .sort_by_key(|view| view.kind == ViewKind::Stream);
    registry
}

/// Adds one object to the definitions, or says why not.
fn add(registry: &mut Registry, object: &Object<'_>) -> Result<(), String> {
    let bytes = &*object.bytes;
    match object.kind {
        ObjectKind::Entity => {
            let message: proto::Entity = decode(bytes)?;
            registry.entities.push(entity(spec(message.spec)?));
        }
        ObjectKind::FeatureView => {
            let message: proto::FeatureView = decode(bytes)?;
            let (spec, meta) = (spec(message.spec)?, message.meta.unwrap_or_default());
            let view = feature_view(spec, ViewKind::Batch, meta, &registry.entities);
            registry.feature_views.push(view);
        }
        ObjectKind::StreamFeatureView => {
            let message: proto::StreamFeatureView = decode(bytes)?;
            let (spec, meta) = (spec(message.spec)?, message.meta.unwrap_or_default());
            let spec = batch_shape(spec);
            let view = feature_view(spec, ViewKind::Stream, meta, &registry.entities);
            registry.feature_views.push(view);
        }
        ObjectKind::OnDemandFeatureView => {
            let message: proto::OnDemandFeatureView = decode(bytes)?;
            let (spec, meta) = (spec(message.spec)?, message.meta.unwrap_or_default());
            let view = on_demand_feature_view(spec, meta, &registry.entities);
            registry.on_demand_feature_views.push(view);
        }
        ObjectKind::FeatureService => {
            let message: proto::FeatureService = decode(bytes)?;
            let service = feature_service(spec(message.spec)?);
            registry.feature_services.push(service);
        }
    }
    Ok(())
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| error.to_string())
}

fn spec<S>(spec: Option<S>) -> Result<S, String> {
    spec.ok_or_else(|| "it has no spec".to_owned())
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
        stream_source: spec.stream_source.map(|source| source.name),
        materialized: meta
            .materialization_intervals
            .into_iter()
            .map(interval)
            .collect(),
        description: spec.description,
    }
}

fn on_demand_feature_view(
    spec: proto::OnDemandFeatureViewSpec,
    meta: proto::OnDemandFeatureViewMeta,
    entities: &[Entity],
) -> OnDemandFeatureView {
    let mut sources: Vec<_> = spec.sources.into_iter().collect();
    sources.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut join_keys = join_keys(&spec.entities, fields(spec.entity_columns), entities);
    if spec.entities.is_empty() {
        join_keys.clear();
    }
    OnDemandFeatureView {
        name: spec.name,
        features: fields(spec.features),
        sources: sources.into_iter().filter_map(on_demand_source).collect(),
        transformation: transformation(
            &spec.mode,
            spec.feature_transformation,
            spec.user_defined_function,
        ),
        write_to_online_store: spec.write_to_online_store,
        singleton: spec.singleton,
        entities: spec.entities,
        join_keys,
        disabled: spec.disabled,
        version: u32::try_from(meta.current_version_number).unwrap_or(0),
        description: spec.description,
    }
}

fn on_demand_source((name, source): (String, proto::OnDemandSource)) -> Option<OnDemandSource> {
    if let Some(request) = source.request_data_source {
        let schema = request.request_options.unwrap_or_default().schema;
        return Some(OnDemandSource::Request {
            name,
            fields: fields(schema),
        });
    }
    if let Some(own) = source.feature_view_projection {
        return Some(OnDemandSource::View(projection(own)));
    }
    let view = source.feature_view?.spec?;
    Some(OnDemandSource::View(Projection {
        view: view.name,
        alias: None,
        features: fields(view.features),
        join_key_map: Vec::new(),
        version: None,
    }))
}

/// Feast's default mode is `pandas`.
fn transformation(
    mode: &str,
    current: Option<proto::FeatureTransformation>,
    old: Option<proto::UserDefinedFunction>,
) -> Transformation {
    let current = current.unwrap_or_default();
    if let Some(substrait) = current.substrait_transformation {
        return Transformation::Substrait {
            plan: substrait.substrait_plan,
        };
    }
    let function = current.user_defined_function.or(old).unwrap_or_default();
    let source = function.body_text;
    match mode {
        "" | "pandas" => Transformation::Pandas { source },
        "python" => Transformation::Python { source },
        other => Transformation::Other(other.to_owned()),
    }
}

fn feature_service(spec: proto::FeatureServiceSpec) -> FeatureService {
    FeatureService {
        name: spec.name,
        projections: spec.features.into_iter().map(projection).collect(),
        precompute_online: spec.precompute_online,
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
        stream_source: spec.stream_source,
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
    let kind = source_kind(
        source.kind,
        &source.data_source_class_type,
        source.file_options,
        source.custom_options,
    );
    DataSource {
        name: source.name,
        kind,
        field_mapping,
        timestamp_field: source.timestamp_field,
        created_timestamp_column: source.created_timestamp_column,
    }
}

fn source_kind(
    kind: i32,
    class: &str,
    file: Option<proto::FileOptions>,
    custom: Option<proto::CustomOptions>,
) -> SourceKind {
    if let Some(file) = file {
        return SourceKind::File {
            uri: file.uri,
            s3_endpoint: Some(file.s3_endpoint_override).filter(|url| !url.is_empty()),
        };
    }
    if let Some(custom) = custom.filter(|_| kind == CUSTOM_SOURCE)
        && let Ok(options) = serde_json::from_slice::<PostgresOptions>(&custom.configuration)
        && (class.is_empty() || class.ends_with(".PostgreSQLSource"))
    {
        return SourceKind::Postgres {
            query: options.query.unwrap_or_default(),
            table: options.table.unwrap_or_default(),
        };
    }
    SourceKind::Other(kind_name(kind, class))
}

/// `DataSource.SourceType.CUSTOM_SOURCE`.
const CUSTOM_SOURCE: i32 = 6;

/// What Feast's Postgres source keeps as JSON.
#[derive(Deserialize)]
struct PostgresOptions {
    query: Option<String>,
    table: Option<String>,
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
