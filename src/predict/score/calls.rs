//! Rows as calls: of so many rows each, answered by the run that answers requests, several after each other on a task.
//!
//! A call that fails because of one of its rows is made again without it, so that a row fails alone; any other failure ends
//! the work. A call that finds too much waiting waits and is made again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::stream::{self, BoxStream, Stream, TryStreamExt};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::cells::cells;
use super::plain::Plain;
use super::{Audited, Error};
use crate::error::{ErrorClass, Failure};
use crate::features::historical;
use crate::models::Resolved;
use crate::predict::{self, Predictor, Read, ServingPlan, served_by};
use crate::shutdown::run_here;
use crate::types::deadline::Deadline;
use crate::types::feature::{FeatureCell, FeatureRows};
use crate::types::names::ModelRef;
use crate::types::prediction::Prediction;
use crate::types::request::{
    Cells, ColumnPlace, PredictRequest, RequestColumn, RequestColumns, RequestContext,
    RequestInputs,
};
use crate::types::timestamp::Timestamp;
use crate::workers::on_own_thread;

/// So many rows of a call are taken out one by one; then what is left is halved, so that many bad rows cost no more.
const FEW: usize = 8;
/// How long to wait where too much waits already, if nothing else is said.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Rows beside each other.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) batch: RecordBatch,
    /// The place of its first row in the file.
    pub(super) first: u64,
}

/// Where the features of a file's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// Columns of the batch, joined at each row's time.
    Offline,
    /// The online store.
    Online,
    /// Columns of the entity rows stand in for all of them.
    Given,
    /// The model takes none.
    None,
}

impl Used {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
            Self::Given => "given",
            Self::None => "none",
        }
    }
}

/// What became of them.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) rows: Rows,
    /// In row order; together all rows.
    pub(super) parts: Vec<Part>,
}

/// Rows beside each other that were answered together, or one that was not.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) n_rows: usize,
    /// The row of a failure is counted within the file.
    pub(super) outcome: Result<Prediction, predict::Error>,
}

/// Answers the rows of one file.
pub(super) struct Caller {
    pub(super) predictor: Predictor,
    pub(super) model: Arc<Resolved<ServingPlan>>,
    pub(super) reference: ModelRef,
    pub(super) used: Used,
    /// The columns of the entity rows that the model has a use for: their places and names.
    pub(super) columns: Vec<(usize, String)>,
    /// How rows become tensors without being cells, where they can.
    pub(super) plain: Option<Plain>,
    /// Not 0.
    pub(super) rows_per_call: usize,
    /// One for each engine: a call of a task finds one free, unless others call this model.
    pub(super) turns: Semaphore,
    pub(super) audited: Audited,
    pub(super) deadline: Deadline,
    pub(super) context: RequestContext,
}

impl Caller {
    /// Answers on a thread, as soon as it is its turn. Ends when nobody waits for it any more.
    pub(super) async fn spawned(self: Arc<Self>, rows: Rows) -> Result<Answers, Error> {
        let shutdown = self.predictor.shutdown.clone();
        let answers = shutdown.elsewhere(async move {
            let caller = Arc::clone(&self);
            // Never closed.
            let _turn = self.turns.acquire().await;
            on_own_thread(async move { caller.answer(rows).await }).await
        });
        let answers = answers.await.and_then(|answered| answered);
        answers.map_err(Error::Panicked)?
    }

    /// Makes a call after the other.
    async fn answer(&self, rows: Rows) -> Result<Answers, Error> {
        let n_rows = rows.batch.num_rows();
        let mut parts = Vec::with_capacity(n_rows.div_ceil(self.rows_per_call));
        for start in (0..n_rows).step_by(self.rows_per_call) {
            let call = Rows {
                batch: rows
                    .batch
                    .slice(start, self.rows_per_call.min(n_rows - start)),
                first: rows.first + start as u64,
            };
            match self.call_plain(&call.batch).await {
                Some(prediction) => parts.push(Part {
                    n_rows: call.batch.num_rows(),
                    outcome: Ok(prediction),
                }),
                None => self.call_until_answered(&call, &mut parts).await?,
            }
            // Here it ends when nobody waits any more: a call that finds its engine free never waits itself.
            tokio::task::yield_now().await;
        }
        Ok(Answers { rows, parts })
    }

    /// Until each row of a call is answered, or has failed alone.
    async fn call_until_answered(&self, rows: &Rows, parts: &mut Vec<Part>) -> Result<(), Error> {
        let n_rows = rows.batch.num_rows();
        let (columns, joined) = run_here(true, || {
            let columns = self.request_columns(&rows.batch)?;
            Ok::<_, Error>((columns, self.joined(&rows.batch)?))
        })?;
        let whole = self.request(RequestInputs::Columns(columns));
        let mut waiting: Vec<Range<usize>> = std::iter::once(0..n_rows).collect();
        let mut answered = Vec::new();
        let mut n_failed = 0;
        while let Some(range) = waiting.pop() {
            let own;
            let (request, features) = if range.len() == n_rows {
                (&whole, joined.as_ref())
            } else {
                own = self.only(&whole, joined.as_ref(), &range);
                (&own.0, own.1.as_ref())
            };
            let mut outcome = self.call(request, features).await;
            let bad = outcome.as_mut().err().and_then(|error| self.bad_row(error));
            let Some(bad) = bad else {
                let prediction = outcome?;
                self.record(request, Ok(&prediction)).await?;
                let n_rows = range.len();
                let outcome = Ok(prediction);
                answered.push((range.start, Part { n_rows, outcome }));
                continue;
            };
            let at = range.start + bad.min(range.len() - 1);
            let n_before = usize::try_from(rows.first).unwrap_or(usize::MAX);
            let places: Vec<usize> = range
                .clone()
                .map(|row| n_before.saturating_add(row))
                .collect();
            let outcome = outcome.map_err(|error| error.of_rows(&places));
            if let Err(error) = &outcome {
                let (request, _) = self.only(&whole, None, &(at..at + 1));
                self.record(&request, Err(error)).await?;
            }
            answered.push((at, Part { n_rows: 1, outcome }));
            n_failed += 1;
            waiting.extend(without(&range, at, n_failed));
        }
        answered.sort_by_key(|(start, _)| *start);
        parts.extend(answered.into_iter().map(|(_, part)| part));
        Ok(())
    }

    /// All rows in one call, if they are tensors already. `None` also where it fails: the call that is made of their cells tells
    /// which row is to blame.
    async fn call_plain(&self, rows: &RecordBatch) -> Option<Prediction> {
        let plain = self.plain.as_ref()?;
        let tensors = run_here(true, || plain.tensors(rows))?;
        let request = self.request(RequestInputs::Tensors(tensors));
        let prediction = self.call(&request, None).await.ok()?;
        let mut outputs = prediction.outputs.iter();
        let is_whole = outputs.all(|named| named.output.n_rows() == Some(rows.num_rows()));
        is_whole.then_some(prediction)
    }

    /// One call, once there is room for it.
    async fn call(
        &self,
        request: &PredictRequest,
        features: Option<&FeatureRows>,
    ) -> Result<Prediction, predict::Error> {
        loop {
            let read = features.map_or(Read::Store, Read::Joined);
            let run = self
                .predictor
                .run(request, &self.model, Uuid::now_v7(), read);
            let outcome = Box::pin(run).await;
            match outcome {
                Err(error)
                    if error.class() == ErrorClass::Overloaded && !self.deadline.is_past() =>
                {
                    let pause = error.retry_after().unwrap_or(PAUSE);
                    tokio::time::sleep(pause.clamp(PAUSE, LONGEST_PAUSE)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Leaves the event of a call, where calls have events of their own.
    async fn record(
        &self,
        request: &PredictRequest,
        outcome: Result<&Prediction, &predict::Error>,
    ) -> Result<(), Error> {
        if self.audited == Audited::Files {
            return Ok(());
        }
        let audit = self.predictor.audit();
        let mut record = audit.open(request).map_err(predict::Error::from)?;
        record.served_by(served_by(&self.model));
        let recorded = run_here(request.is_large(), || match outcome {
            Ok(prediction) => record.close(Ok(prediction)),
            Err(error) => record.close(Err(error)),
        });
        let recorded = recorded.map_err(predict::Error::from)?;
        recorded.safe().await.map_err(predict::Error::from)?;
        Ok(())
    }
}

impl Caller {
    /// The row that is to blame, within its call, if the others can be asked without it.
    fn bad_row(&self, error: &mut predict::Error) -> Option<usize> {
        let fixed_rows = self.model.version.plan.fixed_rows;
        let row = error.row_mut().map(|row| *row);
        row.filter(|_| fixed_rows.is_none_or(|n_rows| n_rows == 1))
    }

    fn request(&self, inputs: RequestInputs) -> PredictRequest {
        PredictRequest {
            model: self.reference.clone(),
            inputs,
            params: None,
            deadline: self.deadline,
            context: self.context.clone(),
        }
    }

    /// What a call of some of the rows says and is given.
    fn only(
        &self,
        whole: &PredictRequest,
        joined: Option<&FeatureRows>,
        rows: &Range<usize>,
    ) -> (PredictRequest, Option<FeatureRows>) {
        let places: Vec<usize> = rows.clone().collect();
        let columns = match &whole.inputs {
            RequestInputs::Columns(columns) => columns.select(&places),
            // Calls are made of columns, see `request`.
            RequestInputs::Tensors(_) | RequestInputs::Scoring(_) => {
                RequestColumns::of_rows(Vec::new(), rows.len())
            }
        };
        let features = joined.map(|joined| {
            let cells = rows.start * joined.n_features()..rows.end * joined.n_features();
            FeatureRows {
                names: Arc::clone(&joined.names),
                n_rows: rows.len(),
                cells: joined.cells[cells].to_vec(),
                read_at: joined.read_at,
            }
        });
        (self.request(RequestInputs::Columns(columns)), features)
    }

    fn request_columns(&self, batch: &RecordBatch) -> Result<RequestColumns, Error> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for (place, name) in &self.columns {
            let array = batch.column(*place);
            // A type that has no cells was refused before the first row.
            let cells = cells(array).map_err(Error::Arrow)?.unwrap_or_default();
            columns.push(RequestColumn {
                place: ColumnPlace::Rows,
                name: name.clone(),
                cells: Cells::List(cells),
            });
        }
        Ok(RequestColumns::of_rows(columns, batch.num_rows()))
    }

    /// The features of the rows, where no store is asked for them.
    fn joined(&self, batch: &RecordBatch) -> Result<Option<FeatureRows>, Error> {
        let Some(online) = &self.model.version.plan.online else {
            return Ok(None);
        };
        Ok(match self.used {
            Used::Offline => Some(online.rows_of(batch)?),
            Used::Given => Some(FeatureRows {
                names: Arc::clone(&online.names),
                n_rows: batch.num_rows(),
                cells: vec![FeatureCell::not_found(); batch.num_rows() * online.names.len()],
                read_at: Timestamp::EPOCH,
            }),
            Used::Online | Used::None => None,
        })
    }
}

/// The calls that are to be made of the rows of one without the row `at`, the first one last.
fn without(range: &Range<usize>, at: usize, n_failed: usize) -> Vec<Range<usize>> {
    let rest = at + 1..range.end;
    let middle = match n_failed > FEW {
        true => rest.start + rest.len() / 2,
        false => rest.start,
    };
    let calls = [middle..rest.end, rest.start..middle, range.start..at];
    calls
        .into_iter()
        .filter(|range| !range.is_empty())
        .collect()
}

/// The rows of all batches, `n_rows` at a time and at last what is left, wherever batches end.
pub(super) fn cut(
    batches: BoxStream<'static, Result<RecordBatch, historical::Error>>,
    n_rows: usize,
) -> impl Stream<Item = Result<Rows, Error>> + Send + 'static {
    let cutting = Cutting {
        batches,
        waiting: VecDeque::new(),
        n_waiting: 0,
        first: 0,
    };
    stream::try_unfold(cutting, move |mut cutting| async move {
        let rows = cutting.next(n_rows).await?;
        Ok(rows.map(|rows| (rows, cutting)))
    })
}

struct Cutting {
    batches: BoxStream<'static, Result<RecordBatch, historical::Error>>,
    waiting: VecDeque<RecordBatch>,
    n_waiting: usize,
    first: u64,
}

impl Cutting {
    async fn next(&mut self, n_rows: usize) -> Result<Option<Rows>, Error> {
        while self.n_waiting < n_rows
            && let Some(batch) = self.batches.try_next().await?
        {
            self.n_waiting += batch.num_rows();
            self.waiting.push_back(batch);
        }
        let mut wanted = n_rows.min(self.n_waiting);
        if wanted == 0 {
            return Ok(None);
        }
        let first = self.first;
        self.first += wanted as u64;
        self.n_waiting -= wanted;
        let mut taken = Vec::new();
        while wanted > 0
            && let Some(batch) = self.waiting.pop_front()
        {
            let n_taken = batch.num_rows().min(wanted);
            taken.push(batch.slice(0, n_taken));
            if n_taken < batch.num_rows() {
                let rest = batch.slice(n_taken, batch.num_rows() - n_taken);
                self.waiting.push_front(rest);
            }
            wanted -= n_taken;
        }
        let batch = match &taken[..] {
            [only] => only.clone(),
            several => {
                let schema = several[0].schema();
                concat_batches(&schema, several).map_err(Error::Arrow)?
            }
        };
        Ok(Some(Rows { batch, first }))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use futures::StreamExt;

    use super::*;

    fn batch(numbers: Range<i64>) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter([("n", numbers)]).unwrap()
    }

    #[tokio::test]
    async fn rows_are_cut_wherever_batches_end() {
        let batches = [0..3, 3..3, 3..4, 4..12].map(|numbers| Ok(batch(numbers)));
        let cut: Vec<Rows> = cut(stream::iter(batches).boxed(), 5)
            .try_collect()
            .await
            .unwrap();
        let numbers: Vec<(u64, Vec<i64>)> = cut
            .iter()
            .map(|rows| {
                let numbers = rows.batch.column(0).as_primitive::<Int64Type>();
                (rows.first, numbers.values().to_vec())
            })
            .collect();
        let wanted = [
            (0, (0..5).collect()),
            (5, (5..10).collect()),
            (10, vec![10, 11]),
        ];
        assert_eq!(numbers, wanted);
    }
}
