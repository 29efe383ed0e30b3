//! What the audit spool costs a request, and what a full one costs the next start.
//!
//! * Append: threads that append events of 1 KiB to one spool (`written`), as requests do.
//! * Recovery: two spools that dead processes left, one ten times as large, each read by a process of its own as the shipper
//!   reads it, checksums included and segments deleted: seconds until the new process may append, until the last event is
//!   acknowledged, and peak memory. What the operating system still holds of the files is not taken from it.
//!
//! `SPOOL_EVENTS` sizes the larger spool (10,000,000 events of `SPOOL_EVENT_BYTES`, 300, are 3.2 GB of disk).
//! Not here: encoding events, and who waits for whom (`make bench` measures predictions with and without audit).
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench is run by hand, stops where something is wrong, and prints what it finds"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use terrarium::audit::spool::{self, Appender, Config, RECORD_HEADER, Reader, Safe};
use terrarium::types::byte_size::ByteSize;
use uuid::Uuid;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: [usize; 3] = [1, 2, 4];
const N_APPENDS: usize = 400_000;
const APPEND_BYTES: usize = 1024;
const READ_BYTES: usize = 1 << 20;
/// What a process is told that only recovers a spool.
const RECOVER: &str = "--recover";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, directory] = &arguments[..]
        && command == RECOVER
    {
        return recover(Path::new(directory));
    }
    // `cargo test --benches` runs this, too: it has nothing to check.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut bars = appends();
    bars.extend(recoveries());
    println!("\n{}", bars.join("\n"));
}

// ---- append

fn appends() -> Vec<String> {
    println!("| threads | events/s of {APPEND_BYTES} bytes | p50 us | p99 us | max us |");
    println!("|---:|---:|---:|---:|---:|");
    let runs: Vec<Appends> = THREADS.iter().map(|n| append(*n)).collect();
    let slowest = runs
        .iter()
        .map(|run| run.rate)
        .fold(f64::INFINITY, f64::min);
    let p99 = runs.iter().map(|run| run.p99).fold(0.0, f64::max);
    vec![
        bar("spool_append_p99_us", p99, "<=", 50.0),
        bar("spool_append_events_per_s", slowest, ">=", 100_000.0),
    ]
}

struct Appends {
    /// Events per second of all threads together.
    rate: f64,
    /// Microseconds.
    p99: f64,
}

fn append(n_threads: usize) -> Appends {
    let (_directory, appender, _reader) = new_spool();
    let appender = Mutex::new(appender);
    let begun = Instant::now();
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let append = || append_timed(&appender, N_APPENDS / n_threads);
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(append)).collect();
        let took = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        took.collect()
    });
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| micros(took[((took.len() - 1) as f64 * share) as usize]);
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    println!("| {n_threads} | {rate:.0} | {p50:.1} | {p99:.1} | {max:.0} |");
    Appends { rate, p99 }
}

fn append_timed(appender: &Mutex<Appender>, n: usize) -> Vec<Duration> {
    let mut record = record(APPEND_BYTES);
    let mut took = Vec::with_capacity(n);
    for _ in 0..n {
        let begun = Instant::now();
        let safe = appender.lock().unwrap().append(&mut record).unwrap();
        took.push(begun.elapsed());
        assert!(matches!(safe, Safe::Now));
    }
    took
}

fn new_spool() -> (TempDir, Appender, Reader) {
    // On the disk of the build, for the system's own may be memory.
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let spool = spool::open(&config(), directory.path(), Uuid::now_v7(), "bench");
    let (appender, reader) = spool.unwrap();
    (directory, appender, reader)
}

fn config() -> Config {
    Config {
        max_size: ByteSize::from_bytes(u64::MAX),
        ..Config::default()
    }
}

fn record(n_bytes: usize) -> Vec<u8> {
    let mut record = vec![0; RECORD_HEADER];
    record.extend((0..n_bytes).map(|at| b' ' + (at * 7 % 90) as u8));
    record
}

// ---- recovery

fn recoveries() -> Vec<String> {
    let n_most = variable("SPOOL_EVENTS", 10_000_000);
    let n_bytes = variable("SPOOL_EVENT_BYTES", 300);
    println!(
        "\n| events of {n_bytes} bytes | MB | may append after ms | all read after s | events/s | peak memory MiB |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    let small = recovery(n_most / 10, n_bytes);
    let large = recovery(n_most, n_bytes);
    vec![
        bar("spool_recover_seconds", large.seconds, "<=", 10.0),
        bar("spool_recover_memory", large.peak / small.peak, "<=", 1.1),
    ]
}

struct Recovery {
    seconds: f64,
    /// MiB.
    peak: f64,
}

fn recovery(n_events: usize, n_bytes: usize) -> Recovery {
    let (directory, mut appender, reader) = new_spool();
    let mut record = record(n_bytes);
    for _ in 0..n_events {
        let appended = appender.append(&mut record).unwrap();
        assert!(matches!(appended, Safe::Now));
    }
    drop((appender, reader));
    let recovering = Command::new(std::env::current_exe().unwrap())
        .arg(RECOVER)
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(recovering.status.success(), "{recovering:?}");
    let told = String::from_utf8(recovering.stdout).unwrap();
    let told: Vec<f64> = told
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let [n_read, opened, seconds, peak] = told[..] else {
        unreachable!("{told:?}");
    };
    assert_eq!(n_read as usize, n_events, "events are missing");
    println!(
        "| {n_events} | {} | {:.1} | {seconds:.2} | {:.0} | {peak:.1} |",
        n_events * (n_bytes + RECORD_HEADER) / 1_000_000,
        opened * 1e3,
        n_read / seconds,
    );
    Recovery { seconds, peak }
}

/// Prints how many events there were, seconds to open, seconds in all, and peak memory in MiB.
fn recover(directory: &Path) {
    let begun = Instant::now();
    let spool = spool::open(&config(), directory, Uuid::now_v7(), "bench");
    let (_appender, mut reader) = spool.unwrap();
    let opened = begun.elapsed().as_secs_f64();
    let mut n_events = 0;
    while let Some(batch) = reader.next(READ_BYTES).unwrap() {
        n_events += batch.events().len();
        reader.acknowledge(batch.last()).unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{n_events} {opened} {seconds} {}", peak_memory());
}

/// Of this process, in MiB. Only Linux tells; elsewhere the bar compares nothing.
fn peak_memory() -> f64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.map_or(f64::NAN, |n| n.parse::<f64>().unwrap() / 1024.0)
}

// ----

fn variable(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn bar(name: &str, value: f64, sign: &str, limit: f64) -> String {
    let is_met = match sign {
        "<=" => value <= limit,
        _ => value >= limit,
    };
    let verdict = if is_met { "ok" } else { "short" };
    format!("bar {name} {value:.2} {sign} {limit:.2} {verdict}")
}
