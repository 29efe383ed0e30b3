//! The files of a place in the order of their names, and the columns that their directories stand for (`day=2026-11-01`).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::object_store::path::Path;
use datafusion::object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use futures::TryStreamExt;

use super::super::Error;
use super::super::pull::PullLatest;
use super::places::Place;

/// What Hive writes for a null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The files of `place`: itself, else every Parquet file below it. Names that begin with `.` or `_` are passed over, with
/// all that lies below them.
pub(super) async fn files(
    pull: &PullLatest,
    place: &Place,
    store: &dyn ObjectStore,
) -> Result<Vec<ObjectMeta>, Error> {
    let failed = |error| pull.unreadable(&place.text, error);
    match store.head(&place.path).await {
        Ok(file) => return Ok(vec![file]),
        Err(datafusion::object_store::Error::NotFound { .. }) => {}
        // The local file system says so of a directory.
        Err(_) if place.store.is_none() => {}
        Err(error) => return Err(failed(error)),
    }
    let listed = store.list(Some(&place.path)).try_collect::<Vec<_>>().await;
    let mut files = listed.map_err(failed)?;
    files.retain(|file| is_source(&place.path, &file.location));
    files.sort_by(|a, b| a.location.parts().cmp(b.location.parts()));
    match files.is_empty() {
        true if place.store.is_some() => Err(pull.missing(&place.text)),
        true => Err(pull.unreadable(&place.text, "there is no *.parquet file in it")),
        false => Ok(files),
    }
}

fn is_source(root: &Path, file: &Path) -> bool {
    let hidden =
        |name: &str| name.starts_with('.') || (name.starts_with('_') && !name.contains('='));
    let Some(mut below) = file.prefix_match(root) else {
        return false;
    };
    file.extension() == Some("parquet") && !below.any(|part| hidden(part.as_ref()))
}

/// The columns of the directories, as text; those that the files hold themselves are not among them.
pub(super) struct Partitions {
    pub(super) columns: Vec<FieldRef>,
    pub(super) files: Vec<PartitionedFile>,
}

impl Partitions {
    pub(super) fn of(
        pull: &PullLatest,
        place: &Place,
        files: Vec<ObjectMeta>,
        schema: &Schema,
    ) -> Result<Self, Error> {
        let mut names: Option<Vec<String>> = None;
        let mut partitioned = Vec::with_capacity(files.len());
        for file in files {
            let mut values = values(&place.path, &file.location);
            values.retain(|(name, _)| schema.index_of(name).is_err());
            let of_file: Vec<String> = values.iter().map(|(name, _)| name.clone()).collect();
            if names.get_or_insert_with(|| of_file.clone()) != &of_file {
                let at = format!(
                    "{} has other partition columns than the files before it",
                    file.location
                );
                return Err(pull.unreadable(&place.text, at));
            }
            let values = values
                .into_iter()
                .map(|(_, value)| ScalarValue::Utf8(value));
            let file = PartitionedFile::new_from_meta(file).with_partition_values(values.collect());
            partitioned.push(file);
        }
        let column = |name| Arc::new(Field::new(name, DataType::Utf8, true));
        Ok(Self {
            columns: names.unwrap_or_default().into_iter().map(column).collect(),
            files: partitioned,
        })
    }
}

/// `name=value` of every directory between the place and the file.
fn values(root: &Path, file: &Path) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let Some(below) = file.prefix_match(root) else {
        return found;
    };
    let mut below = below.peekable();
    while let Some(part) = below.next() {
        let is_directory = below.peek().is_some();
        if let (true, Some((name, value))) = (is_directory, part.as_ref().split_once('=')) {
            let value = Some(unescaped(value)).filter(|value| value != NULL);
            found.push((name.to_owned(), value));
        }
    }
    found
}

/// Hive escapes what a file name cannot hold as `%3A`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = std::str::from_utf8(tail.get(..2).unwrap_or_default())
            .ok()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, escaped) {
            (b'%', Some(escaped)) => {
                bytes.push(escaped);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_give_columns_and_hidden_files_are_passed_over() {
        let root = Path::from("lake/trips");
        let file = Path::from("lake/trips/day=2026-11-01/city=a%2Fb/part.parquet");
        let found = values(&root, &file);
        assert_eq!(found[0], ("day".to_owned(), Some("2026-11-01".to_owned())));
        assert_eq!(found[1].0, "city");
        let null = Path::from("lake/trips/day=__HIVE_DEFAULT_PARTITION__/part.parquet");
        assert_eq!(values(&root, &null), [("day".to_owned(), None)]);
        assert!(is_source(&root, &file));
        for hidden in ["_temporary/a.parquet", ".a.parquet", "_metadata", "a.crc"] {
            assert!(
                !is_source(&root, &Path::from(format!("lake/trips/{hidden}"))),
                "{hidden}"
            );
        }
    }

    #[test]
    fn escapes_are_undone_where_they_are_whole() {
        assert_eq!(unescaped("12%3A30"), "12:30");
        assert_eq!(unescaped("100%"), "100%");
        assert_eq!(unescaped("%zz"), "%zz");
    }
}
