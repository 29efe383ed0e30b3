//! The command line as its users run it: the binary, its output, its exit codes.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{copy, demo, root};

fn terrarium(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_terrarium"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

/// One line, exit code 2, no backtrace.
fn assert_refuses_to_start(output: &Output, part: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let complaint = text
        .lines()
        .filter(|line| line.starts_with("error:"))
        .count();
    assert_eq!(complaint, 1, "{text}");
    assert!(text.contains(part), "{part} is not in {text}");
    assert!(
        !text.contains("panicked") && !text.contains("backtrace"),
        "{text}"
    );
}

#[tokio::test]
async fn predict_answers_like_the_server() {
    let demo = demo().await;
    let arguments = [
        "predict",
        "driver_ranking",
        "--entity",
        "driver_id=1001,1002",
        "--input",
        "trip_km=3.2,7.5",
        "--json",
    ];
    let answer = json(&terrarium(demo, &arguments));
    assert_eq!(answer["outputs"]["score"][0], 0.5536991953849792);
    assert_eq!(answer["n_rows"], 2);
    let refused = terrarium(demo, &["predict", "nobody", "--entity", "driver_id=1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("nobody"));
}

#[tokio::test]
async fn models_list_show_and_check_report_the_plan() {
    let demo = demo().await;
    let list = json(&terrarium(demo, &["models", "list", "--json"]));
    assert_eq!(list["models"].as_array().unwrap().len(), 3);
    let show = stdout(&terrarium(demo, &["models", "show", "driver_ranking"]));
    assert!(
        show.contains("driver_hourly_stats:conv_rate") && show.contains("trip_km"),
        "{show}"
    );
    let check = terrarium(demo, &["models", "check"]);
    assert!(check.status.success(), "{}", stderr(&check));
}

#[tokio::test]
async fn models_check_fails_with_the_reason_of_a_plan_that_does_not_compile() {
    let directory = tempfile::tempdir().unwrap();
    copy(demo().await, directory.path());
    std::fs::write(
        directory.path().join("models/trip_eta/1/tags.yaml"),
        "terrarium.features: 'driver_hourly_stats:nope'\n",
    )
    .unwrap();
    let check = terrarium(directory.path(), &["models", "check"]);
    assert_eq!(check.status.code(), Some(1));
    let text = stdout(&check) + &stderr(&check);
    assert!(text.contains("nope") && text.contains("trip_eta"), "{text}");
}

#[tokio::test]
async fn a_dangling_alias_is_shown_and_fails_the_check() {
    let directory = tempfile::tempdir().unwrap();
    copy(demo().await, directory.path());
    std::fs::write(
        directory.path().join("models/trip_eta/aliases.yaml"),
        "champion: 7\n",
    )
    .unwrap();
    let show = terrarium(directory.path(), &["models", "show", "trip_eta"]);
    assert_eq!(show.status.code(), Some(1));
    assert!(stderr(&show).contains("champion"), "{}", stderr(&show));
    let check = terrarium(directory.path(), &["models", "check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(
        stdout(&check).contains("driver_ranking:2: ok"),
        "{}",
        stdout(&check)
    );
}

#[tokio::test]
async fn one_value_counts_for_every_row_on_the_command_line_too() {
    let demo = demo().await;
    let arguments = [
        "predict",
        "driver_ranking",
        "-e",
        "driver_id=1001,1002",
        "-i",
        "trip_km=3.2",
        "--json",
    ];
    assert_eq!(json(&terrarium(demo, &arguments))["n_rows"], 2);
}

#[test]
fn a_taken_port_is_one_line_and_leaves_no_audit_file() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    copy(
        &root().join("models/driver_ranking"),
        &directory.path().join("models/driver_ranking"),
    );
    std::fs::write(
        directory.path().join("models/driver_ranking/2/tags.yaml"),
        "a: b\n",
    )
    .unwrap();
    let listen = format!("http.listen={}", taken.local_addr().unwrap());
    let output = terrarium(directory.path(), &["serve", "--set", &listen]);
    assert_refuses_to_start(&output, "in use");
    assert!(!directory.path().join("audit").exists());
}

#[tokio::test]
async fn features_get_shows_values_and_statuses() {
    let demo = demo().await;
    let arguments = [
        "features",
        "get",
        "--service",
        "driver_ranking_v1",
        "--entity",
        "driver_id=1001,1099",
        "--json",
    ];
    let answer = json(&terrarium(demo, &arguments));
    assert_eq!(
        answer["features"]["driver_hourly_stats:conv_rate"]["statuses"][1],
        "not_found"
    );
    let table = stdout(&terrarium(demo, &arguments[..6]));
    assert!(
        table.contains("driver_hourly_stats:conv_rate") && table.contains("not_found"),
        "{table}"
    );
}

#[test]
fn features_materialize_records_where_an_incremental_run_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    for part in ["feature_repo", "features"] {
        copy(&root().join(part), &directory.path().join(part));
    }
    let materialize = |arguments: &[&str]| {
        let common = [
            "features",
            arguments[0],
            "--views",
            "customer_stats",
            "--json",
        ];
        let arguments = [&common, &arguments[1..]].concat();
        json(&terrarium(directory.path(), &arguments))["views"][0].clone()
    };
    let (start, middle, end) = (
        "2026-10-01T00:00:00Z",
        "2026-11-10T00:00:00Z",
        "2026-12-01T00:00:00Z",
    );
    let first = materialize(&["materialize", start, middle]);
    assert_eq!(
        (&first["start"], &first["end"]),
        (&start.into(), &middle.into())
    );
    let second = materialize(&["materialize-incremental", end]);
    assert_eq!(
        (&second["start"], &second["end"]),
        (&middle.into(), &end.into())
    );
    assert!(second["rows_total"].as_u64() > Some(0), "{second}");
    let third = terrarium(
        directory.path(),
        &["features", "materialize-incremental", middle],
    );
    assert_eq!(third.status.code(), Some(1));
    assert!(
        stderr(&third).contains("before its start at 2026-1"),
        "{}",
        stderr(&third)
    );
}

#[test]
fn a_start_that_lacks_something_is_one_line_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    copy(
        &root().join("feature_repo"),
        &directory.path().join("feature_repo"),
    );
    copy(&root().join("models"), &directory.path().join("models"));
    let serve = ["serve", "--set", "http.listen=127.0.0.1:0"];
    assert_refuses_to_start(&terrarium(directory.path(), &serve), "materialize");

    let registry = directory.path().join("feature_repo/registry.db");
    std::fs::write(&registry, b"\xff\xff\xff garbage").unwrap();
    assert_refuses_to_start(&terrarium(directory.path(), &serve), "registry.db");
    std::fs::remove_file(&registry).unwrap();
    assert_refuses_to_start(&terrarium(directory.path(), &serve), "registry.db");

    std::fs::write(
        directory.path().join("terrarium.toml"),
        "[http]\nlisten = 8080\n",
    )
    .unwrap();
    assert_refuses_to_start(&terrarium(directory.path(), &serve), "http.listen");
    std::fs::write(directory.path().join("terrarium.toml"), "[http\n").unwrap();
    assert_refuses_to_start(&terrarium(directory.path(), &serve), "terrarium.toml");
}

#[test]
fn config_check_reports_every_problem_and_print_tells_origins() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("terrarium.toml"),
        "[http]\nmax_rows = \"many\"\nlistn = \"x\"\n",
    )
    .unwrap();
    let check = terrarium(directory.path(), &["config", "check"]);
    assert_eq!(check.status.code(), Some(2));
    let text = stdout(&check) + &stderr(&check);
    assert!(
        text.contains("max_rows") && text.contains("listn"),
        "{text}"
    );

    std::fs::write(
        directory.path().join("terrarium.toml"),
        "[http]\nmax_rows = 7\n",
    )
    .unwrap();
    let print = stdout(&terrarium(directory.path(), &["config", "print"]));
    let line = print
        .lines()
        .find(|line| line.starts_with("max_rows"))
        .unwrap();
    assert!(
        line.contains('7') && line.contains("terrarium.toml"),
        "{line}"
    );
}

#[test]
fn help_names_every_command() {
    let help = stdout(&terrarium(&root(), &["--help"]));
    for command in ["serve", "predict", "models", "features", "config"] {
        assert!(help.contains(&format!("  {command}")), "{help}");
    }
}

#[test]
fn a_registered_model_is_tried_first_listed_and_served_under_its_alias() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_terrarium"))
            .args(arguments)
            .current_dir(directory.path())
            .env_remove("MLFLOW_TRACKING_URI")
            .output()
            .unwrap()
    };
    std::fs::create_dir(directory.path().join("models")).unwrap();
    let fixture = root().join("tests/fixtures/mlflow/models/linreg_col");
    let (onnx, example) = (
        fixture.join("model.onnx"),
        fixture.join("input_example.json"),
    );
    let (onnx, example) = (onnx.to_str().unwrap(), example.to_str().unwrap());
    let register = [
        "models",
        "register",
        onnx,
        "--name",
        "price",
        "--alias",
        "champion",
        "--input-example",
        example,
        "--tag",
        "team=a",
        "--json",
    ];

    let rehearsal = json(&run(&[&register[..], &["--dry-run"]].concat()));
    assert_eq!(rehearsal["dry_run"], true);
    let written = directory
        .path()
        .join(rehearsal["directory"].as_str().unwrap());
    assert!(written.join("MLmodel").is_file());
    assert_eq!(
        json(&run(&["models", "list", "--registry", "--json"]))["models"],
        serde_json::json!([])
    );

    let first = json(&run(&register));
    assert_eq!(
        (&first["version"], &first["is_new"]),
        (&"1".into(), &true.into())
    );
    let again = json(&run(&register));
    assert_eq!(
        (&again["version"], &again["is_new"]),
        (&"1".into(), &false.into())
    );
    let listed = json(&run(&["models", "list", "--registry", "--json"]));
    let version = &listed["models"][0]["versions"][0];
    assert_eq!(version["aliases"], serde_json::json!(["champion"]));
    assert_eq!(version["tags"]["team"], "a");
    assert_eq!(version["tags"]["terrarium.sha256"], first["sha256"]);
    let shown = stdout(&run(&["models", "show", "price@champion"]));
    assert!(shown.contains("x3 (float64) from request"), "{shown}");

    assert!(
        run(&["models", "alias", "set", "price", "live", "1"])
            .status
            .success()
    );
    let missing = run(&["models", "alias", "set", "price", "live", "7"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        stderr(&missing).contains("no version 7"),
        "{}",
        stderr(&missing)
    );
    assert!(
        run(&["models", "alias", "delete", "price", "live"])
            .status
            .success()
    );
    assert_refuses_to_start(
        &run(&["models", "alias", "set", "price", "latest", "1"]),
        "reserves it",
    );
    let hostile = run(&["models", "register", onnx, "--name", "a/b"]);
    assert_refuses_to_start(&hostile, "neither `/` nor `:`");
    let contradiction = directory.path().join("signature.json");
    std::fs::write(
        &contradiction,
        r#"{"inputs": [{"type": "string", "name": "a"}]}"#,
    )
    .unwrap();
    let refused = run(&[
        "models",
        "register",
        onnx,
        "--name",
        "other",
        "--signature",
        contradiction.to_str().unwrap(),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("contradicts the graph"),
        "{}",
        stderr(&refused)
    );
    assert!(!directory.path().join("models/other").exists());
}
