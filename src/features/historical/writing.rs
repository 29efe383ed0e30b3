//! A file that is written on a thread of its own, while the rows that come next are made.

use std::io;

use arrow::array::RecordBatch;
use tokio::sync::{mpsc, oneshot};

use super::table::{TableFile, WholeFile};
use crate::shutdown::detach_blocking;

/// Batches that wait for the thread at most.
const WAITING: usize = 2;

/// Dropped before its end, it leaves nothing.
#[must_use = "a file that is not finished leaves nothing"]
pub struct Writing {
    /// `None` is the end of the rows.
    batches: mpsc::Sender<Option<RecordBatch>>,
    /// Comes at the end, or with the first failure; `None` once it is told.
    outcome: Option<oneshot::Receiver<io::Result<WholeFile>>>,
}

impl Writing {
    pub fn begin(file: TableFile) -> Self {
        let (batches, received) = mpsc::channel(WAITING);
        let (sender, outcome) = oneshot::channel();
        detach_blocking(move || {
            if let Some(outcome) = write(file, received) {
                // Without a receiver the file goes with the outcome.
                let _ = sender.send(outcome);
            }
        });
        Self {
            batches,
            outcome: Some(outcome),
        }
    }

    /// Hands rows over; waits while too many wait. Errors: these or earlier rows could not be written.
    pub async fn write(&mut self, batch: RecordBatch) -> io::Result<()> {
        match self.batches.send(Some(batch)).await {
            Ok(()) => Ok(()),
            Err(_) => self.outcome().await.map(drop),
        }
    }

    /// The end of the rows. Afterwards everything is on disk, still under the other name.
    pub async fn finish(mut self) -> io::Result<WholeFile> {
        // Where nobody receives it, the outcome is there already.
        let _ = self.batches.send(None).await;
        self.outcome().await
    }

    /// Waits until nothing is left of it.
    pub async fn abandon(self) {
        drop(self.batches);
        if let Some(outcome) = self.outcome {
            // There is none: the end of the rows never came.
            let _ = outcome.await;
        }
    }

    async fn outcome(&mut self) -> io::Result<WholeFile> {
        let lost = || Err(io::Error::other("the thread that writes the file is gone"));
        match self.outcome.take() {
            Some(outcome) => outcome.await.unwrap_or_else(|_| lost()),
            None => lost(),
        }
    }
}

/// `None` if nobody wants the file any more.
fn write(
    mut file: TableFile,
    mut batches: mpsc::Receiver<Option<RecordBatch>>,
) -> Option<io::Result<WholeFile>> {
    while let Some(batch) = batches.blocking_recv()? {
        if let Err(error) = file.write(&batch) {
            return Some(Err(error));
        }
    }
    Some(file.finish())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, ListArray};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::features::historical::FileFormat;

    fn numbers(numbers: &[i64]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        RecordBatch::try_from_iter([("n", numbers)]).unwrap()
    }

    #[tokio::test]
    async fn rows_are_written_in_their_order_and_nothing_is_left_of_a_file_that_is_not_finished() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("rows.csv");
        let create = || TableFile::create(&path, FileFormat::Csv, &numbers(&[]).schema()).unwrap();
        let mut writing = Writing::begin(create());
        for number in 0..10 {
            writing.write(numbers(&[number])).await.unwrap();
        }
        writing.finish().await.unwrap().publish(&path).unwrap();
        let written = fs_err::read_to_string(&path).unwrap();
        assert_eq!(written, "n\n0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");

        let mut abandoned = Writing::begin(create());
        abandoned.write(numbers(&[11])).await.unwrap();
        abandoned.abandon().await;
        assert_eq!(fs_err::read_to_string(&path).unwrap(), written);
        assert_eq!(fs_err::read_dir(place.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_failure_comes_with_the_rows_behind_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("rows.csv");
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
        let lists: ArrayRef = Arc::new(lists);
        let other = RecordBatch::try_from_iter([("n", lists)]).unwrap();
        let file = TableFile::create(&path, FileFormat::Parquet, &numbers(&[]).schema()).unwrap();
        let mut writing = Writing::begin(file);
        let mut failure = None;
        while failure.is_none() {
            failure = writing.write(other.clone()).await.err();
        }
        assert!(writing.finish().await.is_err());
        assert_eq!(fs_err::read_dir(place.path()).unwrap().count(), 0);
    }
}
