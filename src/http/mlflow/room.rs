//! How large a table may be that a body stands for: nulls fill up short rows and absent fields, and cost a body nothing.

use super::failure::Refusal;

/// A table of so many values is none too large for any body.
const AT_LEAST: usize = 1_000_000;

/// Most values of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room(usize);

impl Room {
    /// As many as there are bytes: a value that is given takes more than one.
    pub(super) fn of(body: &[u8]) -> Self {
        Self(body.len().max(AT_LEAST))
    }

    pub(super) fn check(self, n_rows: usize, n_columns: usize) -> Result<(), Refusal> {
        if n_rows.saturating_mul(n_columns) <= self.0 {
            return Ok(());
        }
        Err(Refusal::bad_request(format!(
            "Failed to parse input as a Pandas DataFrame: {n_rows} rows of {n_columns} columns would be filled up with more nulls than there are values. Send every row with all of its columns, or fewer rows a call."
        )))
    }
}
