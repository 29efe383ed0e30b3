//! A model made by hand over files: bad rows, what is left of cut-off work, what is told of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float32Type, Int8Type};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use ring::digest::{SHA256, digest};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::*;
use crate::audit::{self, AuditLog};
use crate::error::Failure;
use crate::inference::{self, Engine, test_models};
use crate::models::{Binder, Candidate, ModelCatalog, testing};
use crate::predict::{Config, PlanBinder, traffic_rules};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::types::dtype::DType;
use crate::types::names::ModelVersion;
use crate::types::request::Surface;
use crate::types::signature::{Graph, OutputKind, OutputSpec, Signature, TensorSpec};
use crate::types::tensor::{Output, Tensor};
use crate::types::urgency::Priority;

/// `y = -x`; fails on `broken`, as if the machine did.
struct Minus {
    n_rows: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
}

impl Engine for Minus {
    fn run(&mut self, inputs: inference::Inputs) -> Result<Vec<Output>, inference::Error> {
        let inputs = inputs.into_tensors();
        let x = match &inputs[..] {
            [Tensor::Int8(x)] => x,
            [Tensor::Float32(x)] => {
                self.n_rows.fetch_add(x.len(), Ordering::Relaxed);
                return Ok(vec![Output::Tensor(Tensor::Float32(x.mapv(|x| -x)))]);
            }
            _ => panic!("{inputs:?}"),
        };
        let broken = self.broken.load(Ordering::Relaxed);
        if x.iter().any(|x| usize::try_from(*x) == Ok(broken)) {
            return Err(inference::Error::Panicked);
        }
        self.n_rows.fetch_add(x.len(), Ordering::Relaxed);
        Ok(vec![Output::Tensor(Tensor::Int8(x.mapv(|x| -x)))])
    }
}

/// The model `m` takes integers of 8 bits: others are bad rows.
struct Bench {
    predictor: Predictor,
    n_rows: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
    place: TempDir,
}

impl Bench {
    fn start(traffic: &str) -> Self {
        Self::over(DType::Int8, traffic)
    }

    fn over(dtype: DType, traffic: &str) -> Self {
        let metrics = Arc::new(Metrics::new());
        let graph = Graph {
            inputs: vec![TensorSpec {
                name: Some("x".to_owned()),
                dtype,
                shape: vec![-1],
            }],
            optional: Vec::new(),
            outputs: vec![OutputSpec {
                name: "y".to_owned(),
                kind: OutputKind::Tensor {
                    dtype,
                    shape: vec![-1],
                },
            }],
        };
        let config: Config = toml::from_str(&format!("traffic = {{{traffic}}}")).unwrap();
        let rules = traffic_rules(&BTreeMap::from([("m".to_owned(), config)]));
        let models = ModelCatalog::with_traffic(Arc::new(rules));
        let binder = PlanBinder::new(None, BTreeMap::new(), Arc::clone(&metrics));
        let n_rows = Arc::new(AtomicUsize::new(0));
        let broken = Arc::new(AtomicUsize::new(usize::MAX));
        let version = |number: u64| {
            let candidate = Candidate {
                name: "m",
                version: ModelVersion(number),
                tags: &BTreeMap::new(),
                signature: &Signature::default(),
                graph: &graph,
            };
            let engine = Minus {
                n_rows: Arc::clone(&n_rows),
                broken: Arc::clone(&broken),
            };
            let plan = binder.bind(&candidate).unwrap();
            let model = test_models::served(graph.clone(), vec![Box::new(engine)]);
            testing::version(number, plan, model)
        };
        let aliases = [("champion", 1), ("challenger", 2)];
        testing::publish(&models, vec![version(1), version(2)], &aliases);
        let place = tempfile::tempdir().unwrap();
        let mut config = audit::Config::default();
        config.file.directory = place.path().join("audit");
        let (log, _) = AuditLog::start(&config, &metrics).unwrap();
        let predictor = Predictor::new(
            Arc::new(models),
            None,
            Arc::new(log),
            metrics,
            Shutdown::new(),
        );
        Self {
            predictor,
            n_rows,
            broken,
            place,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn put(&self, name: &str, x: &[i64]) {
        let numbers: ArrayRef = Arc::new(Int64Array::from(x.to_vec()));
        let labels = x.iter().map(|x| format!("row {x}"));
        let labels: ArrayRef = Arc::new(StringArray::from_iter_values(labels));
        self.put_columns(name, vec![("x", numbers), ("label", labels)]);
    }

    fn put_columns(&self, name: &str, columns: Vec<(&str, ArrayRef)>) {
        let path = self.at(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = fs_err::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn request(&self, from: &str, to: &str) -> Request {
        Request {
            model: "m".parse().unwrap(),
            source: Source::Path(self.at(from)),
            destination: self.at(to),
            features: None,
            with_features: false,
            rows_per_call: None,
            again: false,
            audited: Audited::Files,
            confined_to: None,
            deadline: Deadline::after(Duration::from_secs(60)),
            context: RequestContext {
                surface: Surface::Cli,
                request_id: "r-1".into(),
                trace_id: None,
                principal: None,
                priority: Priority::Low,
            },
        }
    }

    async fn score(&self, request: &Request) -> Result<Summary, Error> {
        self.predictor.score(request, &mut |_| {}).await
    }

    fn events(&self) -> Vec<Json> {
        let events = audit::read::spooled(&self.at("audit/spool")).unwrap();
        events.collect::<Result<_, _>>().unwrap()
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs_err::read_dir(self.at(directory)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn table(path: &Path) -> RecordBatch {
    let bytes = Bytes::from(fs_err::read(path).unwrap());
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// Outputs and reasons, row by row.
fn rows(table: &RecordBatch) -> Vec<(Option<i8>, Option<String>)> {
    let y = table.column_by_name("y").unwrap();
    let why = table.column_by_name(ERROR_COLUMN).unwrap();
    let why = why
        .as_string::<i32>()
        .iter()
        .map(|why| why.map(str::to_owned));
    y.as_primitive::<Int8Type>().iter().zip(why).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_bad_row_takes_nothing_from_the_others(
        x in prop::collection::vec(prop_oneof![4 => -9..9i64, 1 => Just(1_000_i64)], 1..120),
        rows_per_call in 1..50usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::start("");
            bench.put("rows.parquet", &x);
            let mut request = bench.request("rows.parquet", "scores.parquet");
            let rows_per_call = NonZeroUsize::new(rows_per_call).unwrap();
            request.rows_per_call = Some(rows_per_call);
            let scored = bench.score(&request).await;
            let good: Vec<bool> = x.iter().map(|x| *x != 1_000).collect();
            if !good.contains(&true) {
                let error = scored.unwrap_err();
                assert_eq!(error.code(), "score_nothing_scored");
                assert!(!request.destination.exists());
                return;
            }
            let summary = scored.unwrap();
            let wanted: Vec<_> = x.iter().map(|x| match i8::try_from(*x) {
                Ok(x) => (Some(-x), None),
                Err(_) => (None, Some("value_out_of_range".to_owned())),
            }).collect();
            assert_eq!(rows(&table(&request.destination)), wanted);
            let n_bad = good.iter().filter(|good| !**good).count();
            assert_eq!((summary.n_rows, summary.n_failed), (x.len() as u64, n_bad as u64));
            assert_eq!(bench.n_rows.load(Ordering::Relaxed), x.len() - n_bad, "no row is run twice");
            let failed = summary.failed.get("value_out_of_range");
            assert_eq!(failed.map_or(0, |failed| failed.n_rows), n_bad as u64);
            if let Some(first) = good.iter().position(|good| !good) {
                let message = &failed.unwrap().message;
                assert!(message.starts_with(&format!("row {first} of column `x`")), "{message}");
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_give_the_same_whether_they_were_cells_or_not() {
    let bench = Bench::over(DType::Float32, "");
    // Several tasks, and calls with and without a null.
    let x: Vec<Option<f64>> = (0..20_000_u32)
        .map(|i| (i % 5_000 != 3).then(|| f64::from(i) / 3.0))
        .collect();
    let numbers: ArrayRef = Arc::new(Float64Array::from(x.clone()));
    bench.put_columns("rows.parquet", vec![("x", numbers)]);
    let plain = bench.request("rows.parquet", "plain.parquet");
    bench.score(&plain).await.unwrap();
    assert_eq!(bench.n_rows.swap(0, Ordering::Relaxed), x.len());
    let mut cells = bench.request("rows.parquet", "cells.parquet");
    cells.audited = Audited::Calls;
    bench.score(&cells).await.unwrap();
    let bits = |request: &Request| -> Vec<u32> {
        let table = table(&request.destination);
        let y = table.column_by_name("y").unwrap();
        let y = y.as_primitive::<Float32Type>().values();
        y.iter().map(|y| y.to_bits()).collect()
    };
    let (plain, cells) = (bits(&plain), bits(&cells));
    assert_eq!(plain, cells);
    let wanted = x.iter().map(|x| x.map_or(f32::NAN, |x| x as f32));
    let wanted: Vec<u32> = wanted.map(|x| (-x).to_bits()).collect();
    assert_eq!(plain, wanted);
    // Of the two files, and of each call of the second.
    assert_eq!(bench.events().len(), 2 + x.len().div_ceil(ROWS_PER_CALL));
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_work_leaves_whole_files_and_goes_on_where_it_was() {
    let bench = Bench::start("");
    bench.put("in/a.parquet", &[1, 2]);
    bench.put("in/day=2/b.parquet", &[3, 50]);
    bench.put("in/day=2/c.parquet", &[5]);
    bench.broken.store(50, Ordering::Relaxed);
    let request = bench.request("in", "out");
    let error = bench.score(&request).await.unwrap_err();
    assert!(error.to_string().contains("b.parquet"), "{error}");
    assert_eq!(bench.names("out"), ["a.parquet", "day=2"]);
    assert!(bench.names("out/day=2").is_empty(), "nothing half");
    assert_eq!(bench.events().len(), 1);

    bench.broken.store(usize::MAX, Ordering::Relaxed);
    let summary = bench.score(&request).await.unwrap();
    assert_eq!((summary.n_rows, summary.n_skipped), (3, 1));
    assert_eq!(
        bench.n_rows.load(Ordering::Relaxed),
        5,
        "no row is run twice"
    );
    let skipped: Vec<bool> = summary.files.iter().map(|file| file.skipped).collect();
    assert_eq!(skipped, [true, false, false]);
    assert_eq!(bench.events().len(), 3);

    // Another version, a changed file, and whoever says so make a file anew.
    let other = Request {
        model: "m@challenger".parse().unwrap(),
        ..request.clone()
    };
    assert_eq!(bench.score(&other).await.unwrap().n_skipped, 0);
    assert_eq!(bench.score(&other).await.unwrap().n_skipped, 3);
    bench.put("in/a.parquet", &[1, 2, 3]);
    assert_eq!(bench.score(&other).await.unwrap().n_skipped, 2);
    let again = Request {
        again: true,
        ..other
    };
    assert_eq!(bench.score(&again).await.unwrap().n_skipped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_result_has_one_event_that_tells_its_checksum() {
    let bench = Bench::start("");
    bench.put("rows.parquet", &[1, 1_000, 3]);
    let request = bench.request("rows.parquet", "scores.parquet");
    let summary = bench.score(&request).await.unwrap();
    let bytes = fs_err::read(&request.destination).unwrap();
    let sum = digest(&SHA256, &bytes);
    let sum: String = sum
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let events = bench.events();
    let [event] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(audit::schema::problems(event), Vec::<String>::new());
    assert_eq!(
        (&event["surface"], &event["request_id"]),
        (&json!("cli"), &json!("r-1"))
    );
    assert_eq!(
        event["model"],
        json!({ "name": "m", "version": "1", "alias": "champion", "requested": "m" })
    );
    assert_eq!(event["n_rows"], 3);
    let wanted = json!({
        "source": bench.at("rows.parquet"), "destination": request.destination, "sha256": sum,
        "n_failed": 1, "features": "none",
    });
    assert_eq!(event["batch"], wanted);
    assert_eq!(summary.files[0].sha256.as_ref(), Some(&sum));
    let notes = table(&request.destination).schema().metadata().clone();
    assert_eq!(
        (
            &*notes["terrarium.model"],
            &*notes["terrarium.model_version"]
        ),
        ("m", "1")
    );
    assert_eq!(notes["terrarium.fingerprint"].len(), 64);

    let calls = Request {
        audited: Audited::Calls,
        rows_per_call: NonZeroUsize::new(2),
        ..request
    };
    bench.score(&calls).await.unwrap();
    let events = bench.events().split_off(1);
    let told: Vec<(&Json, &Json)> = events
        .iter()
        .filter(|event| event["batch"].is_null())
        .map(|event| (&event["rows"]["x"], &event["outputs"]["y"]))
        .collect();
    assert_eq!(events.len(), 4);
    for wanted in [
        (&json!([1]), &json!([-1])),
        (&json!([1_000]), &Json::Null),
        (&json!([3]), &json!([-3])),
    ] {
        assert!(told.contains(&wanted), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_carried_along_in_their_types_and_order() {
    let bench = Bench::start("");
    bench.put("rows.parquet", &[7]);
    let request = bench.request("rows.parquet", "scores.parquet");
    bench.score(&request).await.unwrap();
    let table = table(&request.destination);
    let schema = table.schema();
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["x", "label", "y", ERROR_COLUMN]);
    assert_eq!(table.column(1).as_string::<i32>().value(0), "row 7");
    let as_csv = bench.request("rows.parquet", "scores.csv");
    bench.score(&as_csv).await.unwrap();
    let text = fs_err::read_to_string(&as_csv.destination).unwrap();
    assert_eq!(text, "x,label,y,score_error\n7,row 7,-7,\n");
    // The result has a column of that name already.
    let again = bench.request("scores.csv", "more.csv");
    let error = bench.score(&again).await.unwrap_err();
    assert_eq!(error.code(), "feature_names_collide");
    assert!(error.to_string().contains("`y`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_rows_gives_a_file_without_rows() {
    let bench = Bench::start("");
    bench.put("rows.parquet", &[]);
    let request = bench.request("rows.parquet", "scores.parquet");
    assert_eq!(bench.score(&request).await.unwrap().n_rows, 0);
    let table = table(&request.destination);
    assert_eq!((table.num_rows(), table.num_columns()), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_scored_says_why_and_leaves_nothing() {
    let bench = Bench::start("champion = 1, challenger = 1");
    bench.put("rows.parquet", &[1]);
    fs_err::write(bench.at("other.csv"), "z\n1\n").unwrap();
    let request = bench.request("rows.parquet", "scores.parquet");
    let refused = async |request: &Request| {
        let error = bench.score(request).await.unwrap_err();
        assert!(!request.destination.exists());
        (
            error.code(),
            format!("{error} ({})", error.hint().unwrap_or_default()),
        )
    };
    let (code, message) = refused(&request).await;
    assert_eq!(code, "score_model_shared");
    assert!(message.contains("`m@champion`"), "{message}");
    let named = |from: &str| Request {
        model: "m:1".parse().unwrap(),
        ..bench.request(from, "scores.parquet")
    };
    let (code, message) = refused(&named("other.csv")).await;
    assert_eq!(code, "input_missing");
    assert!(
        message.contains("other.csv: input `x` is not given")
            && message.contains("add a column `x`"),
        "{message}"
    );
    let unknown = Request {
        model: "nobody".parse().unwrap(),
        ..named("rows.parquet")
    };
    assert_eq!(refused(&unknown).await.0, "model_not_found");
    let featureless = Request {
        features: Some(FeaturesFrom::Online),
        ..named("rows.parquet")
    };
    assert_eq!(refused(&featureless).await.0, "score_features_unused");
    let query = Request {
        source: Source::of("SELECT 1 AS x"),
        ..named("rows.parquet")
    };
    assert_eq!(refused(&query).await.0, "feature_repository_absent");
    assert_eq!(bench.names("."), ["audit", "other.csv", "rows.parquet"]);
}
