//! The sort: rows of the range by key, newest first, in source order where they are equally new.

use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{
    SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext,
};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::StreamExt;

use super::super::Error;
use super::super::canonical::{Canonical, SOURCE_ORDER};
use super::super::pull::{Meter, PullLatest};
use super::super::pump::Sender;
use super::first::FirstOfKey;
use super::places::Place;
use super::scan::{self, Parts};

/// Threads: one reads and decodes, one sorts.
const THREADS: usize = 2;

/// So many batches must find room in the memory for sorting, for rows of any width.
const SORTED_BATCHES: usize = 48;

/// Sorts and sends, in a runtime of its own, until all is sent or nobody listens.
pub(super) fn run(
    pull: PullLatest,
    place: Place,
    sort_bytes: usize,
    meter: Arc<Meter>,
    sender: Sender,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("offline-files")
        .enable_all()
        .build()
        .map_err(|error| pull.unreadable(&place.text, error))?;
    let done = runtime.block_on(pull_latest(&pull, &place, sort_bytes, meter, sender));
    // What is left is dropped work of a reader that went away.
    runtime.shutdown_background();
    done
}

async fn pull_latest(
    pull: &PullLatest,
    place: &Place,
    sort_bytes: usize,
    meter: Arc<Meter>,
    sender: Sender,
) -> Result<(), Error> {
    let blamed = Blame::default();
    let failed = |error: DataFusionError| match blamed.take() {
        Some(cause) => cause,
        None => pull.unreadable(&place.text, error),
    };
    let mut state = session(sort_bytes).map_err(failed)?;
    let batch_bytes = sort_bytes / SORTED_BATCHES;
    let scan = scan::open(pull, place, &state, &meter, batch_bytes, Parts::One).await?;
    *state.config_mut() = state.config().clone().with_batch_size(scan.batch_rows);
    let rows = scan.canonical.schema.clone();
    let source = Arc::new(Numbered {
        schema: numbered(&rows),
        scan: scan.plan,
        canonical: Arc::new(scan.canonical),
        meter: meter.clone(),
        blamed: blamed.clone(),
        sender: sender.clone(),
    });
    let schema = source.schema.clone();
    let input = StreamingTableExec::try_new(schema.clone(), vec![source], None, [], false, None);
    let input = Arc::new(input.map_err(failed)?);
    let Some(order) = order(pull, &schema) else {
        return Err(pull.unsupported("nothing to sort by".to_owned()));
    };
    let context = Arc::new(TaskContext::from(&state));
    // Without keys there is one entity: the newest row of all.
    let limit = pull.keys.is_empty().then_some(1);
    let sort = SortExec::new(order, input).with_fetch(limit);
    let mut sorted = sort.execute(0, context).map_err(failed)?;

    let wanted: Vec<usize> = (0..rows.fields().len()).collect();
    let mut firsts = FirstOfKey::new(rows, pull.keys.len(), scan.batch_rows);
    while let Some(batch) = sorted.next().await {
        let batch = batch.map_err(failed)?;
        let in_memory = |error| pull.unreadable("in memory", error);
        // The first row comes out when the last has gone in.
        meter.expect_to_pass(meter.read());
        meter.add_passed(batch.num_rows());
        firsts
            .push(batch.project(&wanted).map_err(in_memory)?)
            .map_err(in_memory)?;
        while let Some(batch) = firsts.next() {
            if sender.send(batch).await.is_err() {
                return Ok(());
            }
        }
    }
    firsts
        .finish()
        .map_err(|error| pull.unreadable("in memory", error))?;
    while let Some(batch) = firsts.next() {
        if sender.send(batch).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn session(sort_bytes: usize) -> Result<SessionState, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(sort_bytes)))
        .build_arc()?;
    let config = SessionConfig::new()
        .with_target_partitions(1)
        // Kept back for merging what was spilled.
        .with_sort_spill_reservation_bytes(sort_bytes / 8);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime);
    Ok(state.build())
}

/// The first error of ours: DataFusion would wrap it out of sight.
#[derive(Debug, Clone, Default)]
struct Blame(Arc<Mutex<Option<Error>>>);

impl Blame {
    fn put(&self, error: Error) -> DataFusionError {
        let message = error.to_string();
        if let Ok(mut first) = self.0.lock() {
            first.get_or_insert(error);
        }
        DataFusionError::Execution(message)
    }

    fn take(&self) -> Option<Error> {
        self.0.lock().ok()?.take()
    }
}

/// The rows of the range with their place in the source as the last column.
struct Numbered {
    schema: SchemaRef,
    scan: Arc<dyn ExecutionPlan>,
    canonical: Arc<Canonical>,
    meter: Arc<Meter>,
    blamed: Blame,
    sender: Sender,
}

impl fmt::Debug for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbered")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Numbered {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = self.schema.clone();
        let scanned = match self.scan.execute(0, context) {
            Ok(scanned) => scanned,
            Err(error) => {
                let failed = futures::stream::once(async { Err(error) });
                return Box::pin(RecordBatchStreamAdapter::new(schema, failed));
            }
        };
        let canonical = self.canonical.clone();
        let (meter, blamed, sender) =
            (self.meter.clone(), self.blamed.clone(), self.sender.clone());
        let mut n_before = 0;
        let rows = {
            let schema = schema.clone();
            scanned.map(move |batch| {
                if sender.is_closed() {
                    return Err(DataFusionError::Execution(
                        "nobody reads the rows".to_owned(),
                    ));
                }
                let rows = canonical
                    .batch(batch?.columns())
                    .map_err(|error| blamed.put(error))?;
                meter.add_read(rows.num_rows());
                let numbers = n_before..n_before + rows.num_rows() as u64;
                n_before = numbers.end;
                let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(numbers));
                let mut columns = rows.columns().to_vec();
                columns.push(numbers);
                Ok(RecordBatch::try_new(schema.clone(), columns)?)
            })
        };
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

fn numbered(rows: &Schema) -> SchemaRef {
    let mut fields = rows.fields().to_vec();
    fields.push(Arc::new(Field::new(SOURCE_ORDER, DataType::UInt64, false)));
    Arc::new(Schema::new(fields))
}

fn order(pull: &PullLatest, schema: &Schema) -> Option<LexOrdering> {
    let positions = pull.position();
    let by = |at: usize, descending: bool| {
        let column = Column::new(schema.field(at).name(), at);
        let options = SortOptions {
            descending,
            nulls_first: false,
        };
        PhysicalSortExpr::new(Arc::new(column), options)
    };
    let keys = (0..pull.keys.len()).map(|key| by(key, false));
    let times = [Some(positions.event_timestamp), positions.created_timestamp];
    let newest = times.into_iter().flatten().map(|time| by(time, true));
    let last = schema.fields().len() - 1;
    LexOrdering::new(keys.chain(newest).chain([by(last, false)]))
}
