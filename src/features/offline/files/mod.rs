//! Parquet files wherever they are, through DataFusion: one file, a directory, a partitioned directory, an object store.
//!
//! The range is sorted by (key, newest first, source order) and the first row of each key is kept. The sort spills to the
//! system's temporary directory, so memory stays the same for any number of rows. The work runs on threads of its own; it
//! takes nothing from those that answer requests.
//! A point-in-time join sorts nothing and spills nothing: `asof` says how.
//! Not here: which columns and rows (`canonical`), the choice among sorted rows (`first`).

#[cfg(feature = "datafusion")]
mod first;
#[cfg(feature = "datafusion")]
mod history;
#[cfg(feature = "datafusion")]
mod listing;
#[cfg(feature = "cluster")]
pub(super) mod pieces;
#[cfg(feature = "datafusion")]
pub(super) mod places;
#[cfg(feature = "datafusion")]
pub(super) mod scan;
#[cfg(feature = "datafusion")]
mod sort;

use std::path::{Path, PathBuf};
#[cfg(feature = "datafusion")]
use std::sync::Arc;

use async_trait::async_trait;

use super::history::{Joined, PointInTime};
use super::pull::{Latest, PullLatest};
use super::{Error, OfflineStore};

/// Whether this build can read files through DataFusion.
pub(super) const IS_BUILT: bool = cfg!(feature = "datafusion");

/// For rows that wait to be sorted. With the rest of the process it stays well below the 300 MB of the design.
const SORT_BYTES: usize = 96 * 1024 * 1024;

#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "datafusion"),
    expect(dead_code, reason = "there is nothing to read files with")
)]
pub(super) struct FileStore {
    directory: PathBuf,
    sort_bytes: usize,
}

/// Relative paths start at `directory`.
pub(super) fn connect(directory: &Path) -> FileStore {
    FileStore {
        directory: directory.to_owned(),
        sort_bytes: SORT_BYTES,
    }
}

impl FileStore {
    /// With another limit on the memory for sorting.
    #[cfg(test)]
    #[cfg(feature = "datafusion")]
    pub(super) fn with_sort_bytes(self, sort_bytes: usize) -> Self {
        Self { sort_bytes, ..self }
    }
}

#[cfg(feature = "datafusion")]
#[async_trait]
impl OfflineStore for FileStore {
    async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error> {
        let place = places::Place::of(&pull, &self.directory)?;
        let meter = Arc::new(super::Meter::default());
        let counts = meter.clone();
        let sort_bytes = self.sort_bytes;
        let batches = super::pump::pumped(|sender| async move {
            let work = move || sort::run(pull, place, sort_bytes, counts, sender);
            let done = crate::shutdown::run_blocking(work).await;
            done.map_err(Error::Panicked)?
        });
        Ok(Latest { batches, meter })
    }

    async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error> {
        let place = places::Place::of(&join.view, &self.directory)?;
        let meter = Arc::new(super::Meter::default());
        let counts = meter.clone();
        let batches = super::pump::pumped(|sender| async move {
            let work = move || history::run(&join, place, counts, &sender);
            let done = crate::shutdown::run_blocking(work).await;
            done.map_err(Error::Panicked)?
        });
        Ok(Joined { batches, meter })
    }
}

#[cfg(not(feature = "datafusion"))]
#[async_trait]
impl OfflineStore for FileStore {
    async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error> {
        Err(pull.unsupported(NOT_BUILT.to_owned()))
    }

    async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error> {
        Err(join.view.unsupported(NOT_BUILT.to_owned()))
    }
}

#[cfg(not(feature = "datafusion"))]
const NOT_BUILT: &str = "a source of files (built without feature `datafusion`)";
