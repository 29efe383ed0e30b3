//! What a prediction costs in process, step by step, and beside it the same work with nothing around it.
//!
//! Ids carry the shape: `{rows}x{columns}` of `driver_ranking`, or what a key or value is made of.
//! With `TERRARIUM_REDIS=host:port` also over Redis, in database 8, which is left without the demo's keys; the last line
//! is then the bar `predict_overhead_in_process`: a whole predict, less its `HMGET` and its `session.run`, in
//! microseconds.
//!
//! Everything runs on one thread, so that a difference between two benches is work and not where a scheduler put it.
//! Not here: HTTP and concurrency (`make bench`).
#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench is run by hand, stops where something is wrong, and prints what it finds"
)]

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "shared with tests/it, which uses all of it")]
mod support;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{Int64Array, RecordBatch};
use criterion::{Bencher, BenchmarkId, Criterion, SamplingMode};
use hyper::body::Bytes;
use ndarray::ArrayD;
use ort::session::Session;
use ort::value::TensorRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use terrarium::app::App;
use terrarium::config::Environment;
use terrarium::features::FeatureStore;
use terrarium::features::codec;
use terrarium::features::key::{EntityKeys, KeyLayout, KeyValue, KeyVersion};
use terrarium::inference;
use terrarium::predict::{Predictor, model_inputs};
use terrarium::types::cell::Cell;
use terrarium::types::deadline::Deadline;
use terrarium::types::feature::FeatureStatus;
use terrarium::types::request::{
    Cells, ColumnPlace, PredictRequest, RequestColumn, RequestColumns, RequestContext,
    RequestInputs, Surface,
};
use terrarium::types::tensor::Tensor;
use terrarium::types::urgency::Priority;
use terrarium::types::value::{List, Value};
use tokio::runtime::Runtime;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WARM_UP: Duration = Duration::from_millis(500);
const MEASUREMENT: Duration = Duration::from_millis(1_500);

const ROWS: [usize; 2] = [1, 100];
const N_COLUMNS: usize = 4;
/// The benches' own drivers, beside those of the demo.
const FIRST_DRIVER: i64 = 2001;

/// The bar and its limit in microseconds.
const OVERHEAD: &str = "predict_overhead_in_process";
const OVERHEAD_LIMIT: f64 = 15.0;

fn main() {
    let started = SystemTime::now();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let estimates = target.join("criterion");
    let mut criterion = Criterion::default()
        .warm_up_time(WARM_UP)
        .measurement_time(MEASUREMENT)
        .without_plots()
        .output_directory(&estimates)
        .configure_from_args();
    entity_keys(&mut criterion);
    values(&mut criterion);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let demo = Demo::make();
    let sqlite = runtime.block_on(demo.start(&Environment::default(), "feature_store.yaml"));
    steps(&mut criterion, &runtime, sqlite.predictor());
    session_runs(&mut criterion, &runtime, sqlite.predictor());
    predicts(
        &mut criterion,
        &runtime,
        "predict_sqlite",
        sqlite.predictor(),
    );
    if let Some(redis) = runtime.block_on(Redis::of_environment()) {
        let served = runtime.block_on(demo.start_on_redis(&redis.connection_string));
        hmgets(&mut criterion, &runtime, &redis);
        predicts(
            &mut criterion,
            &runtime,
            "predict_redis",
            served.predictor(),
        );
        overhead(&mut criterion, &runtime, &redis, served.predictor());
        runtime.block_on(redis.clear());
    }
    criterion.final_summary();
    print_bar(&estimates, started);
}

// ---- pure steps

fn entity_keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("entity_key");
    let keys = [
        (
            "v3_int64",
            vec![("driver_id", KeyValue::Int64(FIRST_DRIVER))],
        ),
        (
            "v3_int64_string",
            vec![
                ("driver_id", KeyValue::Int64(FIRST_DRIVER)),
                ("customer_id", KeyValue::String("c-2001".to_owned())),
            ],
        ),
    ];
    for (id, key) in keys {
        let names: Vec<&str> = key.iter().map(|(name, _)| *name).collect();
        let layout = KeyLayout::new(KeyVersion::V3, &names);
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let mut keys = EntityKeys::default();
                keys.push_with(|bytes| layout.encode(|i| &black_box(&key)[i].1, bytes));
                keys
            });
        });
    }
    group.finish();
}

fn values(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode_value");
    for (id, value) in [
        ("float", Value::Float(0.5)),
        ("int64", Value::Int64(1_234_567)),
        ("string_9_bytes", Value::String("Amsterdam".to_owned())),
        (
            "list_4_floats",
            Value::List(List::Float(vec![4.5, 5.0, 3.5, 4.0])),
        ),
    ] {
        let mut bytes = Vec::new();
        codec::encode(&value, &mut bytes);
        assert_eq!(codec::decode(&bytes).unwrap(), value);
        group.bench_function(id, |bencher| {
            bencher.iter(|| codec::decode(black_box(&bytes)).unwrap());
        });
    }
    group.finish();
}

// ---- steps of the request path, and whole predicts

/// `assemble` and `infer`, fed with what a predict read.
fn steps(criterion: &mut Criterion, runtime: &Runtime, predictor: &Predictor) {
    for n_rows in ROWS {
        let request = request(n_rows);
        let mut features = runtime
            .block_on(predictor.predict(&request))
            .unwrap()
            .features;
        let version = predictor.models().resolve(&request.model).unwrap().version;
        let RequestInputs::Columns(columns) = &request.inputs else {
            unreachable!("the request is made of columns");
        };
        let call = version.plan.fit(columns).unwrap();
        let inputs = model_inputs(&version.plan, &call, &mut features).unwrap();
        criterion
            .benchmark_group("assemble")
            .bench_function(shape(n_rows), |bencher| {
                bencher
                    .iter(|| model_inputs(&version.plan, black_box(&call), &mut features).unwrap());
            });
        criterion
            .benchmark_group("infer")
            .bench_function(shape(n_rows), |bencher| {
                bencher.iter_custom(|n| {
                    runtime.block_on(async {
                        let mut took = Duration::ZERO;
                        for _ in 0..n {
                            let inputs = inputs.clone();
                            let start = Instant::now();
                            black_box(version.model.infer(inputs, request.deadline).await.unwrap());
                            took += start.elapsed();
                        }
                        took
                    })
                });
            });
    }
}

fn predicts(criterion: &mut Criterion, runtime: &Runtime, name: &str, predictor: &Predictor) {
    let mut group = criterion.benchmark_group(name);
    for n_rows in ROWS {
        let request = request(n_rows);
        let prediction = runtime.block_on(predictor.predict(&request)).unwrap();
        let mut cells = prediction.features.cells.iter();
        assert!(cells.all(|cell| cell.status != FeatureStatus::NotFound));
        group.bench_function(shape(n_rows), |bencher| {
            bench_async(bencher, runtime, async || {
                predictor.predict(black_box(&request)).await.unwrap()
            });
        });
    }
    group.finish();
}

fn shape(n_rows: usize) -> BenchmarkId {
    BenchmarkId::from_parameter(format!("{n_rows}x{N_COLUMNS}"))
}

fn bench_async<T>(bencher: &mut Bencher<'_>, runtime: &Runtime, routine: impl AsyncFn() -> T) {
    bencher.iter_custom(|n| {
        runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..n {
                black_box(routine().await);
            }
            start.elapsed()
        })
    });
}

fn far() -> Deadline {
    Deadline::after(Duration::from_secs(3_600))
}

/// A call of `driver_ranking` for as many different drivers.
fn request(n_rows: usize) -> PredictRequest {
    let column = |place, name: &str, cells| RequestColumn {
        place,
        name: name.to_owned(),
        cells: Cells::List(cells),
    };
    let columns = vec![
        column(
            ColumnPlace::Entities,
            "driver_id",
            drivers(n_rows).map(Cell::Int).collect(),
        ),
        column(
            ColumnPlace::Inputs,
            "trip_km",
            vec![Cell::Float(3.2); n_rows],
        ),
    ];
    PredictRequest {
        model: "driver_ranking".parse().unwrap(),
        inputs: RequestInputs::Columns(RequestColumns::new(columns, n_rows).unwrap()),
        params: None,
        deadline: far(),
        context: RequestContext {
            surface: Surface::Http,
            request_id: Arc::from("bench"),
            trace_id: None,
            principal: None,
            priority: Priority::default(),
        },
    }
}

fn drivers(n: usize) -> impl Iterator<Item = i64> {
    (FIRST_DRIVER..).take(n)
}

// ---- the same work with nothing around it

/// A session and what a predict of so many rows gives it.
struct BareRun {
    session: Session,
    matrix: ArrayD<f32>,
}

impl BareRun {
    fn of(runtime: &Runtime, predictor: &Predictor, n_rows: usize) -> Self {
        let request = request(n_rows);
        let prediction = runtime.block_on(predictor.predict(&request)).unwrap();
        let version = predictor.models().resolve(&request.model).unwrap().version;
        let RequestInputs::Columns(columns) = &request.inputs else {
            unreachable!("the request is made of columns");
        };
        let call = version.plan.fit(columns).unwrap();
        let mut features = prediction.features;
        let inputs = model_inputs(&version.plan, &call, &mut features).unwrap();
        let Some(Tensor::Float32(matrix)) = inputs.required().first().map(|input| &**input) else {
            unreachable!("the model takes one matrix of single precision");
        };
        Self {
            session: open_session(&version.directory.join("model.onnx")),
            matrix: matrix.clone(),
        }
    }

    fn run(&mut self) {
        let input = TensorRef::from_array_view(black_box(&self.matrix)).unwrap();
        black_box(self.session.run(ort::inputs![input]).unwrap());
    }
}

fn session_runs(criterion: &mut Criterion, runtime: &Runtime, predictor: &Predictor) {
    let mut group = criterion.benchmark_group("session_run");
    for n_rows in ROWS {
        let mut bare = BareRun::of(runtime, predictor, n_rows);
        group.bench_function(shape(n_rows), |bencher| bencher.iter(|| bare.run()));
    }
    group.finish();
}

/// Set up as the product sets it up, and in its environment: a process has only one.
fn open_session(path: &Path) -> Session {
    let runtime = inference::Runtime::load(&inference::Config::default(), None).unwrap();
    let builder = Session::builder(runtime.environment()).unwrap();
    let builder = builder.with_intra_threads(1).unwrap();
    let builder = builder.with_inter_threads(1).unwrap();
    let mut builder = builder.with_memory_pattern(false).unwrap();
    builder.commit_from_file(path).unwrap()
}

fn hmgets(criterion: &mut Criterion, runtime: &Runtime, redis: &Redis) {
    let mut group = criterion.benchmark_group("hmget");
    for n_rows in ROWS {
        let commands = Redis::commands(n_rows);
        let replies = runtime.block_on(redis.send(&commands));
        let is_found = |reply: &redis::Value| matches!(reply, redis::Value::BulkString(_));
        let mut replies = replies.iter();
        assert!(replies.all(|reply| {
            matches!(reply, redis::Value::Array(fields) if fields.iter().all(is_found))
        }));
        group.bench_function(shape(n_rows), |bencher| {
            bench_async(bencher, runtime, async || redis.send(&commands).await);
        });
    }
    group.finish();
}

/// A predict less its `HMGET` and its `session.run`, which take turns with it: what else the machine does slows both,
/// and a difference of two benches would be mostly that. For the same reason a sample is a difference of medians.
fn overhead(criterion: &mut Criterion, runtime: &Runtime, redis: &Redis, predictor: &Predictor) {
    let mut group = criterion.benchmark_group(OVERHEAD);
    group.sampling_mode(SamplingMode::Flat);
    group.sample_size(30);
    group.measurement_time(2 * MEASUREMENT);
    let request = request(1);
    let commands = Redis::commands(1);
    let mut bare = BareRun::of(runtime, predictor, 1);
    group.bench_function(shape(1), |bencher| {
        bencher.iter_custom(|n| {
            runtime.block_on(async {
                let (mut whole, mut floor) = (Vec::new(), Vec::new());
                for _ in 0..n {
                    let start = Instant::now();
                    black_box(predictor.predict(black_box(&request)).await.unwrap());
                    whole.push(start.elapsed());
                    let start = Instant::now();
                    black_box(redis.send(&commands).await);
                    bare.run();
                    floor.push(start.elapsed());
                }
                let overhead = median(whole).saturating_sub(median(floor));
                // Criterion takes no sample that is nothing.
                overhead.max(Duration::from_nanos(1)).mul_f64(n as f64)
            })
        });
    });
    group.finish();
}

fn median(mut times: Vec<Duration>) -> Duration {
    let middle = times.len() / 2;
    *times.select_nth_unstable(middle).1
}

/// The `HMGET`s of a predict, without the predict.
struct Redis {
    /// For feature_store.yaml.
    connection_string: String,
    connection: MultiplexedConnection,
}

impl Redis {
    const DATABASE: u8 = 8;

    /// Field hashes of `conv_rate`, `acc_rate` and `avg_daily_trips`, and the timestamp of their view.
    const FIELDS: [&[u8]; 4] = [
        &0xdae3_6061_u32.to_le_bytes(),
        &0xad58_5efa_u32.to_le_bytes(),
        &0xa3e5_a518_u32.to_le_bytes(),
        b"_ts:driver_hourly_stats",
    ];

    const PROJECT: &str = "terrarium_demo";

    async fn of_environment() -> Option<Self> {
        let place = std::env::var("TERRARIUM_REDIS").ok()?;
        let address = place.split(',').next()?;
        let client = redis::Client::open(format!("redis://{address}/{}", Self::DATABASE)).unwrap();
        // As in the product, which has deadlines of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let redis = Self {
            connection_string: format!("{address},db={}", Self::DATABASE),
            connection: connection.await.unwrap(),
        };
        redis.clear().await;
        Some(redis)
    }

    async fn clear(&self) {
        let mut connection = self.connection.clone();
        let pattern = format!("*{}", Self::PROJECT);
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
            .arg(pattern)
            .query_async(&mut connection)
            .await
            .unwrap();
        for key in keys {
            redis::cmd("DEL")
                .arg(key)
                .exec_async(&mut connection)
                .await
                .unwrap();
        }
    }

    fn commands(n_rows: usize) -> redis::Pipeline {
        let layout = KeyLayout::new(KeyVersion::V3, &["driver_id"]);
        let mut commands = redis::pipe();
        for driver in drivers(n_rows) {
            let (driver, mut key) = (KeyValue::Int64(driver), Vec::new());
            layout.encode(|_| &driver, &mut key);
            key.extend_from_slice(Self::PROJECT.as_bytes());
            commands.cmd("HMGET").arg(key).arg(&Self::FIELDS);
        }
        commands
    }

    async fn send(&self, commands: &redis::Pipeline) -> Vec<redis::Value> {
        let mut connection = self.connection.clone();
        let replies = connection.send_packed_commands(commands, 0, commands.len());
        replies.await.unwrap()
    }
}

// ---- the demo, with drivers enough for the largest call

struct Demo {
    directory: TempDir,
}

impl Demo {
    fn make() -> Self {
        let demo = Self {
            // Beside the build and not in /tmp, which may be memory: the audit trail is to be written to a disk.
            directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        };
        for part in ["feature_repo", "features", "models"] {
            support::copy(&support::root().join(part), &demo.path(part));
        }
        add_drivers(&demo.path("features/driver_hourly_stats.parquet"));
        demo
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    async fn start_on_redis(&self, connection_string: &str) -> Served {
        let variable = ("TERRARIUM_REDIS".to_owned(), connection_string.to_owned());
        let environment = Environment::from_iter([variable]);
        self.start(&environment, "feature_store.redis.yaml").await
    }

    /// Loads the features into the store that `settings` names and starts everything but the socket; audit is on.
    async fn start(&self, environment: &Environment, settings: &str) -> Served {
        let flags = [
            format!("features.repo={}", self.path("feature_repo").display()),
            format!("features.feature_store_yaml={settings}"),
            format!("registry.local.path={}", self.path("models").display()),
            format!("audit.file.directory={}", self.path("audit").display()),
        ];
        let config = support::config(environment, &flags);
        let variable = |name: &str| environment.get(name).map(str::to_owned);
        let store = FeatureStore::open(&config.features, &variable)
            .await
            .unwrap();
        support::materialize(&store).await;
        Served(App::start(config, environment).await.unwrap())
    }
}

struct Served(App);

impl Served {
    fn predictor(&self) -> &Predictor {
        &self.0.api().predictor
    }
}

/// Gives each of our drivers the first row of the file.
fn add_drivers(path: &Path) {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let mut batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let schema = batches[0].schema();
    let place = schema.index_of("driver_id").unwrap();
    for driver in drivers(ROWS[1]) {
        let row = batches[0].slice(0, 1);
        let mut columns = row.columns().to_vec();
        columns[place] = Arc::new(Int64Array::from(vec![driver]));
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap());
    }
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, schema, None).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    std::fs::write(path, file).unwrap();
}

// ---- the bar

/// Only from an estimate of this run, since a filter may have left it out, and only of an optimised build.
fn print_bar(estimates: &Path, started: SystemTime) {
    let file = estimates.join(OVERHEAD).join("1x4/new/estimates.json");
    let written = file.metadata().and_then(|metadata| metadata.modified());
    if cfg!(debug_assertions) || !written.is_ok_and(|at| at >= started) {
        return;
    }
    let text = std::fs::read_to_string(file).unwrap();
    let estimates: serde_json::Value = serde_json::from_str(&text).unwrap();
    let nanos = estimates["median"]["point_estimate"].as_f64().unwrap();
    // Rounded against us, so that what is printed and the verdict always agree.
    let micros = (nanos / 10.0).ceil() / 100.0;
    let verdict = if micros <= OVERHEAD_LIMIT {
        "ok"
    } else {
        "short"
    };
    println!("bar {OVERHEAD} {micros:.2} <= {OVERHEAD_LIMIT:.2} {verdict}");
}
