//! The executor: runs tasks, and keeps what they give until it is fetched.
//!
//! Joins need nothing but the sources. To score, it serves the models and features of its configuration; where that fails it
//! joins only, and says so.
//! SIGTERM and SIGINT let the tasks that run come to their end; nothing new is begun.

use std::path::Path;
use std::sync::Arc;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;

use super::super::Failed;
use super::{Executor, seconds};
use crate::app::App;
use crate::config::{Config, Environment};
use crate::features::cluster::{PhysicalCodec, Stores};
use crate::predict::score::cluster::{Here, ScoreNodes};
use crate::shutdown::Shutdown;

/// How long to look for the scheduler, which may start at the same time.
const CONNECT_SECONDS: u16 = 30;
/// What jobs left behind is deleted so much later.
const LEFT_SECONDS: u64 = 24 * 3600;
const LOOK_SECONDS: u64 = 600;
const MESSAGE_BYTES: u32 = 64 * 1024 * 1024;

pub(super) async fn run(
    args: Executor,
    config: Config,
    environment: Environment,
) -> Result<(), Failed> {
    let configured = config.offline.cluster.as_ref();
    let configured = configured.map(|cluster| cluster.scheduler.clone());
    let Some(scheduler) = args.scheduler.clone().or(configured) else {
        return Err(Failed::Start(
            "no scheduler is named (give `--scheduler df://host:port`, or set `offline.cluster.scheduler`)".to_owned(),
        ));
    };
    let failed = |error: &dyn std::fmt::Display| {
        Failed::Start(format!(
            "the executor at {} for {scheduler} ends: {error}",
            args.bind
        ))
    };
    let mut temporary = None;
    let work_dir = match args.work_dir.as_deref() {
        Some(directory) => directory,
        None => {
            let made = tempfile::Builder::new()
                .prefix("terrarium-executor-")
                .tempdir();
            temporary
                .insert(made.map_err(|error| failed(&error))?)
                .path()
        }
    };
    let work_dir = ready(work_dir).map_err(|error| failed(&error))?;
    let shutdown = Shutdown::new();
    let started = Box::pin(App::execute(config, &environment, &shutdown)).await;
    let here = match &started {
        Ok(app) => Here::Predictor(app.api().predictor.clone()),
        Err(error) => {
            tracing::warn!("this executor joins and does not score: {error:#}");
            Here::Nothing(format!("{error:#}").into())
        }
    };
    let (spills, defaults) = (work_dir.clone(), ExecutorProcessConfig::default());
    let process = ExecutorProcessConfig {
        bind_host: args.bind.ip().to_string(),
        port: args.bind.port(),
        grpc_port: args.task_port,
        external_host: args.external_host.clone(),
        scheduler_host: scheduler.host().to_owned(),
        scheduler_port: scheduler.port(),
        scheduler_connect_timeout_seconds: CONNECT_SECONDS,
        vcores: args
            .vcores
            .map_or(defaults.vcores, std::num::NonZeroUsize::get),
        task_scheduling_policy: TaskSchedulingPolicy::PushStaged,
        work_dir: Some(work_dir),
        job_data_ttl_seconds: LEFT_SECONDS,
        job_data_clean_up_interval_seconds: LOOK_SECONDS,
        grpc_max_decoding_message_size: MESSAGE_BYTES,
        grpc_max_encoding_message_size: MESSAGE_BYTES,
        executor_heartbeat_interval_seconds: seconds(args.heartbeat),
        memory_pool_size: args.memory_limit.map(|limit| limit.as_bytes()),
        override_runtime_producer: Some(Arc::new(move |_| {
            RuntimeEnvBuilder::new()
                .with_temp_file_path(spills.clone())
                .with_object_store_registry(Arc::new(Stores::default()))
                .build_arc()
        })),
        override_physical_codec: Some(Arc::new(PhysicalCodec::with(ScoreNodes::of_executor(here)))),
        ..defaults
    };
    let done = start_executor_process(Arc::new(process)).await;
    if let Ok(app) = started {
        app.stop().await;
    }
    done.map_err(|error| failed(&error))
}

fn ready(work_dir: &Path) -> std::io::Result<String> {
    fs_err::create_dir_all(work_dir)?;
    Ok(fs_err::canonicalize(work_dir)?.display().to_string())
}
