//! Train/serve skew, on the command line and in a server: what is equal, what differs, what cannot be told.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float32Array, RecordBatch};
use arrow::datatypes::Float32Type;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, copy, root};

/// All that the demo has.
const RANGE: [&str; 2] = ["2026-10-01T00:00:00Z", "2026-12-01T00:00:00Z"];

/// A demo of the test's own, for it is tampered with.
struct Demo(TempDir);

impl Demo {
    fn unloaded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for part in ["feature_repo", "features"] {
            copy(&root().join(part), &directory.path().join(part));
        }
        Self(directory)
    }

    fn loaded() -> Self {
        let demo = Self::unloaded();
        let done = demo.run(&[&["features", "materialize"], &RANGE[..]].concat());
        assert!(done.status.success(), "{}", stderr(&done));
        demo
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_terrarium"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap()
    }

    /// `features verify --json`: exit code and report.
    fn verify(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[&["features", "verify", "--json"], arguments].concat());
        let report = serde_json::from_slice(&output.stdout);
        let report = report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        (output.status.code().unwrap(), report)
    }

    /// One row of `driver_hourly_stats`, online only.
    fn push(&self, row: Value) {
        let file = self.0.path().join("rows.json");
        std::fs::write(&file, json!([row]).to_string()).unwrap();
        let done = self.run(&[
            "features",
            "push",
            "driver_stats_push",
            "--file",
            "rows.json",
        ]);
        assert!(done.status.success(), "{}", stderr(&done));
    }

    fn source(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(format!("features/{name}.parquet"))
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `view:feature` to what is told of it.
fn features(report: &Value) -> Vec<(String, &Value)> {
    let views = report["views"].as_array().unwrap().iter();
    let of = |view: &'_ Value| view["view"].as_str().unwrap().to_owned();
    let features = views
        .filter(|view| view["error"].is_null())
        .flat_map(|view| {
            let features = view["features"].as_array().unwrap().iter();
            features.map(move |own| {
                (
                    format!("{}:{}", of(view), own["feature"].as_str().unwrap()),
                    own,
                )
            })
        });
    features.collect()
}

fn differ(report: &Value) -> Vec<(String, &Value)> {
    let features = features(report).into_iter();
    features.filter(|(_, own)| own["mismatched"] != 0).collect()
}

fn rewrite(path: &Path, change: impl Fn(RecordBatch) -> RecordBatch) {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let batches: Vec<RecordBatch> = reader
        .build()
        .unwrap()
        .map(|batch| change(batch.unwrap()))
        .collect();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batches[0].schema(), None).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn after_materializing_nothing_differs() {
    let demo = Demo::loaded();
    let (code, report) = demo.verify(&[]);
    assert_eq!((code, &report["mismatched"]), (0, &json!(0)), "{report:#}");
    assert_eq!(report["not_verified"], json!([]));
    let names: Vec<String> = features(&report)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names.len(), 16, "{names:?}");
    for view in report["views"].as_array().unwrap() {
        assert_eq!(view["not_online"], 0, "{view}");
        assert_eq!(view["features"][0]["compared"], view["sampled"], "{view}");
    }
    let stats = &report["views"][0];
    assert_eq!(
        (&stats["view"], &stats["sampled"]),
        (&json!("customer_stats"), &json!(5)),
        "{stats}"
    );

    let output = demo.run(&[
        "features",
        "verify",
        "--service",
        "trip_eta_v1",
        "--sample",
        "3",
        "--seed",
        "7",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines,
        [
            "FEATURE                              COMPARED  EQUAL  MISMATCHED",
            "driver_hourly_stats:avg_daily_trips  3         3      0",
            "driver_profile:years_active          3         3      0",
            "driver_profile:recent_ratings        3         3      0",
            "customer_stats:rating                3         3      0",
        ]
    );
    assert!(
        stderr(&output).contains("`--seed 7`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_pushed_value_is_reported_with_its_key_and_fails_the_command() {
    let demo = Demo::loaded();
    // As its last row, of the same moment, but for one value.
    demo.push(json!({
        "driver_id": 1008, "event_timestamp": "2026-11-20T20:00:00Z", "created": "2026-11-20T20:05:00Z",
        "conv_rate": 0.25, "acc_rate": 0.4973, "avg_daily_trips": 14, "online_minutes": 42
    }));
    let (code, report) = demo.verify(&[]);
    assert_eq!((code, &report["mismatched"]), (1, &json!(1)), "{report:#}");
    let found = differ(&report);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "driver_hourly_stats:conv_rate");
    let offline = found[0].1["examples"][0]["offline"]["value"]
        .as_f64()
        .unwrap();
    assert_eq!(offline as f32, 0.6682);
    assert_eq!(
        found[0].1["examples"],
        json!([{
            "entity_key": { "driver_id": 1008 },
            "event_timestamp": "2026-11-20T20:00:00Z",
            "online": { "status": "present", "value": 0.25 },
            "offline": { "status": "present", "value": offline }
        }])
    );
    let output = demo.run(&["features", "verify", "--view", "driver_hourly_stats"]);
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        table.contains("driver_hourly_stats:conv_rate  driver_id=1008  2026-11-20T20:00:00Z  0.25"),
        "{table}"
    );
    assert!(
        stderr(&output).contains("error: 1 of 36 values differ online and offline"),
        "{}",
        stderr(&output)
    );
    // It is 2.7 times as large.
    assert_eq!(demo.verify(&["--tolerance", "0.4"]).0, 1);
    assert_eq!(demo.verify(&["--tolerance", "0.5"]).0, 0);
    assert_eq!(
        demo.verify(&["--view", "driver_profile,customer_stats"]).0,
        0
    );
}

#[test]
fn a_null_differs_from_a_value_and_a_row_that_no_training_set_has_from_everything() {
    let demo = Demo::loaded();
    let row = |time: &str, conv_rate: Value| {
        json!({
            "driver_id": 1008, "event_timestamp": time, "created": time,
            "conv_rate": conv_rate, "acc_rate": 0.4973, "avg_daily_trips": 14, "online_minutes": 42
        })
    };
    // The view's ttl is an hour: so late the training set still has the row of 20:00.
    demo.push(row("2026-11-20T21:00:00Z", Value::Null));
    let (code, report) = demo.verify(&["--view", "driver_hourly_stats"]);
    let found = differ(&report);
    assert_eq!((code, found.len()), (1, 1), "{report:#}");
    assert_eq!(
        found[0].1["examples"][0]["online"],
        json!({ "status": "null", "value": null })
    );
    assert_eq!(found[0].1["examples"][0]["offline"]["status"], "present");

    demo.push(row("2026-11-20T21:00:01Z", json!(0.6682)));
    let (code, report) = demo.verify(&["--view", "driver_hourly_stats"]);
    let found = differ(&report);
    assert_eq!((code, found.len()), (1, 4), "{report:#}");
    for (_, feature) in found {
        assert_eq!(feature["mismatched"], 1);
        assert_eq!(
            feature["examples"][0]["offline"],
            json!({ "status": "missing" })
        );
    }
}

#[test]
fn a_source_that_changed_after_it_was_materialized_differs() {
    let demo = Demo::loaded();
    rewrite(&demo.source("customer_stats"), |batch| {
        let place = batch.schema().index_of("churn_risk").unwrap();
        let risks = batch.column(place).as_primitive::<Float32Type>();
        let risks: Float32Array = risks
            .iter()
            .map(|risk| risk.map(|risk| risk + 1.0))
            .collect();
        let mut columns = batch.columns().to_vec();
        columns[place] = Arc::new(risks) as ArrayRef;
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    });
    let (code, report) = demo.verify(&[]);
    let found = differ(&report);
    assert_eq!((code, found.len()), (1, 1), "{report:#}");
    assert_eq!(found[0].0, "customer_stats:churn_risk");
    // Nulls stayed nulls.
    assert!(found[0].1["equal"].as_u64() > Some(0), "{report:#}");
    let examples = found[0].1["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 3);
    let materialized = demo.run(&[&["features", "materialize"], &RANGE[..]].concat());
    assert!(materialized.status.success());
    assert_eq!(demo.verify(&[]).0, 0);
}

#[test]
fn a_source_that_cannot_be_read_is_named_and_the_others_are_verified() {
    let demo = Demo::loaded();
    std::fs::remove_file(demo.source("customer_stats")).unwrap();
    let (code, report) = demo.verify(&[]);
    assert_eq!((code, &report["mismatched"]), (2, &json!(0)), "{report:#}");
    let mut views = report["views"].as_array().unwrap().iter();
    let failed = views.find(|view| view["view"] == "customer_stats").unwrap();
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("customer_stats.parquet of feature view `customer_stats` does not exist"),
        "{error}"
    );
    assert_eq!(features(&report).len(), 12);
    let output = demo.run(&["features", "verify"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains("error: customer_stats: source")
            && text.contains("1 feature views could not be verified"),
        "{text}"
    );
}

#[test]
fn what_should_be_online_and_is_not_differs_and_without_anything_online_there_is_no_answer() {
    let demo = Demo::unloaded();
    let output = demo.run(&["features", "verify", "--view", "driver_profile"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));

    // Nobody said that the customers should be there.
    let some = demo.run(
        &[
            &["features", "materialize", "--views", "driver_profile"],
            &RANGE[..],
        ]
        .concat(),
    );
    assert!(some.status.success(), "{}", stderr(&some));
    let (code, report) = demo.verify(&["--view", "customer_stats"]);
    let view = &report["views"][0];
    assert_eq!((code, &report["compared"]), (2, &json!(0)), "{report:#}");
    assert!(
        view["sampled"].as_u64() > Some(0) && view["missed"] == 0,
        "{view}"
    );
    assert_eq!(view["not_online"], view["sampled"]);

    let demo = Demo::loaded();
    let deleted = demo.run(&["features", "delete-view", "driver_profile", "--yes"]);
    assert!(deleted.status.success(), "{}", stderr(&deleted));
    let (code, report) = demo.verify(&["--view", "driver_profile", "--sample", "5"]);
    let view = &report["views"][0];
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(
        (&view["sampled"], &view["not_online"], &view["missed"]),
        (&json!(5), &json!(5), &json!(5))
    );
    assert_eq!(
        view["features"][0]["examples"][0]["online"],
        json!({ "status": "missing" })
    );
}

#[test]
fn entity_keys_come_from_a_file_too() {
    let demo = Demo::loaded();
    // 4 is no driver, 1001 is there twice, a null finds nothing.
    std::fs::write(
        demo.0.path().join("keys.csv"),
        "driver_id,note\n1001,a\n4,b\n1001,c\n,d\n",
    )
    .unwrap();
    let (code, report) = demo.verify(&["--entities", "keys.csv"]);
    assert_eq!(code, 0, "{report:#}");
    let view = &report["views"]
        .as_array()
        .unwrap()
        .iter()
        .find(|view| view["view"] == "driver_profile")
        .unwrap();
    assert_eq!(
        (&view["sampled"], &view["not_online"], &view["missed"]),
        (&json!(2), &json!(1), &json!(0))
    );
    assert_eq!(
        report["not_verified"],
        json!([
            { "view": "customer_stats", "reason": "the entity rows have no column `customer_id`" },
            { "view": "driver_customer_affinity", "reason": "the entity rows have no column `customer_id`" }
        ])
    );
}

#[test]
fn names_that_are_not_there_are_refused() {
    let demo = Demo::loaded();
    let output = demo.run(&["features", "verify", "--view", "driver_profil"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("did you mean `driver_profile`?"),
        "{}",
        stderr(&output)
    );
    for tolerance in ["-1", "nan", "inf"] {
        let argument = format!("--tolerance={tolerance}");
        let output = demo.run(&["features", "verify", &argument]);
        assert_eq!(output.status.code(), Some(2), "{tolerance}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_verifies_by_itself_and_counts() {
    let demo = Demo::loaded();
    demo.push(json!({
        "driver_id": 1008, "event_timestamp": "2026-11-20T20:00:00Z", "created": "2026-11-20T20:05:00Z",
        "conv_rate": 0.25, "acc_rate": 0.4973, "avg_daily_trips": 14, "online_minutes": 42
    }));
    let repo = format!(
        "features.repo={}",
        demo.0.path().join("feature_repo").display()
    );
    let models = format!("registry.local.path={}", root().join("models").display());
    std::fs::remove_file(demo.source("driver_profile")).unwrap();
    let mut server = Server::start_bare(&[&repo, &models, "features.verify.every=5s"]).await;
    let text = first_run(&server).await;
    // Nine drivers; the second run may have begun.
    let conv_rate = value(
        &text,
        r#"terrarium_feature_skew_compared_total{feature="conv_rate",view="driver_hourly_stats"}"#,
    );
    assert!(conv_rate >= 9.0 && conv_rate % 9.0 == 0.0, "{text}");
    let differs = value(
        &text,
        r#"terrarium_feature_skew_mismatched_total{feature="conv_rate",view="driver_hourly_stats"}"#,
    );
    assert_eq!(differs, conv_rate / 9.0);
    for (name, wanted) in [
        (
            r#"terrarium_feature_skew_mismatched_total{feature="acc_rate",view="driver_hourly_stats"}"#,
            0.0,
        ),
        (
            r#"terrarium_feature_skew_mismatched_total{feature="rating",view="customer_stats"}"#,
            0.0,
        ),
        (
            r#"terrarium_feature_skew_not_online_total{view="customer_stats"}"#,
            0.0,
        ),
    ] {
        assert_eq!(value(&text, name), wanted, "{name}");
    }
    assert!(
        value(
            &text,
            r#"terrarium_feature_skew_failures_total{view="driver_profile"}"#
        ) >= 1.0
    );
    server.stop().await;
}

/// The metrics once a run is over.
async fn first_run(server: &Server) -> String {
    let mut every = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..1_200 {
        every.tick().await;
        let text = String::from_utf8(server.get("/metrics").await.bytes.to_vec()).unwrap();
        if value(&text, "terrarium_feature_skew_run_timestamp_seconds") > 0.0 {
            return text;
        }
    }
    panic!("no run within a minute");
}

fn value(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no `{name}` in\n{text}"))
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_verify_by_default() {
    let mut server = Server::start(&[]).await;
    let text = String::from_utf8(server.get("/metrics").await.bytes.to_vec()).unwrap();
    assert_eq!(
        value(&text, "terrarium_feature_skew_run_timestamp_seconds"),
        0.0
    );
    assert!(!text.contains("terrarium_feature_skew_compared_total{"));
    server.stop().await;
}
