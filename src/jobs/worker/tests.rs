//! The worker over the embedded queue, with functions that do what each test needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::{Call, Function, JobError, JobHandler, Parts, Worker};
use crate::error::ErrorClass;
use crate::jobs::client::NewCall;
use crate::jobs::value::Value;
use crate::jobs::{Aborted, Client, Config, Due, JobId, JobStatus, NewJob, View};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::JobMetrics;

const PATIENCE: Duration = Duration::from_secs(30);

/// `double(n)`, and functions that fail, hang or panic.
#[derive(Default)]
struct Functions {
    runs: AtomicU32,
    /// Rung when `hang` has begun.
    begun: Notify,
    /// Lets `hang` go on.
    go_on: Notify,
    endings: AtomicU32,
}

const FUNCTIONS: [Function; 7] = [
    Function::new("double"),
    Function::new("flaky"),
    Function::new("away"),
    Function::new("wrong"),
    Function::new("hang"),
    Function::new("panic"),
    Function::new("large"),
];

fn failure(class: ErrorClass, code: &'static str) -> JobError {
    JobError {
        class,
        code,
        message: "as the test wants it".to_owned(),
    }
}

#[async_trait]
impl JobHandler for Functions {
    fn functions(&self) -> &[Function] {
        &FUNCTIONS
    }

    async fn run(&self, call: &Call) -> Result<Value, JobError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        match call.function.as_str() {
            "double" => match call.args.first() {
                Some(Value::Int(n)) => Ok(Value::Int(n * 2)),
                _ => Err(failure(ErrorClass::InvalidInput, "not_a_number")),
            },
            "flaky" if call.attempt < 3 => Err(failure(ErrorClass::Unavailable, "store_away")),
            "flaky" => Ok(Value::Int(i64::from(call.attempt))),
            "away" => Err(failure(ErrorClass::Unavailable, "store_away")),
            "hang" => {
                self.begun.notify_one();
                self.go_on.notified().await;
                Ok(Value::None)
            }
            "panic" => panic!("as the test wants it"),
            "large" => Ok(Value::Bytes(vec![0; 1 << 20])),
            _ => Err(failure(ErrorClass::InvalidInput, "not_a_number")),
        }
    }

    async fn ending(&self, _: &Call, _: bool) -> Result<(), JobError> {
        self.endings.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Setting {
    client: Client,
    functions: Arc<Functions>,
    config: Config,
    shutdown: Shutdown,
    _directory: TempDir,
}

impl Setting {
    async fn new(adjust: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.sqlite.path = directory.path().join("jobs.db");
        config.worker.backoff = Duration::from_millis(1);
        config.worker.max_backoff = Duration::from_millis(5);
        config.worker.tries = 4.try_into().unwrap();
        config.max_result_size = crate::types::byte_size::ByteSize::from_bytes(64 * 1024);
        adjust(&mut config);
        let shutdown = Shutdown::new();
        Self {
            client: crate::jobs::open(&config, &shutdown).await.unwrap(),
            functions: Arc::new(Functions::default()),
            config,
            shutdown,
            _directory: directory,
        }
    }

    fn start(&self) {
        self.shutdown.spawn("worker", self.worker().run());
    }

    fn worker(&self) -> Worker {
        let functions: Arc<dyn JobHandler> = self.functions.clone();
        let parts = Parts {
            client: self.client.clone(),
            handler: functions,
            config: &self.config,
            metrics: JobMetrics::default(),
            shutdown: self.shutdown.clone(),
        };
        Worker::new(parts).unwrap()
    }

    async fn enqueue(&self, function: &str, args: Vec<Value>) -> JobId {
        let id = JobId::random();
        let call = NewCall {
            id: id.clone(),
            function: function.to_owned(),
            args,
            kwargs: Vec::new(),
            due: Due::Now,
            expires: None,
        };
        self.client.enqueue(call).await.unwrap();
        id
    }

    async fn end(&self, id: &JobId) -> View {
        let view = self.client.wait(id, PATIENCE).await.unwrap().unwrap();
        assert!(view.state.is_final(), "{view:?}");
        view
    }

    /// The end of a job of that function.
    async fn run(&self, function: &str) -> View {
        self.start();
        let id = self.enqueue(function, vec![Value::Int(21)]).await;
        self.end(&id).await
    }

    async fn stop(&self) {
        self.shutdown.stop();
        assert!(self.shutdown.drain(PATIENCE).await);
    }

    fn n_runs(&self) -> u32 {
        self.functions.runs.load(Ordering::Relaxed)
    }
}

fn code(view: &View) -> &str {
    view.error
        .as_ref()
        .unwrap()
        .code
        .as_deref()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_job_runs_once_and_its_result_can_be_read() {
    let setting = Setting::new(|_| {}).await;
    let view = setting.run("double").await;
    assert_eq!(view.state, JobStatus::Complete);
    assert_eq!((view.success, view.attempts), (Some(true), 1));
    assert_eq!(view.result, Some(serde_json::json!(42)));
    assert_eq!(setting.n_runs(), 1);
    assert_eq!(setting.functions.endings.load(Ordering::Relaxed), 1);
    setting.stop().await;
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_until_it_has() {
    let setting = Setting::new(|_| {}).await;
    let view = setting.run("flaky").await;
    assert_eq!((view.success, view.attempts), (Some(true), 3));
    assert_eq!(setting.functions.endings.load(Ordering::Relaxed), 1);
    setting.stop().await;
}

#[tokio::test]
async fn after_the_last_try_the_job_is_dead_with_its_reason_and_can_be_tried_again() {
    let setting = Setting::new(|_| {}).await;
    let view = setting.run("away").await;
    assert_eq!((view.state, setting.n_runs()), (JobStatus::Dead, 4));
    assert_eq!(code(&view), "store_away");
    let dead = view.dead.as_ref().unwrap();
    assert_eq!(dead.reason, "store_away: as the test wants it");
    setting.client.retry(&view.id).await.unwrap();
    let view = setting.end(&view.id).await;
    assert_eq!((view.attempts, setting.n_runs()), (4, 8));
    setting.stop().await;
}

#[tokio::test]
async fn what_the_caller_did_wrong_is_not_tried_again() {
    let setting = Setting::new(|_| {}).await;
    let view = setting.run("wrong").await;
    assert_eq!((view.state, setting.n_runs()), (JobStatus::Complete, 1));
    assert_eq!((view.success, code(&view)), (Some(false), "not_a_number"));
    setting.stop().await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_has_failed_and_its_place_is_free() {
    let adjust = |config: &mut Config| {
        config.worker.timeout = Duration::from_millis(20);
        config.worker.concurrency = 1.try_into().unwrap();
    };
    let setting = Setting::new(adjust).await;
    let view = setting.run("hang").await;
    assert_eq!(view.state, JobStatus::Dead);
    assert_eq!(view.error.unwrap().message, "TimeoutError");
    let id = setting.enqueue("double", vec![Value::Int(1)]).await;
    assert_eq!(setting.end(&id).await.success, Some(true));
    setting.stop().await;
}

#[tokio::test]
async fn a_job_that_is_aborted_ends_where_it_stands() {
    let setting = Setting::new(|_| {}).await;
    setting.start();
    let id = setting.enqueue("hang", Vec::new()).await;
    setting.functions.begun.notified().await;
    assert_eq!(setting.client.abort(&id).await.unwrap(), Aborted::Requested);
    let view = setting.end(&id).await;
    assert_eq!(
        (view.state, view.success),
        (JobStatus::Complete, Some(false))
    );
    assert_eq!(view.error.unwrap().message, "CancelledError");
    assert_eq!(setting.client.abort(&id).await.unwrap(), Aborted::TooLate);
    setting.stop().await;
}

#[tokio::test]
async fn a_job_that_is_aborted_before_it_begins_never_runs() {
    let setting = Setting::new(|_| {}).await;
    let id = setting.enqueue("double", vec![Value::Int(1)]).await;
    assert_eq!(setting.client.abort(&id).await.unwrap(), Aborted::Requested);
    setting.start();
    assert_eq!(setting.end(&id).await.success, Some(false));
    assert_eq!(setting.n_runs(), 0);
    setting.stop().await;
}

#[tokio::test]
async fn a_job_that_panics_fails_alone() {
    let setting = Setting::new(|_| {}).await;
    let view = setting.run("panic").await;
    assert_eq!((view.state, code(&view)), (JobStatus::Dead, "job_panicked"));
    let id = setting.enqueue("double", vec![Value::Int(1)]).await;
    assert_eq!(setting.end(&id).await.success, Some(true));
    setting.stop().await;
}

#[tokio::test]
async fn an_unknown_function_is_answered_in_arqs_words() {
    let setting = Setting::new(|_| {}).await;
    let view = setting.run("nothing").await;
    assert_eq!(view.error.unwrap().message, "function 'nothing' not found");
    setting.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_job_are_answered_and_moved_aside() {
    let setting = Setting::new(|_| {}).await;
    setting.start();
    let job = NewJob {
        id: JobId::random(),
        body: Bytes::from_static(b"\x80\x04cos\nsystem\n."),
        due: Due::Now,
        expires: None,
    };
    let queue = setting.client.queue();
    queue.enqueue(std::slice::from_ref(&job)).await.unwrap();
    let view = setting.end(&job.id).await;
    assert_eq!(view.state, JobStatus::Dead);
    assert_eq!(view.error.unwrap().message, "unable to deserialize job");
    setting.stop().await;
}

#[tokio::test]
async fn a_result_over_the_limit_fails_its_job() {
    let setting = Setting::new(|_| {}).await;
    let view = setting.run("large").await;
    assert_eq!(code(&view), "job_result_too_large");
    assert!(
        view.error
            .unwrap()
            .message
            .contains("more than the limit of 65536")
    );
    setting.stop().await;
}

#[tokio::test]
async fn a_worker_that_stops_lets_running_jobs_end() {
    let setting = Setting::new(|_| {}).await;
    setting.start();
    let id = setting.enqueue("hang", Vec::new()).await;
    setting.functions.begun.notified().await;
    setting.shutdown.stop();
    setting.functions.go_on.notify_one();
    assert!(setting.shutdown.drain(PATIENCE).await);
    let view = setting.client.get(&id).await.unwrap().unwrap();
    assert_eq!(view.success, Some(true));
}

#[tokio::test]
async fn what_has_not_ended_in_time_goes_back_at_once_and_its_attempt_does_not_count() {
    let adjust = |config: &mut Config| config.worker.drain_timeout = Duration::from_millis(20);
    let setting = Setting::new(adjust).await;
    setting.start();
    let id = setting.enqueue("hang", Vec::new()).await;
    setting.functions.begun.notified().await;
    setting.stop().await;
    let view = setting.client.get(&id).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempts), (JobStatus::Queued, 0));
}

#[tokio::test]
async fn leases_are_renewed_while_a_job_runs() {
    let adjust = |config: &mut Config| config.lease = Duration::from_millis(100);
    let setting = Setting::new(adjust).await;
    setting.start();
    let id = setting.enqueue("hang", Vec::new()).await;
    setting.functions.begun.notified().await;
    // Five leases' time in which another claim would find it if it were not renewed.
    let five_leases = Duration::from_millis(500);
    let view = setting
        .client
        .wait(&id, five_leases)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((view.state, setting.n_runs()), (JobStatus::Running, 1));
    setting.functions.go_on.notify_one();
    assert_eq!(setting.end(&id).await.attempts, 1);
    setting.stop().await;
}

#[tokio::test]
async fn settings_for_a_function_that_there_is_not_are_refused() {
    let setting = Setting::new(|config| {
        config
            .functions
            .insert("duoble".to_owned(), Default::default());
    })
    .await;
    let functions: Arc<dyn JobHandler> = setting.functions.clone();
    let parts = Parts {
        client: setting.client.clone(),
        handler: functions,
        config: &setting.config,
        metrics: JobMetrics::default(),
        shutdown: setting.shutdown.clone(),
    };
    let error = Worker::new(parts).err().unwrap().to_string();
    assert!(
        error.contains("`jobs.functions.duoble`: there is no function `duoble`"),
        "{error}"
    );
}

#[tokio::test]
async fn jobs_by_the_calendar_come_once_however_many_workers_there_are() {
    let adjust = |config: &mut Config| {
        let every_second = super::CronConfig {
            function: "double".to_owned(),
            schedule: "* * * * * *".to_owned(),
            timezone: None,
            args: vec![serde_json::json!(4)],
            kwargs: serde_json::Map::new(),
        };
        config.cron.insert("often".to_owned(), every_second);
    };
    let setting = Setting::new(adjust).await;
    setting.start();
    setting.start();
    let limit = 10.try_into().unwrap();
    let done = async {
        loop {
            let (jobs, _) = setting
                .client
                .list(JobStatus::Complete, None, limit)
                .await
                .unwrap();
            if jobs.len() >= 2 {
                return jobs;
            }
            tokio::task::yield_now().await;
        }
    };
    let jobs = tokio::time::timeout(PATIENCE, done).await.unwrap();
    assert!(
        jobs.iter()
            .all(|job| job.id.as_str().starts_with("cron:often:"))
    );
    setting.stop().await;
    let (jobs, _) = setting
        .client
        .list(JobStatus::Complete, None, limit)
        .await
        .unwrap();
    assert_eq!(jobs.len(), setting.n_runs() as usize);
}
