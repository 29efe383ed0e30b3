//! The scheduler: plans what clients send, and gives the tasks to executors. It reads no source and runs no task.

use std::sync::Arc;

use ballista_core::utils::default_config_producer;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;

use super::super::{Failed, serve};
use super::cores::Cores;
use super::{Scheduler, seconds};
use crate::features::cluster::{LogicalCodec, PhysicalCodec, session};
use crate::predict::score::cluster::{ScoreNodes, ScorePlanner};
use crate::shutdown::Shutdown;

/// Of one plan: the files of a source are part of it.
const MESSAGE_BYTES: u32 = 64 * 1024 * 1024;
/// How often it looks who has been silent.
const LOOKS_PER_TIMEOUT: u64 = 4;

pub(super) async fn run(args: Scheduler) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| {
        Failed::Start(format!(
            "the scheduler at {} does not start: {error}",
            args.bind
        ))
    };
    let shutdown = Shutdown::new();
    // There is nothing to wait for that a second signal would cut short.
    drop(serve::stop_on_signals(&shutdown)?);
    let listener = TcpListener::bind(args.bind).await;
    let listener = listener.map_err(|error| failed(&error))?;
    let bound = listener.local_addr().map_err(|error| failed(&error))?;
    let timeout = seconds(args.executor_timeout);
    let config = SchedulerConfig {
        bind_host: bound.ip().to_string(),
        bind_port: bound.port(),
        external_host: args
            .external_host
            .clone()
            .unwrap_or_else(|| bound.ip().to_string()),
        executor_timeout_seconds: timeout,
        expire_dead_executor_interval_seconds: (timeout / LOOKS_PER_TIMEOUT).max(1),
        no_executors_grace_period_seconds: timeout,
        finished_job_data_clean_up_interval_seconds: seconds(args.keep_results),
        grpc_server_max_decoding_message_size: MESSAGE_BYTES,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES,
        grpc_client_max_message_size: MESSAGE_BYTES,
        override_config_producer: Some(Arc::new(default_config_producer)),
        override_session_builder: Some(Arc::new(|config| {
            session(config, &[Arc::new(ScorePlanner)])
        })),
        override_logical_codec: Some(Arc::new(LogicalCodec::with(ScoreNodes::default()))),
        override_physical_codec: Some(Arc::new(PhysicalCodec::with(ScoreNodes::default()))),
        ..SchedulerConfig::default()
    };
    let jobs = BallistaCluster::new_from_config(&config).await;
    let jobs = jobs.map_err(|error| failed(&error))?.job_state();
    let cluster = BallistaCluster::new(Arc::new(Cores::default()), jobs);
    let scheduler =
        create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config));
    let scheduler = scheduler.await.map_err(|error| failed(&error))?;
    tracing::info!("scheduler at df://{bound}");
    tokio::select! {
        done = start_grpc_service_with_listener(listener, scheduler) => {
            done.map_err(|error| failed(&error))
        }
        // Jobs end with it: their clients are told by the connection.
        () = shutdown.stopped() => Ok(()),
    }
}
