//! The files of a source in pieces for several readers, such that the source's order is not lost.
//!
//! A piece is a range of bytes of one file: of the row groups that begin in it. Pieces are numbered in the order of the source,
//! and a column of the scan says of each row from which piece it is; within a piece rows come in their order.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;

/// No piece is made smaller: the way to it would cost more than reading it.
const LEAST_BYTES: u64 = 1024 * 1024;

/// The column that says the piece.
pub(in super::super) fn column() -> FieldRef {
    Arc::new(Field::new("terrarium_piece", DataType::UInt64, false))
}

/// Up to `n_groups` groups with about as many bytes each.
pub(in super::super) fn groups(files: Vec<PartitionedFile>, n_groups: usize) -> Vec<FileGroup> {
    let n_bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let share = n_bytes.div_ceil(n_groups.max(1) as u64).max(LEAST_BYTES);
    let mut groups = Vec::new();
    let mut group = Vec::new();
    let mut n_left = share;
    let mut number = 0_u64;
    for file in files {
        let size = file.object_meta.size;
        let mut start = 0;
        loop {
            let end = size.min(start + n_left);
            group.push(piece(&file, number, start, end));
            number += 1;
            n_left -= end - start;
            if n_left == 0 {
                groups.push(FileGroup::new(std::mem::take(&mut group)));
                n_left = share;
            }
            start = end;
            if start >= size {
                break;
            }
        }
    }
    if !group.is_empty() {
        groups.push(FileGroup::new(group));
    }
    groups
}

fn piece(file: &PartitionedFile, number: u64, start: u64, end: u64) -> PartitionedFile {
    let mut piece = file.clone();
    piece
        .partition_values
        .push(ScalarValue::UInt64(Some(number)));
    let bound = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    piece.with_range(bound(start), bound(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_byte_once_and_in_order() {
        const MIB: u64 = 1024 * 1024;
        let files = [3 * MIB, 0, 10, 5 * MIB + 7]
            .map(|size| PartitionedFile::new(format!("{size}.parquet"), size));
        let groups = groups(files.to_vec(), 4);
        assert_eq!(groups.len(), 4);
        let mut seen: Vec<(String, i64, i64)> = Vec::new();
        for (number, piece) in groups.iter().flat_map(FileGroup::iter).enumerate() {
            let number = Some(number as u64);
            assert_eq!(piece.partition_values, [ScalarValue::UInt64(number)]);
            let range = piece.range.as_ref().unwrap();
            let name = piece.object_meta.location.to_string();
            match seen.last_mut() {
                Some((last, _, end)) if *last == name && *end == range.start => *end = range.end,
                _ => seen.push((name, range.start, range.end)),
            }
        }
        let wanted = files.map(|file| {
            let size = i64::try_from(file.object_meta.size).unwrap();
            (file.object_meta.location.to_string(), 0, size)
        });
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_small_source_is_one_piece() {
        let files = vec![PartitionedFile::new("a.parquet", 1_000)];
        assert_eq!(groups(files, 16).len(), 1);
    }
}
