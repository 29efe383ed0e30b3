//! The stores of Parquet files: the contract, and what is files' own.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use async_trait::async_trait;
use futures::TryStreamExt;
use proptest::prelude::*;
use tempfile::TempDir;

use super::contract::{self, Backend, SourceRow, row, source_rows};
use super::*;

/// A store that reads `source.parquet` of a directory.
struct Files<S> {
    directory: TempDir,
    store: S,
}

impl<S> Files<S> {
    fn new(connect: impl FnOnce(&Path) -> S) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = connect(directory.path());
        Self { directory, store }
    }

    fn write(&self, name: &str, columns: Vec<(&str, ArrayRef)>) {
        let path = self.directory.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        );
        let batch = batch.unwrap();
        let properties = parquet::file::properties::WriterProperties::builder()
            .set_max_row_group_row_count(Some(10_000))
            .build();
        let file = fs_err::File::create(path).unwrap().into_file();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
}

fn source(uri: &str) -> SourceKind {
    SourceKind::File {
        uri: uri.to_owned(),
        s3_endpoint: None,
    }
}

fn columns(rows: &[SourceRow]) -> Vec<(&'static str, ArrayRef)> {
    let acct: Int64Array = rows.iter().map(|row| row.acct).collect();
    let chan: StringArray = rows.iter().map(|row| row.chan).collect();
    let event: TimestampMicrosecondArray = rows.iter().map(|row| row.event).collect();
    let created: TimestampMicrosecondArray = rows.iter().map(|row| row.created).collect();
    let v: Int64Array = rows.iter().map(|row| row.v).collect();
    vec![
        ("acct", Arc::new(acct)),
        ("chan", Arc::new(chan)),
        ("event_ts", Arc::new(event)),
        ("created_ts", Arc::new(created)),
        ("v", Arc::new(v)),
    ]
}

#[async_trait]
impl<S: OfflineStore> Backend for Files<S> {
    async fn pull(&self, rows: &[SourceRow], pull: PullLatest) -> Result<Latest, Error> {
        self.write("source.parquet", columns(rows));
        self.store.pull_latest(pull).await
    }

    async fn join(&self, rows: &[SourceRow], join: PointInTime) -> Result<Joined, Error> {
        self.write("source.parquet", columns(rows));
        self.store.point_in_time(join).await
    }

    fn kind(&self) -> SourceKind {
        source("source.parquet")
    }
}

#[tokio::test]
async fn the_direct_reader_keeps_the_contract() {
    contract::run(&Files::new(direct::connect)).await;
    contract_history::run(&Files::new(direct::connect)).await;
}

/// The feature of every row that is pulled from what lies in the directory, by key.
async fn pulled<S: OfflineStore>(
    files: &Files<S>,
    pull: PullLatest,
) -> Result<Vec<(i64, i64)>, Error> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    let batches: Vec<RecordBatch> = files
        .store
        .pull_latest(pull)
        .await?
        .batches
        .try_collect()
        .await?;
    let mut found = Vec::new();
    for batch in &batches {
        let keys = batch.column(0).as_primitive::<Int64Type>();
        let values = batch
            .column(batch.num_columns() - 3)
            .as_primitive::<Int64Type>();
        found.extend(
            keys.values()
                .iter()
                .copied()
                .zip(values.values().iter().copied()),
        );
    }
    found.sort_unstable();
    Ok(found)
}

async fn directories_are_read_in_the_order_of_names(files: &Files<impl OfflineStore>) {
    files.write(
        "lake/b.parquet",
        columns(&[row(1, 5, None, 2), row(2, 5, None, 2)]),
    );
    files.write("lake/a.parquet", columns(&[row(1, 5, None, 1)]));
    fs_err::write(files.directory.path().join("lake/_SUCCESS"), "").unwrap();
    let found = pulled(files, contract::pull(source("lake"), 1, (0, 9)))
        .await
        .unwrap();
    assert_eq!(found, [(1, 1), (2, 2)]);
}

async fn nanoseconds_are_cut_before_they_are_compared(files: &Files<impl OfflineStore>) {
    let mut all = columns(&[
        row(1, 0, None, 1),
        row(1, 0, None, 2),
        row(2, 0, None, 3),
        row(3, 0, None, 4),
    ]);
    let times = vec![9_999, 9_001, 10_000, 999];
    all[2].1 = Arc::new(TimestampNanosecondArray::from(times).with_timezone("+05:30"));
    files.write("source.parquet", all);
    let found = pulled(files, contract::pull(files_source(), 1, (1, 9)))
        .await
        .unwrap();
    assert_eq!(found, [(1, 1)]);
    let mut all = columns(&[row(1, 0, None, 1), row(2, 0, None, 2)]);
    all[2].1 = Arc::new(TimestampMillisecondArray::from(vec![-1, 1]));
    files.write("source.parquet", all);
    let found = pulled(files, contract::pull(files_source(), 1, (-1_000, 999)))
        .await
        .unwrap();
    assert_eq!(found, [(1, 1)]);
}

fn files_source() -> SourceKind {
    source("source.parquet")
}

async fn keys_of_other_types_are_compared_as_the_views(files: &Files<impl OfflineStore>) {
    let mut all = columns(&[row(0, 1, None, 1), row(0, 2, None, 2)]);
    all[0].1 = Arc::new(StringArray::from(vec!["07", "7"]));
    files.write("source.parquet", all);
    let found = pulled(files, contract::pull(files_source(), 1, (0, 9)))
        .await
        .unwrap();
    assert_eq!(found, [(7, 2)]);
    let mut all = columns(&[row(0, 1, None, 1)]);
    all[0].1 = Arc::new(Int32Array::from(vec![5]));
    files.write("source.parquet", all);
    let found = pulled(files, contract::pull(files_source(), 1, (0, 9)))
        .await
        .unwrap();
    assert_eq!(found, [(5, 1)]);
}

async fn what_is_not_there_is_told(files: &Files<impl OfflineStore>) {
    let error = pulled(files, contract::pull(source("nowhere"), 1, (0, 9)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    fs_err::write(files.directory.path().join("text.parquet"), "no such thing").unwrap();
    let error = pulled(files, contract::pull(source("text.parquet"), 1, (0, 9)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
    let error = pulled(files, contract::pull(source("ftp://host/x"), 1, (0, 9)))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a source at ftp://"), "{error}");
}

#[tokio::test]
async fn the_direct_reader_reads_what_files_hold() {
    let files = Files::new(direct::connect);
    directories_are_read_in_the_order_of_names(&files).await;
    nanoseconds_are_cut_before_they_are_compared(&files).await;
    keys_of_other_types_are_compared_as_the_views(&files).await;
    what_is_not_there_is_told(&files).await;
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_direct_reader_agrees_with_the_oracle(rows in source_rows(), n_keys in 0usize..3) {
        block_on(contract::agrees_with_the_oracle(&Files::new(direct::connect), n_keys, &rows));
    }

    #[test]
    fn the_direct_reader_joins_as_a_naive_loop(
        rows in source_rows(),
        entities in contract_history::entity_rows(),
        rules in contract_history::rules(),
    ) {
        let files = Files::new(direct::connect);
        block_on(contract_history::agrees_with_the_naive_loop(&files, rules, &rows, &entities));
    }
}

#[cfg(feature = "datafusion")]
mod datafusion {
    use super::*;

    #[tokio::test]
    async fn files_keep_the_contract() {
        contract::run(&Files::new(files::connect)).await;
        contract_history::run(&Files::new(files::connect)).await;
    }

    #[tokio::test]
    async fn joins_keep_the_contract_in_many_small_chunks() {
        struct Small(Files<files::FileStore>);

        #[async_trait]
        impl Backend for Small {
            async fn pull(&self, rows: &[SourceRow], pull: PullLatest) -> Result<Latest, Error> {
                self.0.pull(rows, pull).await
            }

            async fn join(&self, rows: &[SourceRow], join: PointInTime) -> Result<Joined, Error> {
                let max_bytes = 64 * 1024;
                self.0.join(rows, PointInTime { max_bytes, ..join }).await
            }

            fn kind(&self) -> SourceKind {
                self.0.kind()
            }
        }

        contract_history::run(&Small(Files::new(files::connect))).await;
    }

    #[tokio::test]
    async fn files_keep_the_contract_when_every_sort_spills() {
        let spilling = |directory: &Path| files::connect(directory).with_sort_bytes(1024 * 1024);
        contract::run(&Files::new(spilling)).await;
    }

    #[tokio::test]
    async fn files_are_read_for_what_they_hold() {
        let files = Files::new(files::connect);
        directories_are_read_in_the_order_of_names(&files).await;
        nanoseconds_are_cut_before_they_are_compared(&files).await;
        keys_of_other_types_are_compared_as_the_views(&files).await;
        what_is_not_there_is_told(&files).await;
    }

    #[tokio::test]
    async fn names_of_directories_are_columns() {
        let files = Files::new(files::connect);
        for (acct, v) in [(7, 1), (8, 2)] {
            let mut columns = columns(&[row(0, 5, None, v)]);
            columns.remove(0);
            files.write(
                &format!("lake/day=2026-11-0{v}/acct={acct}/part.parquet"),
                columns,
            );
        }
        let found = pulled(&files, contract::pull(source("lake"), 1, (0, 9)))
            .await
            .unwrap();
        assert_eq!(found, [(7, 1), (8, 2)]);
        files.write("lake/acct=9/part.parquet", columns(&[row(9, 5, None, 3)]));
        let error = pulled(&files, contract::pull(source("lake"), 1, (0, 9)))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn files_agree_with_the_oracle(rows in source_rows(), n_keys in 0usize..3) {
            block_on(contract::agrees_with_the_oracle(&Files::new(files::connect), n_keys, &rows));
        }

        #[test]
        fn files_are_joined_as_by_a_naive_loop(
            rows in source_rows(),
            entities in contract_history::entity_rows(),
            rules in contract_history::rules(),
        ) {
            let files = Files::new(files::connect);
            block_on(contract_history::agrees_with_the_naive_loop(&files, rules, &rows, &entities));
        }
    }
}
