//! The bytes of entity keys, exactly as Feast 0.67 writes them.
//!
//! ```text
//! v3   u32 number of join keys, then per join key by name: u32 2, u32 length, name,
//!      then per value in the same order: u32 type, u32 length, value
//! v2   the same without the number of keys and without the lengths of names
//! ```
//! All numbers are little endian. Names sort by code point. The part up to the names is the same for every row of a view and
//! is built once, in a `KeyLayout`.
//! Not here: the project name that Redis appends (`online/redis`).

use std::collections::HashMap;

use super::KeyValue;
use crate::features::definitions::DUMMY_JOIN_KEY;

/// `entity_key_serialization_version` of feature_store.yaml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyVersion {
    V2,
    #[default]
    V3,
}

impl KeyVersion {
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            _ => None,
        }
    }
}

/// Everything about the keys of a view that does not depend on the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLayout {
    /// Number and names of the join keys; for a constant key the values too.
    prefix: Vec<u8>,
    /// For each value to append, which of the caller's values it is.
    order: Vec<usize>,
}

impl KeyLayout {
    /// For keys made of `names`, whose values the caller gives in the same order.
    pub fn new(version: KeyVersion, names: &[&str]) -> Self {
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|&i| names[i]);
        let mut prefix = Vec::new();
        if version == KeyVersion::V3 {
            put_length(&mut prefix, names.len());
        }
        for &i in &order {
            prefix.extend_from_slice(&2u32.to_le_bytes());
            if version == KeyVersion::V3 {
                put_length(&mut prefix, names[i].len());
            }
            prefix.extend_from_slice(names[i].as_bytes());
        }
        Self { prefix, order }
    }

    /// The one key of a view without entities.
    pub fn entityless(version: KeyVersion) -> Self {
        let mut layout = Self::new(version, &[DUMMY_JOIN_KEY]);
        put_value(&mut layout.prefix, &KeyValue::String(String::new()));
        layout.order.clear();
        layout
    }

    /// Number and names, without values: what all keys of the view begin with.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// About how many bytes a key takes; exact for one with numbers only.
    pub fn size_hint(&self) -> usize {
        self.prefix.len() + 16 * self.order.len()
    }

    /// Splits what begins with a key of this layout behind it: the key, and the rest. `None` where there is no such key, however
    /// the values look. Version 2 does not tell where a name ends, but here the names are known.
    pub fn split<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let mut rest = bytes.strip_prefix(self.prefix.as_slice())?;
        for _ in &self.order {
            rest = behind_value(rest)?;
        }
        Some((&bytes[..bytes.len() - rest.len()], rest))
    }

    /// Appends the key whose values `value` gives by position in `names`.
    pub fn encode<'a>(&self, value: impl Fn(usize) -> &'a KeyValue, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        for &i in &self.order {
            put_value(out, value(i));
        }
    }
}

/// What stands behind one value: type, length, bytes.
fn behind_value(bytes: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length);
    let fits = match u32::from_le_bytes(*tag) {
        1 | 2 => true,
        3 => length == 4,
        4 | 8 => length == 8,
        _ => false,
    };
    let length = usize::try_from(length).ok().filter(|_| fits)?;
    rest.get(length..)
}

fn put_value(out: &mut Vec<u8>, value: &KeyValue) {
    match value {
        KeyValue::Bytes(bytes) => put_typed(out, 1, bytes),
        KeyValue::String(text) => put_typed(out, 2, text.as_bytes()),
        KeyValue::Int32(number) => put_typed(out, 3, &number.to_le_bytes()),
        KeyValue::Int64(number) => put_typed(out, 4, &number.to_le_bytes()),
        KeyValue::UnixTimestamp(seconds) => put_typed(out, 8, &seconds.to_le_bytes()),
    }
}

fn put_typed(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    out.extend_from_slice(&tag.to_le_bytes());
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    // Nothing that reaches a key is 4 GiB long: requests and cells are limited far below.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
}

/// Distinct keys, one behind the other in a single buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntityKeys {
    bytes: Vec<u8>,
    ranges: Vec<(usize, usize)>,
}

impl EntityKeys {
    pub fn with_capacity(n_keys: usize, n_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n_bytes),
            ranges: Vec::with_capacity(n_keys),
        }
    }

    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn get(&self, i: usize) -> &[u8] {
        let (start, end) = self.ranges[i];
        &self.bytes[start..end]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ranges
            .iter()
            .map(|&(start, end)| &self.bytes[start..end])
    }

    /// Appends a key that `write` puts behind what is there.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.ranges.push((start, self.bytes.len()));
    }

    /// Drops repeated keys; the answer tells for each former key which of the remaining ones it is.
    pub fn deduplicate(&mut self) -> Vec<usize> {
        let mut positions = HashMap::with_capacity(self.ranges.len());
        let mut rows = Vec::with_capacity(self.ranges.len());
        let mut unique = Vec::with_capacity(self.ranges.len());
        for &(start, end) in &self.ranges {
            let next = unique.len();
            let position = *positions.entry(&self.bytes[start..end]).or_insert(next);
            if position == next {
                unique.push((start, end));
            }
            rows.push(position);
        }
        drop(positions);
        self.ranges = unique;
        rows
    }
}
