//! One view from end to end: batches are pulled, made rows of and written, several at a time.
//!
//! A view's entity keys are distinct after the pull, so the order of writes means nothing. While some batches are on their
//! way to the store, the next is made rows of on the blocking pool and the one after that is sorted out by the pull.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::{Stream, StreamExt};
use tokio::time::MissedTickBehavior;

use super::rows::RowMaker;
use super::select::ViewJob;
use super::{MaterializedView, OnProgress, Progress, Stage};
use crate::features::offline::{self, Meter};
use crate::features::online::StoredView;
use crate::features::plan::{Rules, stored_name};
use crate::features::vectors::Affected;
use crate::features::{Error, FeatureStore};
use crate::shutdown::run_blocking;

/// Batches that are made rows of or written at the same time.
pub(super) const IN_FLIGHT: usize = 4;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// What one batch came to.
pub(super) struct Batch {
    pub(super) n_rows: usize,
    pub(super) n_written: usize,
}

impl FeatureStore {
    pub(super) async fn materialize_view(
        &self,
        job: ViewJob,
        progress: OnProgress<'_>,
    ) -> Result<MaterializedView, Error> {
        let before = self.begin(&job).await?;
        let done = match self.write_view(&job, progress).await {
            Ok(done) => self.finish(&job).await.map(|()| done),
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.go_back(&job, before).await;
        }
        done
    }

    async fn write_view(
        &self,
        job: &ViewJob,
        progress: OnProgress<'_>,
    ) -> Result<MaterializedView, Error> {
        let rules = Rules::of(&self.0.repo);
        let features = job.view.features.iter();
        let stored = StoredView {
            name: stored_name(&job.view, rules),
            features: features.map(|field| field.name.clone()).collect(),
        };
        let affected = self.affected_vectors(&self.registry(), &job.view);
        let maker = Arc::new(RowMaker::new(
            &job.view,
            job.pull.clone(),
            rules.key_version,
        ));
        let pulled = self
            .0
            .repo
            .offline_store
            .pull_latest(job.pull.clone())
            .await;
        let offline::Latest { batches, meter } = pulled.map_err(super::Error::Offline)?;
        let written =
            batches.map(|batch| self.write_batch(&stored, &affected, maker.clone(), batch));
        let done = MaterializedView {
            view: job.view.name.clone(),
            start: job.pull.start,
            end: job.pull.end,
            rows_total: 0,
            rows_written: 0,
        };
        let written = pin!(written.buffer_unordered(IN_FLIGHT));
        drive(written, done, &meter, progress).await
    }

    async fn write_batch(
        &self,
        view: &StoredView,
        affected: &Affected,
        maker: Arc<RowMaker>,
        batch: Result<RecordBatch, offline::Error>,
    ) -> Result<Batch, Error> {
        let batch = batch.map_err(super::Error::Offline)?;
        let rows = run_blocking(move || maker.rows(&batch)).await;
        let rows = rows
            .map_err(Error::Panicked)?
            .map_err(super::Error::Offline)?;
        let n_written = self.0.online.write(view, &rows).await?;
        self.renew_vectors(affected, &rows).await;
        Ok(Batch {
            n_rows: rows.len(),
            n_written,
        })
    }
}

/// Adds up the batches that come to their end, and tells how far it is.
pub(super) async fn drive(
    mut written: impl Stream<Item = Result<Batch, Error>> + Unpin,
    mut done: MaterializedView,
    meter: &Meter,
    progress: OnProgress<'_>,
) -> Result<MaterializedView, Error> {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            batch = written.next() => match batch {
                Some(batch) => {
                    let batch = batch?;
                    done.rows_total += batch.n_rows;
                    done.rows_written += batch.n_written;
                }
                None => break,
            },
            _ = ticks.tick() => progress(so_far(&done, meter)),
        }
    }
    progress(so_far(&done, meter));
    Ok(done)
}

/// Reading, until the first row is out; then all rows of the range are known.
fn so_far(done: &MaterializedView, meter: &Meter) -> Progress {
    let view = done.view.clone();
    let in_range = meter.read();
    match meter.passed() {
        0 => Progress {
            view,
            stage: Stage::Reading,
            rows_done: in_range,
            rows_total: Some(meter.expected().max(in_range)).filter(|&n_rows| n_rows > 0),
        },
        passed => Progress {
            view,
            stage: Stage::Writing,
            rows_done: passed,
            rows_total: Some(meter.to_pass()),
        },
    }
}
