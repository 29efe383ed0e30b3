//! Entity rows where all executors reach them: a Parquet file, for as long as the work on them takes.
//!
//! A file is named `terrarium-<uuid>.parquet`. It goes when the work ends, however it ends; after a process that was killed it
//! stays, and whoever knows that nothing runs may delete it.

use std::io::Read;
use std::path::Path as LocalPath;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as PlanResult;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use datafusion::physical_plan::ExecutionPlan;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tempfile::{NamedTempFile, TempPath};
use uuid::Uuid;

use super::super::Error;
use super::super::files::pieces;
use super::super::files::places::Place;

/// Rows that are read by one task at least.
const GROUP_ROWS: usize = 128 * 1024;
/// Of an upload.
const CHUNK_BYTES: usize = 1024 * 1024;
const UPLOADS: usize = 4;

/// A file that is there until it is removed, or dropped if it is on this machine.
pub(super) struct Staged {
    pub(super) uri: String,
    place: Place,
    local: Option<TempPath>,
    schema: SchemaRef,
}

/// Writes the rows. Blocks the thread while it writes; it is one for such work.
pub(super) async fn stage(
    staging: &str,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Error>>,
) -> Result<Staged, Error> {
    let failed = |problem: Box<dyn std::error::Error + Send + Sync>| Error::Staging {
        place: staging.to_owned(),
        source: problem,
    };
    let name = format!("terrarium-{}.parquet", Uuid::now_v7());
    let is_local = !staging.contains("://") || staging.starts_with("file://");
    let (uri, file) = match is_local {
        true => {
            let directory = staging.strip_prefix("file://").unwrap_or(staging);
            let directory = directory_of(directory).map_err(|error| failed(error.into()))?;
            let file = new_file(&name, LocalPath::new(&directory));
            let file = file.map_err(|error| failed(error.into()))?;
            (file.path().display().to_string(), file)
        }
        false => {
            let uri = format!("{}/{name}", staging.trim_end_matches('/'));
            let file = NamedTempFile::new().map_err(|error| failed(error.into()))?;
            (uri, file)
        }
    };
    write(&file, schema, batches, &failed)?;
    let place = Place::at(&uri, None).map_err(failed)?;
    if let Some(store) = &place.store {
        upload(file.path(), &**store, &place)
            .await
            .map_err(failed)?;
    }
    Ok(Staged {
        uri,
        place,
        local: is_local.then(|| file.into_temp_path()),
        schema: Arc::clone(schema),
    })
}

/// The directory, without links, as it is named everywhere.
fn directory_of(directory: &str) -> std::io::Result<String> {
    fs_err::create_dir_all(directory)?;
    Ok(fs_err::canonicalize(directory)?.display().to_string())
}

fn new_file(name: &str, directory: &LocalPath) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(name).rand_bytes(0);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Executors may run under another account: as any other new file, under the process's umask.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}

fn write(
    file: &NamedTempFile,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Error>>,
    failed: &dyn Fn(Box<dyn std::error::Error + Send + Sync>) -> Error,
) -> Result<(), Error> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let out = file.reopen().map_err(|error| failed(error.into()))?;
    let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties));
    let mut writer = writer.map_err(|error| failed(error.into()))?;
    for batch in batches {
        writer
            .write(&batch?)
            .map_err(|error| failed(error.into()))?;
    }
    writer.close().map_err(|error| failed(error.into()))?;
    Ok(())
}

async fn upload(
    path: &LocalPath,
    store: &dyn ObjectStore,
    place: &Place,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut file = fs_err::File::open(path)?;
    let mut upload = WriteMultipart::new(store.put_multipart(&place.path).await?);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let n_bytes = file.read(&mut chunk)?;
        if n_bytes == 0 {
            break;
        }
        upload.wait_for_capacity(UPLOADS).await?;
        upload.write(&chunk[..n_bytes]);
    }
    upload.finish().await?;
    Ok(())
}

impl Staged {
    /// The rows in up to `n_parts` partitions.
    pub(super) async fn scan(
        &self,
        runtime: &RuntimeEnv,
        n_parts: usize,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let store = match &self.place.store {
            None => runtime.object_store(&self.place.url)?,
            Some(store) => Arc::clone(store),
        };
        let file = PartitionedFile::new_from_meta(store.head(&self.place.path).await?);
        let table = TableSchema::builder(Arc::clone(&self.schema))
            .with_table_partition_cols(vec![pieces::column()])
            .build();
        let columns = (0..self.schema.fields().len()).collect();
        let source = Arc::new(ParquetSource::new(table));
        let config = FileScanConfigBuilder::new(self.place.url.clone(), source)
            .with_file_groups(pieces::groups(vec![file], n_parts))
            .with_projection_indices(Some(columns))?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Removes the file; a failure is logged.
    pub(super) async fn remove(self) {
        let Some(store) = &self.place.store else {
            drop(self.local);
            return;
        };
        if let Err(error) = store.delete(&self.place.path).await {
            tracing::warn!("{} is left behind: {error}", self.uri);
        }
    }
}
