//! The invariants of the audit trail.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ndarray::{ArrayD, IxDyn};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::*;
use crate::types::byte_size::ByteSize;
use crate::types::cell::Cell;
use crate::types::deadline::Deadline;
use crate::types::difference::{Difference, OutputDifference};
use crate::types::feature::{FeatureCell, FeatureRows, FeatureStatus};
use crate::types::names::ModelVersion;
use crate::types::prediction::{Layout, NamedOutput, Timings, VariantRows};
use crate::types::request::{
    Cells, ColumnPlace, RequestColumn, RequestColumns, RequestContext, RequestInputs, Surface,
};
use crate::types::tensor::{Output, Tensor};
use crate::types::urgency::Priority;
use crate::types::value::Value;

fn column(place: ColumnPlace, name: &str, cells: Cells) -> RequestColumn {
    let name = name.to_owned();
    RequestColumn { place, name, cells }
}

fn request_of(columns: Vec<RequestColumn>) -> PredictRequest {
    let params = r#"{"raw":  1.0}"#.to_owned();
    PredictRequest {
        model: "ranking@champion".parse().unwrap(),
        inputs: RequestInputs::Columns(RequestColumns::new(columns, 100).unwrap()),
        params: Some(RawValue::from_string(params).unwrap().into()),
        deadline: Deadline::after(Duration::from_secs(1)),
        context: RequestContext {
            surface: Surface::Http,
            request_id: "r-1".into(),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            principal: None,
            priority: Priority::default(),
        },
    }
}

fn request() -> PredictRequest {
    request_of(vec![
        column(
            ColumnPlace::Entities,
            "driver_id",
            Cells::List(vec![Cell::Int(1001), Cell::UInt(u64::MAX)]),
        ),
        column(
            ColumnPlace::Inputs,
            "trip_km",
            Cells::Scalar(Cell::Float(f64::NAN)),
        ),
    ])
}

fn served_by() -> ServedBy {
    ServedBy {
        name: "ranking".into(),
        version: ModelVersion(3),
        alias: Some("champion".into()),
    }
}

fn prediction(id: Uuid) -> Prediction {
    let score = ArrayD::from_shape_vec(IxDyn(&[2, 1]), vec![0.5, f32::INFINITY]).unwrap();
    let present = |value| FeatureCell {
        value,
        status: FeatureStatus::Present,
        event_timestamp: Some(Timestamp::from_micros(1_500_000)),
    };
    Prediction {
        id,
        served_by: served_by(),
        variants: Vec::new(),
        n_rows: 2,
        layout: Layout::Table,
        outputs: vec![NamedOutput {
            name: "score".into(),
            output: Output::Tensor(Tensor::Float32(score)),
        }],
        features: FeatureRows {
            names: Arc::from(["stats:rate".to_owned(), "stats:trips".to_owned()]),
            n_rows: 2,
            cells: vec![
                present(Value::Float(0.25)),
                present(Value::Int64(i64::MAX)),
                FeatureCell::not_found(),
                present(Value::Null),
            ],
            read_at: Timestamp::EPOCH,
        },
        timings: Timings {
            features: Duration::from_micros(131),
            assemble: Duration::from_micros(3),
            queue: Duration::ZERO,
            engine: Duration::from_micros(5),
            total: Duration::from_micros(160),
        },
        cached: false,
    }
}

/// A log in a directory of its own.
struct Fixture {
    directory: TempDir,
    metrics: Metrics,
    log: AuditLog,
    /// Ships nothing before it is told to.
    shipper: Option<Shipper>,
}

impl Fixture {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut config = Config::default();
        config.file.directory = directory.path().join("audit");
        change(&mut config);
        let metrics = Metrics::new();
        let (log, shipper) = AuditLog::start(&config, &metrics).unwrap();
        Self {
            directory,
            metrics,
            log,
            shipper: Some(shipper),
        }
    }

    fn answer(&self) {
        let request = request();
        let record = self.log.open(&request).unwrap();
        let prediction = prediction(record.id());
        let _ = record.close(Ok(&prediction)).unwrap();
    }

    fn events(&self) -> Vec<Json> {
        let events = read::spooled(&self.directory.path().join("audit/spool")).unwrap();
        events.collect::<Result<_, _>>().unwrap()
    }

    /// Ships everything, and reads what is in the files.
    fn shipped(&mut self) -> Vec<Json> {
        ship(self.shipper.take().unwrap());
        let events = read::events(&self.directory.path().join("audit")).unwrap();
        events.collect::<Result<_, _>>().unwrap()
    }
}

fn ship(shipper: Shipper) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let finished = runtime.block_on(async {
        shipper
            .start()
            .unwrap()
            .finish(Duration::from_secs(60))
            .await
    });
    assert!(finished);
}

#[test]
fn an_answer_is_one_event_with_everything_about_it() {
    let fixture = Fixture::start();
    let request = request();
    let record = fixture.log.open(&request).unwrap();
    let id = record.id();
    let _ = record.close(Ok(&prediction(id))).unwrap();

    let mut events = fixture.events();
    assert_eq!(events.len(), 1);
    let event = &mut events[0];
    assert_eq!(event["id"], id.to_string());
    let writer: Uuid = event["writer"].as_str().unwrap().parse().unwrap();
    assert_eq!(writer.get_version_num(), 7);
    let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(time).as_secs() < 60);
    for (field, fixed) in [("writer", "w"), ("id", "i"), ("time", "t")] {
        event[field] = fixed.into();
    }
    let fields: Vec<&str> = schema::FIELDS.iter().map(|field| field.name).collect();
    let written: Vec<&String> = event.as_object().unwrap().keys().collect();
    assert_eq!(written, fields, "the definition has every field, in order");
    // Compared as text: the order of the fields is part of what a reader sees.
    assert_eq!(event.to_string(), GOLDEN.replace('\n', ""));
}

const GOLDEN: &str = r#"{"schema_version":1,"writer":"w","sequence":1,"id":"i","time":"t","request_id":"r-1",
"trace_id":"0af7651916cd43dd8448eb211c80319c","principal":null,"surface":"http",
"model":{"name":"ranking","version":"3","alias":"champion","requested":"ranking@champion"},"variants":null,"shadow_of":null,"n_rows":2,
"entities":{"driver_id":[1001,18446744073709551615]},"inputs":{"trip_km":"NaN"},"rows":null,"params":{"raw":1.0},
"features":{"stats:rate":{"values":[0.25,null],"statuses":["present","not_found"],
"event_timestamps":["1970-01-01T00:00:01.500Z",null]},
"stats:trips":{"values":[9223372036854775807,null],"statuses":["present","present"],
"event_timestamps":["1970-01-01T00:00:01.500Z","1970-01-01T00:00:01.500Z"]}},
"outputs":{"score":[0.5,"Infinity"]},"status":"ok","error":null,"difference":null,
"timings_us":{"features":131,"assemble":3,"queue":0,"engine":5,"total":160},"cached":false,"batch":null}"#;

#[derive(Debug, thiserror::Error)]
#[error("feature `stats:rate` of row {row} is missing")]
struct FeatureMissing {
    row: usize,
}

impl Failure for FeatureMissing {
    fn class(&self) -> ErrorClass {
        ErrorClass::Unprocessable
    }

    fn code(&self) -> &'static str {
        "feature_missing"
    }
}

#[test]
fn a_failure_names_what_failed_and_the_version_if_one_was_found() {
    let fixture = Fixture::start();
    let request = request();
    let failure = FeatureMissing { row: 1 };
    let record = fixture.log.open(&request).unwrap();
    let _ = record.close(Err(&failure)).unwrap();
    let mut record = fixture.log.open(&request).unwrap();
    record.served_by(served_by());
    let _ = record.close(Err(&failure)).unwrap();

    let events = fixture.events();
    let unresolved =
        json!({"name": null, "version": null, "alias": null, "requested": "ranking@champion"});
    assert_eq!(events[0]["model"], unresolved);
    assert_eq!(events[1]["model"]["version"], "3");
    for event in &events {
        assert_eq!(event["status"], "error");
        let message = "feature `stats:rate` of row 1 is missing";
        assert_eq!(
            event["error"],
            json!({"class": "unprocessable", "code": "feature_missing", "message": message})
        );
        assert_eq!(event["outputs"], Json::Null);
        assert_eq!(event["features"], Json::Null);
        assert_eq!(event["timings_us"]["engine"], Json::Null);
        assert!(event["timings_us"]["total"].is_u64());
    }
}

#[test]
fn a_call_that_versions_shared_tells_which_rows_each_answered() {
    let fixture = Fixture::start();
    let request = request();
    let record = fixture.log.open(&request).unwrap();
    let mut prediction = prediction(record.id());
    let challenger = ServedBy {
        version: ModelVersion(4),
        alias: Some("challenger".into()),
        ..served_by()
    };
    let part = |served_by, row| VariantRows {
        served_by,
        rows: vec![row],
    };
    prediction.variants = vec![part(challenger, 1), part(served_by(), 0)];
    let _ = record.close(Ok(&prediction)).unwrap();
    fixture.answer();
    let events = fixture.events();
    assert_eq!(
        events[0]["variants"],
        json!([
            {"version": "4", "alias": "challenger", "rows": [1]},
            {"version": "3", "alias": "champion", "rows": [0]},
        ])
    );
    assert_eq!(events[1]["variants"], Json::Null);
}

#[test]
fn a_shadow_run_is_an_event_of_its_own_that_points_to_the_prediction() {
    let fixture = Fixture::start();
    let request = request();
    let shadowed = Uuid::now_v7();
    let open = || fixture.log.open_shadow(&request, shadowed).unwrap();
    let mut record = open();
    record.served_by(served_by());
    let prediction = prediction(record.id());
    let difference = |name: &str, difference| OutputDifference {
        name: name.into(),
        difference,
    };
    let differences = [
        difference(
            "score",
            Some(Difference {
                max_abs: Some(f64::INFINITY),
                n_rows: 1,
            }),
        ),
        difference(
            "label",
            Some(Difference {
                max_abs: None,
                n_rows: 0,
            }),
        ),
        difference("other", None),
    ];
    record
        .close_shadow(Ok((&prediction, &differences)))
        .unwrap();
    open()
        .close_shadow(Err(&FeatureMissing { row: 1 }))
        .unwrap();
    drop(open());
    fixture.answer();

    let events = fixture.events();
    for event in &events[..3] {
        assert_eq!(event["shadow_of"], shadowed.to_string());
        assert_ne!(event["id"], event["shadow_of"]);
        assert_eq!(event["request_id"], "r-1");
        for part in ["entities", "inputs", "rows", "params", "variants"] {
            assert_eq!(event[part], Json::Null, "{part}");
        }
    }
    assert_eq!(
        events[0]["difference"],
        json!({
            "score": {"max_abs": "Infinity", "n_rows": 1},
            "label": {"max_abs": null, "n_rows": 0},
            "other": null,
        })
    );
    assert_eq!(events[0]["outputs"], events[3]["outputs"]);
    assert_eq!(events[1]["error"]["code"], "feature_missing");
    assert_eq!(events[2]["error"]["code"], "cancelled");
    let message = events[2]["error"]["message"].as_str().unwrap();
    assert!(message.contains("shadow run"), "{message}");
    for field in ["shadow_of", "difference"] {
        assert_eq!(events[3][field], Json::Null, "{field}");
    }
}

#[test]
fn a_request_of_rows_keeps_them_as_rows() {
    let fixture = Fixture::start();
    let cells = Cells::List(vec![Cell::Text("a".into()), Cell::Null]);
    let request = request_of(vec![column(ColumnPlace::Rows, "city", cells)]);
    drop(fixture.log.open(&request).unwrap());
    let event = &fixture.events()[0];
    assert_eq!(event["rows"], json!({"city": ["a", null]}));
    assert_eq!(event["entities"], Json::Null);
    assert_eq!(event["inputs"], Json::Null);
}

#[test]
fn what_is_redacted_never_touches_the_disk() {
    const SECRET: &str = "s3cr3t-0f-a-pers0n";
    let mut fixture = Fixture::with(|config| {
        let rules = json!({
            "key": "the key",
            "fields": {
                "request.email": "hash", "request.ssn": "drop", "features.stats:rate": "mask",
                "outputs.score": "hash", "params": "drop", "principal": "hash",
            },
        });
        config.redact = serde_json::from_value(rules).unwrap();
    });
    let secret = || Cells::List(vec![Cell::Text(SECRET.into()), Cell::Null]);
    let mut request = request_of(vec![
        column(ColumnPlace::Entities, "email", secret()),
        column(ColumnPlace::Inputs, "ssn", secret()),
        column(ColumnPlace::Inputs, "km", Cells::Scalar(Cell::Int(3))),
    ]);
    let params = format!("{{\"a\": \"{SECRET}\"}}");
    request.params = Some(RawValue::from_string(params).unwrap().into());
    request.context.principal = Some(SECRET.into());
    let record = fixture.log.open(&request).unwrap();
    let mut answer = prediction(record.id());
    answer.features.cells[0].value = Value::String(SECRET.into());
    let _ = record.close(Ok(&answer)).unwrap();
    #[derive(Debug, thiserror::Error)]
    #[error("`{SECRET}` does not fit")]
    struct Quotes;
    impl Failure for Quotes {
        fn class(&self) -> ErrorClass {
            ErrorClass::InvalidInput
        }
        fn code(&self) -> &'static str {
            "value_type_wrong"
        }
    }
    let record = fixture.log.open(&request).unwrap();
    let _ = record.close(Err(&Quotes)).unwrap();

    let events = fixture.events();
    let hashed = events[0]["entities"]["email"].clone();
    assert!(
        hashed[0].as_str().unwrap().starts_with("hmac-sha256:"),
        "{hashed}"
    );
    assert_eq!(hashed[1], Json::Null);
    assert_eq!(
        events[1]["entities"]["email"], hashed,
        "equal values stay equal"
    );
    assert_eq!(events[0]["inputs"], json!({"km": 3}));
    let rate = &events[0]["features"]["stats:rate"];
    assert_eq!(rate["values"], json!(["***", null]));
    assert_eq!(rate["statuses"], json!(["present", "not_found"]));
    assert!(
        events[0]["outputs"]["score"][0]
            .as_str()
            .unwrap()
            .starts_with("hmac-sha256:")
    );
    assert_eq!(events[0]["params"], Json::Null);
    assert_eq!(events[1]["error"]["message"], "***");
    assert_eq!(events[1]["error"]["code"], "value_type_wrong");

    let is_clean = |directory: &std::path::Path| {
        let mut todo = vec![directory.to_owned()];
        let mut n_files = 0;
        while let Some(directory) = todo.pop() {
            for entry in fs_err::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                    continue;
                }
                n_files += 1;
                let bytes = fs_err::read(&path).unwrap();
                let found = bytes
                    .windows(SECRET.len())
                    .any(|part| part == SECRET.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
        n_files
    };
    let audit = fixture.directory.path().join("audit");
    assert!(is_clean(&audit) >= 3);
    assert_eq!(fixture.shipped().len(), 2);
    is_clean(&audit);
}

#[tokio::test]
async fn a_prediction_is_found_by_its_id_in_the_spool_and_in_the_files() {
    let mut fixture = Fixture::start();
    fixture.answer();
    fixture.answer();
    let ids = || -> Vec<Uuid> {
        let events = fixture.events();
        events
            .iter()
            .map(|event| event["id"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    let ids = ids();
    let find = async |fixture: &Fixture, id: Uuid| -> Option<Json> {
        let found = fixture.log.find(id).await.unwrap();
        found.map(|json| serde_json::from_slice(&json).unwrap())
    };
    let in_spool = find(&fixture, ids[1]).await.unwrap();
    assert_eq!(in_spool["sequence"], 2);
    let shipper = fixture.shipper.take().unwrap();
    assert!(
        shipper
            .start()
            .unwrap()
            .finish(Duration::from_secs(60))
            .await
    );
    fixture.log.stream.lock().flush().unwrap();
    fs_err::remove_dir_all(fixture.directory.path().join("audit/spool")).unwrap();
    assert_eq!(find(&fixture, ids[1]).await.unwrap(), in_spool);
    assert_eq!(find(&fixture, ids[0]).await.unwrap()["sequence"], 1);
    assert!(find(&fixture, Uuid::now_v7()).await.is_none());
    let report = verify::files(&fixture.directory.path().join("audit")).unwrap();
    assert!(report.is_complete());
    assert_eq!(report.writers[0].n_events, 2);
}

#[test]
fn a_hash_without_a_key_is_an_error_at_start() {
    let mut config = Config::default();
    let rules = json!({ "fields": { "request.email": "hash" } });
    config.redact = serde_json::from_value(rules).unwrap();
    let error = AuditLog::start(&config, &Metrics::new()).err().unwrap();
    assert_eq!(error.code(), "audit_key_missing");
    assert!(error.to_string().contains("`request.email`"), "{error}");
}

#[test]
fn parameters_on_many_lines_stay_on_the_line_of_their_event() {
    let fixture = Fixture::start();
    let mut request = request();
    let params = "{\r\n  \"a\": 1e2,\n  \"text\": \"x\\ny\"\n}".to_owned();
    request.params = Some(RawValue::from_string(params).unwrap().into());
    drop(fixture.log.open(&request).unwrap());
    let events = fixture.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["params"], json!({"a": 100.0, "text": "x\ny"}));
}

#[test]
fn a_record_that_is_dropped_is_one_event_that_says_cancelled() {
    let fixture = Fixture::start();
    let request = request();
    let mut record = fixture.log.open(&request).unwrap();
    record.served_by(served_by());
    drop(record);
    let events = fixture.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["error"]["class"], "cancelled");
    assert_eq!(events[0]["error"]["code"], "cancelled");
    assert_eq!(events[0]["model"]["name"], "ranking");
}

#[tokio::test]
async fn a_future_that_is_dropped_half_way_leaves_its_event() {
    let fixture = Fixture::start();
    let request = request();
    let predict = async {
        let record = fixture.log.open(&request).unwrap();
        std::future::pending::<()>().await;
        record.close(Err(&FeatureMissing { row: 0 }))
    };
    let timed_out = tokio::time::timeout(Duration::ZERO, predict).await;
    assert!(timed_out.is_err());
    let events = fixture.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["error"]["code"], "cancelled");
}

#[test]
fn a_panic_while_a_record_is_open_leaves_one_event_and_a_log_that_works() {
    let fixture = Fixture::start();
    let request = request();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _record = fixture.log.open(&request).unwrap();
        panic!("on purpose");
    }));
    assert!(unwound.is_err());
    fixture.answer();
    let events = fixture.events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["error"]["class"], "internal");
    assert_eq!(events[0]["error"]["code"], "panicked");
    assert_eq!(events[1]["status"], "ok");
}

#[test]
fn a_panic_while_a_record_is_closed_leaves_one_event() {
    let fixture = Fixture::start();
    let request = request();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let record = fixture.log.open(&request).unwrap();
        let mut malformed = prediction(record.id());
        malformed.features.cells.clear();
        record.close(Ok(&malformed))
    }));
    assert!(unwound.is_err());
    let events = fixture.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["error"]["code"], "panicked");
}

#[test]
fn sequences_of_many_threads_have_no_gap_and_are_in_file_order_across_rotations() {
    let mut fixture = Fixture::with(|config| {
        config.file.max_file_size = ByteSize::from_bytes(20_000);
        config.spool.segment_size = ByteSize::from_bytes(30_000);
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| fixture.answer()));
        }
    });
    for events in [fixture.events(), fixture.shipped()] {
        let sequences: Vec<u64> = events
            .iter()
            .map(|event| event["sequence"].as_u64().unwrap())
            .collect();
        assert_eq!(sequences, (1..=400).collect::<Vec<u64>>());
    }
    let n_files = sink::files(&fixture.directory.path().join("audit"))
        .unwrap()
        .len();
    assert!(n_files > 5, "{n_files} files");
    let text = fixture.metrics.render();
    assert!(text.contains("terrarium_audit_events_total 400"), "{text}");
    assert!(text.contains("terrarium_audit_shipped_total 400"), "{text}");
    assert!(text.contains("terrarium_audit_spool_events 0"), "{text}");
}

#[test]
fn every_start_is_a_new_writer_in_a_new_file() {
    let mut fixture = Fixture::start();
    fixture.answer();
    let mut config = Config::default();
    config.file.directory = fixture.directory.path().join("audit");
    let (second, shipper) = AuditLog::start(&config, &fixture.metrics).unwrap();
    drop(second.open(&request()).unwrap());
    ship(shipper);
    let events = fixture.shipped();
    assert_eq!(events.len(), 2);
    assert_ne!(events[0]["writer"], events[1]["writer"]);
    assert_eq!(events[0]["sequence"], 1);
    assert_eq!(events[1]["sequence"], 1);
    assert_eq!(sink::files(&config.file.directory).unwrap().len(), 2);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_at_start() {
    let directory = TempDir::new().unwrap();
    let blocked = directory.path().join("file");
    fs_err::write(&blocked, "").unwrap();
    let mut config = Config::default();
    config.file.directory = blocked.join("audit");
    let error = AuditLog::start(&config, &Metrics::new()).err().unwrap();
    assert_eq!(error.code(), "audit_unavailable");
    let text = error.to_string();
    let path = config.file.directory.display().to_string();
    assert!(text.contains(&path), "{text}");
}

/// A log whose spool takes so many bytes.
fn small(on_failure: OnFailure, max_size: u64) -> Fixture {
    Fixture::with(|config| {
        config.on_failure = on_failure;
        config.spool.max_size = ByteSize::from_bytes(max_size);
        config.spool.segment_size = ByteSize::from_bytes(max_size / 4);
    })
}

fn sequences(events: &[Json]) -> Vec<u64> {
    let sequences = events.iter().map(|event| &event["sequence"]);
    sequences.map(|n| n.as_u64().unwrap()).collect()
}

/// What stands in the way of the spool's next segment until this is dropped.
struct InTheWay(std::path::PathBuf);

impl InTheWay {
    fn of(fixture: &Fixture) -> Self {
        let spool = fixture.directory.path().join("audit/spool");
        fs_err::rename(&spool, spool.with_extension("moved")).unwrap();
        fs_err::write(&spool, "in the way").unwrap();
        Self(spool)
    }
}

impl Drop for InTheWay {
    fn drop(&mut self) {
        fs_err::remove_file(&self.0).unwrap();
        fs_err::rename(self.0.with_extension("moved"), &self.0).unwrap();
    }
}

#[test]
fn refuse_fails_predictions_until_events_can_be_written_and_loses_no_sequence() {
    let fixture = small(OnFailure::Refuse, 4_000);
    let (log, request) = (&fixture.log, request());
    let failure = FeatureMissing { row: 0 };
    let _ = log.open(&request).unwrap().close(Err(&failure)).unwrap();

    let in_the_way = InTheWay::of(&fixture);
    let error = log.open(&request).unwrap().close(Err(&failure));
    let error = error.err().unwrap();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert_eq!(error.code(), "audit_unavailable");
    assert_eq!(log.open(&request).unwrap_err().code(), "audit_unavailable");
    assert!(log.check().is_err());

    drop(in_the_way);
    let _ = log.open(&request).unwrap().close(Err(&failure)).unwrap();
    let _ = log.open(&request).unwrap().close(Err(&failure)).unwrap();
    assert!(log.check().is_ok());
    assert_eq!(sequences(&fixture.events()), [1, 2, 3]);
    let text = fixture.metrics.render();
    assert!(text.contains("terrarium_audit_events_total 3"), "{text}");
    assert!(text.contains("terrarium_audit_failures_total 1"), "{text}");
}

#[tokio::test]
async fn events_that_come_together_are_written_together_before_any_answer_leaves() {
    let fixture = Fixture::start();
    let (log, request) = (&fixture.log, request());
    let failure = FeatureMissing { row: 0 };
    let _other = log.open(&request).unwrap();
    let close = || log.open(&request).unwrap().close(Err(&failure)).unwrap();
    let (first, second, third) = (close(), close(), close());
    assert!(fixture.events().is_empty(), "nobody waits yet");
    first.safe().await.unwrap();
    assert_eq!(sequences(&fixture.events()), [1, 2, 3]);
    second.safe().await.unwrap();
    drop(third);
    // Nobody waits for this one, and it is written all the same.
    drop(close());
    assert_eq!(sequences(&fixture.events()), [1, 2, 3, 4]);
    let text = fixture.metrics.render();
    assert!(text.contains("terrarium_audit_events_total 4"), "{text}");
}

#[tokio::test]
async fn a_write_that_fails_is_told_to_all_whose_events_it_was_to_write() {
    let fixture = small(OnFailure::Refuse, 4_000);
    let (log, request) = (&fixture.log, request());
    let failure = FeatureMissing { row: 0 };
    let close = || log.open(&request).unwrap().close(Err(&failure)).unwrap();
    drop(close());
    let other = log.open(&request).unwrap();
    let in_the_way = InTheWay::of(&fixture);
    for recorded in [close(), close()] {
        let error = recorded.safe().await.unwrap_err();
        assert_eq!(error.code(), "audit_unavailable");
    }
    assert_eq!(log.open(&request).unwrap_err().code(), "audit_unavailable");
    drop(in_the_way);
    drop(close());
    drop(other);
    assert_eq!(sequences(&fixture.events()), [1, 2, 3], "no gap");
    let text = fixture.metrics.render();
    assert!(text.contains("terrarium_audit_events_total 3"), "{text}");
    assert!(text.contains("terrarium_audit_failures_total 2"), "{text}");
}

#[test]
fn drop_lets_predictions_pass_and_counts_what_was_lost() {
    let fixture = small(OnFailure::Drop, 4_000);
    let (log, request) = (&fixture.log, request());
    let failure = FeatureMissing { row: 0 };
    let close = || drop(log.open(&request).unwrap().close(Err(&failure)).unwrap());
    close();
    let in_the_way = InTheWay::of(&fixture);
    (0..3).for_each(|_| close());
    drop(in_the_way);
    close();
    assert_eq!(sequences(&fixture.events()), [1, 2]);
    let text = fixture.metrics.render();
    assert!(text.contains("terrarium_audit_events_total 2"), "{text}");
    assert!(text.contains("terrarium_audit_failures_total 3"), "{text}");
}

#[test]
fn a_trail_that_is_switched_off_has_no_events() {
    let mut fixture = Fixture::with(|config| config.enabled = false);
    let request = request();
    let failure = FeatureMissing { row: 0 };
    let open = || fixture.log.open(&request).unwrap();
    let answer = prediction(open().id());
    let _ = open().close(Ok(&answer)).unwrap();
    let _ = open().close(Err(&failure)).unwrap();
    let shadow = fixture.log.open_shadow(&request, answer.id).unwrap();
    shadow.close_shadow(Ok((&answer, &[]))).unwrap();
    drop(open());
    assert!(fixture.shipped().is_empty());
    let text = fixture.metrics.render();
    assert!(text.contains("terrarium_audit_events_total 0"), "{text}");
    assert!(text.contains("terrarium_audit_failures_total 0"), "{text}");
}

#[test]
fn a_full_spool_refuses_until_the_sink_took_something() {
    let mut fixture = small(OnFailure::Refuse, 8_000);
    let request = request();
    let failure = FeatureMissing { row: 0 };
    let n_taken = (0..100)
        .take_while(|_| {
            let record = fixture.log.open(&request).unwrap();
            record.close(Err(&failure)).is_ok()
        })
        .count();
    assert!((5..20).contains(&n_taken), "{n_taken}");
    let error = fixture.log.open(&request).err().unwrap();
    let text = error.to_string();
    assert!(
        text.contains("is full") && text.contains("of 8000"),
        "{text}"
    );
    let n_shipped = fixture.shipped().len();
    assert_eq!(n_shipped, n_taken);
    assert!(fixture.log.check().is_ok());
    let _ = fixture
        .log
        .open(&request)
        .unwrap()
        .close(Err(&failure))
        .unwrap();
    let events = fixture.events();
    assert_eq!(events.last().unwrap()["sequence"], n_shipped as u64 + 1);
}

#[test]
fn a_record_can_be_held_across_await_points() {
    fn assert_send<T: Send>() {}
    fn assert_shared<T: Send + Sync>() {}
    assert_send::<AuditRecord<'_>>();
    assert_shared::<AuditLog>();
}

#[test]
fn trouble_is_logged_once_until_it_is_over() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&written);
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || LockedWriter(Arc::clone(&writer)))
        .finish();
    let fixture = small(OnFailure::Drop, 4_000);
    let request = request();
    fixture.answer();
    tracing::subscriber::with_default(subscriber, || {
        let in_the_way = InTheWay::of(&fixture);
        (0..3).for_each(|_| fixture.answer());
        drop(in_the_way);
        (0..2).for_each(|_| drop(fixture.log.open(&request).unwrap()));
    });
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert_eq!(
        text.matches("audit events cannot be written").count(),
        1,
        "{text}"
    );
    assert_eq!(
        text.matches("audit events can be written again").count(),
        1,
        "{text}"
    );
}

struct LockedWriter(Arc<Mutex<Vec<u8>>>);

impl io::Write for LockedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn recent_events_are_found_in_parquet_files_and_in_the_spool() {
    let mut config = Config::default();
    let mut fixture = Fixture::with(|fixture| {
        fixture.file.format = sink::file::Format::Parquet;
        config = fixture.clone();
    });
    fixture.answer();
    fixture.answer();
    let in_spool = recent(&config);
    assert_eq!(fixture.shipped().len(), 2);
    let in_files = recent(&config);
    assert_eq!(in_spool.len(), 2);
    assert_eq!(in_files, in_spool);
}

/// The ids of what `Trail` finds of the fixture's model.
fn recent(config: &Config) -> Vec<Json> {
    let found = recent::Trail::of(config).on_disk(recent::Wanted {
        model: served_by().name.to_string(),
        other_than: None,
        since: Timestamp::EPOCH,
        max_rows: 100,
        max_read: u64::MAX,
        deadline: Instant::now() + Duration::from_secs(60),
    });
    let events = found.unwrap().events.into_iter();
    events
        .map(|event| serde_json::from_slice::<Json>(&event).unwrap()["id"].clone())
        .collect()
}

/// Runs in a process of its own, in a directory of its own: tells the id of every answer, after it was recorded.
#[tokio::test]
#[ignore = "run by `a_killed_process_has_an_event_for_everything_that_it_answered`"]
async fn answers_until_it_is_killed() {
    let (log, shipper) = AuditLog::start(&Config::default(), &Metrics::new()).unwrap();
    let _shipping = shipper.start().unwrap();
    let request = request();
    let caller = async || {
        for _ in 0..1_000 {
            let record = log.open(&request).unwrap();
            // Others open theirs, so that events are written together.
            tokio::task::yield_now().await;
            let prediction = prediction(record.id());
            let recorded = record.close(Ok(&prediction)).unwrap();
            recorded.safe().await.unwrap();
            println!("answered {}", prediction.id);
        }
    };
    futures::future::join_all((0..10).map(|_| caller())).await;
}

#[test]
fn a_killed_process_has_an_event_for_everything_that_it_answered() {
    let directory = TempDir::new().unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact"])
        .arg("audit::tests::answers_until_it_is_killed")
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut answered: Vec<String> = lines.by_ref().take(1_000).map(Result::unwrap).collect();
    process.kill().unwrap();
    process.wait().unwrap();
    answered.extend(lines.map(Result::unwrap));

    // Whoever starts next ships what is left.
    let mut config = Config::default();
    config.file.directory = directory.path().join("audit");
    let (_log, shipper) = AuditLog::start(&config, &Metrics::new()).unwrap();
    ship(shipper);
    let events = read::events(&config.file.directory).unwrap();
    let events: Vec<Json> = events.collect::<Result<_, _>>().unwrap();
    let in_order: Vec<u64> = (1..=events.len() as u64).collect();
    assert_eq!(sequences(&events), in_order, "once each");
    let ids: HashSet<String> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    // The last line may be cut off by the kill.
    let answered: HashSet<String> = answered
        .iter()
        .filter_map(|line| line.strip_prefix("answered "))
        .filter(|id| id.len() == Uuid::nil().to_string().len())
        .map(str::to_owned)
        .collect();
    assert!(answered.len() > 900, "{} answers", answered.len());
    assert!(answered.is_subset(&ids));
}
