//! Entity keys to groups: rows with equal keys are one group.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

/// The group of a key that no entity row has, and of a null.
pub(super) const NO_GROUP: u32 = u32::MAX;

/// The groups of a chunk of entity rows, numbered in order of first appearance.
pub(super) enum Groups {
    /// Without keys there is one group.
    One,
    /// A single whole number.
    Number(HashMap<i64, u32, BuildHasherDefault<Mixer>>),
    /// Any other keys, as the bytes that Arrow sorts rows by.
    Bytes {
        converter: RowConverter,
        groups: HashMap<Box<[u8]>, u32>,
    },
}

impl Groups {
    /// The groups, and that of each row.
    pub(super) fn of(keys: &[ArrayRef], n_rows: usize) -> Result<(Self, Vec<u32>), ArrowError> {
        let mut of_rows = Vec::with_capacity(n_rows);
        let groups = match keys {
            [] => {
                of_rows.resize(n_rows, 0);
                Self::One
            }
            [key] if is_number(key) => {
                let mut groups: HashMap<i64, u32, BuildHasherDefault<Mixer>> = HashMap::default();
                each_number(key, |number| {
                    of_rows.push(number.map_or(NO_GROUP, |number| {
                        let n_groups = groups.len() as u32;
                        *groups.entry(number).or_insert(n_groups)
                    }));
                });
                Self::Number(groups)
            }
            keys => {
                let fields = keys
                    .iter()
                    .map(|key| SortField::new(key.data_type().clone()));
                let converter = RowConverter::new(fields.collect())?;
                let mut groups: HashMap<Box<[u8]>, u32> = HashMap::new();
                for (row, bytes) in converter.convert_columns(keys)?.iter().enumerate() {
                    if keys.iter().any(|key| key.is_null(row)) {
                        of_rows.push(NO_GROUP);
                        continue;
                    }
                    let n_groups = groups.len() as u32;
                    let bytes: &[u8] = bytes.as_ref();
                    of_rows.push(match groups.get(bytes) {
                        Some(&group) => group,
                        None => {
                            groups.insert(bytes.into(), n_groups);
                            n_groups
                        }
                    });
                }
                Self::Bytes { converter, groups }
            }
        };
        Ok((groups, of_rows))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One => 1,
            Self::Number(groups) => groups.len(),
            Self::Bytes { groups, .. } => groups.len(),
        }
    }

    /// The group of each row of a source.
    pub(super) fn find(&self, keys: &[ArrayRef], n_rows: usize) -> Result<Vec<u32>, ArrowError> {
        let mut of_rows = Vec::with_capacity(n_rows);
        match self {
            Self::One => of_rows.resize(n_rows, 0),
            Self::Number(groups) => each_number(&keys[0], |number| {
                let group = number.and_then(|number| groups.get(&number).copied());
                of_rows.push(group.unwrap_or(NO_GROUP));
            }),
            Self::Bytes { converter, groups } => {
                for bytes in &converter.convert_columns(keys)? {
                    let bytes: &[u8] = bytes.as_ref();
                    of_rows.push(groups.get(bytes).copied().unwrap_or(NO_GROUP));
                }
            }
        }
        Ok(of_rows)
    }
}

fn is_number(key: &ArrayRef) -> bool {
    matches!(key.data_type(), DataType::Int32 | DataType::Int64)
}

fn each_number(key: &ArrayRef, each: impl FnMut(Option<i64>)) {
    match key.data_type() {
        DataType::Int32 => {
            let numbers: &PrimitiveArray<Int32Type> = key.as_primitive();
            numbers
                .iter()
                .map(|number| number.map(i64::from))
                .for_each(each);
        }
        _ => {
            let numbers: &PrimitiveArray<Int64Type> = key.as_primitive();
            numbers.iter().for_each(each);
        }
    }
}

/// Spreads numbers over all bits. Keys that were chosen to collide slow a join down and do no other harm.
#[derive(Debug, Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        // The finalizer of SplitMix64.
        let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
    }
}
