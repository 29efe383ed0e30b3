//! A version that answers recorded predictions too differently does not go live, and says why.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, copy, demo, root};

/// A server over models of its own, which it looks at all the time.
struct Live {
    server: Server,
    models: PathBuf,
    _directory: TempDir,
}

impl Live {
    /// `clf` has a version 1, of MLflow's own models, and the demo's models are there.
    async fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let models = directory.path().join("models");
        copy(&demo().await.join("models"), &models);
        copy(&recorded("clf_on_col"), &models.join("clf/1"));
        point(&models, "clf", "champion: 1\n");
        let path = format!("registry.local.path={}", models.display());
        let mut all = vec![path.as_str(), "registry.local.poll=10ms"];
        all.extend(settings);
        Self {
            server: Server::start(&all).await,
            models,
            _directory: directory,
        }
    }

    fn register(&self, from: &Path, name: &str, version: u64) {
        copy(from, &self.models.join(name).join(version.to_string()));
    }

    fn point(&self, name: &str, aliases: &str) {
        point(&self.models, name, aliases);
    }

    /// Rows of flowers, ten in each call.
    async fn predict_clf(&self, n_calls: usize) {
        for call in 0..n_calls {
            let rows: Vec<Value> = (0..10)
                .map(|row| {
                    let shift = 0.1 * (call * 10 + row) as f64;
                    json!({"sepal_l": 4.5 + shift, "sepal_w": 3.0, "petal_l": 1.0 + shift, "petal_w": 0.2 + shift})
                })
                .collect();
            let body = json!({"rows": rows}).to_string();
            let answer = self.server.predict("clf", &body).await;
            assert_eq!(answer.status, 200);
        }
    }

    async fn model(&self, name: &str) -> Value {
        self.server.get(&format!("/v1/models/{name}")).await.json()
    }

    /// The gate of a version once it has come to this, polled for until a deadline.
    async fn gate_when(&self, name: &str, version: usize, outcome: &str) -> Value {
        let model = self
            .model_when(name, |model| {
                model["versions"][version - 1]["gate"]["outcome"] == outcome
            })
            .await;
        model["versions"][version - 1]["gate"].clone()
    }

    async fn served_when(&self, name: &str, version: &str) {
        self.model_when(name, |model| model["serving"]["version"] == version)
            .await;
    }

    async fn model_when(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..4_000 {
            every.tick().await;
            let model = self.model(name).await;
            if is_so(&model) {
                return model;
            }
        }
        panic!("it did not come to that: {}", self.model(name).await);
    }

    async fn metrics(&self) -> String {
        let metrics = self.server.get("/metrics").await.bytes;
        String::from_utf8(metrics.to_vec()).unwrap()
    }
}

/// Of MLflow's own models.
fn recorded(name: &str) -> PathBuf {
    root().join("tests/fixtures/mlflow/models").join(name)
}

/// Files that a server reads are replaced, never half there.
fn point(models: &Path, name: &str, aliases: &str) {
    let path = models.join(name).join("aliases.yaml");
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, aliases).unwrap();
    std::fs::rename(beside, path).unwrap();
}

const GATE: &str = "models.clf.gate={replay = '1h', max_flip_rate = 0.02, min_rows = 20}";

#[tokio::test]
async fn a_version_that_flips_stays_out_and_the_report_says_why_and_an_equal_one_goes_live() {
    let live = Live::start(&[GATE]).await;
    live.predict_clf(3).await;
    // Its labels are texts where the other's are numbers.
    live.register(&recorded("clf_strlabel_on_col"), "clf", 2);
    live.point("clf", "champion: 2\n");
    let gate = live.gate_when("clf", 2, "refused").await;
    assert_eq!(gate["error"]["code"], "model_gate_refused");
    let message = gate["error"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "of 30 recorded rows 100.00 % flip, and `max_flip_rate` is 0.02"
    );
    let model = live.model("clf").await;
    assert_eq!(
        model["serving"],
        json!({"version": "1", "alias": "champion"})
    );
    assert_eq!(
        model["behind"],
        json!([{"alias": "champion", "wanted": "2", "served": "1"}])
    );
    let row = r#"{"rows": [{"sepal_l": 5, "sepal_w": 3, "petal_l": 1, "petal_w": 0.2}]}"#;
    for (name, version) in [("clf", "1"), ("clf@champion", "1")] {
        let answer = live.server.predict(name, row).await.json();
        assert_eq!(answer["model"]["version"], version, "{name}");
    }
    let ready = live.server.get("/readyz").await.json();
    assert_eq!(ready["status"], "degraded");

    let path = gate["report"].as_str().unwrap();
    assert_eq!(path, "/v1/models/clf/versions/2/gate");
    let report = live.server.get(path).await.json();
    assert_eq!(report["outcome"], "refused");
    assert_eq!(
        (&report["n_rows"], &report["n_flips"]),
        (&json!(30), &json!(30))
    );
    assert_eq!(report["worst"][0]["output"], "output_label");
    assert!(report["latency_us"]["replayed"]["p50"].is_number());
    let page = live
        .server
        .call("GET", path, &[("accept", "text/html")], "")
        .await;
    let text = String::from_utf8(page.bytes.to_vec()).unwrap();
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(
        text.contains("Replay on clf:2") && text.contains("100.00 % flip"),
        "{text}"
    );

    // A copy of what serves answers the same to the last bit.
    live.register(&recorded("clf_on_col"), "clf", 3);
    live.point("clf", "champion: 3\n");
    live.served_when("clf", "3").await;
    assert_eq!(
        live.gate_when("clf", 3, "passed").await["error"],
        Value::Null
    );
    let report = live
        .server
        .get("/v1/models/clf/versions/3/gate")
        .await
        .json();
    // The two single rows from above, too.
    assert_eq!(
        (&report["n_rows"], &report["n_equal"]),
        (&json!(32), &json!(32))
    );
    // By its number the refused one answers all the same.
    let answer = live.server.predict("clf:2", row).await.json();
    assert_eq!(answer["model"]["version"], "2");
    // Going back is never held up.
    live.point("clf", "champion: 1\n");
    live.served_when("clf", "1").await;

    let metrics = live.metrics().await;
    for line in [
        r#"terrarium_model_gates_total{model="clf",outcome="refused"} 1"#,
        r#"terrarium_model_gates_total{model="clf",outcome="passed"} 1"#,
    ] {
        assert!(
            metrics.lines().any(|l| l == line),
            "{line} is not in\n{metrics}"
        );
    }
    for path in [
        "/v1/models/clf/versions/9/gate",
        "/v1/models/clf/versions/x/gate",
    ] {
        let missing = live.server.get(path).await;
        assert_eq!(
            (missing.status, missing.code().as_str()),
            (404, "model_gate_report_not_found")
        );
    }
}

#[tokio::test]
async fn too_few_recorded_rows_pass_and_say_so() {
    let live = Live::start(&[GATE]).await;
    live.predict_clf(1).await;
    live.register(&recorded("clf_strlabel_on_col"), "clf", 2);
    live.point("clf", "champion: 2\n");
    live.served_when("clf", "2").await;
    let gate = live.gate_when("clf", 2, "unjudged").await;
    assert_eq!(
        gate["message"],
        "passed unjudged: 10 recorded rows could be replayed, and `min_rows` is 20"
    );
}

#[tokio::test]
async fn features_are_those_of_the_record_and_changes_of_numbers_are_judged_too() {
    let limits = "max_change = 0.001, change_quantile = 0.5, min_rows = 2";
    let gate = format!("models.driver_ranking.gate={{replay = '1h', {limits}}}");
    let live = Live::start(&[&gate]).await;
    let body = r#"{"rows": [{"driver_id": 1001, "trip_km": 2}, {"driver_id": 1002, "trip_km": 3.5}, {"driver_id": 1, "trip_km": 1}]}"#;
    let first = live.server.predict("driver_ranking", body).await.json();
    assert_eq!(first["model"]["version"], "2");
    live.register(&live.models.join("driver_ranking/1"), "driver_ranking", 3);
    live.point("driver_ranking", "champion: 3\nchallenger: 1\n");
    let refused = live.gate_when("driver_ranking", 3, "refused").await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("output `score` changes by up to 0.")
            && message.contains("`max_change` is 0.001"),
        "{message}"
    );
    live.register(&live.models.join("driver_ranking/2"), "driver_ranking", 4);
    live.point("driver_ranking", "champion: 4\nchallenger: 1\n");
    live.served_when("driver_ranking", "4").await;
    let report = live
        .server
        .get("/v1/models/driver_ranking/versions/4/gate")
        .await
        .json();
    assert_eq!(
        (&report["n_rows"], &report["n_equal"]),
        (&json!(3), &json!(3))
    );
    let second = live.server.predict("driver_ranking", body).await.json();
    assert_eq!(second["outputs"], first["outputs"]);
}

#[tokio::test]
async fn inputs_that_were_redacted_judge_nothing_and_that_is_said() {
    for (rule, reason) in [
        ("mask", "`sepal_l` was redacted"),
        ("drop", "`sepal_l` is left out of events"),
    ] {
        let redact = format!("audit.redact.fields={{'request.sepal_l' = '{rule}'}}");
        let live = Live::start(&[GATE, &redact]).await;
        live.predict_clf(3).await;
        live.register(&recorded("clf_strlabel_on_col"), "clf", 2);
        live.point("clf", "champion: 2\n");
        let gate = live.gate_when("clf", 2, "unjudged").await;
        let message = gate["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("3 predictions could not, most because {reason}")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_version_is_warmed_up_with_recent_requests_before_it_serves() {
    let live = Live::start(&[]).await;
    live.predict_clf(3).await;
    live.register(&recorded("clf_on_col"), "clf", 2);
    live.point("clf", "champion: 2\n");
    live.served_when("clf", "2").await;
    let runs = r#"terrarium_inference_batch_rows_count{model="clf",version="2"} 3"#;
    let metrics = live.metrics().await;
    assert!(metrics.lines().any(|line| line == runs), "{metrics}");
}
