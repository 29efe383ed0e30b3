//! A stream that is filled by work elsewhere, such as a thread that sorts.

use std::future::Future;

use arrow::array::RecordBatch;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use super::Error;

/// Batches that wait for the reader at most. When so many do, the work waits.
const WAITING: usize = 2;

/// Where the work puts its batches.
pub(super) type Sender = mpsc::Sender<RecordBatch>;

/// What the work sends, then its error, if it fails. The work is polled with the stream; it ends when the stream is dropped,
/// a thread of its own at its next `send`, which then fails.
pub(super) fn pumped<F>(
    work: impl FnOnce(Sender) -> F,
) -> BoxStream<'static, Result<RecordBatch, Error>>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let batches = stream::poll_fn(move |context| receiver.poll_recv(context)).map(Ok);
    let end = stream::once(work(sender)).filter_map(|end| async move { end.err().map(Err) });
    stream::select(batches, end).boxed()
}
