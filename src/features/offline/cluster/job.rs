//! One job on the cluster: a plan is sent, its rows come back in their order.
//!
//! Ballista runs tasks of an executor that went away again, also those whose results are lost with it. What it does not see to
//! is an executor that goes between the end of a job and the end of its result; and once, after an executor was lost, a
//! result came without its first rows. Then the job is sent again, and the rows that came already are passed over.
//! A result that nobody wants any more cancels the job.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use ballista_core::JobId;
use ballista_core::config::BALLISTA_CLIENT_PULL;
use ballista_core::execution_plans::DistributedQueryExec;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{CancelJobParams, CleanJobDataParams};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::protobuf::LogicalPlanNode;
use futures::TryStreamExt;
use uuid::Uuid;

use super::super::Error;
use super::super::pump::Sender;
use super::settings::Config;

/// How often a job is sent in all, when its result is lost.
const ATTEMPTS: usize = 3;
/// For a scheduler that is told how a job ended, or tells its name.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked for a name.
const LOOK: Duration = Duration::from_millis(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the cluster is told about a session.
pub(crate) fn session_config(config: &Config) -> SessionConfig {
    SessionConfig::new_with_ballista()
        .with_target_partitions(config.partitions.get())
        // Partitions of both inputs of a join have to stay what they are.
        .with_ballista_adaptive_query_planner(false)
        .with_ballista_coalesce_enabled(false)
        // A scheduler that tells by itself how a job is tells its name with the first news, which may be its end: too late to
        // cancel it. It costs up to 50 ms of a job.
        .set_bool(BALLISTA_CLIENT_PULL, true)
        .set_bool("datafusion.optimizer.repartition_file_scans", false)
}

/// A plan whose rows have their numbers, from 0 on, as the first column.
pub(crate) struct Job<'a> {
    pub(crate) config: &'a Config,
    pub(crate) plan: LogicalPlan,
    /// Of the result.
    pub(crate) n_rows: u64,
    pub(crate) codec: Arc<dyn LogicalExtensionCodec>,
}

/// How an attempt ended.
enum Attempt {
    Done,
    Unwanted,
    /// The job was taken, and then nothing more was heard of it or of its result, or that is not whole.
    Lost(DataFusionError),
    Failed(DataFusionError),
}

impl Job<'_> {
    /// Runs and sends the rows without their numbers, until all are sent or nobody listens.
    pub(crate) async fn run(&self, sender: &Sender) -> Result<(), Error> {
        let mut n_sent = 0;
        let mut n_attempts = 0;
        loop {
            n_attempts += 1;
            match self.attempt(sender, &mut n_sent).await {
                Attempt::Done | Attempt::Unwanted => return Ok(()),
                Attempt::Lost(error) if n_attempts < ATTEMPTS => {
                    tracing::warn!("the result of a job is lost and made again: {error}");
                }
                Attempt::Lost(error) | Attempt::Failed(error) => {
                    return Err(self.failed(error.to_string()));
                }
            }
        }
    }

    async fn attempt(&self, sender: &Sender, n_sent: &mut u64) -> Attempt {
        let session_config = session_config(self.config);
        let session = Uuid::now_v7().to_string();
        let query = DistributedQueryExec::<LogicalPlanNode>::with_extension(
            self.config.scheduler.url(),
            session_config.ballista_config(),
            self.plan.clone(),
            Arc::clone(&self.codec),
            session,
        );
        let state = SessionStateBuilder::new()
            .with_config(session_config)
            .build();
        let context = Arc::new(TaskContext::from(&state));
        if sender.is_closed() {
            return Attempt::Unwanted;
        }
        let mut received = pin!(self.receive(&query, context, sender, n_sent));
        let attempt = tokio::select! {
            biased;
            done = &mut received => done,
            () = sender.closed() => {
                until_named(&query, received).await;
                Attempt::Unwanted
            }
        };
        if let Some(job) = query.job_id() {
            let given_up = tokio::time::timeout(PATIENCE, self.give_up(&job, &attempt)).await;
            let given_up = given_up.unwrap_or_else(|late| Err(late.into()));
            if let Err(error) = given_up {
                tracing::warn!("job {job} is left to the cluster: {error}");
            }
        }
        attempt
    }

    /// Ends what still runs, and has executors throw the results away.
    async fn give_up(&self, job: &JobId, attempt: &Attempt) -> Result<(), BoxError> {
        let job_id = job.to_string();
        let mut scheduler = SchedulerGrpcClient::connect(self.config.scheduler.url()).await?;
        match attempt {
            Attempt::Unwanted => {
                scheduler.cancel_job(CancelJobParams { job_id }).await?;
            }
            Attempt::Done | Attempt::Lost(_) | Attempt::Failed(_) => {
                let all = CleanJobDataParams {
                    job_id,
                    remove_stage_ids: Vec::new(),
                };
                scheduler.clean_job_data(all).await?;
            }
        }
        Ok(())
    }

    async fn receive(
        &self,
        query: &DistributedQueryExec<LogicalPlanNode>,
        context: Arc<TaskContext>,
        sender: &Sender,
        n_sent: &mut u64,
    ) -> Attempt {
        let mut batches = match query.execute(0, context) {
            Ok(batches) => batches,
            Err(error) => return Attempt::Failed(error),
        };
        let mut n_seen = 0;
        loop {
            let batch = match batches.try_next().await {
                Ok(Some(batch)) => batch,
                Ok(None) if n_seen == self.n_rows => return Attempt::Done,
                Ok(None) => return Attempt::Lost(not_whole(n_seen)),
                Err(error) => return of_cluster(query, error),
            };
            let first = n_seen;
            n_seen += batch.num_rows() as u64;
            if let Err(error) = check_numbers(&batch, first) {
                return Attempt::Lost(error);
            }
            let n_known = usize::try_from(n_sent.saturating_sub(first)).unwrap_or(usize::MAX);
            if n_known >= batch.num_rows() {
                continue;
            }
            let rows = batch.slice(n_known, batch.num_rows() - n_known);
            let columns: Vec<usize> = (1..rows.num_columns()).collect();
            let rows = match rows.project(&columns) {
                Ok(rows) => rows,
                Err(error) => return Attempt::Failed(error.into()),
            };
            *n_sent = n_seen;
            if sender.send(rows).await.is_err() {
                return Attempt::Unwanted;
            }
        }
    }

    fn failed(&self, problem: String) -> Error {
        Error::Cluster {
            scheduler: self.config.scheduler.to_string(),
            problem,
        }
    }
}

/// Goes on until the scheduler has told the job's name, without which it could not be cancelled; where it tells none, nothing came of it.
async fn until_named(
    query: &DistributedQueryExec<LogicalPlanNode>,
    mut received: Pin<&mut impl Future<Output = Attempt>>,
) {
    let named = async {
        while query.job_id().is_none() {
            tokio::select! {
                _ = &mut received => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    };
    // Late or not: what is known by then counts.
    let _ = tokio::time::timeout(PATIENCE, named).await;
}

/// Nobody would notice a row that is missing or there twice, but for its number.
fn check_numbers(batch: &RecordBatch, first: u64) -> Result<(), DataFusionError> {
    let numbers = batch.column(0).as_primitive_opt::<UInt64Type>();
    let are_right = numbers.is_some_and(|numbers| {
        numbers.null_count() == 0
            && numbers
                .values()
                .iter()
                .copied()
                .eq(first..first + numbers.len() as u64)
    });
    match are_right {
        true => Ok(()),
        false => Err(not_whole(first)),
    }
}

fn not_whole(n_rows: u64) -> DataFusionError {
    DataFusionError::Internal(format!(
        "the result has not row {n_rows} and those after it, in their order"
    ))
}

/// What an error on the way of a result means.
fn of_cluster(query: &DistributedQueryExec<LogicalPlanNode>, error: DataFusionError) -> Attempt {
    // The scheduler says so of a job whose tasks failed; it has tried them again itself.
    let has_failed = matches!(&error, DataFusionError::Execution(text) if text.starts_with("Job "));
    match query.job_id() {
        Some(_) if !has_failed => Attempt::Lost(error),
        _ => Attempt::Failed(error),
    }
}
