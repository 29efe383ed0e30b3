//! The input example that MLflow saved beside a model: JSON to cells.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::types::cell::Cell;

/// An example of what the model was called with when it was logged.
#[derive(Debug, Clone, PartialEq)]
pub enum InputExample {
    /// A data frame, row by row; every row has as many cells as there are columns.
    Frame {
        columns: Vec<String>,
        rows: Vec<Vec<Cell>>,
    },
    /// One array as nested lists.
    Array(Cell),
    /// Arrays by input name.
    Arrays(BTreeMap<String, Cell>),
}

#[derive(Deserialize)]
struct Split {
    columns: Vec<String>,
    data: Vec<Vec<Cell>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Nested {
    Array(Cell),
    Arrays(BTreeMap<String, Cell>),
}

/// `kind` is `saved_input_example_info.type`. Errors: in words.
pub(super) fn parse(json: &str, kind: &str) -> Result<InputExample, String> {
    match kind {
        "dataframe" => {
            let split: Split = serde_json::from_str(json).map_err(|error| error.to_string())?;
            let width = split.columns.len();
            if split.data.iter().any(|row| row.len() != width) {
                return Err("its rows are not as long as its columns are many".to_owned());
            }
            Ok(InputExample::Frame {
                columns: split.columns,
                rows: split.data,
            })
        }
        "ndarray" => match serde_json::from_str(json).map_err(|error| error.to_string())? {
            Nested::Array(array) => Ok(InputExample::Array(array)),
            Nested::Arrays(arrays) => Ok(InputExample::Arrays(arrays)),
        },
        other => Err(format!("it is of the kind `{other}`")),
    }
}
