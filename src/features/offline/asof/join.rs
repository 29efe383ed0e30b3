//! A whole join: chunk by chunk of the entity rows, each with one reading of the source.
//!
//! A chunk is as large as the memory allows; one for which too much is found is done again in halves. The entity rows of a
//! chunk stand next to each other, so the result is in their order without sorting, and of the source only the time range is
//! read that a chunk can meet.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::super::history::{PointInTime, times};
use super::super::pump::Sender;
use super::super::{Error, Meter, PullLatest};
use super::AsOf;

/// A view's source, which can be read again and again.
pub(in super::super) trait Source {
    /// Gives `each` the rows of the pull's range without null keys as `Canonical` makes them, in the source's order. Returns
    /// their schema. An error of `each` ends it.
    fn scan(
        &mut self,
        pull: &PullLatest,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), Stop>,
    ) -> Result<SchemaRef, Stop>;
}

/// Why a reading ends early.
#[derive(Debug)]
pub(in super::super) enum Stop {
    Failed(Error),
    /// More was found than the memory allows.
    Full,
    /// Nobody listens to the result.
    Unwanted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// About what an entity row takes beside what is found for it: its key, time, slot, and the best row's place.
pub(in super::super) const ROW_BYTES: usize = 96;
/// A chunk that is done in halves is not made smaller than this: one row must be possible, and a few are little.
pub(in super::super) const SMALLEST_CHUNK: usize = 64;

/// Joins and sends until all is sent or nobody listens. Blocks.
pub(in super::super) fn run(
    join: &PointInTime,
    source: &mut dyn Source,
    meter: &Meter,
    sender: &Sender,
) -> Result<(), Error> {
    let max_bytes = join.max_bytes;
    let mut chunks = Chunks {
        join,
        source,
        n_rows: max_bytes / (2 * ROW_BYTES),
        meter,
        sender,
    };
    meter.expect_to_pass(join.entities.n_rows() as u64);
    match chunks.run() {
        Ok(()) | Err(Stop::Unwanted) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Full) => Err(join.view.unreadable(
            "in memory",
            format!("the features of {SMALLEST_CHUNK} rows take more than {max_bytes} bytes"),
        )),
    }
}

struct Chunks<'a> {
    join: &'a PointInTime,
    source: &'a mut dyn Source,
    /// Of the next chunk.
    n_rows: usize,
    meter: &'a Meter,
    sender: &'a Sender,
}

impl Chunks<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        let mut asked = self.join.asked()?;
        while let Some(chunk) = asked.chunk(self.n_rows.max(1))? {
            self.chunk(chunk)?;
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: RecordBatch) -> Result<(), Stop> {
        match self.whole(&chunk) {
            Err(Stop::Full) if chunk.num_rows() > SMALLEST_CHUNK => {
                let half = chunk.num_rows().div_ceil(2);
                self.n_rows = self.n_rows.min(half);
                self.chunk(chunk.slice(0, half))?;
                self.chunk(chunk.slice(half, chunk.num_rows() - half))
            }
            done => done,
        }
    }

    fn whole(&mut self, chunk: &RecordBatch) -> Result<(), Stop> {
        let join = self.join;
        let in_memory = |error| join.view.unreadable("in memory", error);
        let (Some(&first), Some(&last)) = (times(chunk).iter().min(), times(chunk).iter().max())
        else {
            return Ok(());
        };
        let mut found = AsOf::new(join.rules(), chunk).map_err(in_memory)?;
        let max_bytes = join.max_bytes / 2;
        let sender = self.sender;
        let schema = self.source.scan(&join.range(first, last), &mut |batch| {
            if sender.is_closed() {
                return Err(Stop::Unwanted);
            }
            found.push(&batch).map_err(in_memory)?;
            match found.n_bytes(max_bytes).map_err(in_memory)? > max_bytes {
                true => Err(Stop::Full),
                false => Ok(()),
            }
        })?;
        for batch in found.finish(&schema).map_err(in_memory)? {
            let batch = batch.map_err(in_memory)?;
            self.meter.add_passed(batch.num_rows());
            if sender.blocking_send(batch).is_err() {
                return Err(Stop::Unwanted);
            }
        }
        Ok(())
    }
}
