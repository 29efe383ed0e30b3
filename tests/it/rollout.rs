//! `[models.<name>.traffic]` over HTTP: which version answers whom, what is told about it, and what shadows leave.

use serde_json::{Value, json};
use terrarium::config::{Config, Environment, Sources};

use crate::support::{Server, copy, root};

/// Of the demo's drivers only 1004 falls to version 1: docs/rollouts.md says why.
const CANARY: &str = "models.driver_ranking.traffic={champion = 90, challenger = 10}";
const DRIVERS: std::ops::Range<i64> = 1001..1011;

async fn version_of(server: &Server, body: &str) -> Value {
    let answer = server.predict("driver_ranking", body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    answer.json()["model"].clone()
}

#[tokio::test]
async fn a_driver_meets_its_version_whatever_the_form_the_order_and_the_start() {
    let reversed = "models.driver_ranking.traffic={challenger = 1, champion = 9}";
    for settings in [CANARY, reversed] {
        let server = Server::start(&[settings]).await;
        for driver in DRIVERS {
            let (version, alias) = match driver {
                1004 => ("1", "challenger"),
                _ => ("2", "champion"),
            };
            let wanted = json!({"name": "driver_ranking", "version": version, "alias": alias});
            for body in [
                format!(
                    r#"{{"entities": {{"driver_id": {driver}}}, "inputs": {{"trip_km": 3.2}}}}"#
                ),
                format!(
                    r#"{{"entities": {{"driver_id": ["{driver}"]}}, "inputs": {{"trip_km": 7}}}}"#
                ),
                format!(r#"{{"rows": [{{"trip_km": 1, "driver_id": {driver}.0}}]}}"#),
                format!(
                    r#"{{"entities": {{"driver_id": {driver}}}, "inputs": {{"trip_km": [1, 2, 3]}}}}"#
                ),
            ] {
                assert_eq!(version_of(&server, &body).await, wanted, "{body}");
            }
        }
        // Who names an alias or a version gets it.
        let body = r#"{"entities": {"driver_id": 1004}, "inputs": {"trip_km": 3.2}}"#;
        for (model, version) in [("driver_ranking@champion", "2"), ("driver_ranking:2", "2")] {
            let answer = server.predict(model, body).await.json();
            assert_eq!(answer["model"]["version"], version, "{model}");
            assert!(answer.get("variants").is_none());
        }
    }
}

#[tokio::test]
async fn a_call_of_many_drivers_gives_each_row_what_it_gets_alone() {
    let server = Server::start(&[CANARY]).await;
    let mut random = 7u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..20 {
        let rows: Vec<(i64, f64)> = (0..2 + next(12))
            .map(|_| (1001 + next(12) as i64, next(200) as f64 / 10.0))
            .collect();
        let ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
        let km: Vec<f64> = rows.iter().map(|(_, km)| *km).collect();
        let body =
            json!({"entities": {"driver_id": ids}, "inputs": {"trip_km": km}, "explain": true});
        let answer = server
            .predict("driver_ranking", &body.to_string())
            .await
            .json();
        let conv_rates = &answer["features"]["driver_hourly_stats:conv_rate"]["values"];
        for (row, (id, km)) in rows.iter().enumerate() {
            let alone = json!({"rows": [{"driver_id": id, "trip_km": km}], "explain": true});
            let alone = server
                .predict("driver_ranking", &alone.to_string())
                .await
                .json();
            assert_eq!(
                answer["outputs"]["score"][row], alone["outputs"]["score"][0],
                "{id} {km}"
            );
            let conv_rate = &alone["features"]["driver_hourly_stats:conv_rate"]["values"][0];
            assert_eq!(conv_rates[row], *conv_rate);
        }
        let of_challenger: Vec<usize> = (0..rows.len()).filter(|row| ids[*row] == 1004).collect();
        match answer.get("variants") {
            None => assert!(of_challenger.is_empty() || of_challenger.len() == rows.len()),
            Some(variants) => assert_eq!(variants[0]["rows"], json!(of_challenger)),
        }
    }
}

#[tokio::test]
async fn a_split_call_is_told_in_the_answer_the_event_and_the_metrics() {
    let server = Server::start(&[CANARY]).await;
    let body = r#"{"entities": {"driver_id": [1004, 1001, 1002]}, "inputs": {"trip_km": 3.2}}"#;
    let answer = server.predict("driver_ranking", body).await.json();
    let variants = json!([
        {"version": "1", "alias": "challenger", "rows": [0]},
        {"version": "2", "alias": "champion", "rows": [1, 2]},
    ]);
    assert_eq!(answer["variants"], variants);
    assert_eq!(answer["n_rows"], 3);
    let served_by = json!({"name": "driver_ranking", "version": "2", "alias": "champion"});
    assert_eq!(answer["model"], served_by);
    let events = server.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["id"], answer["id"]);
    assert_eq!(events[0]["variants"], variants);
    assert_eq!(events[0]["outputs"], answer["outputs"]);
    assert_eq!(events[0]["model"]["requested"], "driver_ranking");
    let metrics = server.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.bytes).into_owned();
    for line in [
        r#"terrarium_predict_requests_total{code="ok",model="driver_ranking",version="1"} 1"#,
        r#"terrarium_predict_rows_total{model="driver_ranking",version="1"} 1"#,
        r#"terrarium_predict_rows_total{model="driver_ranking",version="2"} 2"#,
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line}\n{metrics}"
        );
    }
    // A mistake in a row of either part is named as the caller counts rows.
    let body =
        r#"{"entities": {"driver_id": [1004, 1001, 1002]}, "inputs": {"trip_km": [1, 2, "far"]}}"#;
    let problem = server.predict("driver_ranking", body).await;
    assert_eq!(
        (problem.status, problem.code().as_str()),
        (400, "value_type_wrong")
    );
    let detail = problem.json()["detail"].to_string();
    assert!(detail.contains("row 2 of column `trip_km`"), "{detail}");
    // A key that is none is refused as without traffic settings.
    let body = r#"{"entities": {"driver_id": [1004, "x"]}, "inputs": {"trip_km": 1}}"#;
    let problem = server.predict("driver_ranking", body).await;
    assert_eq!(
        (problem.status, problem.code().as_str()),
        (400, "entity_key_invalid")
    );
    assert_eq!(server.events().await.len(), 3);
}

#[tokio::test]
async fn models_and_openapi_show_the_traffic() {
    let settings = "models.driver_ranking.traffic={champion = 3, challenger = 1, canary = 4, shadow = [\"challenger\", \"gone\"]}";
    let server = Server::start(&[settings]).await;
    let traffic = server.get("/v1/models/driver_ranking").await.json()["traffic"].clone();
    assert_eq!(
        traffic["shares"],
        json!([
            {"alias": "challenger", "version": "1", "weight": 1, "share": 0.25},
            {"alias": "champion", "version": "2", "weight": 3, "share": 0.75},
        ])
    );
    assert_eq!(
        traffic["shadows"],
        json!([{"alias": "challenger", "version": "1"}])
    );
    let left_out = traffic["left_out"].as_array().unwrap();
    let left_out: Vec<(&Value, &Value)> = left_out
        .iter()
        .map(|one| (&one["alias"], &one["code"]))
        .collect();
    let code = &json!("traffic_alias_not_found");
    assert_eq!(left_out, [(&json!("canary"), code), (&json!("gone"), code)]);
    let other = server.get("/v1/models/trip_eta").await.json();
    assert!(other.get("traffic").is_none());

    let openapi = server.get("/openapi.json").await.json();
    let operation = &openapi["paths"]["/v1/models/driver_ranking/predict"]["post"];
    assert_eq!(
        operation["description"],
        "Shared out by entity key. Versions now: 1 (challenger, 25 %), 2 (champion, 75 %)."
    );
    let response = &openapi["components"]["schemas"]["driver_ranking.Response"];
    assert_eq!(
        response["properties"]["variants"]["$ref"],
        "#/components/schemas/Variants"
    );
    assert!(openapi["components"]["schemas"]["Variants"].is_object());
}

#[tokio::test]
async fn a_shadow_run_leaves_its_outputs_and_their_distance_and_nothing_else() {
    let mut server =
        Server::start(&["models.driver_ranking.traffic={shadow = \"challenger\"}"]).await;
    let body = r#"{"entities": {"driver_id": [1001, 1004]}, "inputs": {"trip_km": [3.2, 7.5]}}"#;
    let answer = server.predict("driver_ranking", body).await.json();
    assert_eq!(answer["model"]["version"], "2");
    assert!(answer.get("variants").is_none());
    let events = server.events_when(2).await;
    let shadow = &events[1];
    assert_eq!(shadow["shadow_of"], answer["id"]);
    assert_eq!(
        (&shadow["model"]["version"], &shadow["entities"]),
        (&json!("1"), &Value::Null)
    );
    let alone = server.predict("driver_ranking:1", body).await.json();
    assert_eq!(shadow["outputs"], alone["outputs"]);
    let scores = |answer: &Value| -> Vec<f64> {
        let scores = answer["outputs"]["score"].as_array().unwrap().iter();
        scores.map(|score| score.as_f64().unwrap()).collect()
    };
    let (served, shadowed) = (scores(&answer), scores(&alone));
    let distances = served.iter().zip(&shadowed).map(|(a, b)| (a - b).abs());
    let difference = &shadow["difference"]["score"];
    assert_eq!(
        difference["max_abs"].as_f64(),
        distances.clone().reduce(f64::max)
    );
    assert_eq!(difference["n_rows"], distances.filter(|d| *d > 0.0).count());
    // The features are those of the answer, with the times at which they were true.
    assert_eq!(shadow["features"], events[0]["features"]);
    server.stop().await;
    // Of the call for a version by its number there is no shadow.
    let events = server.events().await;
    assert_eq!(events.len(), 3);
    let sequences: Vec<&Value> = events.iter().map(|event| &event["sequence"]).collect();
    assert_eq!(sequences, [&json!(1), &json!(2), &json!(3)]);
}

#[tokio::test]
async fn runs_of_shadows_end_before_the_server_does() {
    let mut server =
        Server::start(&["models.driver_ranking.traffic={shadow = \"challenger\"}"]).await;
    for driver in DRIVERS {
        let body =
            format!(r#"{{"entities": {{"driver_id": {driver}}}, "inputs": {{"trip_km": 1}}}}"#);
        assert_eq!(server.predict("driver_ranking", &body).await.status, 200);
    }
    let metrics = server.get("/metrics").await;
    server.stop().await;
    let events = server.events().await;
    let of_shadows = events.iter().filter(|event| !event["shadow_of"].is_null());
    let dropped = String::from_utf8_lossy(&metrics.bytes).contains(r#"code="dropped""#);
    assert!(of_shadows.clone().all(|event| event["status"] == "ok"));
    // Calls come one after the other, so there is room for every run.
    assert_eq!((of_shadows.count(), dropped), (10, false));
}

#[tokio::test]
async fn versions_that_do_not_go_together_do_not_share_calls() {
    let models = tempfile::tempdir().unwrap();
    let directory = models.path().join("m");
    copy(
        &root().join("models/driver_ranking/2"),
        &directory.join("1"),
    );
    copy(
        &root().join("models/trip_acceptance/1"),
        &directory.join("2"),
    );
    std::fs::write(
        directory.join("aliases.yaml"),
        "champion: 1\nchallenger: 2\n",
    )
    .unwrap();
    let registry = format!("registry.local.path={}", models.path().display());
    let server =
        Server::start(&[&registry, "models.m.traffic={champion = 1, challenger = 9}"]).await;
    let traffic = server.get("/v1/models/m").await.json()["traffic"].clone();
    assert_eq!(traffic["shares"][0]["share"], 1.0);
    let left_out = &traffic["left_out"][0];
    assert_eq!(left_out["code"], "traffic_versions_disagree");
    assert_eq!(
        left_out["message"],
        "alias `challenger` of the traffic settings points to version 2, which cannot stand in for version 1: its entities are `customer_id`, `driver_id`, not `driver_id`"
    );
    for driver in DRIVERS {
        let body =
            format!(r#"{{"entities": {{"driver_id": {driver}}}, "inputs": {{"trip_km": 1}}}}"#);
        assert_eq!(
            server.predict("m", &body).await.json()["model"]["version"],
            "1"
        );
    }
}

#[test]
fn mistakes_in_the_traffic_settings_are_told_with_their_key() {
    for (setting, part) in [
        ("traffic={champion = 0}", "every weight is 0"),
        (
            "traffic={champion = -1}",
            "`models.m.traffic.champion` takes a whole number from 0, not `-1`",
        ),
        (
            "traffic={shadow = 3}",
            "`models.m.traffic.shadow` takes a string or a list of strings, not `3`",
        ),
        (
            "traffic={shadow_concurrency = 0}",
            "`models.m.traffic.shadow_concurrency` takes a whole number from 1",
        ),
        (
            "traffic={shadow_timeout = \"fast\"}",
            "`models.m.traffic.shadow_timeout` takes a duration",
        ),
        (
            "traffic={shadows = \"candidate\"}",
            "`models.m.traffic.shadows` takes a whole number",
        ),
    ] {
        let nowhere = tempfile::tempdir().unwrap();
        let environment = Environment::default();
        let sources = Sources {
            file: None,
            directory: nowhere.path(),
            environment: &environment,
            flags: &[format!("models.m.{setting}")],
        };
        let error = terrarium::config::load::<Config>(&sources)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{setting}: {error}");
    }
}
