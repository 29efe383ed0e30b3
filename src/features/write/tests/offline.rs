//! Appending to Parquet files.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

const SOURCE: &str = "data/driver_live_push_batch.parquet";

fn read(path: &Path) -> RecordBatch {
    let file = fs_err::File::open(path).unwrap().into_file();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column_by_name("driver_id").unwrap();
    column.as_primitive::<Int64Type>().values().to_vec()
}

fn zoned(driver_id: i64) -> Json {
    let mut df = live(driver_id, "2024-03-05T10:00:00Z", 71.5);
    df["created_ts"] = json!(["2024-03-05T12:00:01.5+02:00"]);
    df
}

async fn append(store: &FeatureStore, df: &Json, to: PushTarget) -> Result<Written, FeatureError> {
    store.push("driver_live_push", frame(df), to).await
}

#[tokio::test]
async fn new_rows_stand_before_the_old_ones_in_the_files_own_types() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let before = read(&repo.path(SOURCE));
    let written = append(&store, &zoned(1009), PushTarget::Offline)
        .await
        .unwrap();
    assert_eq!(
        (written.rows, written.views),
        (1, vec!["driver_live".to_owned()])
    );
    let after = read(&repo.path(SOURCE));
    assert_eq!(after.schema(), before.schema());
    assert_eq!(after.slice(1, before.num_rows()), before);
    assert_eq!(ids(&after)[0], 1009);
    let speed = after.column_by_name("speed").unwrap();
    assert_eq!(speed.as_primitive::<Float64Type>().value(0), 71.5);
    let created = after.column_by_name("created_ts").unwrap().slice(0, 1);
    let created = arrow::util::display::array_value_to_string(&created, 0).unwrap();
    assert_eq!(created, "2024-03-05T10:00:01.500Z");
    assert!(!repo.path("online.db").exists());
    let names: Vec<_> = fs_err::read_dir(repo.path("data")).unwrap().collect();
    assert!(names.iter().all(|entry| {
        !entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('.')
    }));
}

#[tokio::test]
async fn one_push_can_go_to_both_stores() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    append(&store, &zoned(1009), PushTarget::OnlineAndOffline)
        .await
        .unwrap();
    assert_eq!(ids(&read(&repo.path(SOURCE)))[0], 1009);
    let cells = stored(&repo, "driver_live", &driver(1009)).await;
    assert_eq!(cells["speed"].1, "71.5");
}

#[tokio::test]
async fn what_does_not_fit_the_file_leaves_file_and_store_alone() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let before = fs_err::read(repo.path(SOURCE)).unwrap();
    let changed = |column: &str, value: Json| {
        let mut df = zoned(1);
        df[column] = json!([value]);
        df
    };
    for (df, message) in [
        (
            changed("event_ts", json!("2024-03-05T10:00:00")),
            "needs a zone offset",
        ),
        (changed("event_ts", json!("soon")), "not a time"),
        (changed("hits", json!(1.5)), "row 0 is number `1.5`"),
        (changed("hits", json!([1])), "there is a list in it"),
        (changed("extra", json!(1)), "`extra` too many"),
    ] {
        let error = append(&store, &df, PushTarget::OnlineAndOffline)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let mut df = zoned(1);
    df.as_object_mut().unwrap().remove("hits");
    let error = append(&store, &df, PushTarget::Offline).await.unwrap_err();
    assert!(error.to_string().ends_with("`hits` missing"), "{error}");
    assert_eq!(fs_err::read(repo.path(SOURCE)).unwrap(), before);
    assert!(!repo.path("online.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_at_the_same_time_lose_nothing() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let n_before = read(&repo.path(SOURCE)).num_rows();
    let pushes = (0..16).map(|i| {
        let store = store.clone();
        async move { append(&store, &zoned(2_000 + i), PushTarget::Offline).await }
    });
    for outcome in futures::future::join_all(pushes).await {
        outcome.unwrap();
    }
    let mut ids = ids(&read(&repo.path(SOURCE)));
    assert_eq!(ids.len(), n_before + 16);
    ids.truncate(16);
    ids.sort_unstable();
    assert_eq!(ids, (2_000..2_016).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_directory_of_files_takes_a_new_one() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let source = repo.path(SOURCE);
    let first = repo.path("data/first.parquet");
    fs_err::rename(&source, &first).unwrap();
    fs_err::create_dir(&source).unwrap();
    fs_err::rename(&first, source.join("0.parquet")).unwrap();
    append(&store, &zoned(1009), PushTarget::Offline)
        .await
        .unwrap();
    let mut files: Vec<_> = fs_err::read_dir(&source)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 2);
    assert_eq!(ids(&read(&files[1])), [1009]);
    assert_eq!(read(&files[1]).schema(), read(&files[0]).schema());
}

#[tokio::test]
async fn a_missing_file_is_told() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    fs_err::remove_file(repo.path(SOURCE)).unwrap();
    let error = append(&store, &zoned(1), PushTarget::Offline)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "feature_source_missing");
}
