//! Plans over the recorded registry.

use super::super::Error;
use super::super::online;
use super::super::online::OnlineStore;
use super::super::registry::Registry;
use super::super::testing::fixture;
use super::*;
use crate::error::{ErrorClass, Failure};
use crate::features::definitions::ViewState;
use crate::features::transform::Transforms;

fn registry() -> Registry {
    Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap()
}

const RULES: Rules = Rules {
    key_version: KeyVersion::V3,
    versioned_views: false,
    serve_while_materializing: false,
};

const FARE: &str = "SELECT f64 * distance_km + pax AS fare, label AS tag FROM input";

/// A store that is never read.
fn store() -> Arc<dyn OnlineStore> {
    let yaml = serde_yaml_ng::from_str("{type: redis, connection_string: 'nowhere:1'}").unwrap();
    let place = online::Place {
        directory: std::path::Path::new("/"),
        time_zone: None,
    };
    let config = online::Config::read(Some(yaml), &place, &mut Vec::new());
    match config {
        Ok(config) => config.connect("ride_ops"),
        Err(_) => panic!("these are settings"),
    }
}

fn try_plan(registry: &Registry, rules: Rules, selection: Selection) -> Result<OnlinePlan, Error> {
    compile_where(registry, rules, &selection, &|_| true)
}

fn compile_where(
    registry: &Registry,
    rules: Rules,
    selection: &Selection,
    wanted: &dyn Fn(&FeatureRef) -> bool,
) -> Result<OnlinePlan, Error> {
    let against = Against {
        registry,
        rules,
        store: &*store(),
        transforms: &Transforms::declaring(&[("fare_py", FARE)]),
    };
    compile(against, selection, wanted)
}

fn service(name: &str) -> Result<OnlinePlan, Error> {
    try_plan(&registry(), RULES, Selection::Service(name.to_owned()))
}

fn selection(references: &[&str]) -> Selection {
    Selection::Features(
        references
            .iter()
            .map(|text| text.parse().unwrap())
            .collect(),
    )
}

fn features(references: &[&str]) -> Result<OnlinePlan, Error> {
    try_plan(&registry(), RULES, selection(references))
}

fn join_key(name: &str, key_type: KeyType, used_by: &[&str]) -> JoinKey {
    JoinKey {
        name: name.to_owned(),
        key_type,
        used_by: used_by.iter().map(|&view| view.to_owned()).collect(),
    }
}

#[test]
fn a_service_keeps_its_order_and_views_of_one_key_share_it() {
    let plan = service("fs_plain").unwrap();
    let names: Vec<&str> = plan.names.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "driver_scalars:f64",
            "driver_scalars:label",
            "trip_pair:trips",
            "trip_pair:rating"
        ]
    );
    assert_eq!(
        plan.join_keys,
        [
            join_key(
                "driver_id",
                KeyType::Int64,
                &["driver_scalars", "trip_pair"]
            ),
            join_key("rider_code", KeyType::String, &["trip_pair"]),
        ]
    );
    assert_eq!(
        plan.features_of_join_key(0).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert_eq!(plan.features_of_join_key(1).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(plan.features[0].value_type, ValueType::Double);
    assert_eq!(plan.features[0].ttl, Duration::from_secs(7_200));
    assert_eq!(plan.features[0].max_age, Some(Duration::from_secs(7_200)));
}

#[test]
fn aliases_name_features_and_the_join_key_map_names_columns() {
    let plan = service("fs_alias").unwrap();
    let names: Vec<&str> = plan.names.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        ["pickup:revenue", "pickup:visitors", "dropoff:revenue"]
    );
    assert_eq!(
        plan.join_keys,
        [
            join_key("pickup_store", KeyType::Int32, &["pickup"]),
            join_key("dropoff_store", KeyType::Int32, &["dropoff"]),
        ]
    );
    assert_eq!(plan.groups.len(), 2);
    assert_eq!(plan.features_of_join_key(1).collect::<Vec<_>>(), [2]);
}

#[test]
fn views_of_the_same_keys_are_one_group_and_order_is_the_callers() {
    let plan = features(&[
        "driver_scalars:i64",
        "region_cfg:mode",
        "driver_lists:l_i64",
        "driver_scalars:f32",
        "driver_stream:speed",
    ])
    .unwrap();
    assert_eq!(plan.groups.len(), 2);
    assert_eq!(plan.groups[0].n_features, 4);
    assert_eq!(*plan.places, [(0, 0), (1, 0), (0, 2), (0, 1), (0, 3)]);
    assert_eq!(plan.join_keys.len(), 1);
    assert_eq!(
        plan.features_of_join_key(0).collect::<Vec<_>>(),
        [0, 2, 3, 4]
    );
}

#[test]
fn one_column_of_two_types_is_two_join_keys() {
    let mut registry = registry();
    for view in &mut registry.feature_views {
        if view.name == "driver_lists" {
            view.join_keys[0].value_type = ValueType::Int32;
        }
    }
    let wanted = selection(&["driver_scalars:i64", "driver_lists:l_i64"]);
    let plan = try_plan(&registry, RULES, wanted).unwrap();
    assert_eq!(
        plan.join_keys,
        [
            join_key("driver_id", KeyType::Int64, &["driver_scalars"]),
            join_key("driver_id", KeyType::Int32, &["driver_lists"]),
        ]
    );
    assert_eq!(plan.groups.len(), 2);
}

#[test]
fn a_plan_is_part_of_one_that_reads_the_same_places() {
    let few = features(&["driver_scalars:f32"]).unwrap();
    let more = features(&[
        "driver_lists:l_i64",
        "driver_scalars:i64",
        "driver_scalars:f32",
    ])
    .unwrap();
    assert!(few.is_part_of(&more) && few.is_part_of(&few));
    assert!(!more.is_part_of(&few));
    let mut limited = more.clone();
    limited.set_max_age(Some(Duration::from_secs(5)));
    assert!(!few.is_part_of(&limited));
    let mut registry = registry();
    for view in &mut registry.feature_views {
        if view.name == "driver_scalars" {
            view.join_keys[0].value_type = ValueType::Int32;
        }
    }
    let by_another_type = try_plan(&registry, RULES, selection(&["driver_scalars:f32"])).unwrap();
    assert!(!few.is_part_of(&by_another_type));
}

#[test]
fn a_models_limit_takes_the_place_of_ttl_and_zero_is_none() {
    let mut plan = features(&["driver_scalars:i64", "driver_rich:m"]).unwrap();
    let limits = |plan: &OnlinePlan| -> Vec<Option<Duration>> {
        plan.features
            .iter()
            .map(|feature| feature.max_age)
            .collect()
    };
    let ttl = Some(Duration::from_secs(7_200));
    assert_eq!(limits(&plan), [ttl, None]);
    plan.set_max_age(Some(Duration::from_secs(5)));
    assert_eq!(limits(&plan), [Some(Duration::from_secs(5)); 2]);
    plan.set_max_age(Some(Duration::ZERO));
    assert_eq!(limits(&plan), [None; 2]);
    plan.set_max_age(None);
    assert_eq!(limits(&plan), [ttl, None]);
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    for (outcome, message, hint) in [
        (
            service("fs_plan"),
            "feature service `fs_plan` is not in the registry of project `ride_ops`, which has `fs_plain`, `fs_alias`, `fs_odfv`",
            "did you mean `fs_plain`?",
        ),
        (
            features(&["driver_scalar:i64"]),
            "feature view `driver_scalar` is not in the registry of project `ride_ops`",
            "did you mean `driver_scalars`?",
        ),
        (
            features(&["trip_pair:ratings"]),
            "feature view `trip_pair` has no feature `ratings`; it has `trips`, `rating`",
            "did you mean `rating`?",
        ),
        (
            features(&["weather:rain"]),
            "feature view `weather` is not in the registry of project `ride_ops`",
            "check the name, or run `feast apply`",
        ),
    ] {
        let error = outcome.unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(error.hint().as_deref(), Some(hint));
        assert_eq!(error.class(), ErrorClass::NotFound);
    }
}

#[test]
fn a_computed_feature_needs_what_its_sources_need_and_request_data() {
    let plan = service("fs_odfv").unwrap();
    assert_eq!(
        *plan.names,
        ["driver_scalars:i64", "fare_py:fare", "fare_py:tag"]
    );
    assert_eq!(
        plan.join_keys,
        [join_key("driver_id", KeyType::Int64, &["driver_scalars"])]
    );
    assert_eq!(plan.features_of_join_key(0).collect::<Vec<_>>(), [0, 1, 2]);
    let field = |name: &str, value_type| RequestField {
        name: name.to_owned(),
        value_type,
        used_by: vec!["fare_py".to_owned()],
    };
    assert_eq!(
        plan.request_data,
        [
            field("distance_km", ValueType::Double),
            field("pax", ValueType::Int64)
        ]
    );
    assert_eq!(plan.features_of_request_data(1).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(plan.features[1].value_type, ValueType::Double);
    assert_eq!(
        plan.features[1].max_age,
        Some(Duration::from_secs(7_200)),
        "the limit of its source"
    );
}

#[test]
fn what_is_selected_and_computed_from_is_read_once_in_one_group() {
    let plan = features(&["fare_py:fare", "driver_scalars:f64", "fare_py:tag"]).unwrap();
    assert_eq!(
        *plan.names,
        ["fare_py:fare", "driver_scalars:f64", "fare_py:tag"]
    );
    let part = plan.on_demand.as_ref().unwrap();
    assert_eq!(part.views.len(), 1);
    let source = registry().feature_view("driver_scalars").unwrap().clone();
    assert_eq!(part.read.features.len(), source.features.len());
    assert_eq!(part.read.features[0].feature, "f64");
    assert_eq!(part.read.groups.len(), 1);
    let mut places = part.read.places.to_vec();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), source.features.len(), "each its own place");
}

#[test]
fn a_computed_feature_is_part_of_a_plan_that_computes_it_in_the_same_way() {
    let few = features(&["fare_py:fare"]).unwrap();
    let more = features(&["driver_lists:l_i64", "driver_scalars:i64", "fare_py:fare"]).unwrap();
    assert!(few.is_part_of(&more) && few.is_part_of(&few));
    assert!(!more.is_part_of(&few));
    let stored = features(&["driver_scalars:i64"]).unwrap();
    assert!(stored.is_part_of(&more) && !more.is_part_of(&stored));
    let mut limited = more.clone();
    limited.set_max_age(Some(Duration::from_secs(5)));
    assert!(!few.is_part_of(&limited));
    assert!(
        features(&["fare_py:tag"])
            .unwrap()
            .is_part_of(&features(&["fare_py:tag"]).unwrap())
    );
    let mut registry = registry();
    for view in &mut registry.on_demand_feature_views {
        view.description.push_str("of another kind");
    }
    let other = try_plan(&registry, RULES, selection(&["fare_py:fare"])).unwrap();
    assert!(!few.is_part_of(&other));
}

#[test]
fn an_on_demand_view_that_cannot_be_computed_is_refused_where_it_is_wanted() {
    let refused = |registry: &Registry, reference: &str| {
        let error = try_plan(registry, RULES, selection(&[reference])).unwrap_err();
        (error.code(), error.class())
    };
    assert_eq!(
        refused(&registry(), "isum_single:i_sum"),
        ("on_demand_uncomputable", ErrorClass::Unavailable)
    );
    assert_eq!(
        refused(&registry(), "fare_py:fares"),
        ("feature_unknown", ErrorClass::NotFound)
    );
    let mut disabled = registry();
    for view in &mut disabled.on_demand_feature_views {
        view.disabled = true;
    }
    assert_eq!(
        refused(&disabled, "fare_py:fare"),
        ("feature_view_not_served", ErrorClass::Unavailable)
    );
    let mut busy = registry();
    for view in &mut busy.feature_views {
        view.state = ViewState::Materializing;
    }
    assert_eq!(
        refused(&busy, "fare_py:fare"),
        ("feature_view_not_served", ErrorClass::Unavailable),
        "a source that is not served"
    );
    let unwanted = selection(&["isum_single:i_sum", "driver_scalars:i64"]);
    let stored = |reference: &FeatureRef| reference.view == "driver_scalars";
    assert!(compile_where(&registry(), RULES, &unwanted, &stored).is_ok());
}

#[test]
fn an_on_demand_view_that_is_written_is_read_like_any_other() {
    let plan = features(&["rev_written:rev_per_visit", "store_daily:revenue"]).unwrap();
    assert_eq!(
        plan.join_keys,
        [join_key(
            "store_no",
            KeyType::Int32,
            &["rev_written", "store_daily"]
        )]
    );
    assert_eq!(plan.groups.len(), 1, "one key, one look-up");
    assert_eq!(plan.features[0].value_type, ValueType::Double);
    assert_eq!(plan.features[0].max_age, None);
    let error = features(&["rev_written:nope"]).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    let mut registry = registry();
    for view in &mut registry.on_demand_feature_views {
        view.disabled = true;
    }
    let wanted = selection(&["rev_written:rev_per_visit"]);
    let error = try_plan(&registry, RULES, wanted).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
}

#[test]
fn a_feature_is_selected_once() {
    let error = features(&["trip_pair:trips", "trip_pair:trips"]).unwrap_err();
    assert_eq!(error.to_string(), "`trip_pair:trips` is selected twice");
}

#[test]
fn only_unspecified_and_available_views_are_served() {
    let while_materializing = Rules {
        serve_while_materializing: true,
        ..RULES
    };
    for (state, rules, served) in [
        (ViewState::Unspecified, RULES, true),
        (ViewState::AvailableOnline, RULES, true),
        (ViewState::Created, RULES, false),
        (ViewState::Generated, RULES, false),
        (ViewState::Materializing, RULES, false),
        (ViewState::Materializing, while_materializing, true),
        (ViewState::Created, while_materializing, false),
        (ViewState::Other(9), while_materializing, false),
    ] {
        let mut registry = registry();
        registry
            .feature_views
            .iter_mut()
            .for_each(|view| view.state = state);
        let outcome = try_plan(&registry, rules, selection(&["trip_pair:trips"]));
        assert_eq!(outcome.is_ok(), served, "{state:?}");
    }
    let mut registry = registry();
    registry
        .feature_views
        .iter_mut()
        .for_each(|view| view.disabled = true);
    let error = try_plan(&registry, RULES, selection(&["trip_pair:trips"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "feature view `trip_pair` is DISABLED and not served"
    );
    assert_eq!(error.class(), ErrorClass::Unavailable);
}

#[test]
fn only_the_current_version_of_a_view_can_be_pinned() {
    let mut registry = registry();
    registry
        .feature_views
        .iter_mut()
        .for_each(|view| view.version = 2);
    let plan = |reference: &str| try_plan(&registry, RULES, selection(&[reference]));
    assert_eq!(
        plan("trip_pair@v2:trips").unwrap().names[0],
        "trip_pair@v2:trips"
    );
    assert!(plan("trip_pair@latest:trips").is_ok());
    let error = plan("trip_pair@v1:trips").unwrap_err().to_string();
    assert_eq!(
        error,
        "feature view `trip_pair` is at version 2, and only that can be read, not 1"
    );
    assert!(plan("trip_pair@x:trips").is_err());
}

#[test]
fn versioned_views_are_stored_under_their_version() {
    let versioned = Rules {
        versioned_views: true,
        ..RULES
    };
    let mut view = registry().feature_views.remove(0);
    for (version, rules, name) in [
        (0, versioned, "offline_only"),
        (3, versioned, "offline_only_v3"),
        (3, RULES, "offline_only"),
    ] {
        view.version = version;
        assert_eq!(stored_name(&view, rules), name);
    }
}

#[test]
fn a_join_key_that_cannot_be_a_key_is_refused() {
    let mut registry = registry();
    for view in &mut registry.feature_views {
        view.join_keys[0].value_type = ValueType::Double;
    }
    let error = try_plan(&registry, RULES, selection(&["device_fv:risk"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "join key `device_hash` of feature view `device_fv` has type DOUBLE, of which no entity key can be made"
    );
}

#[test]
fn a_selection_is_a_service_or_a_list() {
    assert_eq!(
        "fs_plain".parse(),
        Ok(Selection::Service("fs_plain".to_owned()))
    );
    assert_eq!("a:b, c:d".parse(), Ok(selection(&["a:b", "c:d"])));
    assert!("a:b,c".parse::<Selection>().is_err());
    assert!("a,b".parse::<Selection>().is_err());
}

#[test]
fn features_that_are_not_wanted_are_checked_and_not_read() {
    let only_scalars = |reference: &FeatureRef| reference.view == "driver_scalars";
    let plan = |references: &[&str]| {
        let selection = selection(references);
        compile_where(&registry(), RULES, &selection, &only_scalars)
    };
    let kept = plan(&["trip_pair:trips", "driver_scalars:i64"]).unwrap();
    assert_eq!(*kept.names, ["driver_scalars:i64"]);
    assert_eq!(
        kept.join_keys.len(),
        1,
        "the key of an unread view is not needed"
    );
    assert!(plan(&["trip_pair:nope", "driver_scalars:i64"]).is_err());
}
