//! Predictions with features from Redis: what is answered, and what that costs Redis.

use std::collections::BTreeSet;

use crate::database::Database;
use crate::demo::Demo;
use crate::proxy::Proxy;

/// Model, body, and how many entity keys it needs.
const CALLS: [(&str, &str, usize); 4] = [
    (
        "driver_ranking",
        r#"{"entities": {"driver_id": 1001}, "inputs": {"trip_km": 3.2}}"#,
        1,
    ),
    // The same driver twice is read once.
    (
        "driver_ranking",
        r#"{"entities": {"driver_id": [1001, 1002, 1001]}, "inputs": {"trip_km": 3.2}}"#,
        2,
    ),
    // Two of its views share the driver's key: two drivers, two riders.
    (
        "trip_eta",
        r#"{"entities": {"driver_id": [1001, 1001, 1002], "rider_id": ["c-2001", "c-2002", "c-2001"]}}"#,
        4,
    ),
    // Three kinds of keys: two drivers, two customers, three pairs.
    (
        "trip_acceptance",
        r#"{"entities": {"driver_id": [1001, 1001, 1002], "customer_id": ["c-2001", "c-2002", "c-2001"]}}"#,
        7,
    ),
];

/// Each worker has a connection of its own, which begins with a handshake.
const ONE_WORKER: &str = "http.workers=1";

#[tokio::test]
async fn every_recorded_case_is_answered_over_redis_as_feast_and_mlflow_answer() {
    let database = Database::open(9);
    let demo = Demo::load(&database.connection_string());
    let server = demo.server(&[]).await;
    crate::recorded::check_all(&server).await;
}

#[tokio::test]
async fn a_predict_sends_one_hmget_for_each_distinct_entity_key_and_nothing_else() {
    let mut database = Database::open(10);
    let demo = Demo::load(&database.connection_string());
    let server = demo.server(&[ONE_WORKER]).await;
    // Its connection is made now.
    let (model, body, _) = CALLS[0];
    assert_eq!(server.predict(model, body).await.status, 200);
    let mut monitor = database.monitor();
    for (model, body, n_keys) in CALLS {
        assert_eq!(server.predict(model, body).await.status, 200, "{model}");
        let commands = monitor.commands(&mut database);
        assert!(
            commands.iter().all(|command| command.name == "HMGET"),
            "{model}: {commands:?}"
        );
        assert_eq!(commands.len(), n_keys, "{model}: {commands:?}");
        let keys: BTreeSet<_> = commands.iter().map(|command| &command.key).collect();
        assert_eq!(keys.len(), n_keys, "{model}: {commands:?}");
    }
}

#[tokio::test]
async fn a_predict_is_one_round_trip_whatever_the_number_of_views_and_keys() {
    let database = Database::open(11);
    let demo = Demo::load(&database.connection_string());
    let proxy = Proxy::start(database.address()).await;
    demo.point_at(&database.connection_string_via(&proxy.address().to_string()));
    let server = demo.server(&[ONE_WORKER]).await;
    let (model, body, _) = CALLS[0];
    assert_eq!(server.predict(model, body).await.status, 200);
    for (model, body, _) in CALLS {
        let before = proxy.n_round_trips();
        assert_eq!(server.predict(model, body).await.status, 200, "{model}");
        assert_eq!(proxy.n_round_trips() - before, 1, "{model}");
    }
}
