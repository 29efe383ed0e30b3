//! The result as a file, with a count of what is null in it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::Array;
use futures::StreamExt;
use tokio::time::MissedTickBehavior;

use super::table::{FileFormat, TableFile};
use super::{Error, Historical, Progress, Writing};
use crate::shutdown::run_blocking;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSummary {
    pub path: PathBuf,
    pub n_rows: usize,
    /// In the order of the columns.
    pub features: Vec<FeatureSummary>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureSummary {
    pub name: String,
    /// Rows in which it is null.
    pub n_null: usize,
}

impl Historical {
    /// Writes everything. Until it is whole the file is under another name; if it fails nothing is left, and what was at
    /// `path` stays. Not cancel safe but for that.
    pub async fn write_file(
        mut self,
        path: &Path,
        format: FileFormat,
        progress: &mut (dyn FnMut(Progress, usize) + Send),
    ) -> Result<FileSummary, Error> {
        let failed = |source: io::Error| Error::Write {
            path: path.to_owned(),
            source,
        };
        let fields = self.schema.fields().iter().skip(self.first_feature);
        let features = fields.map(|field| FeatureSummary {
            name: field.name().clone(),
            n_null: 0,
        });
        let mut summary = FileSummary {
            path: path.to_owned(),
            n_rows: 0,
            features: features.collect(),
        };
        let file = TableFile::create(path, format, &self.schema).map_err(failed)?;
        let mut writing = Writing::begin(file);
        let watch = self.watch();
        let rows = self.write_rows(&mut writing, &mut summary, progress, &failed);
        if let Err(error) = rows.await {
            writing.abandon().await;
            return Err(error);
        }
        let whole = writing.finish().await.map_err(failed)?;
        let to = path.to_owned();
        let published = run_blocking(move || whole.publish(&to)).await;
        published.map_err(Error::Panicked)?.map_err(failed)?;
        progress(watch.progress(), summary.n_rows);
        Ok(summary)
    }

    async fn write_rows(
        &mut self,
        writing: &mut Writing,
        summary: &mut FileSummary,
        progress: &mut (dyn FnMut(Progress, usize) + Send),
        failed: &(dyn Fn(io::Error) -> Error + Sync),
    ) -> Result<(), Error> {
        let watch = self.watch();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let batch = tokio::select! {
                batch = self.batches.next() => batch,
                _ = ticks.tick() => {
                    progress(watch.progress(), summary.n_rows);
                    continue;
                }
            };
            let Some(batch) = batch.transpose()? else {
                return Ok(());
            };
            summary.n_rows += batch.num_rows();
            let columns = batch.columns().iter().skip(self.first_feature);
            for (feature, column) in summary.features.iter_mut().zip(columns) {
                feature.n_null += column.null_count();
            }
            writing.write(batch).await.map_err(failed)?;
        }
    }
}
