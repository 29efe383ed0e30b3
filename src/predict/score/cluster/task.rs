//! What an executor does with the rows of a partition: calls, each with the features that were found for it.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::compute::concat_batches;
use arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::super::calls::{Caller, Rows, Used};
use super::super::file::{columns, tasks_at_once};
use super::super::fingerprint;
use super::super::layout::{Layout, Shown};
use super::super::summary::Counts;
use super::super::{Audited, Error};
use super::Spec;
use crate::error::{Failure, with_causes};
use crate::features::historical::Assembler;
use crate::models::Resolved;
use crate::predict::{Predictor, ServingPlan};
use crate::types::deadline::Deadline;
use crate::types::names::ModelRef;
use crate::types::request::{RequestContext, Surface};
use crate::types::urgency::Priority;

/// Who waits for a job may end it.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What scores in this process.
#[derive(Clone)]
pub(crate) enum Here {
    Predictor(Predictor),
    /// Nothing does, and why.
    Nothing(Arc<str>),
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Predictor(_) => f.write_str("Predictor"),
            Self::Nothing(reason) => write!(f, "Nothing({reason})"),
        }
    }
}

/// Tables of the calls of `rows`, which have numbers, entity columns and what was found, in order. A table has the numbers,
/// its own columns, and in its first row what became of the call.
pub(super) fn score(
    here: &Here,
    spec: &Spec,
    entities: &SchemaRef,
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
) -> PlanResult<BoxStream<'static, PlanResult<RecordBatch>>> {
    let predictor = match here {
        Here::Predictor(predictor) => predictor,
        Here::Nothing(reason) => {
            return Err(refused(format!(
                "this executor joins and does not score: {reason}"
            )));
        }
    };
    let task = Arc::new(Task::of(predictor, spec, entities, schema)?);
    let n_engines = task.caller.model.version.model.n_engines();
    let tables = calls(rows, spec.rows_per_call.max(1)).map(move |call| {
        let task = Arc::clone(&task);
        async move { task.table(call?).await }
    });
    Ok(tables.buffered(tasks_at_once(n_engines)).boxed())
}

struct Task {
    caller: Arc<Caller>,
    assembler: Assembler,
    layout: Layout,
    schema: SchemaRef,
}

impl Task {
    fn of(
        predictor: &Predictor,
        spec: &Spec,
        entities: &SchemaRef,
        schema: SchemaRef,
    ) -> PlanResult<Self> {
        let name = format!("{}:{}", spec.model, spec.version);
        let reference: ModelRef = name.parse().map_err(|error| refused(format!("{error}")))?;
        let model = predictor
            .one_version(&reference)
            .map_err(|error| failed(&error))?;
        if fingerprint::of_version(&model) != spec.fingerprint {
            return Err(refused(format!(
                "the model {name} of this executor is not the one that is asked for; \
                 have executors serve the same registry and settings of models"
            )));
        }
        let assembler = assembler(predictor, &model, entities).map_err(|error| failed(&error))?;
        if assembler.schema().metadata().get("terrarium.definitions") != spec.definitions.as_ref() {
            return Err(refused(format!(
                "the features of {name} are defined otherwise on this executor; \
                 have executors use the same feature repository"
            )));
        }
        let shown = match spec.with_features {
            true => Shown::Features,
            false => Shown::OutputsOnly,
        };
        let n_entity_columns = entities.fields().len();
        let version = &model.version;
        let notes = HashMap::new();
        let layout = Layout::of(version, assembler.schema(), n_entity_columns, shown, notes);
        let columns = columns(&model, PathBuf::from("the entity rows"), entities);
        let caller = Caller {
            predictor: predictor.clone(),
            reference,
            used: Used::Offline,
            columns: columns.map_err(|error| failed(&error))?,
            // Features were joined for the rows.
            plain: None,
            rows_per_call: spec.rows_per_call.max(1),
            turns: Semaphore::new(version.model.n_engines()),
            audited: Audited::Files,
            deadline: Deadline::after(A_YEAR),
            context: context(),
            model: Arc::new(model),
        };
        Ok(Self {
            caller: Arc::new(caller),
            assembler,
            layout: layout.map_err(|error| failed(&error))?,
            schema,
        })
    }

    /// `call` has the rows of one call, with their numbers.
    async fn table(&self, call: RecordBatch) -> PlanResult<RecordBatch> {
        let numbers = Arc::clone(call.column(0));
        let first = numbers.as_primitive::<UInt64Type>().value(0);
        let found: Vec<usize> = (1..call.num_columns()).collect();
        let found = call.project(&found)?;
        let batch = self.assembler.assemble(&found, self.caller.deadline).await;
        let batch = batch.map_err(|error| failed(&error))?;
        let answers = Arc::clone(&self.caller)
            .spawned(Rows { batch, first })
            .await;
        let answers = answers.map_err(|error| failed(&error))?;
        let table = self
            .layout
            .table(&answers)
            .map_err(|error| failed(&error))?;
        let mut columns = vec![numbers];
        columns.extend(table.columns().iter().cloned());
        columns.push(counts(&Counts::of(&answers), table.num_rows())?);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn assembler(
    predictor: &Predictor,
    model: &Resolved<ServingPlan>,
    entities: &SchemaRef,
) -> Result<Assembler, Error> {
    let plan = &model.version.plan;
    let joined = predictor.features.as_ref().zip(plan.online.as_ref());
    let joined = joined.zip(plan.selection.as_ref());
    let Some(((store, online), selection)) = joined else {
        return Err(Error::NoFeatureRepository);
    };
    Ok(store.assembler(online.wanted(selection), entities)?)
}

/// In the first row, as JSON.
fn counts(counts: &Counts, n_rows: usize) -> PlanResult<ArrayRef> {
    let text = serde_json::to_string(counts);
    let text = text.map_err(|error| DataFusionError::External(error.into()))?;
    let mut column = StringBuilder::new();
    column.append_value(text);
    for _ in 1..n_rows {
        column.append_null();
    }
    Ok(Arc::new(column.finish()))
}

fn context() -> RequestContext {
    RequestContext {
        surface: Surface::Cli,
        request_id: RequestContext::request_id_of(None),
        trace_id: None,
        principal: None,
        priority: Priority::Low,
    }
}

fn refused(problem: String) -> DataFusionError {
    DataFusionError::Execution(problem)
}

fn failed(error: &dyn Failure) -> DataFusionError {
    DataFusionError::Execution(with_causes(error))
}

/// The rows of each call, wherever batches end. Numbers ascend; those of a call are together.
fn calls(
    rows: SendableRecordBatchStream,
    rows_per_call: usize,
) -> impl futures::Stream<Item = PlanResult<RecordBatch>> + Send + 'static {
    let cutting = Cutting {
        schema: rows.schema(),
        rows,
        rows_per_call: rows_per_call as u64,
        rest: None,
    };
    stream::try_unfold(cutting, |mut cutting| async move {
        Ok(cutting.next().await?.map(|call| (call, cutting)))
    })
}

struct Cutting {
    schema: SchemaRef,
    rows: SendableRecordBatchStream,
    rows_per_call: u64,
    /// Rows of the next call, and maybe of those after it.
    rest: Option<RecordBatch>,
}

impl Cutting {
    async fn next(&mut self) -> PlanResult<Option<RecordBatch>> {
        let mut taken: Vec<RecordBatch> = Vec::new();
        let mut number = None;
        loop {
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => match self.rows.try_next().await? {
                    Some(batch) => batch,
                    None => break,
                },
            };
            if batch.num_rows() == 0 {
                continue;
            }
            let numbers = batch.column(0).as_primitive::<UInt64Type>().values();
            let this = *number.get_or_insert(numbers[0] / self.rows_per_call);
            let n_taken = numbers.partition_point(|row| row / self.rows_per_call == this);
            taken.push(batch.slice(0, n_taken));
            if n_taken < batch.num_rows() {
                self.rest = Some(batch.slice(n_taken, batch.num_rows() - n_taken));
                break;
            }
        }
        match taken.len() {
            0 => Ok(None),
            _ => Ok(Some(concat_batches(&self.schema, &taken)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::UInt64Array;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;

    #[tokio::test]
    async fn a_call_has_its_rows_wherever_batches_end_and_whatever_calls_are_elsewhere() {
        let batch = |numbers: &[u64]| {
            let numbers: ArrayRef = Arc::new(UInt64Array::from(numbers.to_vec()));
            RecordBatch::try_from_iter([("row", numbers)]).unwrap()
        };
        let batches = [&[0, 1][..], &[2, 6], &[], &[7, 8, 12], &[13]];
        let batches = batches.map(|numbers| Ok(batch(numbers)));
        let schema = batch(&[]).schema();
        let rows = RecordBatchStreamAdapter::new(schema, stream::iter(batches));
        let calls: Vec<RecordBatch> = calls(Box::pin(rows), 3).try_collect().await.unwrap();
        let numbers: Vec<Vec<u64>> = calls
            .iter()
            .map(|call| {
                call.column(0)
                    .as_primitive::<UInt64Type>()
                    .values()
                    .to_vec()
            })
            .collect();
        assert_eq!(numbers, [vec![0, 1, 2], vec![6, 7, 8], vec![12, 13]]);
    }
}
