//! Versions that go live while the server serves: by looking, by MLflow's webhook, and not at all when they do not load.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;
use terrarium::types::timestamp::Timestamp;

use crate::support::{Answer, Server, copy, demo};

const SECRET: &str = "s3cr3t";
const EVENT: &str = r#"{"entity": "model_version_alias", "action": "created", "data": {"name": "driver_ranking", "alias": "champion", "version": "1"}}"#;
const ROW: &str = r#"{"rows": [{"driver_id": 1001, "trip_km": 2}]}"#;

/// A server over models of its own.
struct Live {
    server: Server,
    models: PathBuf,
    _directory: TempDir,
}

impl Live {
    async fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let models = directory.path().join("models");
        copy(&demo().await.join("models"), &models);
        let path = format!("registry.local.path={}", models.display());
        let secret = format!("serving.webhook.secret={SECRET}");
        let mut all = vec![path.as_str(), secret.as_str()];
        all.extend(settings);
        Self {
            server: Server::start(&all).await,
            models,
            _directory: directory,
        }
    }

    fn point(&self, to: &str) {
        write_whole(&self.models.join("driver_ranking/aliases.yaml"), to);
    }

    /// Tells the server as MLflow would.
    async fn deliver(&self, id: &str) -> Answer {
        let at = Timestamp::now().as_seconds();
        deliver(&self.server, id, at, SECRET).await
    }

    async fn model(&self) -> Value {
        self.server.get("/v1/models/driver_ranking").await.json()
    }

    /// The model once it is as wanted, polled for until a deadline.
    async fn model_when(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..4_000 {
            every.tick().await;
            let model = self.model().await;
            if is_so(&model) {
                return model;
            }
        }
        panic!("it did not come to that: {}", self.model().await);
    }

    async fn served_when(&self, version: &str) {
        self.model_when(|model| model["serving"]["version"] == version)
            .await;
    }
}

/// Files that a server reads are replaced, never half there.
fn write_whole(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

async fn deliver(server: &Server, id: &str, at: i64, secret: &str) -> Answer {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, format!("{id}.{at}.{EVENT}").as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(tag);
    let (at, signature) = (at.to_string(), format!("v1,{signature}"));
    let headers = [
        ("content-type", "application/json"),
        ("x-mlflow-delivery-id", id),
        ("x-mlflow-timestamp", &at),
        ("x-mlflow-signature", &signature),
    ];
    server
        .call("POST", "/v1/webhooks/mlflow", &headers, EVENT)
        .await
}

#[tokio::test]
async fn shared_calls_follow_their_aliases() {
    // The settings follow no alias but the serving one; the traffic follows its own.
    let traffic = "models.driver_ranking.traffic={champion = 90, challenger = 10}";
    let live = Live::start(&[traffic, "serving.aliases=[]"]).await;
    // Whom the challenger has: docs/rollouts.md.
    let row = r#"{"rows": [{"driver_id": 1004, "trip_km": 2}]}"#;
    let of_1004 = async || {
        let answer = live.server.predict("driver_ranking", row).await.json();
        answer["model"]["version"].clone()
    };
    assert_eq!(of_1004().await, "1");
    for (id, aliases, left_out, version) in [
        ("id-1", "champion: 2\n", 1, "2"),
        ("id-2", "champion: 2\nchallenger: 1\n", 0, "1"),
    ] {
        live.point(aliases);
        assert_eq!(live.deliver(id).await.status, 200);
        let is_so = |model: &Value| {
            let now = model["traffic"]["left_out"].as_array();
            now.is_some_and(|now| now.len() == left_out)
        };
        live.model_when(is_so).await;
        assert_eq!(of_1004().await, version);
        let answer = live.server.predict("driver_ranking", ROW).await.json();
        assert_eq!(answer["model"]["version"], "2");
    }
}

#[tokio::test]
async fn a_delivery_makes_an_alias_that_moved_go_live_at_once() {
    let live = Live::start(&[]).await;
    assert_eq!(live.model().await["serving"]["version"], "2");
    live.point("champion: 1\nchallenger: 2\n");
    let answer = live.deliver("id-1").await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"status": "accepted"}))
    );
    live.served_when("1").await;
    let answer = live.server.predict("driver_ranking", ROW).await.json();
    assert_eq!(answer["model"]["version"], "1");
    let again = live.deliver("id-1").await;
    assert_eq!(again.json(), json!({"status": "repeated"}));

    let metrics = live.server.get("/metrics").await.bytes;
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    for line in [
        r#"terrarium_webhook_deliveries_total{outcome="accepted"} 1"#,
        r#"terrarium_webhook_deliveries_total{outcome="repeated"} 1"#,
        "terrarium_model_swaps_total 1",
        r#"terrarium_model_loads_total{model="driver_ranking",outcome="loaded"} 2"#,
        r#"terrarium_model_registry_reads_total{outcome="changed"} 2"#,
        "terrarium_models_behind 0",
    ] {
        assert!(
            metrics.lines().any(|l| l == line),
            "{line} is not in\n{metrics}"
        );
    }
}

#[tokio::test]
async fn a_delivery_that_is_not_signed_or_of_another_time_is_refused_and_without_a_secret_any() {
    let live = Live::start(&[]).await;
    let now = Timestamp::now().as_seconds();
    let forged = deliver(&live.server, "id-1", now, "guess").await;
    assert_eq!(
        (forged.status, forged.code().as_str()),
        (401, "webhook_signature_wrong")
    );
    let old = deliver(&live.server, "id-1", now - 3600, SECRET).await;
    assert_eq!((old.status, old.code().as_str()), (401, "webhook_stale"));
    let large = "x".repeat(2 << 20);
    let large = live.server.post("/v1/webhooks/mlflow", &large).await;
    assert_eq!(large.status, 413);

    let closed = Server::start(&[]).await;
    let answer = deliver(&closed, "id-1", now, SECRET).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (404, "webhook_disabled")
    );
}

#[tokio::test]
async fn a_version_that_does_not_load_leaves_its_alias_where_it_was_and_says_why() {
    let live = Live::start(&["serving.ready=all"]).await;
    let broken = live.models.join("driver_ranking/3");
    copy(&live.models.join("driver_ranking/2"), &broken);
    std::fs::write(broken.join("model.onnx"), "not a graph").unwrap();
    live.point("champion: 3\nchallenger: 1\n");
    live.deliver("id-1").await;
    let model = live.model_when(|model| model["behind"].is_array()).await;
    let model = match model["behind"][0]["served"].as_str() {
        Some("2") => {
            live.model_when(|model| model["versions"][2]["state"] == "failed")
                .await
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        model["behind"],
        json!([{"alias": "champion", "wanted": "3", "served": "2"}])
    );
    assert_eq!(
        model["serving"],
        json!({"version": "2", "alias": "champion"})
    );
    assert_eq!(model["aliases"]["champion"], "2");
    assert_eq!(model["versions"][2]["error"]["code"], "model_file_invalid");
    let answer = live.server.predict("driver_ranking@champion", ROW).await;
    assert_eq!(answer.json()["model"]["version"], "2");
    let ready = live.server.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (200, &json!("degraded"))
    );
    assert!(
        ready.json()["reasons"][0]
            .as_str()
            .unwrap()
            .contains("not yet by version 3")
    );
}

#[tokio::test]
async fn the_list_says_how_the_registry_was_read_and_what_is_kept() {
    let live = Live::start(&["serving.aliases=[]"]).await;
    let list = live.server.get("/v1/models").await.json();
    assert_eq!(list["registry"]["served_from"], "registry");
    assert!(list["registry"]["read_at"].is_string());
    live.point("champion: 1\n");
    live.deliver("id-1").await;
    live.served_when("1").await;
    let former = &live.model().await["versions"][1];
    assert_eq!(former["state"], "loaded");
    assert!(former["kept_until"].is_string());

    // A registry that goes away changes nothing of what is served.
    std::fs::rename(&live.models, live.models.with_extension("away")).unwrap();
    live.deliver("id-2").await;
    let mut every = tokio::time::interval(Duration::from_millis(5));
    let list = loop {
        every.tick().await;
        let list = live.server.get("/v1/models").await.json();
        if list["registry"]["failure"].is_object() {
            break list;
        }
    };
    assert_eq!(
        list["registry"]["failure"]["code"],
        "model_registry_missing"
    );
    assert_eq!(live.server.predict("driver_ranking", ROW).await.status, 200);
    let ready = live.server.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (200, &json!("degraded"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_no_call_and_no_answer_is_of_the_old_version_after_them() {
    let live = Arc::new(Live::start(&[]).await);
    let shutdown = terrarium::shutdown::Shutdown::new();
    // Ten times the number of the swap, and the version that serves since; zero while a swap is going on.
    let reported = Arc::new(AtomicU64::new(2));
    let stop = Arc::new(AtomicBool::new(false));
    let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
    for _ in 0..4 {
        let (live, reported) = (Arc::clone(&live), Arc::clone(&reported));
        let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
        shutdown.spawn("caller", async move {
            while !stop.load(Ordering::SeqCst) {
                let before = reported.load(Ordering::SeqCst);
                let answer = live.server.predict("driver_ranking", ROW).await;
                let is_between = before != 0 && before == reported.load(Ordering::SeqCst);
                let [calls, failed, wrong] = &*counts;
                calls.fetch_add(1, Ordering::SeqCst);
                if answer.status != 200 {
                    failed.fetch_add(1, Ordering::SeqCst);
                } else if is_between && version_of(&answer) != before % 10 {
                    wrong.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    let [calls, failed, wrong] = &*counts;
    for swap in 0..20 {
        let (to, other) = if swap % 2 == 0 { (1, 2) } else { (2, 1) };
        reported.store(0, Ordering::SeqCst);
        live.point(&format!("champion: {to}\nchallenger: {other}\n"));
        live.deliver(&format!("swap-{swap}")).await;
        live.served_when(&to.to_string()).await;
        reported.store((swap + 1) * 10 + to, Ordering::SeqCst);
        let enough = calls.load(Ordering::SeqCst) + 20;
        while calls.load(Ordering::SeqCst) < enough {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    assert!(shutdown_after(&shutdown).await);
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
}

fn version_of(answer: &Answer) -> u64 {
    let version = &answer.json()["model"]["version"];
    version.as_str().unwrap().parse().unwrap()
}

async fn shutdown_after(shutdown: &terrarium::shutdown::Shutdown) -> bool {
    shutdown.stop();
    shutdown.drain(Duration::from_secs(10)).await
}
