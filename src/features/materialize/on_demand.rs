//! On-demand feature views that are kept in the online store: their sources' newest rows, computed and written.
//!
//! Rules (Feast 0.67): of the source views the newest row of every entity key within the range, joined as of the newest
//! moment that a key has in any of them; a source's row counts if it is no older than the source's `ttl` at that moment, also
//! if it lies before the range. What was written has the moment of the write as its event timestamp. Neither a state nor a
//! watermark is recorded, so an incremental run starts at its end less the longest `ttl` of the sources (52 weeks without
//! one). Feast runs the function twice, the second time on what it gave; here it is run once.
//!
//! A view of one source streams; rows of several are joined (`joined`).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::pipeline::{Batch, IN_FLIGHT, drive};
use super::rows::{Pulled, RowMaker};
use super::select::{FIRST_TIME, Window, before};
use super::{Error, MaterializedView, OnProgress};
use crate::features::columns::{Column, Columns};
use crate::features::computed::key_value;
use crate::features::definitions::{DUMMY_JOIN_KEY, FeatureView, Field, OnDemandFeatureView};
use crate::features::key::KeyValue;
use crate::features::offline::{self, Latest, PullLatest};
use crate::features::plan::Rules;
use crate::features::registry::Registry;
use crate::features::transform::{CompiledView, InputValues, Inputs, Transforms};
use crate::features::{self, FeatureStore, written};
use crate::shutdown::run_blocking;
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// 0001-01-01: before every row.
const BEFORE_ALL: Timestamp = Timestamp::from_micros(-62_135_596_800_000_000);

/// One view to compute and write.
#[derive(Debug)]
pub(super) struct OnDemandJob {
    pub(super) view: OnDemandFeatureView,
    pub(super) start: Timestamp,
    end: Timestamp,
    compiled: CompiledView,
    /// At least one; the places of the compiled view count the features of one after the other.
    pub(super) sources: Vec<Source>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) maker: RowMaker,
    pub(super) ttl: Duration,
}

impl OnDemandJob {
    pub(super) fn of(
        registry: &Registry,
        transforms: &Transforms,
        view: &OnDemandFeatureView,
        window: Window,
        rules: Rules,
    ) -> Result<Self, features::Error> {
        check(view)?;
        let inputs = Inputs::of(view, registry)?;
        if !inputs.request.is_empty() {
            let names = inputs.request.iter().map(|field| field.name.clone());
            return Err(Error::RequestData {
                view: view.name.clone(),
                fields: names.collect(),
            }
            .into());
        }
        let views = inputs.sources.iter();
        let views = views.filter_map(|source| registry.feature_view(&source.projection.view));
        let views: Vec<&FeatureView> = views.collect();
        let longest = views.iter().map(|view| view.ttl).max();
        let Some(longest) = longest else {
            return Err(unsupported(view, "no source view".to_owned()));
        };
        let back = match longest {
            Duration::ZERO => FIRST_TIME,
            ttl => ttl,
        };
        let (start, end) = window.of_computed(back)?;
        let mut sources = Vec::with_capacity(views.len());
        let mut places = Vec::with_capacity(views.len());
        let mut n_places = 0;
        for (input, source) in inputs.sources.iter().zip(&views) {
            check_keys(view, source, &input.projection.join_key_map)?;
            let since = match (views.len(), source.ttl) {
                (1, _) => start,
                (_, Duration::ZERO) => BEFORE_ALL,
                (_, ttl) => before(start, ttl),
            };
            let mut pull = PullLatest::of(source, since, end).map_err(Error::Offline)?;
            let wanted = input.projection.features.iter();
            let wanted = wanted.filter_map(|field| {
                let mut columns = pull.features.iter();
                columns
                    .find(|column| column.field.name == field.name)
                    .cloned()
            });
            pull.features = wanted.collect();
            places.push((n_places..n_places + pull.features.len()).collect());
            n_places += pull.features.len();
            sources.push(Source {
                maker: RowMaker::new(source, pull, rules.key_version),
                ttl: source.ttl,
            });
        }
        Ok(Self {
            compiled: CompiledView::new(transforms, view, inputs, places)?,
            view: view.clone(),
            start,
            end,
            sources,
        })
    }

    /// The join keys of the view and of each of its sources.
    pub(super) fn join_keys(&self) -> Vec<Field> {
        let pull = self.sources[0].maker.pull();
        pull.keys.iter().map(|key| key.field.clone()).collect()
    }
}

fn unsupported(view: &OnDemandFeatureView, what: String) -> features::Error {
    Error::Unsupported {
        view: view.name.clone(),
        what,
    }
    .into()
}

fn check(view: &OnDemandFeatureView) -> Result<(), features::Error> {
    if !view.write_to_online_store {
        let view = view.name.clone();
        return Err(Error::NotWritten { view }.into());
    }
    if view.disabled {
        return Err(features::Error::NotServed {
            view: view.name.clone(),
            state: "DISABLED",
        });
    }
    Ok(())
}

/// Rows are written under the keys that they are read by.
fn check_keys(
    view: &OnDemandFeatureView,
    source: &FeatureView,
    join_key_map: &[(String, String)],
) -> Result<(), features::Error> {
    let sorted = |keys: &[Field]| {
        let keys = keys.iter().filter(|key| key.name != DUMMY_JOIN_KEY);
        let mut keys: Vec<String> = keys
            .map(|key| format!("{} ({})", key.name, key.value_type.name()))
            .collect();
        keys.sort();
        keys
    };
    let (own, theirs) = (sorted(&view.join_keys), sorted(&source.join_keys));
    if own == theirs && join_key_map.is_empty() {
        return Ok(());
    }
    let what = match own == theirs {
        true => format!("source `{}` under other join keys", source.name),
        false => format!(
            "other join keys ({}) than its source `{}` ({})",
            own.join(", "),
            source.name,
            theirs.join(", ")
        ),
    };
    Err(unsupported(view, what))
}

impl FeatureStore {
    pub(super) async fn materialize_on_demand(
        &self,
        job: OnDemandJob,
        progress: OnProgress<'_>,
    ) -> Result<MaterializedView, features::Error> {
        let job = Arc::new(job);
        let done = MaterializedView {
            view: job.view.name.clone(),
            start: job.start,
            end: job.end,
            rows_total: 0,
            rows_written: 0,
        };
        if job.sources.len() > 1 {
            return self.materialize_joined(&job, done, progress).await;
        }
        let Latest { batches, meter } = self.pull(&job.sources[0]).await?;
        let written = batches.map(|batch| async {
            let batch = batch.map_err(Error::Offline)?;
            let own = Arc::clone(&job);
            let rows = run_blocking(move || SourceRows::of_one(&own, &batch)).await;
            let rows = rows.map_err(features::Error::Panicked)?;
            self.write_rows(&job, rows.map_err(Error::Offline)?).await
        });
        drive(
            pin!(written.buffer_unordered(IN_FLIGHT)),
            done,
            &meter,
            progress,
        )
        .await
    }

    pub(super) async fn pull(&self, source: &Source) -> Result<Latest, features::Error> {
        let offline = &self.0.repo.offline_store;
        let pulled = offline.pull_latest(source.maker.pull().clone()).await;
        Ok(pulled.map_err(Error::Offline)?)
    }

    /// Computes the view of the rows and writes it.
    pub(super) async fn write_rows(
        &self,
        job: &OnDemandJob,
        rows: SourceRows,
    ) -> Result<Batch, features::Error> {
        let n_rows = rows.keys.len();
        let Ok(input) = job.compiled.input(&rows);
        let deadline = Deadline::after(self.time_for(n_rows));
        let Columns { columns, .. } = job.compiled.run(input, deadline).await?;
        let rules = Rules::of(&self.0.repo);
        let (stored, rows) = written::rows(&job.view, rules, rows.keys, columns, rows.entities);
        let n_written = self.0.online.write(&stored, &rows).await?;
        Ok(Batch { n_rows, n_written })
    }
}

/// What a view is computed from, column by column.
pub(super) struct SourceRows {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) entities: Vec<Column>,
    /// By the places of the compiled view.
    pub(super) features: Vec<Vec<Value>>,
}

impl SourceRows {
    fn of_one(job: &OnDemandJob, batch: &RecordBatch) -> Result<Self, offline::Error> {
        let maker = &job.sources[0].maker;
        let pulled = maker.pulled(batch)?;
        let keys = (0..batch.num_rows()).map(|row| maker.key(&pulled, row));
        let keys = keys.collect();
        let Pulled {
            keys: columns,
            features,
            ..
        } = pulled;
        Ok(Self {
            keys,
            entities: entities(job, columns),
            features,
        })
    }
}

pub(super) fn entities(job: &OnDemandJob, columns: Vec<Vec<KeyValue>>) -> Vec<Column> {
    let columns = job.join_keys().into_iter().zip(columns);
    let column = |(field, values): (Field, Vec<KeyValue>)| Column {
        name: field.name,
        value_type: field.value_type,
        values: values.into_iter().map(key_value).collect(),
    };
    columns.map(column).collect()
}

impl InputValues for SourceRows {
    type Error = Infallible;

    fn n_rows(&self) -> usize {
        self.keys.len()
    }

    fn entity(&self, field: &Field) -> Option<Vec<Value>> {
        let mut entities = self.entities.iter();
        let column = entities.find(|column| column.name == field.name);
        column.map(|column| column.values.clone())
    }

    fn request_data(&self, _: &Field) -> Option<Vec<Value>> {
        None
    }

    fn feature(&self, place: usize) -> Result<Vec<Value>, Infallible> {
        Ok(self.features[place].clone())
    }
}
