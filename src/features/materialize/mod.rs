//! Materializing: of every entity key the newest row within a time range goes from the offline store to the online store.
//!
//! Rules (Feast 0.67): both ends of the range count; the newest row is the one with the greatest (event timestamp, created
//! timestamp), of equal ones the first in the source; `ttl` plays no part. A view is MATERIALIZING while it is written, if it
//! was ever in a state, and AVAILABLE_ONLINE with the range as its watermark when it is done.
//!
//! Interrupted, a run leaves the views before it done and recorded. It can be started again at once, and two can run at the
//! same time: stores that keep the newer row pass over what they have, and the watermark moves only behind the last row.
//! Not here: reading sources (`offline`).

mod error;
mod joined;
mod on_demand;
mod pipeline;
mod rows;
mod select;
mod state;
#[cfg(test)]
mod tests;

pub use self::error::Error;
use self::select::{Against, Job, Window};
use super::FeatureStore;
use super::plan::Rules;
use crate::types::timestamp::Timestamp;

/// How far a materialization is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub view: String,
    pub stage: Stage,
    /// Rows of the source that this stage is through with.
    pub rows_done: u64,
    /// All rows of the stage; `None` while nobody can tell. An estimate in the first stage.
    pub rows_total: Option<u64>,
}

/// What is done to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// They are read, and the newest are found.
    Reading,
    /// The newest are written.
    Writing,
}

/// What became of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterializedView {
    pub view: String,
    pub start: Timestamp,
    pub end: Timestamp,
    /// Rows of the range, one per entity key.
    pub rows_total: usize,
    /// Fewer where the store had newer rows already.
    pub rows_written: usize,
}

/// Who hears of progress, several times a second.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

impl FeatureStore {
    /// Writes the newest row of every entity key with `start <= event timestamp <= end` from the offline to the online store,
    /// for the named views or for all that are online, on-demand feature views that are kept there included. Not cancel safe: views done so far stay done, and the one at work
    /// stays MATERIALIZING until it is materialized again.
    pub async fn materialize(
        &self,
        views: Option<&[String]>,
        start: Timestamp,
        end: Timestamp,
        progress: OnProgress<'_>,
    ) -> Result<Vec<MaterializedView>, super::Error> {
        let window = Window::Between { start, end };
        self.materialize_window(views, window, progress).await
    }

    /// The same from where each view was left: the greatest end of its intervals, else now less its `ttl`, else (`ttl` 0)
    /// now less 52 weeks.
    pub async fn materialize_incremental(
        &self,
        views: Option<&[String]>,
        end: Timestamp,
        progress: OnProgress<'_>,
    ) -> Result<Vec<MaterializedView>, super::Error> {
        let now = Timestamp::now();
        let window = Window::SinceLast { end, now };
        self.materialize_window(views, window, progress).await
    }

    async fn materialize_window(
        &self,
        views: Option<&[String]>,
        window: Window,
        progress: OnProgress<'_>,
    ) -> Result<Vec<MaterializedView>, super::Error> {
        // Watermarks and states may be another process's.
        self.refresh().await?;
        // All that can be seen to be wrong is refused before anything is written.
        let registry = self.registry();
        let against = Against {
            registry: &registry,
            transforms: &self.0.transforms,
            rules: Rules::of(&self.0.repo),
        };
        let jobs = select::jobs(against, views, window)?;
        let mut done = Vec::with_capacity(jobs.len());
        for job in jobs {
            done.push(match job {
                Job::View(job) => self.materialize_view(*job, progress).await?,
                Job::OnDemand(job) => self.materialize_on_demand(*job, progress).await?,
            });
        }
        Ok(done)
    }
}
