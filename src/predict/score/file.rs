//! One part: its rows in, its result out.
//!
//! The result is under another name until it is whole and its audit event is written; then it gets its name. Whoever finds
//! it finds all of it, and an event that tells its checksum; a work that was cut off leaves an event without a file at most.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use super::calls::{Caller, Used, cut};
use super::cells::cells;
use super::fingerprint::{finished, notes};
use super::layout::{Layout, Shown};
use super::plain::Plain;
use super::source::{Part, PartRows};
use super::summary::{Counts, FileSummary, Progress};
use super::{Audited, Error, FeaturesFrom, ROWS_PER_TASK, Request, VALUES_PER_TASK};
use crate::audit::ScoredFile;
use crate::features::historical::{
    self, Entities, EntityTypes, FileFormat, TableFile, Watch, WholeFile, Writing,
};
use crate::features::retrieve::{Naming, Wanted};
use crate::features::{FeatureStore, OnlinePlan};
use crate::models::Resolved;
use crate::predict::{self, Predictor, ServingPlan, served_by};
use crate::shutdown::run_blocking;
use crate::types::dtype::DType;
use crate::types::timestamp::Timestamp;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);
/// Engines that are kept busy at most.
const MAX_ENGINES: usize = 16;

/// Tasks that are under way at once: more than there are engines, so that none waits while a result is written.
pub(super) fn tasks_at_once(n_engines: usize) -> usize {
    let n_engines = n_engines.clamp(1, MAX_ENGINES);
    n_engines + n_engines.div_ceil(2) + 1
}

/// Scores files with one version.
pub(super) struct Scorer<'a> {
    pub(super) predictor: &'a Predictor,
    pub(super) model: Arc<Resolved<ServingPlan>>,
    pub(super) request: &'a Request,
    pub(super) rows_per_call: usize,
}

/// A part that is being scored.
pub(super) struct Ready {
    /// Of the tables.
    pub(super) schema: SchemaRef,
    pub(super) tables: BoxStream<'static, Result<Table, Error>>,
    pub(super) watch: Option<Watch>,
}

/// Rows of the result, and what became of them.
pub(super) struct Table {
    pub(super) rows: RecordBatch,
    pub(super) counts: Counts,
}

impl Scorer<'_> {
    /// Scores a part, or finds that it is scored already. `progress` is that of all parts.
    pub(super) async fn part(
        &self,
        part: &Part,
        progress: &mut Progress,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(FileSummary, Counts), Error> {
        let (time, began) = (Timestamp::now(), Instant::now());
        let entities = self.entities(part).await?;
        let used = self.used(part, entities.schema())?;
        let definitions = self.definitions()?;
        let rows_per_call = self.rows_per_call;
        let notes = notes(
            &self.model,
            part,
            self.request,
            rows_per_call,
            used,
            definitions,
        );
        if part.is_of_directory && !self.request.again {
            let (path, notes) = (part.destination.clone(), notes.clone());
            let there = run_blocking(move || finished(&path, &notes)).await;
            if let Some(n_rows) = there.map_err(Error::Panicked)? {
                progress.n_rows = progress.n_rows.saturating_sub(n_rows);
                return Ok((skipped(part, used, n_rows), Counts::default()));
            }
        }
        let ready = self.ready(part, &entities, used, notes).await?;
        let mut counts = Counts::default();
        let file = self.write(part, ready, &mut counts, progress, tell).await?;
        if counts.n_rows > 0 && counts.n_failed == counts.n_rows {
            return Err(Error::NothingScored {
                file: part.file(),
                n_rows: counts.n_rows,
                first: counts.first_failure().unwrap_or_default().to_owned(),
            });
        }
        let summary = FileSummary {
            source: part.source(),
            path: part.destination.clone(),
            skipped: false,
            features: used.as_str(),
            n_rows: counts.n_rows,
            n_failed: Some(counts.n_failed),
            sha256: Some(file.sha256.clone()),
            n_bytes: Some(file.n_bytes),
        };
        self.record(&summary, time, began.elapsed()).await?;
        let path = part.destination.clone();
        let published = run_blocking(move || file.publish(&path)).await;
        let published = published.map_err(Error::Panicked)?;
        published.map_err(|error| unwritable(&part.destination, error))?;
        Ok((summary, counts))
    }

    async fn entities(&self, part: &Part) -> Result<Entities, Error> {
        let (path, format) = match &part.rows {
            PartRows::Query(query) => {
                let store = self.predictor.features.as_ref();
                let store = store.ok_or(Error::NoFeatureRepository)?;
                return Ok(store.query_entities(query).await?);
            }
            PartRows::File { path, format, .. } => (path.clone(), *format),
        };
        let types = self.entity_types()?;
        let read = run_blocking(move || match format {
            FileFormat::Csv => Entities::of_csv(&path, &types),
            FileFormat::Parquet => Entities::of_parquet(&path).map_err(historical::Error::Entities),
        });
        let read = read.await.map_err(Error::Panicked)?;
        read.map_err(|error| Error::Rows {
            file: part.file(),
            error: Box::new(error),
        })
    }

    /// What columns of CSV are to be: keys as the views have them, text where the model takes text.
    fn entity_types(&self) -> Result<EntityTypes, Error> {
        let plan = &self.model.version.plan;
        let types = match self.joined() {
            Some((store, _, wanted)) => store.entity_types(&wanted, Naming::Full)?,
            None => EntityTypes::default(),
        };
        let texts = plan
            .slots
            .iter()
            .filter(|(_, slot)| slot.declared == Some(DType::String));
        Ok(types.with_texts(texts.map(|(name, _)| name.as_str())))
    }

    /// The model's features, where it takes any.
    pub(super) fn joined(&self) -> Option<(&FeatureStore, &OnlinePlan, Wanted)> {
        let plan = &self.model.version.plan;
        let online = plan
            .online
            .as_ref()
            .filter(|online| !online.features.is_empty())?;
        let store = self.predictor.features.as_deref()?;
        let wanted = online.wanted(plan.selection.as_ref()?);
        Some((store, online, wanted))
    }

    fn definitions(&self) -> Result<HashMap<String, String>, Error> {
        match self.joined() {
            Some((store, _, wanted)) => Ok(store.definitions(&wanted)?),
            None => Ok(HashMap::new()),
        }
    }

    fn used(&self, part: &Part, rows: &Schema) -> Result<Used, Error> {
        if self.joined().is_none() {
            return match self.request.features {
                Some(from) => Err(Error::NoFeatures {
                    model: self.request.model.to_string(),
                    features: from.as_str(),
                }),
                None => Ok(Used::None),
            };
        }
        match self.request.features {
            Some(FeaturesFrom::Offline) => return Ok(Used::Offline),
            Some(FeaturesFrom::Online) => return Ok(Used::Online),
            None => {}
        }
        if self.are_given(rows) {
            return Ok(Used::Given);
        }
        let has_time = historical::has_time(rows).map_err(|error| Error::Rows {
            file: part.file(),
            error: Box::new(error),
        })?;
        Ok(match has_time {
            true => Used::Offline,
            false => Used::Online,
        })
    }

    /// Whether a column stands in for each of the features.
    fn are_given(&self, rows: &Schema) -> bool {
        let plan = &self.model.version.plan;
        let names = rows.fields().iter().map(|field| field.name().as_str());
        let slots: Vec<_> = names.filter_map(|name| plan.slots.get(name)).collect();
        (0..plan.n_features())
            .all(|feature| slots.iter().any(|slot| slot.features.contains(&feature)))
    }

    /// Begins to read the rows, with their features. Which columns there are is checked here.
    async fn ready(
        &self,
        part: &Part,
        entities: &Entities,
        used: Used,
        notes: HashMap<String, String>,
    ) -> Result<Ready, Error> {
        let n_entity_columns = entities.schema().fields().len();
        let columns = columns(&self.model, part.file(), entities.schema())?;
        #[cfg(feature = "cluster")]
        if let Some(ready) = self.on_cluster(part, entities, used, &notes)? {
            return Ok(ready);
        }
        let (schema, batches, watch) = match (used, self.joined()) {
            (Used::Offline, Some((store, _, wanted))) => {
                let request = historical::Request {
                    wanted,
                    naming: Naming::Full,
                    entities: entities.clone(),
                    filter_by_created_timestamp: false,
                };
                let joined = store.historical(request, self.request.deadline).await;
                let joined = joined.map_err(|error| Error::Rows {
                    file: part.file(),
                    error: Box::new(error),
                })?;
                let watch = joined.watch();
                (joined.schema, joined.batches, Some(watch))
            }
            _ => (entities.schema().clone(), entities.batches(), None),
        };
        let version = &self.model.version;
        let layout = Layout::of(version, &schema, n_entity_columns, self.shown(), notes)?;
        // The event of a call tells its columns.
        let plain = match self.request.audited {
            Audited::Files => Plain::of(&version.plan, &columns, &schema),
            Audited::Calls => None,
        };
        let caller = Caller {
            predictor: self.predictor.clone(),
            model: Arc::clone(&self.model),
            reference: self.request.model.clone(),
            used,
            columns,
            plain,
            rows_per_call: self.rows_per_call,
            turns: Semaphore::new(version.model.n_engines()),
            audited: self.request.audited,
            deadline: self.request.deadline,
            context: self.request.context.clone(),
        };
        Ok(Ready {
            schema: layout.schema.clone(),
            tables: tables(caller, layout, batches, self.rows_per_task()),
            watch,
        })
    }

    /// Rows of several calls, as many as are worth a task; where a row is wide, fewer. A file is written in as many at a time.
    pub(super) fn rows_per_task(&self) -> usize {
        let n_columns = self.model.version.plan.columns.len().max(1);
        let wanted = ROWS_PER_TASK.min(VALUES_PER_TASK / n_columns);
        (wanted / self.rows_per_call).max(1) * self.rows_per_call
    }

    pub(super) fn shown(&self) -> Shown {
        match self.request.with_features {
            true => Shown::Features,
            false => Shown::OutputsOnly,
        }
    }

    async fn write(
        &self,
        part: &Part,
        ready: Ready,
        counts: &mut Counts,
        progress: &mut Progress,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<WholeFile, Error> {
        let failed = |error| unwritable(&part.destination, error);
        let mut writing = Writing::begin(self.create(part, ready.schema).await?);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut tables, watch) = (ready.tables, ready.watch);
        let done = loop {
            let next = tokio::select! {
                next = tables.next() => next,
                _ = ticks.tick() => {
                    progress.sources = watch.as_ref().map(Watch::progress);
                    progress.sources = progress.sources.filter(|_| counts.n_rows == 0);
                    tell(*progress);
                    continue;
                }
            };
            let Table { rows, counts: more } = match next {
                None => break Ok(()),
                Some(Ok(table)) => table,
                Some(Err(error)) => break Err(of_file(part, error)),
            };
            counts.extend(more);
            progress.rows_done += rows.num_rows() as u64;
            progress.n_rows = progress.n_rows.max(progress.rows_done);
            if let Err(error) = writing.write(rows).await {
                break Err(failed(error));
            }
        };
        if let Err(error) = done {
            writing.abandon().await;
            return Err(error);
        }
        progress.sources = None;
        tell(*progress);
        writing.finish().await.map_err(failed)
    }

    /// Begins the result; of a directory's part also the directories that it lies in.
    async fn create(&self, part: &Part, schema: SchemaRef) -> Result<TableFile, Error> {
        let (destination, format) = (part.destination.clone(), part.format);
        let is_of_directory = part.is_of_directory;
        let confined_to = self.request.confined_to.clone();
        let created = run_blocking(move || {
            let directory = destination.parent().filter(|_| is_of_directory);
            if let Some(directory) = directory {
                make(directory, confined_to.as_deref())?;
            }
            TableFile::create(&destination, format, &schema)
        });
        let created = created.await.map_err(Error::Panicked)?;
        created.map_err(|error| unwritable(&part.destination, error))
    }

    /// The file's audit event, as safe as events are to be.
    async fn record(
        &self,
        file: &FileSummary,
        time: Timestamp,
        took: Duration,
    ) -> Result<(), Error> {
        let destination = file.path.display().to_string();
        let audit = self.predictor.audit();
        let recorded = audit.record_scored(&ScoredFile {
            time,
            took,
            context: &self.request.context,
            requested: &self.request.model,
            served_by: &served_by(&self.model),
            n_rows: file.n_rows,
            n_failed: file.n_failed.unwrap_or_default(),
            features: file.features,
            source: &file.source,
            destination: &destination,
            sha256: file.sha256.as_deref().unwrap_or_default(),
        });
        let recorded = recorded.map_err(predict::Error::from)?;
        recorded.safe().await.map_err(predict::Error::from)?;
        Ok(())
    }
}

/// The columns that the model has a use for; the others are only carried along.
pub(super) fn columns(
    model: &Resolved<ServingPlan>,
    file: PathBuf,
    rows: &Schema,
) -> Result<Vec<(usize, String)>, Error> {
    let mut columns = Vec::new();
    for (place, field) in rows.fields().iter().enumerate() {
        if !model.version.plan.slots.contains_key(field.name()) {
            continue;
        }
        let none = arrow::array::new_empty_array(field.data_type());
        if cells(&none).map_err(Error::Arrow)?.is_none() {
            return Err(Error::ColumnType {
                file,
                column: field.name().clone(),
                found: Box::new(field.data_type().clone()),
            });
        }
        columns.push((place, field.name().clone()));
    }
    Ok(columns)
}

/// The rows of all batches, answered in their order while the next ones are.
fn tables(
    caller: Caller,
    layout: Layout,
    batches: BoxStream<'static, Result<RecordBatch, historical::Error>>,
    rows_per_task: usize,
) -> BoxStream<'static, Result<Table, Error>> {
    let n_engines = caller.model.version.model.n_engines();
    let caller = Arc::new(caller);
    let tasks = cut(batches, rows_per_task).map(move |rows| {
        let caller = Arc::clone(&caller);
        async move { caller.spawned(rows?).await }
    });
    let answers = tasks.buffered(tasks_at_once(n_engines));
    let tables = answers.map(move |answers| {
        let answers = answers?;
        Ok(Table {
            rows: layout.table(&answers)?,
            counts: Counts::of(&answers),
        })
    });
    tables.boxed()
}

/// The directory, which may be there; links that lead out of where results may be are not followed.
fn make(directory: &Path, confined_to: Option<&Path>) -> io::Result<()> {
    fs_err::create_dir_all(directory)?;
    let Some(root) = confined_to else {
        return Ok(());
    };
    match fs_err::canonicalize(directory)?.starts_with(fs_err::canonicalize(root)?) {
        true => Ok(()),
        false => Err(io::Error::other("a link leads out of the directory")),
    }
}

fn skipped(part: &Part, used: Used, n_rows: u64) -> FileSummary {
    FileSummary {
        source: part.source(),
        path: part.destination.clone(),
        skipped: true,
        features: used.as_str(),
        n_rows,
        n_failed: None,
        sha256: None,
        n_bytes: None,
    }
}

/// The same error, with the file that it is about.
fn of_file(part: &Part, error: Error) -> Error {
    let file = part.file();
    match error {
        Error::Predict(error) => Error::Call { file, error },
        Error::Features(error) => Error::Rows { file, error },
        error => error,
    }
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::Write {
        path: path.to_owned(),
        error,
    }
}
