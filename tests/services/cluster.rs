//! A scheduler and executors as processes: what they join and score is what one machine does, also when one of them is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::support::{Server, copy, root};

/// 2026-11-15T12:30:00Z
const TIME: i64 = 1_794_745_800_000_000;
/// Of the demo's drivers and some that nobody knows, at times over a week.
const N_ROWS: usize = 60_000;

/// A copy of the demo, rows to be scored, and where the cluster's processes meet.
struct Place {
    directory: TempDir,
    staging: String,
    /// Of all processes.
    environment: Vec<(&'static str, String)>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for part in ["feature_repo", "features", "models"] {
            copy(&root().join(part), &directory.path().join(part));
        }
        let place = Self {
            directory,
            staging: "staging".to_owned(),
            environment: Vec::new(),
        };
        place.write_rows();
        place.write_trips();
        place
    }

    fn write_rows(&self) {
        let rows = 0..N_ROWS as i64;
        let drivers: Int64Array = rows.clone().map(|i| Some(1_000 + i * 7 % 13)).collect();
        let times = rows
            .clone()
            .map(|i| Some(TIME - i * 104_729 % 604_800 * 1_000_000));
        let times: TimestampMicrosecondArray = times.collect();
        // A row of which the driver is unknown cannot be scored.
        let drivers: Int64Array = drivers
            .iter()
            .map(|id| id.filter(|id| *id != 1_000))
            .collect();
        let km: Float64Array = rows.map(|i| Some(0.1 + 1.7 * (i % 100) as f64)).collect();
        write(
            &self.path("rows.parquet"),
            vec![
                ("driver_id", Arc::new(drivers) as ArrayRef),
                ("event_timestamp", Arc::new(times.with_timezone("UTC"))),
                ("trip_km", Arc::new(km)),
            ],
        );
    }

    /// Keys of two kinds, one in a dictionary.
    fn write_trips(&self) {
        let drivers: Int64Array = (0..5_000).map(|i| Some(1_000 + i * 7 % 13)).collect();
        let customers = (0..5_000).map(|i| format!("c-{}", 2_000 + i * 5 % 9));
        let customers: Vec<String> = customers.collect();
        let customers = customers.iter().map(String::as_str);
        let customers: DictionaryArray<Int32Type> = customers.collect();
        let times = (0..5_000).map(|i| Some(TIME - i * 104_729 % 604_800 * 1_000_000));
        let times: TimestampMicrosecondArray = times.collect();
        write(
            &self.path("trips-asked.parquet"),
            vec![
                ("driver_id", Arc::new(drivers) as ArrayRef),
                ("customer_id", Arc::new(customers)),
                ("event_timestamp", Arc::new(times.with_timezone("UTC"))),
            ],
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The settings of a client; of one machine without a cluster.
    fn command(&self, scheduler: Option<&str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terrarium"));
        command.current_dir(&self.directory);
        command.envs(self.environment.iter().cloned());
        if let Some(scheduler) = scheduler {
            command.args(["--set", &format!("offline.cluster.scheduler={scheduler}")]);
            let staging = format!("offline.cluster.staging={}", self.staging);
            command.args(["--set", &staging]);
            command.args(["--set", "offline.cluster.partitions=4"]);
        }
        command
    }

    fn join(&self, scheduler: Option<&str>, out: &str) -> Command {
        let mut command = self.command(scheduler);
        let service = ["--service", "driver_ranking_v1"];
        let files = ["--entities", "rows.parquet", "--out", out];
        command
            .args(["features", "historical"])
            .args(service)
            .args(files);
        command
    }

    fn score(&self, scheduler: Option<&str>, out: &str) -> Command {
        let mut command = self.command(scheduler);
        let model = [
            "--model",
            "driver_ranking@champion",
            "--with-features",
            "--json",
        ];
        let files = ["--entities", "rows.parquet", "--out", out];
        command.arg("score").args(model).args(files);
        command
    }

    fn score_trips(&self, scheduler: Option<&str>, out: &str) -> Command {
        let mut command = self.command(scheduler);
        let model = ["--model", "trip_acceptance", "--features", "offline"];
        let files = ["--entities", "trips-asked.parquet", "--out", out];
        command.arg("score").args(model).args(files);
        command
    }

    /// The table with its notes.
    fn table(&self, name: &str) -> RecordBatch {
        let bytes = bytes::Bytes::from(fs_err::read(self.path(name)).unwrap());
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let schema = builder.schema().clone();
        let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
        arrow::compute::concat_batches(&schema, &batches).unwrap()
    }

    fn assert_same(&self, cluster: &str, one_machine: &str) {
        let (cluster, one_machine) = (self.table(cluster), self.table(one_machine));
        assert!(cluster.num_rows() > 0);
        assert_eq!(cluster.schema(), one_machine.schema());
        for (field, (a, b)) in cluster
            .schema()
            .fields()
            .iter()
            .zip(cluster.columns().iter().zip(one_machine.columns()))
        {
            // Bits and not numbers: equal arrays of numbers have equal buffers.
            assert_eq!(a.to_data(), b.to_data(), "{}", field.name());
        }
    }

    /// The same of definitions that are others.
    fn assert_same_but_notes(&self, cluster: &str, one_machine: &str) {
        let (cluster, one_machine) = (self.table(cluster), self.table(one_machine));
        assert!(cluster.num_rows() > 0);
        assert_eq!(cluster.schema().fields(), one_machine.schema().fields());
        assert_eq!(cluster.columns(), one_machine.columns());
    }

    /// Staged files that are left.
    fn staged(&self) -> usize {
        fs_err::read_dir(self.path("staging")).unwrap().count()
    }

    /// Where nobody tells when, polled for until a deadline.
    async fn nothing_staged_soon(&self) {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..2_000 {
            every.tick().await;
            if self.staged() == 0 {
                return;
            }
        }
        panic!("{} staged files are left", self.staged());
    }
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let file = fs_err::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    succeeded(&output);
    output
}

fn succeeded(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

/// What a command says of its result, without what differs between two runs.
fn summary(output: &Output) -> serde_json::Value {
    let mut summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["seconds", "rows_per_second", "files"] {
        summary.as_object_mut().unwrap().remove(name);
    }
    summary
}

/// A process of a cluster, which ends with the test.
struct Process {
    child: Child,
    /// `None` once nobody reads it.
    stderr: Option<BufReader<ChildStderr>>,
}

impl Process {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut child = place
            .command(None)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().map(BufReader::new);
        Self { child, stderr }
    }

    /// Reads what the process says until it says this.
    fn wait_for(&mut self, text: &str) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let stderr = self.stderr.as_mut().unwrap();
            let n_bytes = stderr.read_line(&mut line).unwrap();
            assert!(n_bytes > 0, "ended without `{text}`: {said}");
            if line.contains(text) {
                return line;
            }
            said.push_str(&line);
        }
    }

    /// Nobody may wait until there is room for what it says.
    fn ignore(mut self) -> Self {
        if let Some(mut stderr) = self.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        }
        self
    }

    /// SIGTERM, and whether it ended in order.
    fn stop(mut self) -> bool {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.unwrap().success());
        self.child.wait().unwrap().success()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn scheduler(place: &Place) -> (Process, String) {
    let (process, address) = listened_to_scheduler(place);
    (process.ignore(), address)
}

/// One of which is read what it says.
fn listened_to_scheduler(place: &Place) -> (Process, String) {
    let bind = ["--bind", "127.0.0.1:0", "--executor-timeout", "4s"];
    let mut process = Process::start(place, &[&["scheduler"], &bind[..]].concat());
    let line = process.wait_for("scheduler at df://");
    let address = line
        .split("scheduler at ")
        .nth(1)
        .unwrap()
        .trim()
        .to_owned();
    (process, address)
}

fn executor(place: &Place, scheduler: &str) -> Process {
    // Two sockets at once, so that they differ.
    let sockets = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let [bind, task] = sockets.map(|socket| socket.local_addr().unwrap());
    let (bind, task) = (bind.to_string(), task.port().to_string());
    let work = format!("work-{task}");
    let places = ["--bind", &bind, "--task-port", &task, "--work-dir", &work];
    let limits = ["--vcores", "1", "--heartbeat", "1s"];
    let who = ["executor", "--scheduler", scheduler];
    let mut process = Process::start(place, &[&who[..], &places, &limits].concat());
    process.wait_for("Executor registration succeed");
    process
}

#[test]
fn a_cluster_joins_and_scores_as_one_machine_also_when_an_executor_is_killed() {
    let place = Place::new();
    let (scheduler, address) = scheduler(&place);
    let executors = [(); 2].map(|()| executor(&place, &address).ignore());
    let cluster = Some(address.as_str());

    done(&mut place.join(None, "joined-here.parquet"));
    let here = done(&mut place.score(None, "scored-here.parquet"));

    done(&mut place.join(cluster, "joined.parquet"));
    place.assert_same("joined.parquet", "joined-here.parquet");

    let scored = done(&mut place.score(cluster, "scored.parquet"));
    place.assert_same("scored.parquet", "scored-here.parquet");
    assert_eq!(summary(&scored), summary(&here));

    // Three views with keys of their own, one after the other.
    done(&mut place.score_trips(None, "trips-here.parquet"));
    done(&mut place.score_trips(cluster, "trips.parquet"));
    place.assert_same("trips.parquet", "trips-here.parquet");

    // The first task that it ends is of an early stage of the job, which has to be done again: its result is lost.
    let mut doomed = executor(&place, &address);
    let mut job = place.score(cluster, "killed.parquet");
    let job = job.stdout(Stdio::piped()).stderr(Stdio::piped());
    let job = job.spawn().unwrap();
    doomed.wait_for("Finished task");
    doomed.kill();
    let killed = job.wait_with_output().unwrap();
    succeeded(&killed);
    place.assert_same("killed.parquet", "scored-here.parquet");
    let files =
        ["scored.parquet", "killed.parquet"].map(|name| fs_err::read(place.path(name)).unwrap());
    let here_file = fs_err::read(place.path("scored-here.parquet")).unwrap();
    assert!(files.iter().all(|file| *file == here_file));
    assert_eq!(summary(&killed), summary(&here));

    assert_eq!(place.staged(), 0);
    for executor in executors {
        assert!(executor.stop());
    }
    assert!(scheduler.stop());
}

#[test]
fn a_command_that_is_stopped_ends_its_job_and_leaves_nothing() {
    let place = Place::new();
    let (mut scheduler, address) = listened_to_scheduler(&place);
    let mut executor = executor(&place, &address);
    let mut job = place.score(Some(&address), "stopped.parquet");
    // As many calls as rows.
    job.args(["--rows-per-call", "1"]);
    let job = job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let job = job.unwrap();
    executor.wait_for("Finished task");
    let id = job.id().to_string();
    let told = Command::new("kill").args(["-INT", &id]).status();
    assert!(told.unwrap().success());
    let stopped = job.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("stopped before the end"), "{stderr}");
    scheduler.wait_for("Job cancelled");
    let executor = executor.ignore();
    assert_eq!(place.staged(), 0);
    let names = fs_err::read_dir(place.directory.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names
        .filter(|name| name.contains("stopped") || name.starts_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // It has a core for others again.
    done(&mut place.join(None, "here.parquet"));
    done(&mut place.join(Some(&address), "there.parquet"));
    place.assert_same("there.parquet", "here.parquet");
    assert!(executor.stop());
    assert!(scheduler.stop());
}

#[test]
fn a_job_goes_on_without_an_executor_that_is_stopped() {
    let place = Place::new();
    let (scheduler, address) = scheduler(&place);
    let other = executor(&place, &address).ignore();
    done(&mut place.score(None, "here.parquet"));
    let mut stopped = executor(&place, &address);
    let mut job = place.score(Some(&address), "there.parquet");
    let job = job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let job = job.unwrap();
    stopped.wait_for("Finished task");
    assert!(stopped.ignore().stop());
    succeeded(&job.wait_with_output().unwrap());
    place.assert_same("there.parquet", "here.parquet");
    assert_eq!(place.staged(), 0);
    assert!(other.stop());
    assert!(scheduler.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_ends_the_job() {
    let place = Place::new();
    // No executor: the job cannot be done before its caller has left.
    let (scheduler, address) = listened_to_scheduler(&place);
    let staging = place.path("staging");
    let cluster = [
        format!("offline.cluster.scheduler={address}"),
        format!("offline.cluster.staging={}", staging.display()),
    ];
    let mut server = Server::start(&cluster.each_ref().map(String::as_str)).await;
    let body = r#"{"feature_service": "driver_ranking_v1",
        "entities": {"driver_id": [1001], "event_timestamp": ["2026-11-15T12:30:00Z"]}}"#;
    let wait = |mut scheduler: Process, text: &'static str| {
        tokio::task::spawn_blocking(move || {
            scheduler.wait_for(text);
            scheduler
        })
    };
    let scheduler = tokio::select! {
        answer = server.post("/v1/features/historical", body) => panic!("{:?}", answer.bytes),
        scheduler = wait(scheduler, "Job submitted") => scheduler.unwrap(),
    };
    assert_eq!(place.staged(), 1);
    let scheduler = wait(scheduler, "Job cancelled").await.unwrap();
    place.nothing_staged_soon().await;
    server.stop().await;
    assert!(scheduler.stop());
}

#[test]
fn a_job_waits_for_its_first_executor_and_ends_without_its_last_one() {
    let place = Place::new();
    let (mut scheduler, address) = listened_to_scheduler(&place);
    let mut job = place.score(Some(&address), "lost.parquet");
    let job = job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let job = job.unwrap();
    scheduler.wait_for("Job submitted");
    let scheduler = scheduler.ignore();
    let mut only = executor(&place, &address);
    only.wait_for("Finished task");
    only.kill();
    let lost = job.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&lost.stderr);
    assert_eq!(lost.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("all executors were lost"), "{stderr}");
    assert!(!place.path("lost.parquet").exists());
    assert_eq!(place.staged(), 0);
    assert!(scheduler.stop());
}

#[test]
fn an_executor_that_has_other_features_or_models_refuses() {
    let place = Place::new();
    let fails = |executor_place: &Place, reason: &str| {
        let (scheduler, address) = scheduler(&place);
        let executor = executor(executor_place, &address).ignore();
        let output = place.score(Some(&address), "refused.parquet").output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
        assert!(!place.path("refused.parquet").exists());
        assert_eq!(place.staged(), 0);
        assert!(executor.stop());
        assert!(scheduler.stop());
    };
    let other_source = Place::new();
    let registry = other_source.path("feature_repo/registry.db");
    let bytes = fs_err::read(&registry).unwrap();
    let bytes = replaced(
        &bytes,
        b"driver_hourly_stats.parquet",
        b"driver_hourly_slots.parquet",
    );
    fs_err::write(&registry, bytes).unwrap();
    fails(&other_source, "are defined otherwise on this executor");

    let no_models = Place::new();
    fs_err::remove_dir_all(no_models.path("models")).unwrap();
    fs_err::create_dir(no_models.path("models")).unwrap();
    fails(&no_models, "driver_ranking");
}

/// The same bytes with another text of the same length.
fn replaced(bytes: &[u8], text: &[u8], by: &[u8]) -> Vec<u8> {
    assert_eq!(text.len(), by.len());
    let mut replaced = bytes.to_vec();
    for at in 0..=bytes.len() - text.len() {
        if bytes[at..].starts_with(text) {
            replaced[at..at + by.len()].copy_from_slice(by);
        }
    }
    assert_ne!(replaced, bytes);
    replaced
}

#[test]
fn the_cluster_of_the_services_joins_as_one_machine() {
    let address = std::env::var("TERRARIUM_BALLISTA").expect("dev/services up ballista");
    let place = Place::new();
    done(&mut place.join(None, "here.parquet"));
    done(&mut place.join(Some(&address), "there.parquet"));
    place.assert_same("there.parquet", "here.parquet");
    assert_eq!(place.staged(), 0);
}

#[test]
fn sources_and_entity_rows_can_lie_in_an_object_store() {
    let server = std::env::var("TERRARIUM_S3").expect("dev/services up s3");
    let bucket = format!("cluster-{}", std::process::id());
    let in_bucket = |method: &str, key: &str, body: &[u8]| {
        let host = server.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        let lines = [
            format!("{method} /{bucket}{key} HTTP/1.1"),
            format!("Host: {host}"),
            format!("Content-Length: {}", body.len()),
            "Connection: close".to_owned(),
        ];
        let request = lines.join("\r\n") + "\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(in_bucket("PUT", "", b"").starts_with("HTTP/1.1 200"));
    let environment = [
        ("AWS_ENDPOINT_URL", server.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "any"),
        ("AWS_SECRET_ACCESS_KEY", "any"),
    ];
    let place = Place {
        staging: format!("s3://{bucket}/staging"),
        environment: environment
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec(),
        ..Place::new()
    };
    done(&mut place.score(None, "here.parquet"));
    // From now on all processes have the source of the drivers' statistics there.
    let local = "../features/driver_hourly_stats.parquet";
    let mut remote = format!("s3://{bucket}/");
    while remote.len() + ".parquet".len() < local.len() {
        remote.push('s');
    }
    remote.push_str(".parquet");
    let source = place.path("features/driver_hourly_stats.parquet");
    let key = &remote[format!("s3://{bucket}").len()..];
    let put = in_bucket("PUT", key, &fs_err::read(&source).unwrap());
    assert!(put.starts_with("HTTP/1.1 200"), "{put}");
    fs_err::remove_file(source).unwrap();
    let registry = place.path("feature_repo/registry.db");
    let bytes = fs_err::read(&registry).unwrap();
    let bytes = replaced(&bytes, local.as_bytes(), remote.as_bytes());
    fs_err::write(registry, bytes).unwrap();
    let (scheduler, address) = scheduler(&place);
    let executor = executor(&place, &address).ignore();
    done(&mut place.score(Some(&address), "there.parquet"));
    place.assert_same_but_notes("there.parquet", "here.parquet");
    let left = in_bucket("GET", "", b"");
    assert!(
        left.starts_with("HTTP/1.1 200") && !left.contains("terrarium-"),
        "{left}"
    );
    assert!(executor.stop());
    assert!(scheduler.stop());
}
