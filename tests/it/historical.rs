//! Training sets over HTTP, on the command line and as a job: the same rows from each.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Float32Type;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{Server, demo};

const ROUTE: &str = "/v1/features/historical";
const ARROW: &str = "application/vnd.apache.arrow.stream";
const PARQUET: &str = "application/vnd.apache.parquet";

/// 2026-11-15T12:30:00Z
const TIME: i64 = 1_794_745_800_000_000;

/// Drivers at a time: one with statistics of that hour, one whose are too old, one that has none, one that is unknown.
const DRIVERS: [i64; 4] = [1001, 1007, 1010, 4];

fn rows() -> RecordBatch {
    let drivers: ArrayRef = Arc::new(Int64Array::from(DRIVERS.to_vec()));
    let times = TimestampMicrosecondArray::from(vec![TIME; DRIVERS.len()]).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("driver_id", drivers),
        ("event_timestamp", Arc::new(times) as ArrayRef),
    ])
    .unwrap()
}

fn parquet_of(rows: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    bytes
}

fn arrow_of(rows: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).unwrap();
    writer.write(rows).unwrap();
    writer.finish().unwrap();
    bytes
}

fn json_rows() -> Value {
    let times = vec!["2026-11-15T12:30:00Z"; DRIVERS.len()];
    json!({ "driver_id": DRIVERS, "event_timestamp": times })
}

fn conv_rates(table: &RecordBatch) -> Vec<Option<f32>> {
    let rates = table.column_by_name("conv_rate").unwrap();
    rates.as_primitive::<Float32Type>().iter().collect()
}

fn of_json(column: &Value) -> Vec<Option<f32>> {
    let cells = column.as_array().unwrap().iter();
    cells
        .map(|cell| cell.as_f64().map(|number| number as f32))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_in_and_out_gives_the_same_rows() {
    let mut server = Server::start(&[]).await;
    let body = json!({ "feature_service": "driver_ranking_v1", "entities": json_rows() });
    let answer = server.post(ROUTE, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    let table = answer.json();
    assert_eq!(table["n_rows"], 4);
    assert_eq!(table["columns"]["driver_id"], json!(DRIVERS));
    assert_eq!(
        table["columns"]["event_timestamp"][0],
        "2026-11-15T12:30:00Z"
    );
    let wanted = of_json(&table["columns"]["conv_rate"]);
    assert!(
        wanted[0].is_some() && wanted[1..] == [None, None, None],
        "{wanted:?}"
    );
    let names: Vec<&String> = table["columns"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "driver_id",
            "event_timestamp",
            "conv_rate",
            "acc_rate",
            "avg_daily_trips"
        ]
    );
    assert_eq!(table["metadata"]["terrarium.project"], "terrarium_demo");
    let definitions = table["metadata"]["terrarium.definitions"].as_str().unwrap();
    assert_eq!(definitions.len(), 64);

    let route = format!("{ROUTE}?feature_service=driver_ranking_v1");
    for (kind, body) in [(PARQUET, parquet_of(&rows())), (ARROW, arrow_of(&rows()))] {
        for accept in [PARQUET, ARROW] {
            let headers = [("content-type", kind), ("accept", accept)];
            let answer = server
                .call_bytes("POST", &route, &headers, body.clone())
                .await;
            assert_eq!(answer.status, 200, "{:?}", answer.bytes);
            assert_eq!(answer.headers["content-type"], accept);
            let (table, notes) = match accept {
                ARROW => {
                    let mut reader = StreamReader::try_new(answer.bytes.as_ref(), None).unwrap();
                    let notes = reader.schema().metadata().clone();
                    (reader.next().unwrap().unwrap(), notes)
                }
                _ => {
                    let reader = ParquetRecordBatchReaderBuilder::try_new(answer.bytes).unwrap();
                    let notes = reader.schema().metadata().clone();
                    (reader.build().unwrap().next().unwrap().unwrap(), notes)
                }
            };
            assert_eq!(conv_rates(&table), wanted);
            assert_eq!(notes["terrarium.definitions"], definitions);
        }
    }
    let document = server.get("/openapi.json").await.json();
    assert!(document["paths"][ROUTE]["post"].is_object());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_before_the_answer_begins() {
    let mut server = Server::start(&["http.historical.max_rows=3", "http.max_rows=2"]).await;
    let refused = async |body: Value| {
        let answer = server.post(ROUTE, &body.to_string()).await;
        (answer.status, answer.code())
    };
    let service = "driver_ranking_v1";
    let many = json!({ "feature_service": service, "entities": json_rows() });
    assert_eq!(
        refused(many).await,
        (413, "entity_rows_too_many".to_owned())
    );
    let three = json!({ "driver_id": [1, 2, 3], "event_timestamp": vec!["2026-11-15"; 3] });
    let as_json = json!({ "feature_service": service, "entities": three });
    assert_eq!(
        refused(as_json).await,
        (413, "entity_rows_too_many".to_owned())
    );
    let row = json!({ "driver": 1, "event_timestamp": "2026-11-15" });
    let keyless = json!({ "feature_service": service, "rows": [row] });
    assert_eq!(
        refused(keyless).await,
        (400, "entity_key_missing".to_owned())
    );
    let row = json!({ "driver_id": 1, "at": "soon" });
    let timeless = json!({ "feature_service": service, "rows": [row] });
    assert_eq!(
        refused(timeless).await,
        (400, "entity_time_missing".to_owned())
    );
    let unknown =
        json!({ "feature_service": "nobody", "rows": [{ "event_timestamp": "2026-11-15" }] });
    assert_eq!(
        refused(unknown).await,
        (404, "feature_service_unknown".to_owned())
    );
    assert_eq!(
        refused(json!({})).await,
        (400, "entity_rows_malformed".to_owned())
    );
    let headers = [("content-type", "text/csv")];
    let answer = server.call("POST", ROUTE, &headers, "driver_id\n1\n").await;
    assert_eq!(
        (answer.status, answer.code()),
        (415, "content_type_unsupported".to_owned())
    );
    let headers = [("accept", "text/html")];
    let answer = server.call("POST", ROUTE, &headers, "{}").await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "accept_unsupported".to_owned())
    );
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
async fn the_command_writes_a_training_set_and_tells_what_is_missing_in_it() {
    let demo = demo().await;
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(place.path().join("rows.parquet"), parquet_of(&rows())).unwrap();
    let (rows, out) = (path("rows.parquet"), path("train.parquet"));
    let arguments = [
        "features",
        "historical",
        "--service",
        "driver_ranking_v1",
        "--entities",
        &rows,
        "--out",
        &out,
        "--json",
    ];
    let output = terrarium(demo, &arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["n_rows"], 4);
    assert_eq!(
        summary["features"][0],
        json!({ "feature": "conv_rate", "n_null": 3, "null_rate": 0.75 })
    );
    let file = fs_err::read(&out).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
    let table = reader.build().unwrap().next().unwrap().unwrap();
    assert!(conv_rates(&table)[0].is_some() && table.column(0).len() == 4);

    let csv = path("train.csv");
    let arguments = [
        "features",
        "historical",
        "--features",
        "driver_hourly_stats:conv_rate",
        "--full-feature-names",
        "--entities",
        &rows,
        "--out",
        &csv,
    ];
    let output = terrarium(demo, &arguments);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("driver_hourly_stats__conv_rate") && shown.contains("75.00 %"),
        "{shown}"
    );
    let text = std::fs::read_to_string(&csv).unwrap();
    assert!(
        text.starts_with(
            "driver_id,event_timestamp,driver_hourly_stats__conv_rate\n1001,2026-11-15T12:30:00Z,0."
        ),
        "{text}"
    );

    let fails = |entities: &str, out: &str| {
        let arguments = [
            "features",
            "historical",
            "--service",
            "driver_ranking_v1",
            "--entities",
            entities,
            "--out",
            out,
        ];
        let output = terrarium(demo, &arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told)
    };
    let (code, told) = fails(&path("nothing.parquet"), &out);
    assert!(
        code == Some(2) && told.contains("nothing.parquet"),
        "{told}"
    );
    let (code, told) = fails(&rows, &path("train.feather"));
    assert!(code == Some(2) && told.contains("must end in"), "{told}");
    let (code, told) = fails("SELECT 1 AS driver_id", &out);
    assert!(
        code == Some(1) && told.contains("`offline_store.type` is not `postgres`"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_makes_the_same_training_set_below_its_directory() {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("rows.parquet"), parquet_of(&rows())).unwrap();
    let setting = format!("jobs.files={}", files.path().display());
    let mut server = Server::start(&[&setting]).await;
    let run = async |function: &str, args: &[&str]| {
        use terrarium::jobs::client::NewCall;
        use terrarium::jobs::{Due, JobId};
        let id = JobId::random();
        let call = NewCall {
            id: id.clone(),
            function: function.to_owned(),
            args: args.iter().map(|&arg| arg.into()).collect(),
            kwargs: vec![("service".to_owned(), "driver_ranking_v1".into())],
            due: Due::Now,
            expires: None,
        };
        server.jobs().enqueue(call).await.unwrap();
        server
            .get(&format!("/v1/jobs/{}?wait=30s", id.as_str()))
            .await
            .json()
    };
    let job = run("historical_features", &["rows.parquet", "train.parquet"]).await;
    assert_eq!(job["success"], true, "{job}");
    assert_eq!(job["result"]["n_rows"], 4);
    assert_eq!(
        job["result"]["features"][0],
        json!({ "feature": "conv_rate", "n_null": 3 })
    );
    let file = fs_err::read(files.path().join("train.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 4);
    let job = run("historical_features", &["rows.parquet", "../train.parquet"]).await;
    assert_eq!(job["success"], false, "{job}");
    assert!(job.to_string().contains("job_file_refused"), "{job}");
    server.stop().await;
}
