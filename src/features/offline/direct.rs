//! Parquet files on this machine, read without a query engine: what is materialized is held in memory, a point-in-time join
//! is not.
//!
//! For builds without the feature `datafusion`, and the oracle's neighbour in tests. Directories are read file by file in
//! the order of names; partitioned directories and object stores are refused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::row::{OwnedRow, RowConverter, SortField};
use async_trait::async_trait;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::asof::join::{self, Stop};
use super::canonical::{Canonical, NullKeys};
use super::history::{Joined, PointInTime};
use super::pull::{Latest, Meter, PullLatest};
use super::pump::{Sender, pumped};
use super::{BATCH_ROWS, Error, OfflineStore};
use crate::features::definitions::SourceKind;
use crate::shutdown::run_blocking;

#[derive(Debug)]
pub(super) struct DirectStore {
    directory: PathBuf,
}

/// Relative paths start at `directory`.
pub(super) fn connect(directory: &Path) -> DirectStore {
    let directory = directory.to_owned();
    DirectStore { directory }
}

#[async_trait]
impl OfflineStore for DirectStore {
    async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error> {
        let path = self.path(&pull)?;
        let meter = Arc::new(Meter::default());
        let counts = meter.clone();
        let batches = pumped(|sender| async move {
            let work = move || Newest::read(&pull, &path, &counts)?.send(&pull, &sender, &counts);
            run_blocking(work).await.map_err(Error::Panicked)?
        });
        Ok(Latest { batches, meter })
    }

    async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error> {
        let path = self.path(&join.view)?;
        let meter = Arc::new(Meter::default());
        let counts = meter.clone();
        let batches = pumped(|sender| async move {
            let work = move || {
                let meter = counts.clone();
                let mut place = Place { path, meter };
                join::run(&join, &mut place, &counts, &sender)
            };
            run_blocking(work).await.map_err(Error::Panicked)?
        });
        Ok(Joined { batches, meter })
    }
}

impl DirectStore {
    fn path(&self, pull: &PullLatest) -> Result<PathBuf, Error> {
        let SourceKind::File { uri, .. } = &pull.source.kind else {
            return Err(pull.unsupported("a source that is not a file".to_owned()));
        };
        match uri.split_once("://") {
            None => Ok(self.directory.join(uri)),
            Some(("file", path)) => Ok(PathBuf::from(path)),
            Some((scheme, _)) => Err(pull.unsupported(format!(
                "a source at {scheme}:// (built without feature `datafusion`)"
            ))),
        }
    }
}

/// The newest rows of a source within a range.
#[derive(Debug, Default)]
struct Newest {
    /// What lies in the range, in source order.
    batches: Vec<RecordBatch>,
    /// One per entity key, in order of the key's first appearance.
    picks: Vec<Pick>,
}

/// One chosen row.
#[derive(Debug, Clone, Copy)]
struct Pick {
    /// Event timestamp, then created timestamp; none is older than any.
    age: (i64, Option<i64>),
    /// Batch, and row in it.
    place: (usize, usize),
}

impl Newest {
    fn read(pull: &PullLatest, path: &Path, meter: &Meter) -> Result<Self, Error> {
        let mut newest = Self::default();
        let mut known = Keys::default();
        scan(pull, path, NullKeys::Refused, meter, &mut |batch| {
            newest
                .add(pull, batch, &mut known)
                .map_err(|error| pull.unreadable("in memory", error))
        })?;
        Ok(newest)
    }

    fn add(
        &mut self,
        pull: &PullLatest,
        batch: RecordBatch,
        known: &mut Keys,
    ) -> Result<(), arrow::error::ArrowError> {
        let positions = pull.position();
        let micros = |at: usize| -> &PrimitiveArray<TimestampMicrosecondType> {
            batch.column(at).as_primitive()
        };
        let event = micros(positions.event_timestamp);
        let created = positions.created_timestamp.map(micros);
        let keys = known.of(pull, &batch)?;
        for (row, key) in keys.into_iter().enumerate() {
            let created = created.filter(|created| created.is_valid(row));
            let pick = Pick {
                age: (event.value(row), created.map(|created| created.value(row))),
                place: (self.batches.len(), row),
            };
            match known.picks.entry(key) {
                Entry::Occupied(entry) => {
                    let best = &mut self.picks[*entry.get()];
                    if pick.age > best.age {
                        *best = pick;
                    }
                }
                Entry::Vacant(entry) => {
                    entry.insert(self.picks.len());
                    self.picks.push(pick);
                }
            }
        }
        if batch.num_rows() > 0 {
            self.batches.push(batch);
        }
        Ok(())
    }

    fn send(self, pull: &PullLatest, sender: &Sender, meter: &Meter) -> Result<(), Error> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        meter.expect_to_pass(meter.read());
        let n_older = meter.read().saturating_sub(self.picks.len() as u64);
        meter.add_passed(usize::try_from(n_older).unwrap_or(0));
        for picks in self.picks.chunks(BATCH_ROWS) {
            let places: Vec<(usize, usize)> = picks.iter().map(|pick| pick.place).collect();
            let batch = interleave_record_batch(&batches, &places)
                .map_err(|error| pull.unreadable("in memory", error))?;
            meter.add_passed(picks.len());
            if sender.blocking_send(batch).is_err() {
                break; // nobody wants the rest
            }
        }
        Ok(())
    }
}

/// Which pick belongs to which key.
#[derive(Default)]
struct Keys {
    converter: Option<RowConverter>,
    picks: HashMap<OwnedRow, usize>,
}

impl Keys {
    /// The keys of all rows; all are equal where the view has none.
    fn of(
        &mut self,
        pull: &PullLatest,
        batch: &RecordBatch,
    ) -> Result<Vec<OwnedRow>, arrow::error::ArrowError> {
        let columns = &batch.columns()[..pull.keys.len()];
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let sorts = columns
                    .iter()
                    .map(|key| SortField::new(key.data_type().clone()));
                none.insert(RowConverter::new(sorts.collect())?)
            }
        };
        if columns.is_empty() {
            let parser = converter.parser();
            return Ok((0..batch.num_rows())
                .map(|_| parser.parse(&[]).owned())
                .collect());
        }
        let rows = converter.convert_columns(columns)?;
        Ok(rows.iter().map(|row| row.owned()).collect())
    }
}

/// Gives `each` the rows of the range, batch by batch, and returns their schema.
fn scan<E: From<Error>>(
    pull: &PullLatest,
    path: &Path,
    null_keys: NullKeys,
    meter: &Meter,
    each: &mut dyn FnMut(RecordBatch) -> Result<(), E>,
) -> Result<SchemaRef, E> {
    let mut schema = None;
    for path in files(pull, path)? {
        let place = path.display().to_string();
        let file = fs_err::File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => pull.missing(&place),
            _ => pull.unreadable(&place, error),
        })?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.into_file())
            .map_err(|error| pull.unreadable(&place, error))?;
        let n_rows = builder.metadata().file_metadata().num_rows();
        meter.expect(meter.expected() + u64::try_from(n_rows).unwrap_or(0));
        let canonical = Canonical::new(pull, builder.schema(), &place)?.with_null_keys(null_keys);
        let needed = canonical.needed().iter().copied();
        let mask = ProjectionMask::roots(builder.parquet_schema(), needed);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| pull.unreadable(&place, error))?;
        for batch in reader {
            let batch = batch.map_err(|error| pull.unreadable(&place, error))?;
            let batch = canonical.batch(batch.columns())?;
            meter.add_read(batch.num_rows());
            each(batch)?;
        }
        schema.get_or_insert(canonical.schema);
    }
    let place = path.display().to_string();
    let nothing = || {
        pull.unreadable(&place, "there is no *.parquet file in it")
            .into()
    };
    schema.ok_or_else(nothing)
}

/// A place that is read once per chunk of entity rows.
struct Place {
    path: PathBuf,
    meter: Arc<Meter>,
}

impl join::Source for Place {
    fn scan(
        &mut self,
        pull: &PullLatest,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), Stop>,
    ) -> Result<SchemaRef, Stop> {
        scan(pull, &self.path, NullKeys::PassedOver, &self.meter, each)
    }
}

fn files(pull: &PullLatest, path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: io::Error| pull.unreadable(&path.display().to_string(), error);
    let mut files = Vec::new();
    for entry in fs_err::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            return Err(pull.unsupported(
                "a directory of directories as its source (built without feature `datafusion`)"
                    .to_owned(),
            ));
        }
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
