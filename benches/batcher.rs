//! What the way to an engine costs, and what merging gives, beside bare `session.run`.
//!
//! For a gradient-boosting classifier of 100 trees and a perceptron with three hidden layers of 256 (`benches/models`):
//! * one caller: `session.run` in a loop against the same through pool and batcher; the bar is what that adds to the median;
//! * 64 callers with a row each, on the event loops of the server, against the best of all offline batch sizes with a session
//!   on each core; the bar is the share of its rows per second. Beside it the offline rate of batches as large as the merged
//!   runs were: what merging could give if it cost nothing.
//!
//! Merging is forced (`mode = "always"`): neither model rounds a merged row as a single one. `ROUND_SECONDS` sizes a round.
//! Not here: HTTP, features, audit (`make bench`).
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench is run by hand, stops where something is wrong, and prints what it finds"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ndarray::{ArrayD, IxDyn};
use ort::session::Session;
use ort::value::TensorRef;
use terrarium::inference::{self, Queueing, Runtime, ServedModel, batcher};
use terrarium::telemetry::metrics::QueueMetrics;
use terrarium::types::deadline::Deadline;
use terrarium::types::tensor::Tensor;
use terrarium::workers::Workers;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MODELS: [&str; 2] = ["gbt", "mlp"];
const N_COLUMNS: usize = 10;
const N_CALLERS: usize = 64;
const BATCH_SIZES: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096];
const N_CALLS: usize = 20_000;
const ROUNDS: usize = 5;
/// As `http.busy_poll` has it.
const BUSY_POLL: Duration = Duration::from_micros(50);

fn main() {
    // `cargo test --benches` runs this, too: it has nothing to check.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = Runtime::load(&inference::Config::default(), None).unwrap();
    println!(
        "| model | one call: bare | through the batcher | 64 callers, rows/s | mean batch | offline at that batch, rows/s | best offline, rows/s | of |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut bars = Vec::new();
    for name in MODELS {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/models/{name}.onnx"));
        let mut rounds: Vec<Round> = (0..ROUNDS).map(|_| round(&runtime, &path)).collect();
        rounds.sort_by(|one, other| one.share().total_cmp(&other.share()));
        let middle = &rounds[ROUNDS / 2];
        println!(
            "| {name} | {:.1} us | {:.1} us | {:.0} | {:.1} | {:.0} | {:.0} | batches of {} |",
            micros(middle.bare),
            micros(middle.through),
            middle.together,
            middle.mean_batch,
            middle.alike,
            middle.offline.0,
            middle.offline.1,
        );
        let added = middle.through.saturating_sub(middle.bare);
        bars.push(format!(
            "bar batcher_added_us_{name} {:.1} <= 30",
            micros(added)
        ));
        bars.push(format!(
            "bar batcher_share_{name} {:.2} >= 0.80",
            middle.share()
        ));
    }
    println!("\nmedians of {ROUNDS} rounds\n\n{}", bars.join("\n"));
}

/// Everything once, so that each figure has its peer beside it in time.
struct Round {
    bare: Duration,
    through: Duration,
    together: f64,
    mean_batch: f64,
    /// Rows per second offline in batches of that size.
    alike: f64,
    /// Rows per second, and the batch size that gave them.
    offline: (f64, usize),
}

impl Round {
    fn share(&self) -> f64 {
        self.together / self.offline.0
    }
}

fn round(runtime: &Runtime, path: &Path) -> Round {
    let metrics = QueueMetrics::default();
    let model = load(runtime, path, &metrics);
    let bare = median(&mut one_by_one(session(runtime, path)));
    let through = median(&mut calls(&model));
    let (together, mean_batch) = together(&model, &metrics);
    Round {
        bare,
        through,
        together,
        mean_batch,
        alike: offline_rate(runtime, path, (mean_batch.round() as usize).max(1)),
        offline: offline(runtime, path),
    }
}

fn load(runtime: &Runtime, path: &Path, metrics: &QueueMetrics) -> ServedModel {
    let options = inference::SessionOptions::default();
    let model = runtime.load_model(path, &options).unwrap();
    let mut model = model.queued(Queueing {
        batching: batcher::Config {
            mode: batcher::Mode::Always,
            ..batcher::Config::default()
        },
        metrics: metrics.clone(),
        ..Queueing::default()
    });
    model.warm_up(&[Tensor::Float32(rows(1))]).unwrap();
    assert_eq!(model.not_merged(), None);
    model
}

fn session(runtime: &Runtime, path: &Path) -> Session {
    let builder = Session::builder(runtime.environment()).unwrap();
    let mut builder = builder.with_intra_threads(1).unwrap();
    builder.commit_from_file(path).unwrap()
}

/// Numbers that differ from row to row.
fn rows(n_rows: usize) -> ArrayD<f32> {
    let values = (0..n_rows * N_COLUMNS).map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0);
    ArrayD::from_shape_vec(IxDyn(&[n_rows, N_COLUMNS]), values.collect()).unwrap()
}

fn run(session: &mut Session, rows: &ArrayD<f32>) {
    let input = TensorRef::from_array_view(rows.view()).unwrap();
    session.run(ort::inputs![input]).unwrap();
}

fn one_by_one(mut session: Session) -> Vec<Duration> {
    let row = rows(1);
    let timed = |_| {
        let begun = Instant::now();
        run(&mut session, &row);
        begun.elapsed()
    };
    (0..N_CALLS).map(timed).collect()
}

fn calls(model: &ServedModel) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let row = rows(1);
    runtime.block_on(async {
        let mut took = Vec::with_capacity(N_CALLS);
        for _ in 0..N_CALLS {
            let begun = Instant::now();
            let inputs = vec![Tensor::Float32(row.clone())];
            model
                .infer(inputs, Deadline::after(Duration::from_secs(10)))
                .await
                .unwrap();
            took.push(begun.elapsed());
        }
        took
    })
}

/// Rows per second of callers that each wait for their answer, and the mean rows of a run.
fn together(model: &ServedModel, metrics: &QueueMetrics) -> (f64, f64) {
    let workers = Workers::start(terrarium::workers::default_count(), BUSY_POLL).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    for _ in 0..N_CALLERS {
        let (model, stop, answered) = (model.clone(), Arc::clone(&stop), Arc::clone(&answered));
        let row = rows(1);
        workers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let inputs = vec![Tensor::Float32(row.clone())];
                model
                    .infer(inputs, Deadline::after(Duration::from_secs(10)))
                    .await
                    .unwrap();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    std::thread::sleep(seconds() / 4);
    let (begun, before) = (Instant::now(), answered.load(Ordering::Relaxed));
    let (runs_before, rows_before) = metrics.runs();
    std::thread::sleep(seconds());
    let rate = (answered.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    let (runs, rows) = metrics.runs();
    stop.store(true, Ordering::Relaxed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(workers.finish());
    (rate, (rows - rows_before) / (runs - runs_before) as f64)
}

/// The highest rate of all batch sizes, with a session on each core.
fn offline(runtime: &Runtime, path: &Path) -> (f64, usize) {
    let rate = |n_rows| (offline_rate(runtime, path, n_rows), n_rows);
    let rates = BATCH_SIZES.into_iter().map(rate);
    rates
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .unwrap()
}

fn offline_rate(runtime: &Runtime, path: &Path, n_rows: usize) -> f64 {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..terrarium::workers::default_count().get())
            .map(|_| scope.spawn(|| offline_on_one_core(session(runtime, path), n_rows)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

fn offline_on_one_core(mut session: Session, n_rows: usize) -> f64 {
    let rows = rows(n_rows);
    run(&mut session, &rows);
    let (begun, mut n_done) = (Instant::now(), 0);
    while begun.elapsed() < seconds() / 4 {
        run(&mut session, &rows);
        n_done += n_rows;
    }
    n_done as f64 / begun.elapsed().as_secs_f64()
}

fn seconds() -> Duration {
    let given = std::env::var("ROUND_SECONDS")
        .ok()
        .map(|text| text.parse().unwrap());
    Duration::from_secs_f64(given.unwrap_or(2.0))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
