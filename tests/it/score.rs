//! Batch scoring: the bits of `/v1/models/{m}/predict`, on the command line and as a job.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use terrarium::jobs::client::NewCall;
use terrarium::jobs::value::Value as Argument;
use terrarium::jobs::{Due, JobId};

use crate::support::{Server, copy, demo, root};

/// 2026-11-15T12:30:00Z
const TIME: i64 = 1_794_745_800_000_000;

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs_err::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn read(path: &Path) -> RecordBatch {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// Some that are known and some that are not.
fn drivers(n: usize) -> Vec<i64> {
    (0..n as i64).map(|i| 1001 + (i * 7) % 13).collect()
}

fn kilometres(n: usize) -> Vec<f64> {
    (0..n).map(|i| 0.1 + 1.7 * i as f64).collect()
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn times(n: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![TIME; n]).with_timezone("UTC"))
}

/// The bits of an output of single precision.
fn bits(table: &RecordBatch, output: &str) -> Vec<u32> {
    let column = table.column_by_name(output).unwrap();
    assert_eq!(column.null_count(), 0, "{column:?}");
    let numbers = column.as_primitive::<Float32Type>().values();
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// The same of an answer, whose numbers are the same ones in double precision.
fn bits_of_answer(answer: &Value, output: &str) -> Vec<u32> {
    let numbers = answer["outputs"][output].as_array().unwrap().iter();
    numbers
        .map(|number| (number.as_f64().unwrap() as f32).to_bits())
        .collect()
}

async fn answer(server: &Server, model: &str, body: Value) -> Value {
    let answer = server.predict(model, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    answer.json()
}

async fn run(server: &Server, args: &[&str], kwargs: &[(&str, Argument)]) -> Value {
    let id = JobId::random();
    let call = NewCall {
        id: id.clone(),
        function: "score".to_owned(),
        args: args.iter().map(|&arg| arg.into()).collect(),
        kwargs: kwargs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        due: Due::Now,
        expires: None,
    };
    server.jobs().enqueue(call).await.unwrap();
    let path = format!("/v1/jobs/{}?wait=30s", id.as_str());
    server.get(&path).await.json()
}

/// The result of a job that must succeed.
async fn scored(server: &Server, args: &[&str], kwargs: &[(&str, Argument)]) -> Value {
    let job = run(server, args, kwargs).await;
    assert_eq!(job["success"], true, "{job}");
    job["result"].clone()
}

/// A server whose jobs use a directory.
async fn server() -> (Server, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let setting = format!("jobs.files={}", files.path().display());
    (Server::start(&[&setting]).await, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_online_features_have_the_bits_of_predict() {
    const N: usize = 64;
    let (mut server, files) = server().await;
    let (drivers, km) = (drivers(N), kilometres(N));
    let columns = vec![("driver_id", numbers(&drivers)), ("trip_km", floats(&km))];
    write(&files.path().join("rows.parquet"), columns);
    let model = "driver_ranking@champion";
    let args = [model, "rows.parquet", "scores.parquet"];

    // All rows in one call.
    let result = scored(&server, &args, &[]).await;
    assert_eq!(
        (&result["n_rows"], &result["n_failed"]),
        (&json!(N), &json!(0))
    );
    assert_eq!(result["files"][0]["features"], "online");
    let body = json!({ "entities": { "driver_id": drivers }, "inputs": { "trip_km": km } });
    let together = answer(&server, model, body).await;
    let table = read(&files.path().join("scores.parquet"));
    assert_eq!(bits(&table, "score"), bits_of_answer(&together, "score"));
    let notes = table.schema().metadata().clone();
    assert_eq!(notes["terrarium.model_version"], "2");
    assert_eq!(notes["terrarium.definitions"].len(), 64);

    // Each row in a call of its own.
    let each = [
        ("rows_per_call", 1_i64.into()),
        ("with_features", true.into()),
    ];
    scored(&server, &args, &each).await;
    let table = read(&files.path().join("scores.parquet"));
    let mut alone = Vec::new();
    for (driver, km) in drivers.iter().zip(&km) {
        let body = json!({ "rows": [{ "driver_id": driver, "trip_km": km }] });
        alone.extend(bits_of_answer(&answer(&server, model, body).await, "score"));
    }
    assert_eq!(bits(&table, "score"), alone);
    let body = json!({
        "entities": { "driver_id": drivers }, "inputs": { "trip_km": km }, "explain": true
    });
    let explained = answer(&server, model, body).await;
    let values = &explained["features"]["driver_hourly_stats:conv_rate"]["values"];
    let rates = table
        .column_by_name("driver_hourly_stats__conv_rate")
        .unwrap();
    let rates = rates.as_primitive::<Float32Type>().iter();
    let rates: Vec<Value> = rates.map(|rate| json!(rate.map(f64::from))).collect();
    assert_eq!(values, &json!(rates));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_several_entities_and_outputs_has_the_bits_of_predict() {
    let (mut server, files) = server().await;
    let drivers = [1001, 1002, 1003, 1004];
    let customers = ["c-2001", "c-2003", "nobody", "c-2004"];
    let columns = vec![
        ("driver_id", numbers(&drivers)),
        (
            "customer_id",
            Arc::new(StringArray::from(customers.to_vec())) as ArrayRef,
        ),
    ];
    write(&files.path().join("rows.parquet"), columns);
    let args = ["trip_acceptance", "rows.parquet", "scores.parquet"];
    scored(&server, &args, &[]).await;
    let body = json!({ "entities": { "driver_id": drivers, "customer_id": customers } });
    let wanted = answer(&server, "trip_acceptance", body).await;
    let table = read(&files.path().join("scores.parquet"));
    let labels = table.column_by_name("label").unwrap();
    let labels = labels.as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(json!(labels), wanted["outputs"]["label"]);
    let maps = table.column_by_name("probabilities").unwrap().as_map();
    for row in 0..drivers.len() {
        let entries = maps.value(row);
        let keys = entries.column(0).as_string::<i32>();
        let values = entries.column(1).as_primitive::<Float64Type>();
        let wanted = &wanted["outputs"]["probabilities"][row];
        assert_eq!(wanted.as_object().unwrap().len(), keys.len());
        for (key, value) in keys.iter().zip(values.values()) {
            let wanted = wanted[key.unwrap()].as_f64().unwrap();
            assert_eq!(value.to_bits(), wanted.to_bits());
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_given_whole_have_the_bits_of_predict() {
    let (mut server, files) = server().await;
    let text = "conv_rate,acc_rate,avg_daily_trips,trip_km,note\n\
                0.25,0.5,17,3.2,a\n0.75,,12,7.5,b\n,0.5,3,1,\n";
    std::fs::write(files.path().join("rows.csv"), text).unwrap();
    let args = ["driver_ranking", "rows.csv", "scores.parquet"];
    let result = scored(&server, &args, &[]).await;
    assert_eq!(result["files"][0]["features"], "given");
    let overridden = json!({ "overridden": 3 });
    assert_eq!(
        result["features"]["driver_hourly_stats:conv_rate"],
        overridden
    );
    let body = json!({ "inputs": {
        "conv_rate": [0.25, 0.75, null], "acc_rate": [0.5, null, 0.5],
        "avg_daily_trips": [17, 12, 3], "trip_km": [3.2, 7.5, 1],
    } });
    let wanted = answer(&server, "driver_ranking", body).await;
    let table = read(&files.path().join("scores.parquet"));
    assert_eq!(bits(&table, "score"), bits_of_answer(&wanted, "score"));
    assert_eq!(table.column_by_name("note").unwrap().null_count(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn features_as_they_were_give_what_predict_gives_for_them() {
    let (mut server, files) = server().await;
    let drivers = [1001, 1007, 1010, 4];
    let km = [3.2, 7.5, 12.0, 1.0];
    let columns = vec![
        ("driver_id", numbers(&drivers)),
        ("event_timestamp", times(4)),
        ("trip_km", floats(&km)),
    ];
    write(&files.path().join("rows.parquet"), columns);
    let args = ["driver_ranking", "rows.parquet", "scores.parquet"];
    let with_features = [("with_features", true.into())];
    let result = scored(&server, &args, &with_features).await;
    assert_eq!(result["files"][0]["features"], "offline");
    let statuses = json!({ "present": 1, "null": 3 });
    assert_eq!(
        result["features"]["driver_hourly_stats:conv_rate"],
        statuses
    );
    let table = read(&files.path().join("scores.parquet"));

    let rows = json!({ "driver_id": drivers, "event_timestamp": vec!["2026-11-15T12:30:00Z"; 4] });
    let body = json!({ "feature_service": "driver_ranking_v1", "entities": rows });
    let joined = server
        .post("/v1/features/historical", &body.to_string())
        .await;
    let joined = joined.json()["columns"].clone();
    let rates = table
        .column_by_name("driver_hourly_stats__conv_rate")
        .unwrap();
    let rates = rates.as_primitive::<Float32Type>().iter();
    let rates: Vec<Value> = rates.map(|rate| json!(rate.map(f64::from))).collect();
    assert_eq!(joined["conv_rate"], json!(rates));
    let inputs = json!({
        "conv_rate": joined["conv_rate"], "acc_rate": joined["acc_rate"],
        "avg_daily_trips": joined["avg_daily_trips"], "trip_km": km,
    });
    let wanted = answer(&server, "driver_ranking", json!({ "inputs": inputs })).await;
    assert_eq!(bits(&table, "score"), bits_of_answer(&wanted, "score"));
    assert_eq!(table.column(1).len(), 4);

    // As they are now, although the rows have a time.
    let online = [("features", "online".into())];
    let result = scored(&server, &args, &online).await;
    assert_eq!(result["files"][0]["features"], "online");
    let body = json!({ "entities": { "driver_id": drivers }, "inputs": { "trip_km": km } });
    let wanted = answer(&server, "driver_ranking", body).await;
    let table = read(&files.path().join("scores.parquet"));
    assert_eq!(bits(&table, "score"), bits_of_answer(&wanted, "score"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_scores_a_directory_leaves_an_event_for_each_file_and_stays_where_it_may() {
    let (mut server, files) = server().await;
    for day in 1..=3 {
        let path = files.path().join(format!("in/day={day}/part.parquet"));
        write(
            &path,
            vec![("driver_id", numbers(&[1001])), ("trip_km", floats(&[3.2]))],
        );
    }
    let args = ["driver_ranking", "in", "out"];
    let result = scored(&server, &args, &[]).await;
    assert_eq!(
        (&result["n_rows"], &result["n_skipped"]),
        (&json!(3), &json!(0))
    );
    let result = scored(&server, &args, &[]).await;
    assert_eq!(
        (&result["n_rows"], &result["n_skipped"]),
        (&json!(0), &json!(3))
    );
    let events = server.events_when(3).await;
    assert_eq!(events.len(), 3);
    for event in &events {
        assert_eq!(event["surface"], "job");
        let file = result["files"].as_array().unwrap().iter();
        let paths: Vec<&Value> = file.map(|file| &file["path"]).collect();
        assert!(paths.contains(&&event["batch"]["destination"]), "{event}");
    }
    for (args, code) in [
        (["driver_ranking", "in", "../out"], "job_file_refused"),
        (["driver_ranking", "../in", "out"], "job_file_refused"),
        (
            ["driver_ranking", "in", "scores.parquet"],
            "score_destination_invalid",
        ),
        (["nobody", "in", "out2"], "model_not_found"),
    ] {
        let job = run(&server, &args, &[]).await;
        assert_eq!(job["success"], false, "{job}");
        assert!(job.to_string().contains(code), "{code}: {job}");
    }
    let job = run(&server, &args, &[("rows_per_call", 0_i64.into())]).await;
    assert!(job.to_string().contains("job_arguments_invalid"), "{job}");
    server.stop().await;
}

fn terrarium(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_terrarium"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

#[tokio::test]
async fn the_command_scores_without_an_online_store_and_goes_on_where_it_was() {
    // The demo without what was materialized.
    let place = tempfile::tempdir().unwrap();
    for part in ["feature_repo", "features", "models"] {
        copy(&root().join(part), &place.path().join(part));
    }
    for part in ["a", "b"] {
        let columns = vec![
            ("driver_id", numbers(&[1001, 1007])),
            ("event_timestamp", times(2)),
            ("trip_km", floats(&[3.2, 7.5])),
        ];
        write(&place.path().join(format!("rows/{part}.parquet")), columns);
    }
    let arguments = [
        "score",
        "--model",
        "driver_ranking@champion",
        "--entities",
        "rows",
        "--out",
        "scores",
        "--json",
    ];
    let score = || {
        let output = terrarium(place.path(), &arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let summary = score();
    assert_eq!(
        (&summary["n_rows"], &summary["n_skipped"]),
        (&json!(4), &json!(0))
    );
    assert!(summary["rows_per_second"].as_f64().unwrap() > 0.0);
    let first = std::fs::read(place.path().join("scores/a.parquet")).unwrap();

    // As if it had been killed before the second file had its name.
    std::fs::remove_file(place.path().join("scores/b.parquet")).unwrap();
    std::fs::write(place.path().join("scores/.b.parquet.x1"), "half").unwrap();
    let summary = score();
    assert_eq!(
        (&summary["n_rows"], &summary["n_skipped"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        std::fs::read(place.path().join("scores/a.parquet")).unwrap(),
        first
    );
    assert_eq!(read(&place.path().join("scores/b.parquet")).num_rows(), 2);

    let plain = terrarium(place.path(), &arguments[..7]);
    let told = String::from_utf8_lossy(&plain.stderr);
    assert!(told.contains("2 of 2 files were scored already"), "{told}");
    let online = [&arguments[..7], &["--features", "online", "--again"]].concat();
    let refused = terrarium(place.path(), &online);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("materialize"), "{told}");
}

#[tokio::test]
async fn the_command_says_what_is_wrong_where_and_what_to_do() {
    let demo = demo().await;
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    let keyless = vec![("driver", numbers(&[1001])), ("trip_km", floats(&[3.2]))];
    write(&place.path().join("keyless.parquet"), keyless);
    let timed = vec![
        ("driver", numbers(&[1001])),
        ("event_timestamp", times(1)),
        ("trip_km", floats(&[3.2])),
    ];
    write(&place.path().join("timed.parquet"), timed);
    let bare = vec![("driver_id", numbers(&[1001]))];
    write(&place.path().join("bare.parquet"), bare);
    let fails = |model: &str, from: &str, out: &str| {
        let (from, out) = (at(from), at(out));
        let arguments = [
            "score",
            "--model",
            model,
            "--entities",
            &from,
            "--out",
            &out,
        ];
        let output = terrarium(demo, &arguments);
        assert!(!Path::new(&out).exists());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (model, from, out, parts) in [
        (
            "driver_ranking",
            "keyless.parquet",
            "out.parquet",
            &[
                "keyless.parquet",
                "entity `driver_id`",
                "add a column `driver_id`",
            ][..],
        ),
        (
            "driver_ranking",
            "timed.parquet",
            "out.parquet",
            &["timed.parquet", "joined by `driver_id`", "driver"],
        ),
        (
            "driver_ranking",
            "bare.parquet",
            "out.parquet",
            &["bare.parquet", "input `trip_km`", "add a column `trip_km`"],
        ),
        (
            "nobody",
            "bare.parquet",
            "out.parquet",
            &["nobody", "driver_ranking"],
        ),
        (
            "driver_ranking",
            "bare.parquet",
            "out.feather",
            &["out.feather", "`.parquet` or `.csv`"],
        ),
        (
            "driver_ranking",
            "none.parquet",
            "out.parquet",
            &["none.parquet", "No such file"],
        ),
    ] {
        let told = fails(model, from, out);
        for part in parts {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        assert!(!told.contains("panicked"), "{told}");
    }
}

#[cfg(all(feature = "postgres", feature = "test-services"))]
#[tokio::test]
async fn rows_of_a_query_are_scored_as_those_of_a_file() {
    let url = std::env::var("TERRARIUM_POSTGRES").unwrap();
    let rest = url.strip_prefix("postgres://").unwrap();
    let (account, server) = rest.split_once('@').unwrap();
    let (user, password) = account.split_once(':').unwrap();
    let (address, database) = server.split_once('/').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    let place = tempfile::tempdir().unwrap();
    copy(demo().await, place.path());
    let yaml = place.path().join("feature_repo/feature_store.yaml");
    let text = std::fs::read_to_string(&yaml).unwrap();
    let postgres = format!(
        "type: postgres\n  host: {host}\n  port: {port}\n  database: {database}\n  user: {user}\n  \
         password: {password}\n  sslmode: disable\n"
    );
    let there = text.replace("type: file\n", &postgres);
    assert_ne!(there, text);
    std::fs::write(&yaml, there).unwrap();
    let columns = vec![
        ("conv_rate", floats(&[0.25, 0.75])),
        ("acc_rate", floats(&[0.5, 0.125])),
        ("avg_daily_trips", numbers(&[17, 12])),
        ("trip_km", floats(&[3.2, 7.5])),
    ];
    write(&place.path().join("rows.parquet"), columns);
    let query = "SELECT * FROM (VALUES (0.25::float8, 0.5::float8, 17, 3.2::float8), (0.75, 0.125, 12, 7.5)) \
                 AS rows (conv_rate, acc_rate, avg_daily_trips, trip_km)";
    for (from, out) in [("rows.parquet", "file.parquet"), (query, "query.parquet")] {
        let arguments = [
            "score",
            "--model",
            "driver_ranking",
            "--entities",
            from,
            "--out",
            out,
        ];
        let output = terrarium(place.path(), &arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
    }
    let bits = |name: &str| bits(&read(&place.path().join(name)), "score");
    assert_eq!(bits("query.parquet"), bits("file.parquet"));
    assert_eq!(bits("query.parquet").len(), 2);
}
