//! Source rows that are kept because they are the newest of a slot, so far.

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::FieldRef;
use arrow::error::ArrowError;

/// Where a row is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) batch: u32,
    pub(super) row: u32,
}

pub(super) const NOWHERE: Place = Place {
    batch: u32::MAX,
    row: 0,
};

/// Fewer rows than this are not worth a cleaning.
const FEW_ROWS: usize = 64 * 1024;

/// The features of the rows, in batches; some rows are nobody's newest any more.
#[derive(Debug, Default)]
pub(super) struct Kept {
    batches: Vec<Vec<ArrayRef>>,
    n_rows: usize,
    /// So many were left when it was cleaned last.
    n_rows_clean: usize,
    n_bytes: usize,
}

impl Kept {
    /// The number of the batch that is added next.
    pub(super) fn next(&self) -> u32 {
        self.batches.len() as u32
    }

    /// Copies these rows.
    pub(super) fn add(&mut self, columns: &[ArrayRef], rows: Vec<u32>) -> Result<(), ArrowError> {
        self.n_rows += rows.len();
        let rows = UInt32Array::from(rows);
        let taken = columns.iter().map(|column| take(column, &rows, None));
        let taken = taken.collect::<Result<Vec<_>, _>>()?;
        self.n_bytes += n_bytes(&taken);
        self.batches.push(taken);
        Ok(())
    }

    /// Whether as many rows were added since the last cleaning as it left: cleaning then costs what adding cost.
    pub(super) fn wants_cleaning(&self) -> bool {
        self.n_rows > 2 * self.n_rows_clean.max(FEW_ROWS)
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Keeps only the rows at these places, in one batch, and tells each its new place.
    pub(super) fn compact<'a>(
        &mut self,
        places: impl Iterator<Item = &'a mut Place>,
    ) -> Result<(), ArrowError> {
        let mut from = Vec::new();
        for place in places.filter(|place| **place != NOWHERE) {
            let row = from.len() as u32;
            from.push((place.batch as usize, place.row as usize));
            *place = Place { batch: 0, row };
        }
        let n_columns = self.batches.first().map_or(0, Vec::len);
        let columns = (0..n_columns).map(|column| interleaved(&self.batches, column, &from));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        self.n_rows = from.len();
        self.n_rows_clean = from.len();
        self.n_bytes = n_bytes(&columns);
        self.batches.clear();
        if !from.is_empty() {
            self.batches.push(columns);
        }
        Ok(())
    }

    /// The batches, and a last one with one row of nulls.
    pub(super) fn finish(self, fields: &[FieldRef]) -> Result<Vec<Vec<ArrayRef>>, ArrowError> {
        let mut batches = self.batches;
        let nulls = fields
            .iter()
            .map(|field| new_null_array(field.data_type(), 1));
        batches.push(nulls.collect());
        Ok(batches)
    }
}

fn n_bytes(columns: &[ArrayRef]) -> usize {
    columns
        .iter()
        .map(|column| column.get_array_memory_size())
        .sum()
}

/// One column of the rows at these places.
pub(super) fn interleaved(
    batches: &[Vec<ArrayRef>],
    column: usize,
    places: &[(usize, usize)],
) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<_> = batches.iter().map(|batch| batch[column].as_ref()).collect();
    interleave(&arrays, places)
}
