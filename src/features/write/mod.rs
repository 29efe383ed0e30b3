//! Writing rows that a caller sends: to the feature views of a push source, or to one view.
//!
//! Rules (Feast 0.67): a frame has the join keys, all features, the event timestamp and, where the source declares one, the
//! created timestamp of a view, under the view's names or under those of its source. A frame without rows, or whose features
//! are all null, writes nothing. One push goes to every batch and stream view of the push source. Where an online store keeps
//! the newer row, that counts for two rows of one key in a frame too, in row order. Values are converted as pandas and Arrow
//! would (`kind`).
//! All rows of all views are converted before the first is written. If a store then fails, the error names the views that are
//! written and the one that may be in part.
//! Not here: request formats (`http`), materialization from files (`materialize`).

mod error;
mod frame;
mod kind;
mod lists;
pub mod load;
mod nested;
mod offline;
mod on_demand;
mod rows;
mod scalars;
#[cfg(test)]
mod tests;
pub(super) mod times;
mod values;

use std::sync::Arc;

pub use self::error::Error;
pub use self::frame::Frame;
use self::rows::ViewRows;
use super::definitions::{DataSource, FeatureView, OnDemandFeatureView};
use super::plan::Rules;
use super::registry::Registry;
use super::suggest::Known;
use super::vectors::Affected;
use super::{FeatureStore, online};
use crate::shutdown::run_here;

/// Frames with more cells than this are converted where they hold nobody up: that takes over half a millisecond.
const MANY_CELLS: usize = 4_096;

/// Which stores a push goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushTarget {
    Online,
    Offline,
    OnlineAndOffline,
}

impl PushTarget {
    fn is_online(self) -> bool {
        matches!(self, Self::Online | Self::OnlineAndOffline)
    }

    fn is_offline(self) -> bool {
        matches!(self, Self::Offline | Self::OnlineAndOffline)
    }
}

/// What a write came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows of the frame that were handed to the stores; none where there was nothing to write.
    pub rows: usize,
    /// The views that were written, in the registry's order; for an offline push those whose source was.
    pub views: Vec<String>,
}

impl FeatureStore {
    /// Writes the frame to every view that the push source feeds: to the online store, to the views' offline files, or both.
    ///
    /// Offline, a source that several views share takes the rows once. Not cancel safe: a part of the views may be written.
    pub async fn push(
        &self,
        source: &str,
        frame: Frame,
        to: PushTarget,
    ) -> Result<Written, super::Error> {
        let registry = self.registry();
        let views = pushed_views(&registry, source)?;
        let n_rows = frame.n_rows()?;
        if n_rows == 0 {
            return Ok(Written::default());
        }
        let mut converted = Vec::new();
        if to.is_online() {
            for view in &views {
                let affected = self.affected_vectors(&registry, view);
                let rows = self.converted(view, &frame)?;
                converted.extend(rows.map(|rows| (rows, Some(affected))));
            }
        }
        let mut appends = Vec::new();
        if to.is_offline() {
            let frame = Arc::new(frame);
            for (source, views) in sources(&views)? {
                let directory = &self.0.repo.directory;
                let append = offline::prepare(source, directory, frame.clone()).await?;
                appends.push((append, views));
            }
        }
        // Online first: it can be done again without harm, an append cannot.
        let mut written = self.write_views(converted).await?;
        for (append, views) in appends {
            append.run(&written.views).await?;
            for view in views {
                if !written.views.contains(&view) {
                    written.views.push(view);
                }
            }
            written.rows = n_rows;
        }
        Ok(written)
    }

    /// Writes the frame to one view, whatever feeds it. An on-demand feature view that is kept in the online store is
    /// computed first; the frame has what it is computed from.
    ///
    /// Not cancel safe: a part of the rows may be written.
    pub async fn write_to_online_store(
        &self,
        view: &str,
        frame: Frame,
    ) -> Result<Written, super::Error> {
        self.write_frame(view, frame, OnWrite::Compute).await
    }

    /// The same for a frame that has the features of an on-demand feature view already: nothing is computed
    /// (`transform_on_write=False` in Feast).
    ///
    /// Not cancel safe: a part of the rows may be written.
    pub async fn write_transformed(
        &self,
        view: &str,
        frame: Frame,
    ) -> Result<Written, super::Error> {
        self.write_frame(view, frame, OnWrite::Take).await
    }

    async fn write_frame(
        &self,
        view: &str,
        frame: Frame,
        on_write: OnWrite,
    ) -> Result<Written, super::Error> {
        let registry = self.registry();
        let view = known_view(&registry, view)?;
        if frame.n_rows()? == 0 {
            return Ok(Written::default());
        }
        let (converted, affected) = match (view, on_write) {
            (View::Stored(definition), _) => (
                self.converted(definition, &frame)?,
                Some(self.affected_vectors(&registry, definition)),
            ),
            (View::OnDemand(definition), OnWrite::Compute) => (
                on_demand::computed(self, &registry, definition, &frame).await?,
                None,
            ),
            (View::OnDemand(definition), OnWrite::Take) => {
                (on_demand::taken(self, definition, &frame)?, None)
            }
        };
        let converted = converted.map(|rows| (rows, affected));
        self.write_views(converted.into_iter().collect()).await
    }

    fn converted(
        &self,
        view: &FeatureView,
        frame: &Frame,
    ) -> Result<Option<ViewRows>, super::Error> {
        let rules = Rules::of(&self.0.repo);
        run_here(frame.n_cells() > MANY_CELLS, || {
            rows::of_view(view, frame, rules)
        })
    }

    /// Writes view after view, and tells how far it came; then the vectors that the rows are a part of.
    async fn write_views(
        &self,
        views: Vec<(ViewRows, Option<Affected>)>,
    ) -> Result<Written, super::Error> {
        let mut written = Written::default();
        for (ViewRows { view, stored, rows }, affected) in views {
            let outcome = self.0.online.write(&stored, &rows).await;
            outcome.map_err(|source| incomplete(&written, &view, rows.len(), source))?;
            if let Some(affected) = affected {
                self.renew_vectors(&affected, &rows).await;
            }
            written.rows = rows.len();
            written.views.push(view);
        }
        Ok(written)
    }
}

fn incomplete(written: &Written, view: &str, n_rows: usize, source: online::Error) -> Error {
    Error::Incomplete {
        view: view.to_owned(),
        n_rows,
        done: written.views.clone(),
        source: Box::new(source),
    }
}

/// The views that the push source feeds; there is at least one.
fn pushed_views<'a>(registry: &'a Registry, source: &str) -> Result<Vec<&'a FeatureView>, Error> {
    let fed_by = |view: &&FeatureView| view.stream_source.as_deref() == Some(source);
    let views: Vec<_> = registry.feature_views.iter().filter(fed_by).collect();
    if !views.is_empty() {
        return Ok(views);
    }
    let all = &registry.feature_views;
    let names = all.iter().filter_map(|view| view.stream_source.as_deref());
    Err(Error::UnknownPushSource {
        source_name: source.to_owned(),
        project: registry.project.clone(),
        known: Known::instead_of(source, names),
    })
}

/// A source and the names of the views that have it.
type SharedSource<'a> = (&'a DataSource, Vec<String>);

/// The batch sources of the views, each once.
fn sources<'a>(views: &[&'a FeatureView]) -> Result<Vec<SharedSource<'a>>, Error> {
    let mut sources: Vec<SharedSource<'a>> = Vec::new();
    for view in views {
        let Some(source) = &view.batch_source else {
            let view = view.name.clone();
            return Err(Error::NoBatchSource { view });
        };
        match sources.iter_mut().find(|(own, _)| own.kind == source.kind) {
            Some((_, names)) => names.push(view.name.clone()),
            None => sources.push((source, vec![view.name.clone()])),
        }
    }
    Ok(sources)
}

/// What a frame for an on-demand feature view has.
#[derive(Clone, Copy)]
enum OnWrite {
    /// What the features are computed from.
    Compute,
    /// The features themselves.
    Take,
}

enum View<'a> {
    Stored(&'a FeatureView),
    OnDemand(&'a OnDemandFeatureView),
}

fn known_view<'a>(registry: &'a Registry, name: &str) -> Result<View<'a>, super::Error> {
    if let Some(view) = registry.feature_view(name) {
        return Ok(View::Stored(view));
    }
    if let Some(view) = registry.on_demand_feature_view(name) {
        return Ok(View::OnDemand(view));
    }
    let stored = registry.feature_views.iter().map(|view| view.name.as_str());
    let on_demand = registry.on_demand_feature_views.iter();
    let names = stored.chain(on_demand.map(|view| view.name.as_str()));
    Err(super::Error::UnknownFeatureView {
        view: name.to_owned(),
        project: registry.project.clone(),
        known: Known::instead_of(name, names),
    })
}
