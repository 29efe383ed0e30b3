//! The feature store over the SQLite file that Feast filled.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::key::KeyValue;
use super::testing::{TestRepo, fixture, recorded};
use super::*;
use crate::error::{ErrorClass, Failure};
use crate::types::cell::Cell;
use crate::types::feature::{FeatureCell, FeatureStatus};
use crate::types::value::Value;

/// The recorded repository with the online store that Feast filled.
async fn ride_ops() -> (TestRepo, FeatureStore) {
    let repo = TestRepo::ride_ops();
    fs_err::copy(fixture("online_store.sqlite.db"), repo.path("online.db")).unwrap();
    let store = repo.open().await;
    (repo, store)
}

fn selection(references: &[&str]) -> Selection {
    Selection::Features(
        references
            .iter()
            .map(|text| text.parse().unwrap())
            .collect(),
    )
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn drivers(ids: &[i64]) -> Option<KeyColumn> {
    Some(KeyColumn::List(
        ids.iter().copied().map(KeyValue::Int64).collect(),
    ))
}

fn rows(n_rows: usize, columns: Vec<Option<KeyColumn>>) -> EntityRows {
    EntityRows { n_rows, columns }
}

fn values(rows: &FeatureRows, feature: usize) -> Vec<Value> {
    rows.column(feature)
        .map(|cell| cell.value.clone())
        .collect()
}

fn statuses(rows: &FeatureRows, feature: usize) -> Vec<FeatureStatus> {
    rows.column(feature).map(|cell| cell.status).collect()
}

#[tokio::test]
async fn features_of_several_views_come_in_the_plans_order() {
    let (_repo, store) = ride_ops().await;
    let wanted = selection(&[
        "driver_scalars:i64",
        "driver_live:zone",
        "driver_scalars:label",
    ]);
    let mut plan = store.plan(&wanted).unwrap();
    plan.set_max_age(Some(Duration::ZERO));
    let keys = rows(2, vec![drivers(&[1002, 1001])]);
    let answer = store.online(&plan, &keys, soon()).await.unwrap();
    assert_eq!(*answer.names, *plan.names);
    assert_eq!(values(&answer, 0), [Value::Int64(-1), Value::Int64(42)]);
    assert_eq!(
        values(&answer, 1),
        [Value::String("s".into()), Value::String("n".into())]
    );
    assert_eq!(
        values(&answer, 2),
        [Value::String(String::new()), Value::String("café ☃".into())]
    );
    let moment = answer.cell(1, 0).event_timestamp.unwrap();
    assert_eq!(moment, Timestamp::from_seconds(1_709_285_400));
    assert!(
        answer
            .cells
            .iter()
            .all(|cell| cell.status == FeatureStatus::Present)
    );
}

#[tokio::test]
async fn statuses_tell_present_null_not_found_and_too_old() {
    let (_repo, store) = ride_ops().await;
    let wanted = selection(&["driver_scalars:label", "driver_rich:js"]);
    let mut plan = store.plan(&wanted).unwrap();
    let keys = rows(3, vec![drivers(&[1001, 1003, 4])]);
    use FeatureStatus as S;
    // The view's ttl is two hours, and its rows are from 2024; driver_rich has no limit.
    let answer = store.online(&plan, &keys, soon()).await.unwrap();
    assert_eq!(
        statuses(&answer, 0),
        [S::OutsideMaxAge, S::Null, S::NotFound]
    );
    assert_eq!(
        answer.cell(0, 0).value,
        Value::String("café ☃".into()),
        "the value is kept"
    );
    assert_eq!(statuses(&answer, 1), [S::Present, S::NotFound, S::NotFound]);
    assert_eq!(*answer.cell(2, 0), FeatureCell::not_found());
    assert!(
        answer.cell(1, 0).event_timestamp.is_some(),
        "a stored null has a moment"
    );
    plan.set_max_age(Some(Duration::from_secs(400 * 365 * 86_400)));
    let answer = store.online(&plan, &keys, soon()).await.unwrap();
    assert_eq!(statuses(&answer, 0), [S::Present, S::Null, S::NotFound]);
}

#[tokio::test]
async fn repeated_keys_are_read_once_and_fanned_out() {
    let (_repo, store) = ride_ops().await;
    let plan = store
        .plan(&selection(&["driver_scalars:i64", "driver_lists:l_i32"]))
        .unwrap();
    let ids = [1001, 1002, 1001, 4, 1001, 4];
    let keys = rows(ids.len(), vec![drivers(&ids)]);
    let (entity_keys, _) = rows::entity_keys(&plan, &keys);
    assert_eq!(entity_keys.len(), 1, "two views of one key are one group");
    assert_eq!(entity_keys[0].len(), 3);
    let answer = store.online(&plan, &keys, soon()).await.unwrap();
    for (row, id) in ids.iter().enumerate() {
        let alone = store
            .online(&plan, &rows(1, vec![drivers(&[*id])]), soon())
            .await
            .unwrap();
        for feature in 0..2 {
            assert_eq!(
                answer.cell(row, feature),
                alone.cell(0, feature),
                "driver {id}"
            );
        }
    }
}

#[tokio::test]
async fn scalars_count_for_every_row_and_aliases_read_their_own_columns() {
    let (_repo, store) = ride_ops().await;
    let plan = store.plan(&Selection::Service("fs_alias".into())).unwrap();
    let pickup = KeyColumn::Scalar(KeyValue::Int32(1));
    let dropoff = KeyColumn::List([2, -3, 2].map(KeyValue::Int32).to_vec());
    let keys = rows(3, vec![Some(pickup), Some(dropoff)]);
    let answer = store.online(&plan, &keys, soon()).await.unwrap();
    assert_eq!(values(&answer, 0), [const { Value::Double(100.0) }; 3]);
    assert_eq!(values(&answer, 1), [const { Value::Int32(10) }; 3]);
    assert_eq!(
        values(&answer, 2),
        [Value::Double(250.5), Value::Null, Value::Double(250.5)]
    );
}

#[tokio::test]
async fn a_group_with_an_absent_column_is_not_read() {
    let (_repo, store) = ride_ops().await;
    let plan = store
        .plan(&selection(&["driver_scalars:i64", "trip_pair:trips"]))
        .unwrap();
    let keys = rows(1, vec![drivers(&[1001]), None]);
    let answer = store.online(&plan, &keys, soon()).await.unwrap();
    assert_eq!(answer.cell(0, 0).value, Value::Int64(42));
    assert_eq!(*answer.cell(0, 1), FeatureCell::not_found());
    // Even a view without a table is no matter then.
    let plan = store.plan(&selection(&["offline_only:speed"])).unwrap();
    let answer = store
        .online(&plan, &rows(2, vec![None]), soon())
        .await
        .unwrap();
    assert_eq!(
        answer.cells,
        [FeatureCell::not_found(), FeatureCell::not_found()]
    );
    let error = store
        .online(&plan, &rows(1, vec![drivers(&[1])]), soon())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "feature_view_not_materialized");
}

#[tokio::test]
async fn keys_of_every_type_and_of_several_parts_are_read() {
    let (_repo, store) = ride_ops().await;
    let one = |value| Some(KeyColumn::Scalar(value));
    for (reference, columns, wanted) in [
        (
            "device_fv:risk",
            vec![one(KeyValue::Bytes(vec![1, 2, 0, 255]))],
            Value::Float(0.5),
        ),
        (
            "slot_fv:load",
            vec![one(KeyValue::UnixTimestamp(1_709_251_200))],
            Value::Int64(3),
        ),
        ("region_cfg:mode", vec![], Value::String("busy".into())),
        (
            "triple:affinity",
            vec![
                one(KeyValue::Int64(1002)),
                one(KeyValue::String("été".into())),
                one(KeyValue::Int32(2)),
            ],
            Value::Float(0.125),
        ),
    ] {
        let plan = store.plan(&selection(&[reference])).unwrap();
        let answer = store
            .online(&plan, &rows(2, columns), soon())
            .await
            .unwrap();
        assert_eq!(values(&answer, 0), [wanted.clone(), wanted], "{reference}");
    }
}

#[tokio::test]
async fn a_request_without_rows_or_features_reads_nothing() {
    let (_repo, store) = ride_ops().await;
    let plan = store
        .plan(&selection(&["driver_scalars:i64", "region_cfg:mode"]))
        .unwrap();
    let answer = store
        .online(&plan, &rows(0, vec![drivers(&[])]), soon())
        .await
        .unwrap();
    assert!(answer.cells.is_empty());
    let plan = store.plan(&selection(&[])).unwrap();
    let answer = store.online(&plan, &rows(3, vec![]), soon()).await.unwrap();
    assert_eq!((answer.n_rows, answer.cells.len()), (3, 0));
}

#[tokio::test]
async fn columns_that_do_not_fit_the_plan_are_refused() {
    let (_repo, store) = ride_ops().await;
    let plan = store.plan(&selection(&["driver_scalars:i64"])).unwrap();
    let error = store
        .online(&plan, &rows(1, vec![]), soon())
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::WrongColumns {
            expected: 1,
            actual: 0
        }
    ));
    let error = store
        .online(&plan, &rows(3, vec![drivers(&[1])]), soon())
        .await
        .unwrap_err();
    let message = "entity column `driver_id` has 1 values where the read has 3 rows";
    assert_eq!(error.to_string(), message);
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_told_from_a_slow_store() {
    let (_repo, store) = ride_ops().await;
    let plan = store.plan(&selection(&["driver_scalars:i64"])).unwrap();
    let keys = rows(1, vec![drivers(&[1])]);
    let error = store
        .online(&plan, &keys, Deadline::after(Duration::ZERO))
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::DeadlineExceeded);
}

#[tokio::test]
async fn the_start_up_line_names_what_was_found() {
    let (repo, store) = ride_ops().await;
    let root = repo.directory.path().display();
    assert_eq!(
        store.describe().to_string(),
        format!(
            "feature project: ride_ops, online store: sqlite at {root}/online.db, registry: {root}/registry.db (12 feature views)"
        )
    );
    assert_eq!(store.project(), "ride_ops");
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_refreshed_registry_is_seen_by_new_plans_only() {
    let (repo, store) = ride_ops().await;
    assert!(!store.refresh().await.unwrap());
    let plan = store.plan(&selection(&["driver_scalars:i64"])).unwrap();
    // Another registry of the same project name, without that view.
    let mut bytes = fs_err::read(fixture("repo/registry.db")).unwrap();
    let name = b"driver_scalars";
    while let Some(at) = bytes.windows(name.len()).position(|window| window == name) {
        bytes[at] = b'D';
    }
    fs_err::write(repo.path("registry.db"), bytes).unwrap();
    assert!(store.refresh().await.unwrap());
    assert!(store.plan(&selection(&["driver_scalars:i64"])).is_err());
    assert!(
        store
            .online(&plan, &rows(1, vec![drivers(&[1001])]), soon())
            .await
            .is_ok()
    );
    // A registry that cannot be read leaves the last good one in place.
    fs_err::write(repo.path("registry.db"), b"\xff\xff").unwrap();
    assert!(store.refresh().await.is_err());
    assert!(store.plan(&selection(&["Driver_scalars:i64"])).is_ok());
}

/// The recorded repository with SQL for `fare_py` and `isum_single`.
async fn ride_ops_with_sql() -> (TestRepo, FeatureStore) {
    let repo = TestRepo::ride_ops();
    fs_err::copy(fixture("online_store.sqlite.db"), repo.path("online.db")).unwrap();
    let mut config = repo.config();
    for (view, sql) in [
        (
            "fare_py",
            "SELECT f64 * distance_km + pax AS fare, label || pax AS tag FROM input",
        ),
        (
            "isum_single",
            "SELECT i64 + i32 + driver_id AS i_sum FROM input",
        ),
    ] {
        let sql = transform::OnDemandConfig {
            sql: sql.to_owned(),
        };
        config.on_demand.insert(view.to_owned(), sql);
    }
    let utc = |name: &str| (name == "TZ").then(|| "UTC".to_owned());
    let store = FeatureStore::open(&config, &utc).await.unwrap();
    (repo, store)
}

#[tokio::test]
async fn computed_features_come_in_the_plans_order_with_the_age_of_their_oldest_source() {
    let (_repo, store) = ride_ops_with_sql().await;
    let wanted = selection(&["fare_py:fare", "driver_scalars:f64", "isum_single:i_sum"]);
    let plan = store.plan(&wanted).unwrap();
    let keys = rows(3, vec![drivers(&[1001, 1003, 4])]);
    let data = RequestData {
        columns: vec![
            Some([1.5, 2.0, 3.0].map(Value::Double).to_vec()),
            Some([1, 2, 3].map(Value::Int64).to_vec()),
        ],
        given: Vec::new(),
    };
    let answer = store
        .online_with(&plan, &keys, &data, soon())
        .await
        .unwrap();
    use FeatureStatus as S;
    assert_eq!(*answer.names, *plan.names);
    assert_eq!(
        values(&answer, 0),
        [Value::Double(4.75), Value::Null, Value::Null]
    );
    assert_eq!(
        statuses(&answer, 0),
        [S::OutsideMaxAge, S::Null, S::NotFound]
    );
    assert_eq!(values(&answer, 1)[0], Value::Double(2.5));
    assert_eq!(
        values(&answer, 2),
        [Value::Int64(1050), Value::Int64(1003), Value::Null],
        "an entity column is an input too"
    );
    let moment = |row, feature| answer.cell(row, feature).event_timestamp;
    assert_eq!(moment(0, 0), Some(Timestamp::from_seconds(1_709_285_400)));
    assert_eq!(moment(0, 0), moment(0, 1));
    assert_eq!(moment(2, 0), None);

    let mut young = plan.clone();
    young.set_max_age(Some(Duration::ZERO));
    let answer = store
        .online_with(&young, &keys, &data, soon())
        .await
        .unwrap();
    assert_eq!(statuses(&answer, 0), [S::Present, S::Null, S::NotFound]);
}

#[tokio::test]
async fn a_view_is_computed_only_for_who_lacks_one_of_its_features() {
    let (_repo, store) = ride_ops_with_sql().await;
    let plan = store
        .plan(&selection(&["fare_py:fare", "fare_py:tag"]))
        .unwrap();
    let keys = rows(1, vec![drivers(&[1001])]);
    let error = store.online(&plan, &keys, soon()).await.unwrap_err();
    assert_eq!(error.code(), "on_demand_input_missing");
    assert_eq!(error.class(), ErrorClass::InvalidInput);
    let data = |given: &[usize]| RequestData {
        columns: vec![None, None],
        given: given.to_vec(),
    };
    let one = store.online_with(&plan, &keys, &data(&[0]), soon()).await;
    assert_eq!(one.unwrap_err().code(), "on_demand_input_missing");
    let both = store
        .online_with(&plan, &keys, &data(&[0, 1]), soon())
        .await;
    assert_eq!(*both.unwrap().cell(0, 0), FeatureCell::not_found());
}

/// Feast's answer to a request, by feature: values, statuses, event timestamps.
fn recorded_results(response: &Json) -> HashMap<String, &Json> {
    let names = response["metadata"]["feature_names"]
        .as_array()
        .unwrap()
        .iter();
    let names = names.map(|name| name.as_str().unwrap().replacen("__", ":", 1));
    names.zip(response["results"].as_array().unwrap()).collect()
}

/// The request's selection, and its entity rows once planned; `None` where the request is not for stored features.
fn recorded_selection(body: &Json) -> Option<Selection> {
    if let Some(service) = body["feature_service"].as_str() {
        return Some(Selection::Service(service.to_owned()));
    }
    let references = body["features"].as_array()?.iter().filter_map(Json::as_str);
    let references: Vec<&str> = references.collect();
    let computed = ["fare_py", "rev_written"];
    let is_computed = |text: &&str| computed.iter().any(|view| text.starts_with(view));
    (!references.iter().any(is_computed)).then(|| selection(&references))
}

fn recorded_rows(plan: &OnlinePlan, body: &Json) -> EntityRows {
    let entities = &body["entities"];
    let n_rows = entities
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .as_array()
        .unwrap()
        .len();
    let mut columns = Vec::new();
    for join_key in &plan.join_keys {
        let cells = entities[&join_key.name].as_array();
        let key = |json: &Json| {
            let cell: Cell = serde_json::from_value(json.clone()).unwrap();
            join_key.key_type.convert(&cell).unwrap()
        };
        columns.push(cells.map(|cells| KeyColumn::List(cells.iter().map(key).collect())));
    }
    EntityRows { n_rows, columns }
}

#[tokio::test]
async fn recorded_answers_of_feasts_server_are_reproduced() {
    let (_repo, store) = ride_ops().await;
    let recorded = recorded("http_sqlite.json");
    let mut n_answers = 0;
    for case in recorded["cases"].as_array().unwrap() {
        let (request, response) = (&case["request"], &case["response"]);
        if request["path"] != "/get-online-features" {
            // From here on the requests see what was pushed.
            break;
        }
        let body = &request["body"];
        let Some(wanted) = recorded_selection(body).filter(|_| response["status"] == 200) else {
            continue;
        };
        let plan = store.plan(&wanted).unwrap();
        let answer = store
            .online(&plan, &recorded_rows(&plan, body), soon())
            .await
            .unwrap();
        let results = recorded_results(&response["json"]);
        for (f, (feature, name)) in plan.features.iter().zip(plan.names.iter()).enumerate() {
            let result = results
                .get(name)
                .or_else(|| results.get(&feature.feature))
                .unwrap();
            for (row, cell) in answer.column(f).enumerate() {
                assert_eq!(
                    serde_json::to_value(&cell.value).unwrap(),
                    result["values"][row]
                );
                let found = if cell.status == FeatureStatus::NotFound {
                    "NOT_FOUND"
                } else {
                    "PRESENT"
                };
                assert_eq!(found, result["statuses"][row], "{}", case["name"]);
                let moment = cell.event_timestamp.unwrap_or(Timestamp::EPOCH);
                assert_eq!(
                    moment.to_string(),
                    result["event_timestamps"][row].as_str().unwrap()
                );
                n_answers += 1;
            }
        }
    }
    assert!(n_answers > 40, "{n_answers}");
}

#[test]
fn the_configuration_refuses_what_it_does_not_know() {
    let config: Config = serde_json::from_str(r#"{"timeout": "20ms"}"#).unwrap();
    assert_eq!(config.timeout, Duration::from_millis(20));
    assert_eq!(config.repo, PathBuf::from("feature_repo"));
    assert!(serde_json::from_str::<Config>(r#"{"time_out": "20ms"}"#).is_err());
}
