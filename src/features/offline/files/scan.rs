//! Reading the files: which columns, and a filter on time by which whole row groups and pages are left out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Operator;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan;

use super::super::canonical::Canonical;
use super::super::pull::{Meter, PullLatest};
use super::super::{BATCH_ROWS, Error};
use super::listing::{Partitions, files};
use super::places::Place;

/// The files of a pull, ready to be read in the order of names and rows.
pub(in super::super) struct Scan {
    /// Its columns are those of `canonical.needed()`, of a scan in parts with a last one, the number of the piece.
    pub(in super::super) plan: Arc<dyn ExecutionPlan>,
    pub(in super::super) canonical: Canonical,
    /// Rows of its batches.
    pub(in super::super) batch_rows: usize,
}

/// How many partitions read the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Parts {
    /// One, from the first row to the last.
    One,
    /// Up to so many, each some pieces of files; pieces are numbered in the order of the source.
    #[cfg(feature = "cluster")]
    Several(usize),
}

pub(in super::super) async fn open(
    pull: &PullLatest,
    place: &Place,
    state: &SessionState,
    meter: &Meter,
    batch_bytes: usize,
    parts: Parts,
) -> Result<Scan, Error> {
    let failed = |error: DataFusionError| pull.unreadable(&place.text, error);
    let store = match &place.store {
        None => state
            .runtime_env()
            .object_store(&place.url)
            .map_err(failed)?,
        Some(store) => {
            let runtime = state.runtime_env();
            runtime.register_object_store(place.url.as_ref(), store.clone());
            store.clone()
        }
    };
    let files = files(pull, place, &*store).await?;
    let format = ParquetFormat::default().with_force_view_types(false);
    let schema = format.infer_schema(state, &store, &files);
    let schema = schema.await.map_err(failed)?;
    let size = Size::of(state, &*store, &files).await.map_err(failed)?;
    meter.expect(size.n_rows);
    let batch_rows = size.rows_within(batch_bytes);
    let partitions = Partitions::of(pull, place, files, &schema)?;
    let columns = partitions.columns;
    let table = TableSchema::builder(schema.clone())
        .with_table_partition_cols(columns.clone())
        .build();
    let canonical = Canonical::new(pull, table.table_schema(), &place.text)?;
    let needed = canonical.needed().to_vec();
    let (columns, needed, groups, url) = match parts {
        Parts::One => {
            let group = FileGroup::new(partitions.files);
            (columns, needed, vec![group], place.url.clone())
        }
        #[cfg(feature = "cluster")]
        Parts::Several(n_parts) => {
            let piece = table.table_schema().fields().len();
            let columns = [columns, vec![super::pieces::column()]].concat();
            let groups = super::pieces::groups(partitions.files, n_parts);
            let url = super::super::cluster::store_url(place).map_err(failed)?;
            (columns, [needed, vec![piece]].concat(), groups, url)
        }
    };
    let table = TableSchema::builder(schema)
        .with_table_partition_cols(columns)
        .build();
    let mut source = ParquetSource::new(table.clone()).with_enable_page_index(true);
    if let Some(filter) = filter(pull, &table) {
        source = source.with_predicate(filter);
    }
    let config = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(groups)
        .with_preserve_order(true)
        .with_batch_size(Some(batch_rows))
        .with_projection_indices(Some(needed))
        .map_err(failed)?
        .build();
    let plan = DataSourceExec::from_data_source(config);
    Ok(Scan {
        plan,
        canonical,
        batch_rows,
    })
}

/// Of all files and columns, as their footers have it.
#[derive(Debug, Default)]
struct Size {
    n_rows: u64,
    /// Decompressed.
    n_bytes: u64,
}

impl Size {
    async fn of(
        state: &SessionState,
        store: &dyn ObjectStore,
        files: &[ObjectMeta],
    ) -> Result<Self, DataFusionError> {
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let mut size = Self::default();
        for file in files {
            let metadata = DFParquetMetadata::new(store, file)
                .with_file_metadata_cache(Some(cache.clone()))
                .fetch_metadata()
                .await?;
            for group in metadata.row_groups() {
                size.n_rows += u64::try_from(group.num_rows()).unwrap_or(0);
                size.n_bytes += u64::try_from(group.total_byte_size()).unwrap_or(0);
            }
        }
        Ok(size)
    }

    /// A batch's rows, so that it stays within `n_bytes`.
    fn rows_within(&self, n_bytes: usize) -> usize {
        let row = self.n_bytes.checked_div(self.n_rows).unwrap_or(0).max(1);
        let rows = usize::try_from(n_bytes as u64 / row).unwrap_or(usize::MAX);
        rows.clamp(16, BATCH_ROWS)
    }
}

/// Lets through a little more than the range, as the exact choice is made on microseconds. `None` where the column's type
/// has no order of its own that would help.
fn filter(pull: &PullLatest, table: &TableSchema) -> Option<Arc<dyn PhysicalExpr>> {
    let (position, field) = table
        .file_schema()
        .column_with_name(&pull.source.timestamp_field)?;
    let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), position));
    let first = bound(field, pull.start.as_micros(), -1)?;
    let last = bound(field, pull.end.as_micros(), 1)?;
    let from = BinaryExpr::new(
        column.clone(),
        Operator::GtEq,
        Arc::new(Literal::new(first)),
    );
    let to = BinaryExpr::new(column, Operator::LtEq, Arc::new(Literal::new(last)));
    let both = BinaryExpr::new(Arc::new(from), Operator::And, Arc::new(to));
    Some(Arc::new(both))
}

/// The moment in the column's unit, and one unit (of nanoseconds a thousand) further out.
fn bound(field: &Field, micros: i64, outwards: i64) -> Option<ScalarValue> {
    let DataType::Timestamp(unit, zone) = field.data_type() else {
        return None;
    };
    let micros = micros.saturating_add(outwards);
    let zone = zone.clone();
    let in_units = |per_unit: i64| Some(micros.div_euclid(per_unit) + outwards);
    Some(match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(in_units(1_000_000), zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(in_units(1_000), zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(micros), zone),
        TimeUnit::Nanosecond => {
            ScalarValue::TimestampNanosecond(Some(micros.saturating_mul(1_000)), zone)
        }
    })
}
