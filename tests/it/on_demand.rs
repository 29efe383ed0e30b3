//! Models that take on-demand features: computed in the call, on every surface.
//!
//! The recorded repository of Feast with the online store that it filled, and the demo's ranking model under other column
//! names: `fare` and `i_sum` are computed, `driver_scalars__f64` is stored, `distance_km` is sent and `fare` needs it too.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::feast_replay::{fixture, repo, serve};
use crate::support::{Answer, Server, copy, root};

const YAML: &str = "project: ride_ops\nregistry: registry.db\nonline_store:\n  path: online.db\n";
const FEATURES: &str =
    "models.fares.features=fare_py:fare,fare_py:tag,driver_scalars:f64,isum_single:i_sum";
/// Of the recorded rows: driver 1001 has f64 2.5, i64 42, i32 7; 1003 has a null f64; 5 is nowhere. All are from 2024.
const REQUEST: &str = r#"{"entities": {"driver_id": [1001, 1002]}, "inputs": {"distance_km": [3, 2.5], "pax": [1, 2]}}"#;

struct Fixture {
    server: Server,
    _repo: TempDir,
}

async fn fares(settings: &[&str]) -> Fixture {
    let repo = repo(YAML);
    std::fs::copy(
        fixture("online_store.sqlite.db"),
        repo.path().join("online.db"),
    )
    .unwrap();
    let model = repo.path().join("models/fares/1");
    copy(&root().join("models/driver_ranking/2"), &model);
    std::fs::remove_file(model.join("tags.yaml")).unwrap();
    for file in [
        "MLmodel",
        "input_example.json",
        "serving_input_example.json",
    ] {
        rename_columns(&model.join(file));
    }
    let mut all = vec![FEATURES];
    all.extend(settings);
    Fixture {
        server: serve(repo.path(), &all).await,
        _repo: repo,
    }
}

fn rename_columns(file: &Path) {
    let mut text = std::fs::read_to_string(file).unwrap();
    for (from, to) in [
        ("conv_rate", "fare"),
        ("acc_rate", "i_sum"),
        ("avg_daily_trips", "driver_scalars__f64"),
        ("trip_km", "distance_km"),
    ] {
        text = text.replace(&format!("\"{from}\""), &format!("\"{to}\""));
    }
    std::fs::write(file, text).unwrap();
}

impl Fixture {
    async fn ask(&self, body: &str) -> Answer {
        self.server.predict("fares", body).await
    }

    async fn answered(&self, body: &str) -> Value {
        let answer = self.ask(body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.bytes);
        answer.json()
    }

    /// Status and code of a refusal, with its text.
    async fn refused(&self, body: &str) -> (u16, String, String) {
        let answer = self.ask(body).await;
        let detail = answer.json()["detail"].to_string();
        (answer.status, answer.code(), detail)
    }

    /// The scores of rows of `fare`, `i_sum`, `f64` and `distance_km`, of which nothing is looked up or computed.
    async fn scores(&self, rows: [[f64; 4]; 2]) -> Value {
        let column = |place: usize| json!(rows.map(|row| row[place]));
        let body = json!({"inputs": {"fare": column(0), "i_sum": column(1), "f64": column(2), "distance_km": column(3)}});
        self.answered(&body.to_string()).await["outputs"]["score"].clone()
    }
}

#[tokio::test]
async fn a_model_is_given_what_its_on_demand_views_compute() {
    let fares = fares(&[]).await;
    let explained = REQUEST.replacen('{', r#"{"explain": true, "#, 1);
    let answer = fares.answered(&explained).await;
    let features = &answer["features"];
    let fare = &features["fare_py:fare"];
    assert_eq!(fare["values"], json!([8.5, 2.0]));
    // As old as the stored features that it is computed from, and as stale.
    assert_eq!(
        fare["statuses"],
        json!(["outside_max_age", "outside_max_age"])
    );
    assert_eq!(
        fare["event_timestamps"],
        json!(["2024-03-01T09:30:00Z", "2024-03-01T09:00:00Z"])
    );
    assert_eq!(features["isum_single:i_sum"]["values"], json!([49, -2]));
    assert_eq!(features["driver_scalars:f64"]["values"], json!([2.5, -0.0]));
    assert_eq!(
        features.as_object().unwrap().len(),
        3,
        "what views are computed from, and what no column takes, is not told"
    );
    let scores = fares
        .scores([[8.5, 49.0, 2.5, 3.0], [2.0, -2.0, -0.0, 2.5]])
        .await;
    assert_eq!(answer["outputs"]["score"], scores);
    // A value that is not in a list counts for every row.
    let scalar =
        r#"{"entities": {"driver_id": [1001, 1001]}, "inputs": {"distance_km": 3, "pax": 1}}"#;
    let scores = fares.scores([[8.5, 49.0, 2.5, 3.0]; 2]).await;
    assert_eq!(fares.answered(scalar).await["outputs"]["score"], scores);
    let rows = r#"{"rows": [{"driver_id": "1001", "distance_km": 3, "pax": 1}, {"driver_id": 1001, "distance_km": 3, "pax": 1}]}"#;
    assert_eq!(fares.answered(rows).await["outputs"]["score"], scores);
}

#[tokio::test]
async fn what_is_not_stored_and_not_sent_is_told() {
    let fares = fares(&[]).await;
    let body = r#"{"entities": {"driver_id": [1003, 5]}, "inputs": {"distance_km": 1, "pax": null}, "explain": true}"#;
    let features = fares.answered(body).await["features"].clone();
    let fare = &features["fare_py:fare"];
    assert_eq!(fare["values"], json!([null, null]));
    assert_eq!(fare["statuses"], json!(["null", "not_found"]));
    assert_eq!(fare["event_timestamps"][1], Value::Null);
    assert_eq!(
        features["isum_single:i_sum"]["statuses"],
        json!(["outside_max_age", "not_found"])
    );

    let one =
        |inputs: &str| format!(r#"{{"entities": {{"driver_id": 1001}}, "inputs": {inputs}}}"#);
    let (status, code, detail) = fares.refused(&one(r#"{"distance_km": 1}"#)).await;
    assert_eq!((status, code.as_str()), (400, "input_missing"));
    assert!(
        detail.contains("`pax`") && detail.contains("`fare_py:fare`"),
        "{detail}"
    );
    let (status, code, detail) = fares
        .refused(&one(r#"{"distance_km": 1, "pax": "many"}"#))
        .await;
    assert_eq!((status, code.as_str()), (400, "value_type_wrong"));
    assert!(detail.contains("row 0 of `inputs.pax`"), "{detail}");
    let no_driver = r#"{"inputs": {"distance_km": 1, "pax": 1}}"#;
    let (status, code, _) = fares.refused(no_driver).await;
    assert_eq!((status, code.as_str()), (400, "entity_missing"));
}

#[tokio::test]
async fn a_computed_feature_is_overridden_like_any_other() {
    let fares = fares(&[]).await;
    // Without `fare` nothing is computed from `pax`, so it may be left out.
    let body = r#"{"entities": {"driver_id": [1001, 1002]}, "inputs": {"distance_km": 3, "fare_py__fare": [7, 8]}, "explain": true}"#;
    let answer = fares.answered(body).await;
    let fare = &answer["features"]["fare_py:fare"];
    assert_eq!(fare["values"], json!([7, 8]));
    assert_eq!(fare["statuses"], json!(["overridden", "overridden"]));
    let scores = fares
        .scores([[7.0, 49.0, 2.5, 3.0], [8.0, -2.0, -0.0, 3.0]])
        .await;
    assert_eq!(answer["outputs"]["score"], scores);
}

#[tokio::test]
async fn policies_hold_for_computed_features() {
    let body = |driver: i64| {
        format!(
            r#"{{"entities": {{"driver_id": {driver}}}, "inputs": {{"distance_km": 1, "pax": 1}}, "explain": true}}"#
        )
    };
    let stale = fares(&["models.fares.on_stale=error"]).await;
    let (status, code, _) = stale.refused(&body(1001)).await;
    assert_eq!((status, code.as_str()), (422, "feature_stale"));
    let missing = fares(&["models.fares.on_missing=error", "models.fares.max_age=0s"]).await;
    let (status, code, detail) = missing.refused(&body(5)).await;
    assert_eq!((status, code.as_str()), (422, "feature_missing"));
    assert!(detail.contains("`fare_py:fare` is not_found"), "{detail}");
    let present = missing.answered(&body(1001)).await["features"].clone();
    assert_eq!(present["fare_py:fare"]["statuses"], json!(["present"]));
    let defaults = fares(&[
        "models.fares.on_missing=default",
        "models.fares.defaults={fare = 3.5, i_sum = 1, f64 = 0.5}",
    ])
    .await;
    let features = defaults.answered(&body(5)).await["features"].clone();
    assert_eq!(features["fare_py:fare"]["values"], json!([3.5]));
    assert_eq!(features["fare_py:fare"]["statuses"], json!(["default"]));
}

#[tokio::test]
async fn values_that_cannot_be_computed_fail_the_call_and_not_the_server() {
    let sql = "features.on_demand.isum_single.sql=SELECT i64 / (i32 - 7) AS i_sum FROM input";
    let fares = fares(&[sql]).await;
    let (status, code, detail) = fares.refused(REQUEST).await;
    assert_eq!((status, code.as_str()), (400, "on_demand_value"));
    assert!(detail.contains("isum_single"), "{detail}");
    let given = REQUEST.replace(r#""pax""#, r#""i_sum": 1, "pax""#);
    fares.answered(&given).await;
}

#[tokio::test]
async fn a_view_that_cannot_be_computed_keeps_the_model_from_going_live() {
    let features = "models.fares.features=half_pd:half,fare_py:fare";
    let sql = "features.on_demand.fare_py.sql=SELECT f64 AS fare FROM input";
    let fares = fares(&[features, sql]).await;
    let model = fares.server.get("/v1/models/fares").await.json();
    let text = model.to_string();
    assert!(text.contains("on_demand_invalid"), "{text}");
    let (status, code, _) = fares.refused(REQUEST).await;
    assert_eq!((status, code.as_str()), (503, "model_unavailable"));
}

#[tokio::test]
async fn every_description_names_what_the_request_must_give() {
    let fares = fares(&[]).await;
    let plan = fares.server.get("/v1/models/fares").await.json();
    let wanted = json!([
        {"name": "distance_km", "value_type": "DOUBLE", "views": ["fare_py"]},
        {"name": "pax", "value_type": "INT64", "views": ["fare_py"]},
    ]);
    assert!(
        plan.to_string()
            .contains(&format!("\"request_data\":{wanted}")),
        "{plan}"
    );
    let openapi = fares.server.get("/openapi.json").await.json();
    let operation = openapi["paths"]["/v1/models/fares/predict"]["post"].clone();
    let request = &operation["requestBody"]["content"]["application/json"];
    let schema = &openapi["components"]["schemas"]["fares.Request"];
    let forms = schema["oneOf"].as_array().unwrap();
    let inputs = &forms[0]["properties"]["inputs"];
    assert_eq!(inputs["required"], json!(["distance_km", "pax"]));
    assert!(inputs["properties"]["pax"].is_object() && inputs["properties"]["fare"].is_object());
    assert_eq!(request["example"]["inputs"]["pax"], json!([1]), "{request}");

    let metadata = fares.server.get("/v2/models/fares").await.json();
    let names: Vec<(&str, &str)> = metadata["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| {
            (
                input["name"].as_str().unwrap(),
                input["datatype"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            ("driver_id", "INT64"),
            ("distance_km", "FP64"),
            ("pax", "INT64")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_oip_and_jobs_compute_the_same() {
    let fares = fares(&[]).await;
    let direct = fares.answered(REQUEST).await["outputs"]["score"].clone();
    let frame = json!({"dataframe_split": {"columns": ["driver_id", "pax", "distance_km"], "data": [[1001, 1, 3], [1002, 2, 2.5]]}});
    let answer = fares
        .server
        .post("/models/fares/invocations", &frame.to_string())
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    let scored = answer.json()["predictions"].clone();
    let scored: Vec<&Value> = match &scored {
        Value::Array(rows) => rows
            .iter()
            .map(|row| row.get("score").unwrap_or(row))
            .collect(),
        other => panic!("{other}"),
    };
    assert_eq!(json!(scored), direct);

    let input = |name: &str, datatype: &str, data: Value| json!({"name": name, "datatype": datatype, "shape": [2], "data": data});
    let infer = json!({"inputs": [
        input("driver_id", "INT64", json!([1001, 1002])),
        input("distance_km", "FP64", json!([3.0, 2.5])),
        input("pax", "INT64", json!([1, 2])),
    ]});
    let answer = fares
        .server
        .post("/v2/models/fares/infer", &infer.to_string())
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    assert_eq!(answer.json()["outputs"][0]["data"], direct);

    let queued = fares.server.post("/v1/models/fares/jobs", REQUEST).await;
    assert_eq!(queued.status, 202, "{:?}", queued.bytes);
    let id = queued.json()["id"].as_str().unwrap().to_owned();
    let job = fares
        .server
        .get(&format!("/v1/jobs/{id}?wait=30s"))
        .await
        .json();
    assert_eq!(job["result"]["outputs"]["score"], direct, "{job}");
}

#[tokio::test]
async fn the_audit_event_has_the_computed_values() {
    let fares = fares(&[]).await;
    fares.answered(REQUEST).await;
    let events = fares.server.events_when(1).await;
    let event = events[0].to_string();
    assert!(event.contains("fare_py:fare"), "{event}");
    assert!(
        event.contains("isum_single:i_sum") && event.contains("8.5"),
        "{event}"
    );
}
