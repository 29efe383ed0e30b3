//! CSV of any length: once through it to learn the kinds, once more to write it as Parquet, batch by batch.

use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;

use super::kinds::{Builder, Cell, Kind};
use super::{EntityTypes, seen};
use crate::features::historical::{Entities, Error};
use crate::features::offline::Spool;

/// Rows that are built at once.
const BATCH_ROWS: usize = 8_192;

pub(super) fn read(path: &Path, types: &EntityTypes) -> Result<Entities, Error> {
    let failed = |error: csv::Error| Error::Malformed {
        problem: format!("no CSV: {}: {error}", path.display()),
    };
    let mut reader = open(path)?;
    let headings = reader.headers().map_err(failed)?.clone();
    let mut seen = seen(headings.iter(), |column| types.is_text(column));
    let mut record = csv::StringRecord::new();
    let mut row = 0;
    while reader.read_record(&mut record).map_err(failed)? {
        for ((name, text), seen) in headings.iter().zip(&record).zip(&mut seen) {
            seen.add(name, row, &cell(text))?;
        }
        row += 1;
    }
    let kinds = headings
        .iter()
        .zip(&seen)
        .map(|(name, seen)| seen.kind(name));
    let kinds = kinds.collect::<Result<Vec<Kind>, Error>>()?;
    let fields = headings.iter().zip(&kinds);
    let fields = fields.map(|(name, kind)| Field::new(name, kind.data_type(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));

    let mut spool = Spool::new(schema.clone()).map_err(Error::Entities)?;
    let mut reader = open(path)?;
    let mut builders: Vec<Builder> = kinds.iter().map(|kind| kind.builder()).collect();
    let mut n_waiting = 0;
    loop {
        let is_row = reader.read_record(&mut record).map_err(failed)?;
        if is_row {
            for (builder, text) in builders.iter_mut().zip(&record) {
                builder.push(&cell(text));
            }
            n_waiting += 1;
        }
        if n_waiting == BATCH_ROWS || (!is_row && n_waiting > 0) {
            let arrays = builders.iter_mut().map(Builder::finish).collect();
            let batch = RecordBatch::try_new(schema.clone(), arrays);
            let batch = batch.map_err(Error::Entities)?;
            spool.write(&batch).map_err(Error::Entities)?;
            n_waiting = 0;
        }
        if !is_row {
            return spool.finish().map_err(Error::Entities);
        }
    }
}

fn open(path: &Path) -> Result<csv::Reader<BufReader<fs_err::File>>, Error> {
    let failed = |error: io::Error| Error::Entities(ArrowError::from(error));
    let file = fs_err::File::open(path).map_err(failed)?;
    Ok(csv::Reader::from_reader(BufReader::new(file)))
}

fn cell(text: &str) -> Cell<'_> {
    match text {
        "" => Cell::Null,
        text => Cell::Written(text),
    }
}
