//! How many cores of the executors are free: Ballista's own count, put right before tasks are given out.
//!
//! Ballista 55 gives the cores of a task back when it hears of its end, if the task is still in the plan of its job. A stage
//! that is begun again, since an executor was lost that held what it reads, has forgotten the tasks that were at work on it:
//! their cores would count as busy for ever, and where no others are left the job would wait for ever.
//! So cores that no task of a running job holds are given back here. A task that was forgotten is being cancelled, so that an
//! executor may for a moment have more to do than it has cores.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::ExecutorHeartbeat;
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::task_manager::JobInfoCache;
use tokio::sync::Mutex;

/// By the names of executors.
type Counts = HashMap<String, u32>;

#[derive(Default)]
pub(super) struct Cores {
    executors: InMemoryClusterState,
    /// What `executors` takes for busy. Locked for as long as tasks are given out: its count and this one change together.
    busy: Mutex<Counts>,
}

#[async_trait]
impl ClusterState for Cores {
    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        let mut busy = self.busy.lock().await;
        let held = held(&active_jobs).await;
        let mut forgotten = Vec::new();
        for (executor, n_busy) in busy.iter_mut() {
            let n_held = held.get(executor).copied().unwrap_or_default();
            if *n_busy > n_held {
                let n_cores = *n_busy - n_held;
                tracing::info!("executor {executor} has {n_cores} cores of forgotten tasks back");
                forgotten.push((executor.clone(), n_cores));
                *n_busy = n_held;
            }
        }
        self.executors.unbind_tasks(forgotten).await?;
        let bound = self
            .executors
            .bind_schedulable_tasks(distribution, active_jobs, executors)
            .await?;
        for (executor, task) in &bound {
            *busy.entry(executor.clone()).or_default() += task.vcores_consumed;
        }
        Ok(bound)
    }

    async fn unbind_tasks(&self, executor_slots: Vec<ExecutorSlot>) -> Result<()> {
        let mut busy = self.busy.lock().await;
        let mut freed = Vec::new();
        for (executor, n_cores) in executor_slots {
            // No more than are busy: Ballista may tell of a task that was refused, and then of the end of its job.
            let n_busy = busy.entry(executor.clone()).or_default();
            let n_cores = n_cores.min(*n_busy);
            *n_busy -= n_cores;
            freed.push((executor, n_cores));
        }
        self.executors.unbind_tasks(freed).await
    }

    async fn register_executor(
        &self,
        metadata: ExecutorMetadata,
        spec: ExecutorData,
    ) -> Result<()> {
        self.executors.register_executor(metadata, spec).await
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        let mut busy = self.busy.lock().await;
        busy.remove(executor_id);
        self.executors.remove_executor(executor_id).await
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.executors.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.executors.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.executors.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.executors.save_executor_heartbeat(heartbeat).await
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.executors.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.executors.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.executors.cluster_state_events().await
    }
}

/// Cores of tasks that jobs know to be at work, or on their way.
async fn held(jobs: &HashMap<JobId, JobInfoCache>) -> Counts {
    let mut held = Counts::new();
    for job in jobs.values() {
        let graph = job.execution_graph.read().await;
        for task in graph.running_tasks() {
            let n_cores = graph.task_vcores(task.stage_id, task.task_id);
            *held.entry(task.executor_id).or_default() += n_cores.unwrap_or_default();
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use ballista_core::extension::SessionConfigExt;
    use ballista_core::serde::scheduler::{
        ExecutorOperatingSystemSpecification, ExecutorSpecification,
    };
    use ballista_scheduler::planner::DefaultDistributedPlanner;
    use ballista_scheduler::state::execution_graph::{ExecutionGraph, StaticExecutionGraph};
    use datafusion::execution::context::SessionConfig;
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
    use datafusion::physical_plan::repartition::RepartitionExec;
    use datafusion::physical_plan::{ExecutionPlan, Partitioning};

    use super::*;

    /// The first stage of the job of `jobs`.
    const STAGE: usize = 1;

    /// A running job that reads partitions and shuffles.
    fn jobs(n_partitions: usize) -> Arc<HashMap<JobId, JobInfoCache>> {
        let schema = Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, true)]));
        let by_key = Partitioning::Hash(vec![col("key", &schema).unwrap()], 2);
        let rows = Arc::new(PlaceholderRowExec::new(schema).with_partitions(n_partitions));
        let plan: Arc<dyn ExecutionPlan> =
            Arc::new(RepartitionExec::try_new(rows, by_key).unwrap());
        let job = JobId::from("job".to_owned());
        let mut graph = StaticExecutionGraph::new(
            "scheduler",
            &job,
            "",
            "session",
            plan,
            0,
            Arc::new(SessionConfig::new_with_ballista()),
            &mut DefaultDistributedPlanner::new(),
            None,
        )
        .unwrap();
        assert!(graph.revive());
        let jobs = [(job, JobInfoCache::new(Box::new(graph)))];
        Arc::new(jobs.into())
    }

    /// Of one core.
    async fn join(cores: &Cores, name: &str) {
        let metadata = ExecutorMetadata {
            id: name.to_owned(),
            host: String::new(),
            port: 0,
            grpc_port: 0,
            specification: ExecutorSpecification::default().with_vcores(1),
            os_info: ExecutorOperatingSystemSpecification::default(),
        };
        let spec = ExecutorData {
            executor_id: name.to_owned(),
            total_vcores: 1,
            available_vcores: 1,
        };
        cores.register_executor(metadata, spec).await.unwrap();
    }

    /// Who is given a task, and how many partitions each has.
    async fn given(
        cores: &Cores,
        jobs: &Arc<HashMap<JobId, JobInfoCache>>,
    ) -> Vec<(String, usize)> {
        let bound = cores
            .bind_schedulable_tasks(TaskDistributionPolicy::Bias, Arc::clone(jobs), None)
            .await
            .unwrap();
        let bound = bound.into_iter();
        let tasks = bound.map(|(executor, task)| (executor, task.global_input_partition_ids.len()));
        let mut tasks: Vec<(String, usize)> = tasks.collect();
        tasks.sort_unstable();
        tasks
    }

    fn one(executor: &str) -> (String, usize) {
        (executor.to_owned(), 1)
    }

    #[tokio::test]
    async fn cores_of_a_stage_that_is_begun_again_are_free_for_it() {
        let (cores, jobs) = (Cores::default(), jobs(2));
        join(&cores, "a").await;
        join(&cores, "b").await;
        assert_eq!(given(&cores, &jobs).await, [one("a"), one("b")]);
        assert!(given(&cores, &jobs).await.is_empty());

        let job = jobs.values().next().unwrap();
        {
            let mut graph = job.execution_graph.write().await;
            let running = graph.rollback_running_stage(STAGE, HashSet::new()).unwrap();
            assert_eq!(running.len(), 2);
            graph.resolve_stage(STAGE).unwrap();
            assert!(graph.revive());
        }
        cores.remove_executor("b").await.unwrap();
        assert_eq!(given(&cores, &jobs).await, [one("a")]);
    }

    #[tokio::test]
    async fn a_core_that_is_given_back_twice_is_one_core() {
        let (cores, jobs) = (Cores::default(), jobs(3));
        join(&cores, "a").await;
        assert_eq!(given(&cores, &jobs).await, [one("a")]);
        let job = jobs.values().next().unwrap();
        let running = job.execution_graph.read().await.running_tasks();
        assert_eq!(running.len(), 1);
        for _ in 0..2 {
            let slots = vec![("a".to_owned(), 1)];
            cores.unbind_tasks(slots).await.unwrap();
        }
        assert_eq!(given(&cores, &jobs).await, [one("a")]);
        assert!(given(&cores, &jobs).await.is_empty());
    }
}
