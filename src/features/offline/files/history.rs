//! Reading files for a point-in-time join: the scan decodes on one thread while the join looks rows up on another.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::physical_plan::common::spawn_buffered;
use futures::StreamExt;
use tokio::runtime::Runtime;

use super::super::Error;
use super::super::asof::join::{self, Stop};
use super::super::canonical::NullKeys;
use super::super::history::PointInTime;
use super::super::pull::{Meter, PullLatest};
use super::super::pump::Sender;
use super::places::Place;
use super::scan::{self, Parts};

/// Threads that read and decode.
const THREADS: usize = 1;
/// Decoded batches that wait for the join at most.
const WAITING: usize = 4;
/// Bytes of a batch, about; very wide rows come in smaller batches.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Joins and sends, until all is sent or nobody listens. Blocks.
pub(super) fn run(
    join: &PointInTime,
    place: Place,
    meter: Arc<Meter>,
    sender: &Sender,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("offline-files")
        .enable_all()
        .build()
        .map_err(|error| join.view.unreadable(&place.text, error))?;
    let mut files = Files {
        runtime,
        place,
        meter: meter.clone(),
    };
    let done = join::run(join, &mut files, &meter, sender);
    // What is left is dropped work of a reader that went away.
    files.runtime.shutdown_background();
    done
}

struct Files {
    runtime: Runtime,
    place: Place,
    meter: Arc<Meter>,
}

impl join::Source for Files {
    fn scan(
        &mut self,
        pull: &PullLatest,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), Stop>,
    ) -> Result<SchemaRef, Stop> {
        self.runtime
            .block_on(scan_files(pull, &self.place, &self.meter, each))
    }
}

async fn scan_files(
    pull: &PullLatest,
    place: &Place,
    meter: &Meter,
    each: &mut dyn FnMut(RecordBatch) -> Result<(), Stop>,
) -> Result<SchemaRef, Stop> {
    let failed = |error: DataFusionError| pull.unreadable(&place.text, error);
    let config = SessionConfig::new().with_target_partitions(1);
    let mut state = SessionStateBuilder::new().with_config(config).build();
    let scan = scan::open(pull, place, &state, meter, BATCH_BYTES, Parts::One).await?;
    *state.config_mut() = state.config().clone().with_batch_size(scan.batch_rows);
    let canonical = scan.canonical.with_null_keys(NullKeys::PassedOver);
    let context = Arc::new(TaskContext::from(&state));
    let batches = scan.plan.execute(0, context).map_err(failed)?;
    // A task of its own, so that the next batches are decoded while this one is looked up.
    let mut batches = spawn_buffered(batches, WAITING);
    while let Some(batch) = batches.next().await {
        let batch = canonical.batch(batch.map_err(failed)?.columns())?;
        meter.add_read(batch.num_rows());
        if batch.num_rows() > 0 {
            each(batch)?;
        }
    }
    Ok(canonical.schema)
}
