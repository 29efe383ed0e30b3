//! The recorded registry against its JSON form, and damaged registries.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::testing::{fixture, recorded};
use super::read::join_keys;
use super::*;
use crate::error::Failure as _;
use crate::features::definitions::{Field, SourceKind, ValueType, ViewKind};
use crate::types::timestamp::Timestamp;
use std::time::Duration;

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}

fn objects<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json[key].as_array().map_or(&[], Vec::as_slice)
}

fn fields_of(json: &Json, key: &str) -> Vec<(String, String)> {
    let fields = objects(json, key).iter();
    fields
        .map(|field| (text(field, "name").into(), text(field, "value_type").into()))
        .collect()
}

fn named(fields: &[Field]) -> Vec<(String, String)> {
    let names = fields.iter();
    names
        .map(|field| (field.name.clone(), field.value_type.name().to_owned()))
        .collect()
}

fn seconds(text: &str) -> u64 {
    text.strip_suffix('s')
        .map_or(0, |seconds| seconds.parse().unwrap())
}

fn moment(text: &str) -> Timestamp {
    let parsed: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_micros(parsed.as_microsecond())
}

fn pairs(json: &Json) -> Vec<(String, String)> {
    let entries = json.as_object().into_iter().flatten();
    let mut pairs: Vec<_> = entries
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    pairs.sort();
    pairs
}

fn ride_ops() -> Registry {
    Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap()
}

#[test]
fn entities_are_as_recorded() {
    let (registry, recorded) = (ride_ops(), recorded("repo/registry_decoded.json"));
    let recorded = objects(&recorded, "entities");
    assert_eq!(registry.entities.len(), recorded.len());
    for (entity, json) in registry.entities.iter().zip(recorded) {
        let spec = &json["spec"];
        assert_eq!(entity.name, text(spec, "name"));
        assert_eq!(entity.join_key, text(spec, "join_key"));
        assert_eq!(entity.description, text(spec, "description"));
        let value_type = spec["value_type"].as_str().unwrap_or("INVALID");
        assert_eq!(entity.value_type.name(), value_type);
    }
}

#[test]
fn feature_views_are_as_recorded() {
    let (registry, recorded) = (ride_ops(), recorded("repo/registry_decoded.json"));
    let batch = objects(&recorded, "feature_views")
        .iter()
        .map(|json| (ViewKind::Batch, json));
    let stream = objects(&recorded, "stream_feature_views");
    let stream = stream.iter().map(|json| (ViewKind::Stream, json));
    let recorded: Vec<_> = batch.chain(stream).collect();
    assert_eq!(registry.feature_views.len(), recorded.len());
    for (view, (kind, json)) in registry.feature_views.iter().zip(recorded) {
        let (spec, meta) = (&json["spec"], &json["meta"]);
        assert_eq!(view.name, text(spec, "name"));
        assert_eq!(view.kind, kind);
        assert_eq!(named(&view.features), fields_of(spec, "features"));
        assert_eq!(named(&view.join_keys), fields_of(spec, "entity_columns"));
        let entities = objects(spec, "entities").iter().filter_map(Json::as_str);
        let entities: Vec<&str> = entities.filter(|name| *name != "__dummy").collect();
        assert_eq!(view.entities, entities);
        assert_eq!(view.ttl, Duration::from_secs(seconds(text(spec, "ttl"))));
        assert_eq!(view.online, spec["online"].as_bool().unwrap_or(false));
        assert_eq!(view.description, text(spec, "description"));
        assert!(!view.disabled);
        let state = meta["state"].as_str().unwrap_or("STATE_UNSPECIFIED");
        assert_eq!(view.state.name(), state);
        let intervals = objects(meta, "materialization_intervals").iter();
        let intervals: Vec<_> = intervals
            .map(|i| (moment(text(i, "start_time")), moment(text(i, "end_time"))))
            .collect();
        assert_eq!(view.materialized, intervals);
        let source = view.batch_source.as_ref().unwrap();
        let json = match &spec["batch_source"]["batch_source"] {
            Json::Null => &spec["batch_source"],
            nested => nested,
        };
        assert_eq!(source.name, text(json, "name"));
        assert_eq!(source.timestamp_field, text(json, "timestamp_field"));
        assert_eq!(
            source.created_timestamp_column,
            text(json, "created_timestamp_column")
        );
        assert_eq!(source.field_mapping, pairs(&json["field_mapping"]));
        let uri = text(&json["file_options"], "uri").to_owned();
        assert_eq!(
            source.kind,
            SourceKind::File {
                uri,
                s3_endpoint: None
            }
        );
    }
}

#[test]
fn feature_services_and_on_demand_views_are_as_recorded() {
    let (registry, recorded) = (ride_ops(), recorded("repo/registry_decoded.json"));
    assert_eq!(registry.revision, text(&recorded, "version_id"));
    let services = objects(&recorded, "feature_services");
    assert_eq!(registry.feature_services.len(), services.len());
    for (service, json) in registry.feature_services.iter().zip(services) {
        let spec = &json["spec"];
        assert_eq!(service.name, text(spec, "name"));
        assert_eq!(service.description, text(spec, "description"));
        let projections = objects(spec, "features");
        assert_eq!(service.projections.len(), projections.len());
        for (projection, json) in service.projections.iter().zip(projections) {
            assert_eq!(projection.view, text(json, "feature_view_name"));
            let alias = json["feature_view_name_alias"].as_str();
            assert_eq!(projection.alias.as_deref(), alias);
            assert_eq!(
                named(&projection.features),
                fields_of(json, "feature_columns")
            );
            assert_eq!(projection.join_key_map, pairs(&json["join_key_map"]));
            assert_eq!(projection.version, None);
        }
    }
    let views = objects(&recorded, "on_demand_feature_views");
    assert_eq!(registry.on_demand_feature_views.len(), views.len());
    for (view, json) in registry.on_demand_feature_views.iter().zip(views) {
        let spec = &json["spec"];
        assert_eq!(view.name, text(spec, "name"));
        assert_eq!(named(&view.features), fields_of(spec, "features"));
        let written = spec["write_to_online_store"].as_bool().unwrap_or(false);
        assert_eq!(view.write_to_online_store, written);
    }
}

#[test]
fn a_source_in_postgres_is_known_by_its_kind() {
    let registry = Registry::load(&fixture("pit_repo/pg/registry.db"), "ride_ops_pit").unwrap();
    let source = registry
        .feature_view("pit_a")
        .unwrap()
        .batch_source
        .as_ref()
        .unwrap();
    let SourceKind::Postgres { query, table } = &source.kind else {
        panic!("{:?}", source.kind);
    };
    assert_eq!((query.as_str(), table.as_str()), ("", "pit_a"));
}

#[test]
fn what_is_wrong_with_a_registry_is_said() {
    let path = fixture("repo/no_such.db");
    let error = Registry::load(&path, "ride_ops").unwrap_err();
    assert!(
        matches!(&error, Error::Missing { origin } if *origin == path.display().to_string()),
        "{error}"
    );
    let error = Registry::load(&fixture("repo/registry.db"), "other")
        .unwrap_err()
        .to_string();
    assert!(error.contains("project `other` is not in"), "{error}");
    assert!(error.ends_with("which holds `ride_ops`"), "{error}");
    let error = Registry::decode(b"\xff\xff\xff", "p", "here")
        .unwrap_err()
        .to_string();
    assert_eq!(error, "feature registry here is not a Feast registry");
    let error = Registry::decode(b"", "p", "here").unwrap_err().to_string();
    assert!(error.ends_with("which holds no project"), "{error}");
}

#[test]
fn an_object_that_does_not_decode_is_left_out_by_name() {
    let mut bytes = fs_err::read(fixture("repo/registry.db")).unwrap();
    let whole = Registry::decode(&bytes, "ride_ops", "test").unwrap();
    assert!(whole.left_out.is_empty());
    // A name of a feature that is not UTF-8 any more.
    let name = b"l_i32";
    let at = bytes.windows(name.len()).position(|window| window == name);
    bytes[at.unwrap()] = 0xff;
    let registry = Registry::decode(&bytes, "ride_ops", "test").unwrap();
    let [left_out] = &registry.left_out[..] else {
        panic!("{:?}", registry.left_out);
    };
    assert_eq!(left_out.kind, ObjectKind::FeatureView);
    assert_eq!(left_out.name, "driver_lists");
    assert_eq!(registry.feature_views.len(), whole.feature_views.len() - 1);
    assert_eq!(registry.feature_services, whole.feature_services);
    let error = registry.left_out("driver_lists").unwrap();
    let text = error.to_string();
    assert!(
        text.starts_with("feature view `driver_lists` does not decode: "),
        "{text}"
    );
    assert_eq!(error.code(), "feature_definition_invalid");
    assert!(registry.left_out("driver_scalars").is_none());
}

#[test]
fn a_view_without_entity_columns_takes_its_keys_from_its_entities() {
    let entity = |name: &str, join_key: &str, value_type| Entity {
        name: name.into(),
        join_key: join_key.into(),
        value_type,
        description: String::new(),
    };
    let entities = [
        entity("driver", "driver_id", ValueType::Int64),
        entity("__dummy", "__dummy_id", ValueType::Invalid),
    ];
    let of = |name: &str, columns| join_keys(&[name.to_owned()], columns, &entities);
    let key = |name: &str, value_type| {
        vec![Field {
            name: name.into(),
            value_type,
        }]
    };
    assert_eq!(of("driver", vec![]), key("driver_id", ValueType::Int64));
    let open = key("driver_id", ValueType::Invalid);
    assert_eq!(of("driver", open), key("driver_id", ValueType::Int64));
    assert_eq!(of("__dummy", vec![]), key("__dummy_id", ValueType::String));
}

proptest! {
    #[test]
    fn any_bytes_make_a_registry_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Registry::decode(&bytes, "ride_ops", "test");
    }

    #[test]
    fn a_damaged_registry_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = fs_err::read(fixture("repo/registry.db")).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Registry::decode(&bytes, "ride_ops", "test");
        let _ = Registry::decode(&bytes[..at], "ride_ops", "test");
    }
}
