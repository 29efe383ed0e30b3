//! Entity rows joined with one view after the other, as one job.
//!
//! ```text
//! staged    row number, what is carried along, the time, the keys of every view in its types
//! joined    row number, what is carried along, of each view its features and their event timestamp
//! ```
//! Keys are left behind once their view is joined.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::context::SessionConfig;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{AsExecutionPlan, DefaultPhysicalExtensionCodec};
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::StreamExt;

use super::super::canonical::NullKeys;
use super::super::files::places::Place;
use super::super::files::scan::{self, Parts};
use super::super::history::{Joined, PointInTime, times};
use super::super::pull::{Meter, PullLatest};
use super::super::pump::{Sender, pumped};
use super::super::{Entities, Error};
use super::as_of;
use super::job::Job;
use super::node::{Node, Rows, Spec};
use super::settings::Config;
use super::staging::{Staged, stage};
use super::wire::{AsOf, View};
use crate::features::definitions::SourceKind;
use crate::shutdown::run_blocking;

/// Threads of this process for one job.
const THREADS: usize = 1;
/// Bytes of a batch of a source, about.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// What is done with joined rows on the cluster before they come back: from their plan to one whose rows have their
/// numbers as the first column and are in order within partitions.
pub(crate) type Then = Box<dyn FnOnce(LogicalPlan) -> PlanResult<LogicalPlan> + Send>;

/// What is to be joined.
pub(crate) struct Chain {
    pub(crate) config: Config,
    /// Relative paths of sources start here.
    pub(crate) directory: PathBuf,
    pub(crate) entities: Entities,
    /// Columns of the entity rows that come back with what is found.
    pub(crate) carried: Vec<usize>,
    /// Of the same entity rows at the same time.
    pub(in crate::features) joins: Vec<PointInTime>,
    pub(crate) then: Option<Then>,
    pub(crate) codec: Arc<dyn LogicalExtensionCodec>,
}

impl Chain {
    /// Begins. What can be seen to be wrong with the places of the sources is refused here.
    pub(in crate::features) fn begin(self) -> Result<Joined, Error> {
        let places = self.joins.iter();
        let places = places.map(|join| Place::of(&join.view, &self.directory));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let meter = Arc::new(Meter::default());
        meter.expect_to_pass(self.entities.n_rows() as u64);
        let counts = Arc::clone(&meter);
        let batches = pumped(|sender| async move {
            let work = move || self.blocking(&places, &counts, &sender);
            run_blocking(work).await.map_err(Error::Panicked)?
        });
        let counts = Arc::clone(&meter);
        let batches = batches.inspect(move |batch| {
            if let Ok(batch) = batch {
                counts.add_passed(batch.num_rows());
            }
        });
        Ok(Joined {
            batches: batches.boxed(),
            meter,
        })
    }

    /// In a runtime of its own, until all is sent or nobody listens.
    fn blocking(self, places: &[Place], meter: &Meter, sender: &Sender) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("offline-cluster")
            .enable_all()
            .build()
            .map_err(|error| self.failed(error.into()))?;
        let done = runtime.block_on(self.run(places, meter, sender));
        runtime.shutdown_background();
        done
    }

    async fn run(self, places: &[Place], meter: &Meter, sender: &Sender) -> Result<(), Error> {
        let asked = Asked::stage(&self).await?;
        let staged = asked.rows;
        let Some(range) = asked.range else {
            staged.remove().await;
            return Ok(());
        };
        let config = self.config.clone();
        let codec = Arc::clone(&self.codec);
        let plan = self.plan(&asked.columns, &staged, range, places, meter);
        let done = match plan.await {
            Ok(plan) => {
                let config = &config;
                Job {
                    config,
                    plan,
                    n_rows: asked.n_rows,
                    codec,
                }
                .run(sender)
                .await
            }
            Err(error) => Err(error),
        };
        staged.remove().await;
        done
    }

    async fn plan(
        self,
        columns: &[Column],
        staged: &Staged,
        range: (i64, i64),
        places: &[Place],
        meter: &Meter,
    ) -> Result<LogicalPlan, Error> {
        let n_parts = self.config.partitions.get();
        let session = SessionConfig::new().with_target_partitions(n_parts);
        let state = SessionStateBuilder::new().with_config(session).build();
        let entities = staged.scan(state.runtime_env(), n_parts).await;
        let entities = entities.map_err(|error| self.failed(error))?;
        let mut schema = entities.schema();
        let staged = Rows::Staged(staged.uri.clone());
        let mut plan = leaf(staged, &entities, &schema).map_err(|error| self.failed(error))?;
        let mut columns = columns.to_vec();
        let mut n_rows = 0;
        for (number, (join, place)) in self.joins.iter().zip(places).enumerate() {
            let pull = absolute(join.range(range.0, range.1), place);
            let counts = Meter::default();
            let (rows, row_schema) = self.view_rows(&pull, place, &state, &counts).await?;
            n_rows += counts.expected();
            let is_last = number + 1 == self.joins.len();
            let spec = spec(join, number, &mut columns, is_last);
            schema =
                as_of::schema(&spec, &schema, &row_schema).map_err(|error| self.failed(error))?;
            let node = Node::new(Spec::AsOf(spec), Vec::new(), vec![plan, rows], &schema);
            plan = node.map_err(|error| self.failed(error))?.plan();
        }
        meter.expect(n_rows);
        let scheduler = self.config.scheduler.to_string();
        let failed = |error: DataFusionError| Error::Cluster {
            scheduler: scheduler.clone(),
            problem: error.to_string(),
        };
        let order = match self.then {
            Some(then) => {
                plan = then(plan).map_err(failed)?;
                schema = Arc::new(plan.schema().as_arrow().clone());
                Spec::Merged
            }
            None => Spec::InOrder,
        };
        let node = Node::new(order, Vec::new(), vec![plan], &schema);
        Ok(node.map_err(failed)?.plan())
    }

    async fn view_rows(
        &self,
        pull: &PullLatest,
        place: &Place,
        state: &SessionState,
        meter: &Meter,
    ) -> Result<(LogicalPlan, SchemaRef), Error> {
        let parts = Parts::Several(self.config.partitions.get());
        let scan = scan::open(pull, place, state, meter, BATCH_BYTES, parts).await?;
        let canonical = scan
            .canonical
            .with_null_keys(NullKeys::PassedOver)
            .with_source_order();
        let view = View::of(pull);
        let view =
            view.ok_or_else(|| pull.unsupported("a source that is not a file".to_owned()))?;
        let rows = leaf(Rows::View(view), &scan.plan, &canonical.schema);
        Ok((rows.map_err(|error| self.failed(error))?, canonical.schema))
    }

    fn failed(&self, error: DataFusionError) -> Error {
        Error::Cluster {
            scheduler: self.config.scheduler.to_string(),
            problem: error.to_string(),
        }
    }
}

/// What a column of the entity rows is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    /// What comes back: the row number, what is carried along, what was found.
    Kept,
    Time,
    /// Of the join of this number.
    Key(usize),
}

/// How a view is joined to rows of these columns, which become those of the result.
fn spec(join: &PointInTime, number: usize, columns: &mut Vec<Column>, is_last: bool) -> AsOf {
    let places = |columns: &[Column], wanted: &dyn Fn(Column) -> bool| -> Vec<usize> {
        (0..columns.len())
            .filter(|&place| wanted(columns[place]))
            .collect()
    };
    let keys = places(columns, &|column| column == Column::Key(number));
    let time = places(columns, &|column| column == Column::Time);
    let kept = places(columns, &|column| match column {
        Column::Kept => true,
        Column::Time => !is_last,
        Column::Key(of) => of != number,
    });
    *columns = kept.iter().map(|&place| columns[place]).collect();
    columns.extend((0..=join.view.features.len()).map(|_| Column::Kept));
    AsOf {
        number,
        keys,
        time: time.first().copied().unwrap_or_default(),
        kept,
        has_created: join.view.created().is_some(),
        needs_created: join.needs_created(),
        ttl: join.ttl,
        max_bytes: join.max_bytes,
    }
}

/// Entity rows as joins compare them, with their numbers.
struct Asked {
    rows: Staged,
    n_rows: u64,
    columns: Vec<Column>,
    /// Of their times; `None` of no rows.
    range: Option<(i64, i64)>,
}

impl Asked {
    async fn stage(chain: &Chain) -> Result<Self, Error> {
        let joins = chain.joins.iter();
        let places = joins.flat_map(|join| join.keys.iter().chain([&join.time]));
        let places: HashSet<usize> = places.chain(&chain.carried).copied().collect();
        let mut places: Vec<usize> = places.into_iter().collect();
        places.sort_unstable();
        let mut batches = chain.entities.read(&places).map_err(Error::EntityRows)?;
        let mut range: Option<(i64, i64)> = None;
        let mut n_rows = 0;
        let mut columns = Vec::new();
        let mut next = || -> Result<Option<RecordBatch>, Error> {
            let Some(batch) = batches.next().transpose().map_err(Error::EntityRows)? else {
                return Ok(None);
            };
            let (batch, kinds) = asked(chain, &places, &batch, n_rows, &mut range)?;
            n_rows += batch.num_rows();
            columns = kinds;
            Ok(Some(batch))
        };
        // The first batch has the schema.
        let first = next()?;
        let schema = match &first {
            Some(first) => first.schema(),
            None => Arc::new(Schema::empty()),
        };
        let rest = std::iter::from_fn(|| next().transpose());
        let batches = first.map(Ok).into_iter().chain(rest);
        let rows = stage(&chain.config.staging, &schema, batches).await?;
        Ok(Self {
            rows,
            n_rows: n_rows as u64,
            columns,
            range,
        })
    }
}

/// One batch with the columns at `places` of the entity rows.
fn asked(
    chain: &Chain,
    places: &[usize],
    batch: &RecordBatch,
    n_before: usize,
    range: &mut Option<(i64, i64)>,
) -> Result<(RecordBatch, Vec<Column>), Error> {
    let place_of = |place: &usize| places.binary_search(place).unwrap_or(0);
    let first = n_before as u64;
    let numbers = first..first + batch.num_rows() as u64;
    let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(numbers));
    let mut fields = vec![Field::new("row", DataType::UInt64, false)];
    let mut arrays = vec![numbers];
    let mut columns = vec![Column::Kept];
    for (i, place) in chain.carried.iter().enumerate() {
        let array = plain(batch.column(place_of(place))).map_err(Error::EntityRows)?;
        fields.push(Field::new(
            format!("carried_{i}"),
            array.data_type().clone(),
            true,
        ));
        arrays.push(array);
        columns.push(Column::Kept);
    }
    for (number, join) in chain.joins.iter().enumerate() {
        let wanted = join.keys.iter().chain([&join.time]);
        let wanted: Vec<usize> = wanted.map(place_of).collect();
        let wanted = batch.project(&wanted).map_err(Error::EntityRows)?;
        let converted = join.converted(&wanted, n_before)?;
        let (keys, time) = converted.columns().split_at(join.keys.len());
        if number == 0 {
            for &time in times(&converted) {
                let (first, last) = range.unwrap_or((time, time));
                *range = Some((first.min(time), last.max(time)));
            }
            fields.push(Field::new("time", time[0].data_type().clone(), true));
            arrays.push(Arc::clone(&time[0]));
            columns.push(Column::Time);
        }
        for (i, key) in keys.iter().enumerate() {
            let name = format!("key_{number}_{i}");
            fields.push(Field::new(name, key.data_type().clone(), true));
            arrays.push(Arc::clone(key));
            columns.push(Column::Key(number));
        }
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays);
    Ok((batch.map_err(Error::EntityRows)?, columns))
}

/// The column in a type that shuffles pass on as it is.
fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    arrow::compute::cast(array, &plain_type(array.data_type()))
}

/// Without dictionaries and views.
pub(crate) fn plain_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// The same pull, where executors find its source, too.
fn absolute(pull: PullLatest, place: &Place) -> PullLatest {
    let mut pull = pull;
    if let (SourceKind::File { uri, .. }, None) = (&mut pull.source.kind, &place.store) {
        *uri = format!("/{}", place.path);
    }
    pull
}

fn leaf(rows: Rows, scan: &Arc<dyn ExecutionPlan>, schema: &SchemaRef) -> PlanResult<LogicalPlan> {
    let codec = DefaultPhysicalExtensionCodec {};
    let mut bytes = Vec::new();
    PhysicalPlanNode::try_from_physical_plan(Arc::clone(scan), &codec)?.try_encode(&mut bytes)?;
    Ok(Node::new(Spec::Rows(rows), bytes, Vec::new(), schema)?.plan())
}
