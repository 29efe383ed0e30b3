//! Materializing: of every entity key the newest row within a time range goes from the offline files to the online store.
//!
//! Rules (Feast 0.67): both ends of the range count; the newest row is the one with the greatest (event timestamp, created
//! timestamp), of equal ones the first in the file; `ttl` plays no part.
//! Not here: incremental ranges and the registry's record of what was materialized.

pub(super) mod convert;
mod lists;
mod nested;
mod newest;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use self::newest::Newest;
use self::source::Source;
use super::definitions::{FeatureView, ValueType};
use super::key::KeyVersion;
use super::online::{OnlineStore, StoredView};
use super::plan::{Rules, stored_name};
use super::registry::Registry;
use super::repo::Repo;
use super::suggest::Known;
use crate::error::{ErrorClass, Failure};
use crate::shutdown::run_blocking;
use crate::types::timestamp::Timestamp;

/// Rows that are converted and written at once.
const BATCH_ROWS: usize = 8_192;

/// How far a materialization is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub view: String,
    /// Rows that were handed to the store.
    pub rows_done: usize,
    /// Rows of the range, one per entity key.
    pub rows_total: usize,
}

/// What became of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterializedView {
    pub view: String,
    /// Rows of the range, one per entity key.
    pub rows_total: usize,
    /// Fewer where the store had newer rows already.
    pub rows_written: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "feature view `{view}` is not in the registry of project `{project}`, which has {known}"
    )]
    UnknownView {
        view: String,
        project: String,
        known: Box<Known>,
    },
    #[error("feature view `{view}` is not online")]
    NotOnline { view: String },
    #[error("the range ends at {end}, before its start at {start}")]
    EmptyRange { start: Timestamp, end: Timestamp },
    #[error("feature view `{view}` has {what}, which this build cannot materialize")]
    Unsupported { view: String, what: String },
    #[error("source {} of feature view `{view}` does not exist", path.display())]
    Missing { view: String, path: PathBuf },
    #[error("source {} of feature view `{view}` cannot be read", path.display())]
    Read {
        view: String,
        path: PathBuf,
        #[source]
        source: ParquetError,
    },
    #[error("source {} of feature view `{view}` has no column `{column}`; it has {known}", path.display())]
    NoColumn {
        view: String,
        path: PathBuf,
        column: String,
        known: Box<Known>,
    },
    #[error("column `{column}` of feature view `{view}` is {found} in its source and cannot become {}", wanted.name())]
    WrongType {
        view: String,
        column: String,
        found: Box<DataType>,
        wanted: ValueType,
    },
    #[error("column `{column}` of feature view `{view}` has a value that cannot become {}", wanted.name())]
    WrongValue {
        view: String,
        column: String,
        wanted: ValueType,
        #[source]
        source: ArrowError,
    },
    #[error("join key `{column}` of feature view `{view}` is null in a row of its source")]
    NullKey { view: String, column: String },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownView { .. } => ErrorClass::NotFound,
            Self::NotOnline { .. } | Self::EmptyRange { .. } | Self::Unsupported { .. } => {
                ErrorClass::InvalidInput
            }
            Self::Missing { .. }
            | Self::Read { .. }
            | Self::NoColumn { .. }
            | Self::WrongType { .. }
            | Self::WrongValue { .. }
            | Self::NullKey { .. } => ErrorClass::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownView { .. } => "feature_view_unknown",
            Self::NotOnline { .. } => "feature_view_not_online",
            Self::EmptyRange { .. } => "materialize_range_empty",
            Self::Unsupported { .. } => "materialize_unsupported",
            Self::Missing { .. } => "feature_source_missing",
            Self::Read { .. } => "feature_source_unreadable",
            Self::NoColumn { .. } => "feature_source_column_missing",
            Self::WrongType { .. } | Self::WrongValue { .. } => "feature_source_type_mismatch",
            Self::NullKey { .. } => "feature_source_key_null",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownView { known, .. } => known.hint(),
            Self::NotOnline { .. } => {
                Some("set `online=True` in its definition and run `feast apply`".to_owned())
            }
            Self::EmptyRange { .. } | Self::Read { .. } => None,
            Self::Unsupported { .. } => Some("use `feast materialize` for this view".to_owned()),
            Self::Missing { .. } => Some(
                "relative paths start at the feature repository; check the source's path"
                    .to_owned(),
            ),
            Self::NoColumn { .. } => {
                Some("check the view's schema and the source's `field_mapping`".to_owned())
            }
            Self::WrongType { .. } | Self::WrongValue { .. } | Self::NullKey { .. } => {
                Some("make the file and the view's schema agree".to_owned())
            }
        }
    }
}

/// One call of `FeatureStore::materialize`.
pub(super) struct Job<'a> {
    pub(super) repo: &'a Repo,
    pub(super) registry: &'a Registry,
    pub(super) online: &'a dyn OnlineStore,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Job<'_> {
    pub(super) async fn run(
        &self,
        names: Option<&[String]>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<MaterializedView>, super::Error> {
        if self.end < self.start {
            let (start, end) = (self.start, self.end);
            return Err(Error::EmptyRange { start, end }.into());
        }
        // All that can be seen to be wrong is refused before anything is written.
        let mut jobs = Vec::new();
        for view in self.views(names)? {
            jobs.push((view, Source::of(view, &self.repo.directory)?));
        }
        let mut done = Vec::with_capacity(jobs.len());
        for (view, source) in jobs {
            done.push(self.view(view, source, progress).await?);
        }
        Ok(done)
    }

    /// The named views, else all that are online and enabled.
    fn views(&self, names: Option<&[String]>) -> Result<Vec<&FeatureView>, Error> {
        let all = &self.registry.feature_views;
        let Some(names) = names else {
            let served = all.iter().filter(|view| view.online && !view.disabled);
            return Ok(served.collect());
        };
        let mut views = Vec::with_capacity(names.len());
        for name in names {
            let Some(view) = self.registry.feature_view(name) else {
                return Err(self.unknown(name));
            };
            if !view.online {
                let view = name.clone();
                return Err(Error::NotOnline { view });
            }
            views.push(view);
        }
        Ok(views)
    }

    fn unknown(&self, name: &str) -> Error {
        let view = name.to_owned();
        if self.registry.on_demand_feature_view(name).is_some() {
            let what = "a Python function (on-demand feature view)".to_owned();
            return Error::Unsupported { view, what };
        }
        let names = self
            .registry
            .feature_views
            .iter()
            .map(|view| view.name.as_str());
        Error::UnknownView {
            view,
            project: self.registry.project.clone(),
            known: Known::instead_of(name, names),
        }
    }

    async fn view(
        &self,
        view: &FeatureView,
        source: Source,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<MaterializedView, super::Error> {
        let rules = Rules::of(self.repo);
        let stored = StoredView {
            name: stored_name(view, rules),
            features: view
                .features
                .iter()
                .map(|field| field.name.clone())
                .collect(),
        };
        let mut newest = self.newest(source, rules.key_version).await?;
        let rows_total = newest.len();
        let mut rows_done = 0;
        let mut rows_written = 0;
        progress(Progress {
            view: view.name.clone(),
            rows_done,
            rows_total,
        });
        while rows_done < rows_total {
            let rows;
            (newest, rows) = run_blocking(move || {
                let rows = newest.rows(rows_done, BATCH_ROWS);
                (newest, rows)
            })
            .await
            .map_err(super::Error::Panicked)?;
            let rows = rows?;
            rows_written += self.online.write(&stored, &rows).await?;
            rows_done += rows.len();
            progress(Progress {
                view: view.name.clone(),
                rows_done,
                rows_total,
            });
        }
        Ok(MaterializedView {
            view: view.name.clone(),
            rows_total,
            rows_written,
        })
    }

    async fn newest(&self, source: Source, version: KeyVersion) -> Result<Newest, super::Error> {
        let (start, end) = (self.start, self.end);
        let newest = run_blocking(move || Newest::select(source, version, start, end)).await;
        Ok(newest.map_err(super::Error::Panicked)??)
    }
}
