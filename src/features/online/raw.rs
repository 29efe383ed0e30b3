//! What a store holds, undecoded: for those who pass the bytes on, and to whom bytes that are no value are one bad cell.

use std::fmt::Write as _;

use super::super::codec::WireError;
use crate::types::timestamp::Timestamp;

/// The answer for one key group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawRows {
    /// For each key, each view of the group.
    pub times: Vec<RowTime>,
    /// For each key, each feature of each view: a serialized `feast.types.Value`, `None` where nothing is stored.
    pub values: Vec<Option<Vec<u8>>>,
}

/// The event timestamp of a view's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowTime {
    /// There is no row.
    Absent,
    At(Timestamp),
    /// Bytes that are no timestamp.
    Invalid(WireError),
}

impl RawRows {
    pub(super) fn with_capacity(n_keys: usize, n_views: usize, n_features: usize) -> Self {
        Self {
            times: Vec::with_capacity(n_keys * n_views),
            values: Vec::with_capacity(n_keys * n_features),
        }
    }

    /// Nothing stored under any key.
    pub(super) fn absent(n_keys: usize, n_views: usize, n_features: usize) -> Self {
        Self {
            times: vec![RowTime::Absent; n_keys * n_views],
            values: vec![None; n_keys * n_features],
        }
    }
}

/// Bytes for a person to read.
pub(in crate::features) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
