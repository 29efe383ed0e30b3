//! The store on a cluster of one scheduler and one executor in this process: the contract, and what is the cluster's own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use ballista_core::serde::BallistaCodec;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::utils::default_config_producer;
use ballista_executor::new_standalone_executor_from_builder;
use ballista_scheduler::standalone::new_standalone_scheduler_with_builder;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::TryStreamExt;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::contract::{self, Backend, SourceRow, row, source_rows};
use super::super::contract_history;
use super::*;
use crate::features::definitions::SourceKind;

/// A cluster, and a directory with the source in pieces.
struct Cluster {
    directory: TempDir,
    staging: TempDir,
    store: ClusterStore,
    max_bytes: usize,
}

impl Cluster {
    /// Runs in the runtime that this is called in.
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let staging = tempfile::tempdir().unwrap();
        let config = Config {
            scheduler: format!("df://{}", start().await).parse().unwrap(),
            staging: staging.path().display().to_string(),
            partitions: 3.try_into().unwrap(),
        };
        let store = connect(&config, directory.path());
        Self {
            directory,
            staging,
            store,
            max_bytes: 16 << 20,
        }
    }

    /// Several files, so that rows that are equally new come from several tasks.
    fn write(&self, rows: &[SourceRow]) {
        let source = self.directory.path().join("source");
        let _ = fs_err::remove_dir_all(&source);
        fs_err::create_dir(&source).unwrap();
        let n_rows = rows.len().div_ceil(3).max(1);
        for (i, rows) in rows.chunks(n_rows).enumerate() {
            write(&source.join(format!("{i}.parquet")), rows);
        }
        if rows.is_empty() {
            write(&source.join("0.parquet"), rows);
        }
    }

    fn staged(&self) -> usize {
        fs_err::read_dir(self.staging.path()).unwrap().count()
    }
}

async fn start() -> SocketAddr {
    let codec = || {
        BallistaCodec::new(
            Arc::new(LogicalCodec::default()),
            Arc::new(PhysicalCodec::default()),
        )
    };
    let address = new_standalone_scheduler_with_builder(
        Arc::new(|config| session(config, &[])),
        Arc::new(default_config_producer),
        codec(),
    );
    let address = address.await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let scheduler = SchedulerGrpcClient::connect(format!("http://{address}"));
    let runtime = Arc::new(RuntimeEnv::default());
    let executor = new_standalone_executor_from_builder(
        scheduler.await.unwrap(),
        2,
        Arc::new(default_config_producer),
        Arc::new(move |_| Ok(Arc::clone(&runtime))),
        codec(),
        Default::default(),
    );
    executor.await.unwrap();
    address
}

fn write(path: &Path, rows: &[SourceRow]) {
    let acct: Int64Array = rows.iter().map(|row| row.acct).collect();
    let chan: StringArray = rows.iter().map(|row| row.chan).collect();
    let event: TimestampMicrosecondArray = rows.iter().map(|row| row.event).collect();
    let created: TimestampMicrosecondArray = rows.iter().map(|row| row.created).collect();
    let v: Int64Array = rows.iter().map(|row| row.v).collect();
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("acct", Arc::new(acct) as ArrayRef, true),
        ("chan", Arc::new(chan), true),
        ("event_ts", Arc::new(event), true),
        ("created_ts", Arc::new(created), true),
        ("v", Arc::new(v), true),
    ]);
    let batch = batch.unwrap();
    let file = fs_err::File::create(path).unwrap().into_file();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[async_trait]
impl Backend for Cluster {
    async fn pull(&self, rows: &[SourceRow], pull: PullLatest) -> Result<Latest, Error> {
        self.write(rows);
        self.store.pull_latest(pull).await
    }

    async fn join(&self, rows: &[SourceRow], join: PointInTime) -> Result<Joined, Error> {
        self.write(rows);
        let max_bytes = self.max_bytes;
        self.store
            .point_in_time(PointInTime { max_bytes, ..join })
            .await
    }

    fn kind(&self) -> SourceKind {
        SourceKind::File {
            uri: "source".to_owned(),
            s3_endpoint: None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_keeps_the_contract() {
    let cluster = Cluster::start().await;
    contract::run(&cluster).await;
    contract_history::run(&cluster).await;
    assert_eq!(cluster.staged(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_keeps_the_contract_in_many_small_chunks() {
    let max_bytes = 64 * 1024;
    let cluster = Cluster {
        max_bytes,
        ..Cluster::start().await
    };
    contract_history::run(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_when_the_result_is_dropped_or_the_cluster_is_away() {
    let mut cluster = Cluster::start().await;
    let rows: Vec<SourceRow> = (0..1_000).map(|i| row(i % 7, i, None, i)).collect();
    let entities: Vec<_> = (0..50_000)
        .map(|i| contract_history::entity(i % 9, i))
        .collect();
    let join = || {
        let entities = contract_history::entities(&entities);
        contract_history::join(cluster.kind(), contract_history::BY_ACCT, entities)
    };
    let mut joined = cluster.join(&rows, join()).await.unwrap();
    let first = joined.batches.try_next().await.unwrap().unwrap();
    assert!(first.num_rows() > 0);
    drop(joined);
    while cluster.staged() > 0 {
        tokio::task::yield_now().await;
    }
    let join = join();
    cluster.store.config.scheduler = "df://127.0.0.1:1".parse().unwrap();
    let joined = cluster.join(&rows, join).await.unwrap();
    let error = joined.batches.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the cluster at df://127.0.0.1:1 did not do it"),
        "{error}"
    );
    assert_eq!(cluster.staged(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_cluster_joins_as_a_naive_loop(
        rows in source_rows(),
        entities in contract_history::entity_rows(),
        rules in contract_history::rules(),
    ) {
        // Nothing of one runtime can be used in another: all cases share both.
        static CLUSTER: std::sync::LazyLock<(Runtime, Cluster)> = std::sync::LazyLock::new(|| {
            let runtime = Runtime::new().unwrap();
            let cluster = runtime.block_on(Cluster::start());
            (runtime, cluster)
        });
        let (runtime, cluster) = &*CLUSTER;
        runtime.block_on(contract_history::agrees_with_the_naive_loop(cluster, rules, &rows, &entities));
    }
}

#[test]
fn a_plan_of_another_version_is_refused() {
    use prost::Message;

    let schema = arrow::datatypes::Schema::empty();
    let mut bytes = Vec::new();
    wire::Envelope::of("terrarium.join", &node::Spec::InOrder, &schema)
        .unwrap()
        .write(&mut bytes);
    let read = wire::Envelope::read("terrarium.join", &bytes)
        .unwrap()
        .unwrap();
    assert_eq!(read.spec::<node::Spec>().unwrap(), node::Spec::InOrder);
    assert!(
        wire::Envelope::read("terrarium.score", &bytes)
            .unwrap()
            .is_none()
    );
    let old = wire::Envelope::decode(bytes.as_slice())
        .unwrap()
        .of_version("0.0.9");
    let mut bytes = Vec::new();
    old.write(&mut bytes);
    let error = wire::Envelope::read("terrarium.join", &bytes)
        .unwrap_err()
        .to_string();
    assert!(error.contains("the plan is of Terrarium 0.0.9"), "{error}");
}
