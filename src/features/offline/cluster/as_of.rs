//! The as-of join on an executor: one partition of the entity rows with the same partition of a view's rows.
//!
//! Both inputs are divided by key, so that rows which can meet are in partitions of the same number; `plan` sees to that.
//! Entity rows are taken in chunks that the memory has room for, each with one reading of the view's rows; what comes in is a
//! shuffle, which can be read again. A chunk for which too much is found is done again in halves.
//! Rows come out in any order.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::TryStreamExt;
use tokio::sync::mpsc::Sender;

use super::super::asof;
use super::super::asof::join::{ROW_BYTES, SMALLEST_CHUNK};
use super::super::canonical::MICROS;
use super::wire::{AsOf, unfit};

/// Batches that wait for the reader at most.
const WAITING: usize = 2;

#[derive(Debug)]
pub(super) struct AsOfExec {
    pub(super) spec: AsOf,
    entities: Arc<dyn ExecutionPlan>,
    rows: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

/// What of the entity rows is kept, then the view's features and their event timestamp.
pub(super) fn schema(spec: &AsOf, entities: &Schema, rows: &Schema) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    for place in &spec.kept {
        let field = entities.fields().get(*place);
        fields.push(
            field
                .cloned()
                .ok_or_else(|| unfit(format!("no column {place}")))?,
        );
    }
    let n_keys = spec.keys.len();
    let n_last = 2 + usize::from(spec.has_created);
    let n_features = rows.fields().len().saturating_sub(n_keys + n_last);
    let features = rows.fields().iter().skip(n_keys).take(n_features);
    for (i, field) in features.enumerate() {
        let name = format!("found_{}_{i}", spec.number);
        fields.push(Arc::new(Field::new(name, field.data_type().clone(), true)));
    }
    let name = format!("found_{}_time", spec.number);
    fields.push(Arc::new(Field::new(name, MICROS, true)));
    Ok(Arc::new(Schema::new(fields)))
}

impl AsOfExec {
    pub(super) fn try_new(
        spec: AsOf,
        entities: Arc<dyn ExecutionPlan>,
        rows: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let schema = schema(&spec, &entities.schema(), &rows.schema())?;
        let n_partitions = entities.output_partitioning().partition_count();
        if rows.output_partitioning().partition_count() != n_partitions {
            return Err(unfit(
                "the inputs of AsOfExec are divided into unlike parts".to_owned(),
            ));
        }
        for (place, key) in spec.keys.iter().zip(rows.schema().fields()) {
            let found = entities.schema().field(*place).data_type().clone();
            if found != *key.data_type() {
                return Err(unfit(format!("a key is {found} and {}", key.data_type())));
            }
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(n_partitions),
            EmissionType::Both,
            Boundedness::Bounded,
        );
        Ok(Self {
            spec,
            entities,
            rows,
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for AsOfExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AsOfExec: keys={:?}, ttl={:?}",
            self.spec.keys, self.spec.ttl
        )
    }
}

impl ExecutionPlan for AsOfExec {
    fn name(&self) -> &str {
        "AsOfExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.entities, &self.rows]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 2]>::try_from(children) {
            Ok([entities, rows]) => Ok(Arc::new(Self::try_new(self.spec.clone(), entities, rows)?)),
            Err(_) => Err(unfit("AsOfExec has two inputs".to_owned())),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut stream = RecordBatchReceiverStream::builder(self.schema(), WAITING);
        let task = Task {
            spec: self.spec.clone(),
            rows: Arc::clone(&self.rows),
            schema: self.schema(),
            partition,
            context: Arc::clone(&context),
            sender: stream.tx(),
        };
        let entities = self.entities.execute(partition, context)?;
        stream.spawn(task.run(entities));
        Ok(stream.build())
    }
}

/// One partition on its way.
struct Task {
    spec: AsOf,
    rows: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    partition: usize,
    context: Arc<TaskContext>,
    sender: Sender<Result<RecordBatch>>,
}

/// How a chunk went.
enum Done {
    All,
    /// More was found than the memory allows.
    Full,
    /// Nobody listens.
    Unwanted,
}

impl Task {
    async fn run(self, mut entities: SendableRecordBatchStream) -> Result<()> {
        let pool = self.context.memory_pool();
        // Half of what the task has: what comes after the join sorts with the other half.
        let max_bytes = match pool.memory_limit() {
            MemoryLimit::Finite(n_bytes) => self.spec.max_bytes.min(n_bytes / 2),
            MemoryLimit::Infinite | MemoryLimit::Unknown => self.spec.max_bytes,
        };
        let reservation = MemoryConsumer::new("AsOf").register(pool);
        reservation.try_grow(max_bytes)?;
        let mut chunk_rows = (max_bytes / (2 * ROW_BYTES)).max(1);
        let chunk_bytes = max_bytes / 2;
        while let Some(chunk) = next_chunk(&mut entities, chunk_rows, chunk_bytes).await? {
            // Parts of a chunk that are still to be done, the next one last.
            let mut parts = vec![chunk];
            while let Some(part) = parts.pop() {
                match self.part(&part, max_bytes / 2).await? {
                    Done::All => {}
                    Done::Unwanted => return Ok(()),
                    Done::Full if part.num_rows() <= SMALLEST_CHUNK => {
                        return Err(DataFusionError::ResourcesExhausted(format!(
                            "the features of {SMALLEST_CHUNK} rows take more than {max_bytes} bytes"
                        )));
                    }
                    Done::Full => {
                        let half = part.num_rows().div_ceil(2);
                        chunk_rows = chunk_rows.min(half);
                        parts.push(part.slice(half, part.num_rows() - half));
                        parts.push(part.slice(0, half));
                    }
                }
            }
        }
        Ok(())
    }

    async fn part(&self, part: &RecordBatch, max_bytes: usize) -> Result<Done> {
        let mut asked = self.spec.keys.clone();
        asked.push(self.spec.time);
        let mut found = asof::AsOf::new(self.spec.rules(), &part.project(&asked)?)?;
        let mut rows = self
            .rows
            .execute(self.partition, Arc::clone(&self.context))?;
        while let Some(batch) = rows.try_next().await? {
            if self.sender.is_closed() {
                return Ok(Done::Unwanted);
            }
            found.push(&batch)?;
            if found.n_bytes(max_bytes)? > max_bytes {
                return Ok(Done::Full);
            }
        }
        let kept = part.project(&self.spec.kept)?;
        let mut n_before = 0;
        for answers in found.finish(&rows.schema())? {
            let answers = answers?;
            let n_rows = answers.num_rows();
            let mut columns = kept.slice(n_before, n_rows).columns().to_vec();
            columns.extend(answers.columns().iter().cloned());
            n_before += n_rows;
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
            if self.sender.send(Ok(batch)).await.is_err() {
                return Ok(Done::Unwanted);
            }
        }
        Ok(Done::All)
    }
}

impl AsOf {
    fn rules(&self) -> asof::Rules {
        asof::Rules {
            n_keys: self.keys.len(),
            has_created: self.has_created,
            needs_created: self.needs_created,
            has_order: true,
            ttl: self.ttl,
        }
    }
}

/// At least so many rows or bytes, fewer at the end, none after it.
async fn next_chunk(
    batches: &mut SendableRecordBatchStream,
    n_rows: usize,
    n_bytes: usize,
) -> Result<Option<RecordBatch>> {
    let mut taken = Vec::new();
    let (mut rows_taken, mut bytes_taken) = (0, 0);
    while rows_taken < n_rows
        && bytes_taken < n_bytes
        && let Some(batch) = batches.try_next().await?
    {
        rows_taken += batch.num_rows();
        bytes_taken += batch.get_array_memory_size();
        taken.push(batch);
    }
    match rows_taken {
        0 => Ok(None),
        _ => Ok(Some(concat_batches(&batches.schema(), &taken)?)),
    }
}
