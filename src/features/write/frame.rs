//! A frame: the rows of a push, by columns, as JSON.

use serde_json::Value as Json;

use super::Error;

/// Columns of equal length, as the `df` of Feast's `/push` and `/write-to-online-store` has them. Of two columns with one
/// name the later counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    pub columns: Vec<(String, Vec<Json>)>,
}

impl Frame {
    /// The values of a column.
    pub fn column(&self, name: &str) -> Option<&[Json]> {
        let columns = self.columns.iter().rev();
        let mut named = columns.filter(|(own, _)| own == name);
        named.next().map(|(_, values)| values.as_slice())
    }

    /// How many rows there are. Columns of different lengths are an error.
    pub fn n_rows(&self) -> Result<usize, Error> {
        let Some((first, values)) = self.columns.first() else {
            return Ok(0);
        };
        for (column, other) in &self.columns {
            if other.len() != values.len() {
                return Err(Error::UnequalColumns {
                    column: column.clone(),
                    actual: other.len(),
                    first: first.clone(),
                    expected: values.len(),
                });
            }
        }
        Ok(values.len())
    }

    pub(super) fn n_cells(&self) -> usize {
        self.columns.iter().map(|(_, values)| values.len()).sum()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.columns.iter().map(|(name, _)| name.as_str())
    }
}

impl FromIterator<(String, Vec<Json>)> for Frame {
    fn from_iter<I: IntoIterator<Item = (String, Vec<Json>)>>(columns: I) -> Self {
        let columns = columns.into_iter().collect();
        Self { columns }
    }
}
