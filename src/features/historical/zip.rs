//! Entity rows and the features of each view, which come in batches of any length, side by side.

use arrow::array::RecordBatch;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::{Entities, Error};
use crate::shutdown::run_blocking;

/// Batches of one part.
pub(super) type Part = BoxStream<'static, Result<RecordBatch, Error>>;

/// Batches that wait at most.
const WAITING: usize = 2;

/// All columns of the entity rows.
pub(super) fn entity_rows(entities: &Entities) -> Part {
    let entities = entities.clone();
    let places: Vec<usize> = (0..entities.schema().fields().len()).collect();
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let read = move || {
        for batch in entities.read(&places).map_err(Error::Entities)? {
            if sender
                .blocking_send(batch.map_err(Error::Entities)?)
                .is_err()
            {
                break; // nobody wants the rest
            }
        }
        Ok(())
    };
    let batches = stream::poll_fn(move |context| receiver.poll_recv(context)).map(Ok);
    let end = stream::once(async move { run_blocking(read).await.map_err(Error::Panicked)? });
    let end = end.filter_map(|end| async move { end.err().map(Err) });
    stream::select(batches, end).boxed()
}

/// Batches of equally many rows of each part, until all are at their end.
pub(super) fn zipped(
    parts: Vec<Part>,
) -> impl Stream<Item = Result<Vec<RecordBatch>, Error>> + Send + 'static {
    let parts: Vec<_> = parts
        .into_iter()
        .map(|batches| Waiting {
            batches,
            rest: None,
        })
        .collect();
    stream::try_unfold(parts, |mut parts| async move {
        // All at once: each view is joined while the others are.
        try_join_all(parts.iter_mut().map(Waiting::fill)).await?;
        let lengths = parts.iter().map(Waiting::n_rows);
        let Some(n_rows) = lengths.clone().flatten().min() else {
            return Ok(None);
        };
        if lengths.clone().any(|length| length.is_none()) {
            return Err(Error::Uneven);
        }
        let taken = parts.iter_mut().filter_map(|part| part.take(n_rows));
        let taken: Vec<RecordBatch> = taken.collect();
        Ok(Some((taken, parts)))
    })
}

struct Waiting {
    batches: Part,
    /// Rows that the others have not come to yet.
    rest: Option<RecordBatch>,
}

impl Waiting {
    /// Has rows wait, unless there are no more.
    async fn fill(&mut self) -> Result<(), Error> {
        while self.rest.is_none() {
            match self.batches.try_next().await? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => self.rest = Some(batch),
                None => break,
            }
        }
        Ok(())
    }

    fn n_rows(&self) -> Option<usize> {
        self.rest.as_ref().map(RecordBatch::num_rows)
    }

    fn take(&mut self, n_rows: usize) -> Option<RecordBatch> {
        let batch = self.rest.take()?;
        if batch.num_rows() > n_rows {
            self.rest = Some(batch.slice(n_rows, batch.num_rows() - n_rows));
        }
        Some(batch.slice(0, n_rows))
    }
}
