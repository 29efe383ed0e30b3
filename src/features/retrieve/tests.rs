//! What the recordings do not show: precomputed services, plans that are kept, order and names.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::resolve::resolve;
use super::{Answer, Error, FieldStatus, Given, GivenColumns, Naming, Retrieval, Wanted};
use crate::features::codec::wire::{put_bytes, put_message};
use crate::features::codec::{encode, encode_timestamp};
use crate::features::key::{KeyLayout, KeyValue, KeyVersion};
use crate::features::online::{Row, StoredView};
use crate::features::registry::Registry;
use crate::features::testing::TestRepo;
use crate::features::{self, FeatureStore};
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

fn drivers(ids: &[i64]) -> GivenColumns<'static> {
    let ids = ids.iter().map(|id| Given::Int(*id)).collect();
    vec![(Cow::Borrowed("driver_id"), ids)]
}

fn features(names: &[&str]) -> Wanted {
    Wanted::Features(names.iter().map(|name| (*name).to_owned()).collect())
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn names(answer: &Answer) -> Vec<String> {
    let entities = answer.entities().map(|(name, _)| name.to_owned());
    entities
        .chain(answer.stored().map(|column| column.name.to_owned()))
        .collect()
}

/// The project with a service whose features are precomputed: `driver_scalars:f64`, `:label`, `trip_pair:trips`, `:rating`.
fn precomputed(store: &FeatureStore) -> Registry {
    let mut registry = Registry::clone(&store.registry());
    let mut services = registry.feature_services.iter_mut();
    services
        .find(|service| service.name == "fs_plain")
        .unwrap()
        .precompute_online = true;
    registry
}

/// `feast.core.PrecomputedFeatureVector`
fn vector(names: &[&str], values: &[Value], times: &[(&str, Timestamp)], at: Timestamp) -> Value {
    let mut bytes = Vec::new();
    for name in names {
        put_bytes(&mut bytes, 1, name.as_bytes());
    }
    for value in values {
        put_message(&mut bytes, 2, |out| encode(value, out));
    }
    for (view, time) in times {
        put_message(&mut bytes, 3, |out| {
            put_bytes(out, 1, view.as_bytes());
            put_message(out, 2, |out| encode_timestamp(*time, out));
        });
    }
    put_message(&mut bytes, 4, |out| encode_timestamp(at, out));
    Value::Bytes(bytes)
}

async fn put_vector(store: &FeatureStore, driver: i64, vector: Value) {
    let mut key = Vec::new();
    let value = KeyValue::Int64(driver);
    KeyLayout::new(KeyVersion::V3, &["driver_id"]).encode(|_| &value, &mut key);
    let view = StoredView {
        name: "__precomputed__fs_plain".to_owned(),
        features: vec!["vector".to_owned()],
    };
    let row = Row {
        key,
        values: vec![vector],
        event_timestamp: Timestamp::now(),
        created_timestamp: None,
    };
    store.0.online.write(&view, &[row]).await.unwrap();
}

const STORED_NAMES: [&str; 4] = [
    "trip_pair__rating",
    "driver_scalars__f64",
    "driver_scalars__label",
    "trip_pair__trips",
];

#[tokio::test]
async fn a_precomputed_service_is_read_from_its_vectors() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let at = Timestamp::from_micros(1_800_000_000_123_456);
    let values = [
        Value::Double(4.5),
        Value::Double(2.5),
        Value::Null,
        Value::Int64(7),
    ];
    // driver_scalars has a ttl of two hours, trip_pair one of a day.
    let times = [
        ("driver_scalars", Timestamp::EPOCH),
        ("trip_pair", Timestamp::now()),
    ];
    put_vector(&store, 1001, vector(&STORED_NAMES, &values, &times, at)).await;

    let registry = precomputed(&store);
    let wanted = Wanted::Service("fs_plain".to_owned());
    for naming in [Naming::Full, Naming::Short] {
        let retrieval = Arc::new(resolve(&store, &registry, &wanted, naming).unwrap());
        let mut columns = drivers(&[1001, 1001]);
        columns.push((
            Cow::Borrowed("rider_code"),
            vec![Given::Text("a".into()), Given::Text("b".into())],
        ));
        let answer = store
            .retrieve(&retrieval, &columns, deadline())
            .await
            .unwrap();
        let wanted = match naming {
            Naming::Full => [
                "driver_scalars__f64",
                "driver_scalars__label",
                "trip_pair__trips",
                "trip_pair__rating",
            ],
            Naming::Short => ["f64", "label", "trips", "rating"],
        };
        assert_eq!(names(&answer)[2..], wanted);
        let cells: Vec<_> = answer
            .stored()
            .map(|column| (column.cell(1).status, column.event_timestamp(0)))
            .collect();
        let (old, new) = (FieldStatus::OutsideMaxAge, FieldStatus::Present);
        assert_eq!(cells, [(old, at), (old, at), (new, at), (new, at)]);
        let rating = answer.stored().nth(3).unwrap().cell(0).bytes.to_vec();
        let mut wanted = Vec::new();
        encode(&Value::Double(4.5), &mut wanted);
        assert_eq!(rating, wanted);
    }
}

#[tokio::test]
async fn where_a_vector_is_missing_or_of_other_features_the_views_are_read() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let view = StoredView {
        name: "driver_scalars".to_owned(),
        features: vec!["f64".to_owned()],
    };
    let mut key = Vec::new();
    let value = KeyValue::Int64(1001);
    KeyLayout::new(KeyVersion::V3, &["driver_id"]).encode(|_| &value, &mut key);
    for name in ["driver_scalars", "trip_pair"] {
        let view = StoredView {
            name: name.to_owned(),
            ..view.clone()
        };
        let row = Row {
            key: key.clone(),
            values: vec![Value::Double(8.0)],
            event_timestamp: Timestamp::now(),
            created_timestamp: None,
        };
        store.0.online.write(&view, &[row]).await.unwrap();
    }
    let other = vector(
        &["driver_scalars__f64"],
        &[Value::Double(1.0)],
        &[],
        Timestamp::now(),
    );
    put_vector(&store, 1001, other).await;
    let registry = precomputed(&store);
    let wanted = Wanted::Service("fs_plain".to_owned());
    let retrieval = Arc::new(resolve(&store, &registry, &wanted, Naming::Full).unwrap());
    let mut columns = drivers(&[1001]);
    columns.push((Cow::Borrowed("rider_code"), vec![Given::Text("a".into())]));
    let answer = store
        .retrieve(&retrieval, &columns, deadline())
        .await
        .unwrap();
    let mut wanted = Vec::new();
    encode(&Value::Double(8.0), &mut wanted);
    assert_eq!(answer.stored().next().unwrap().cell(0).bytes, wanted);
}

fn resolved(store: &FeatureStore, names: &[&str], naming: Naming) -> Result<Arc<Retrieval>, Error> {
    store.retrieval(&names.join(","), naming, || Ok(features(names)))
}

#[tokio::test]
async fn a_selection_is_compiled_once_per_way_of_naming() {
    let store = TestRepo::ride_ops().open().await;
    let names = ["driver_scalars:f64"];
    let short = resolved(&store, &names, Naming::Short).unwrap();
    let again = store.retrieval("driver_scalars:f64", Naming::Short, || {
        Err(Error::NothingSelected)
    });
    assert!(Arc::ptr_eq(&short, &again.unwrap()));
    let full = resolved(&store, &names, Naming::Full).unwrap();
    assert_eq!(full.columns[0].name, "driver_scalars__f64");
    assert_eq!(short.columns[0].name, "f64");
}

#[tokio::test]
async fn views_come_in_order_of_first_reference_and_a_feature_once() {
    let store = TestRepo::ride_ops().open().await;
    let names = [
        "trip_pair:trips",
        "driver_scalars:f64",
        "trip_pair:rating",
        "trip_pair@latest:trips",
    ];
    let retrieval = resolved(&store, &names, Naming::Full).unwrap();
    let columns: Vec<&str> = retrieval
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(
        columns,
        [
            "trip_pair__trips",
            "trip_pair__rating",
            "driver_scalars__f64"
        ]
    );
}

#[tokio::test]
async fn mistakes_are_found_in_feasts_order() {
    let store = TestRepo::ride_ops().open().await;
    let refused = |names: &[&str], naming| resolved(&store, names, naming).unwrap_err();
    let short = |names: &[&str]| refused(names, Naming::Short);
    assert!(matches!(short(&[]), Error::NothingSelected));
    // An unknown view before names that collide, and those before an unknown feature.
    let unknown_view = short(&["driver_scalars:f64", "driver_scalars:f64", "nope:f"]);
    let is_it = matches!(
        unknown_view,
        Error::Features(features::Error::UnknownFeatureView { .. })
    );
    assert!(is_it, "{unknown_view}");
    let collision = short(&["driver_scalars:nope", "driver_lists:nope"]);
    assert!(matches!(collision, Error::Collision { .. }), "{collision}");
    let unknown_feature = refused(&["driver_scalars:nope", "driver_lists:nope"], Naming::Full);
    let is_it = matches!(
        unknown_feature,
        Error::Features(features::Error::UnknownFeature { .. })
    );
    assert!(is_it, "{unknown_feature}");
}

#[tokio::test]
async fn keys_convert_to_the_type_of_the_view_and_echo_under_their_join_key() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let retrieval = resolved(&store, &["store_daily:visitors"], Naming::Short).unwrap();
    // Nothing is stored in the test's repository, so that only the columns can be looked at.
    let bound = |columns: GivenColumns<'static>| super::bind::bind(&retrieval, &columns);
    let text = |text: &'static str| vec![Given::Text(text.into())];
    for name in ["store_no", "store_ent"] {
        let bound = bound(vec![
            (Cow::Borrowed(name), text("12")),
            (Cow::Borrowed("zzz"), text("x")),
        ])
        .unwrap();
        assert_eq!(bound.echoed.len(), 1);
        assert_eq!(bound.echoed[0].name, "store_no");
        let column = bound.keys.columns[0].clone();
        assert_eq!(
            column,
            Some(features::KeyColumn::List(vec![KeyValue::Int32(12)]))
        );
    }
    let unequal = vec![
        (Cow::Borrowed("store_no"), text("12")),
        (Cow::Borrowed("zzz"), vec![]),
    ];
    assert!(matches!(bound(unequal), Err(Error::UnequalLengths { .. })));
    assert!(matches!(bound(vec![]), Err(Error::NoEntities)));
    assert!(matches!(
        bound(drivers(&[1001])),
        Err(Error::NoJoinKey { .. })
    ));
    assert!(matches!(
        bound(vec![(Cow::Borrowed("store_no"), vec![Given::Null])]),
        Err(Error::Value { .. })
    ));
}
