//! Materialization against what Feast stored from the same files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int64Type};
use serde_json::Value as Json;
use sqlx::Row as _;

use super::super::testing::{TestRepo, bytes_of, hex, recorded};
use super::super::{Error as FeatureError, FeatureStore};
use super::*;
use crate::types::value::{List, TextKind, Value};

fn moment(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

/// Table to (key, feature) to (value, value_text, event_ts, created_ts), of an SQLite online store.
type Dump = BTreeMap<String, BTreeMap<(String, String), (String, Json, Json, Json)>>;

async fn dump(repo: &TestRepo) -> Dump {
    let url = format!("sqlite:{}", repo.path("online.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
            .fetch_all(&pool)
            .await
            .unwrap();
    let mut all = Dump::new();
    for table in tables {
        let sql = format!(
            "SELECT entity_key, feature_name, value, value_text, event_ts, created_ts FROM \"{table}\""
        );
        let mut cells = BTreeMap::new();
        for row in sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(&pool)
            .await
            .unwrap()
        {
            let bytes = |i: usize| hex(&row.get_unchecked::<Vec<u8>, _>(i));
            let number = |i: usize| Json::from(row.get_unchecked::<Option<i64>, _>(i));
            let text = Json::from(row.get_unchecked::<Option<String>, _>(3));
            let place = (bytes(0), row.get_unchecked::<String, _>(1));
            cells.insert(place, (bytes(2), text, number(4), number(5)));
        }
        all.insert(table, cells);
    }
    all
}

fn recorded_dump(json: &Json) -> Dump {
    let mut all = Dump::new();
    for (table, rows) in json.as_object().unwrap() {
        let mut cells = BTreeMap::new();
        for row in rows["rows"].as_array().unwrap() {
            let place = (
                hex(&bytes_of(&row["entity_key"])),
                row["feature_name"].as_str().unwrap().to_owned(),
            );
            let value = hex(&bytes_of(&row["value"]));
            let cell = (
                value,
                row["value_text"].clone(),
                row["event_ts"].clone(),
                row["created_ts"].clone(),
            );
            cells.insert(place, cell);
        }
        all.insert(table.clone(), cells);
    }
    all
}

async fn run(
    store: &FeatureStore,
    views: Option<&[&str]>,
    range: (&str, &str),
) -> Result<Vec<MaterializedView>, FeatureError> {
    let names: Option<Vec<String>> =
        views.map(|views| views.iter().map(|&view| view.to_owned()).collect());
    let (start, end) = (moment(range.0), moment(range.1));
    store
        .materialize(names.as_deref(), start, end, &mut |_| {})
        .await
}

#[tokio::test]
async fn every_view_of_the_recorded_repository_is_stored_as_by_feast() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    run(
        &store,
        None,
        ("2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z"),
    )
    .await
    .unwrap();
    let mut ours = dump(&repo).await;
    let mut feasts = recorded_dump(&recorded("sqlite_dump.json"));
    // On-demand views are Feast's alone; it makes an empty table for this one.
    assert!(feasts.remove("ride_ops_rev_written").unwrap().is_empty());
    let rich = "ride_ops_driver_rich";
    let place = |dump: &Dump, feature: &str| {
        dump[rich]
            .keys()
            .find(|place| place.1 == feature && !dump[rich][*place].0.is_empty())
            .unwrap()
            .clone()
    };
    // pandas made a double of an integer beside a null; it stays an integer here.
    let st = place(&ours, "st");
    assert_eq!(
        ours.get_mut(rich).unwrap().remove(&st).unwrap().0,
        "9202150a070a016112022005 0a0a0a016212051203626565".replace(' ', "")
    );
    feasts.get_mut(rich).unwrap().remove(&st);
    // The order of a map's entries means nothing.
    let m = place(&ours, "m");
    assert_eq!(ours[rich][&m].0.len(), feasts[rich][&m].0.len());
    ours.get_mut(rich).unwrap().remove(&m);
    feasts.get_mut(rich).unwrap().remove(&m);
    for (table, cells) in &feasts {
        assert_eq!(&ours[table], cells, "{table}");
    }
    assert_eq!(ours.len(), feasts.len());
}

#[tokio::test]
async fn the_recorded_range_picks_feasts_rows() {
    let yaml = "project: ride_ops_pit\nregistry: registry.db\nonline_store:\n  path: online.db\n";
    let repo = TestRepo::new("pit_repo", "file/registry.db", yaml);
    let store = repo.open().await;
    let recorded = recorded("pit_materialize_file.json");
    let range = recorded["range"].as_array().unwrap();
    let range = (range[0].as_str().unwrap(), range[1].as_str().unwrap());
    run(&store, None, range).await.unwrap();
    assert_eq!(dump(&repo).await, recorded_dump(&recorded["tables"]));
}

#[tokio::test]
async fn version_2_keys_are_written_when_the_repository_says_so() {
    let yaml = "project: ride_ops\nregistry: registry.db\nonline_store:\n  path: online.db\nentity_key_serialization_version: 2\n";
    let repo = TestRepo::new("repo", "registry.db", yaml);
    let store = repo.open().await;
    run(
        &store,
        Some(&["driver_live"]),
        ("2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z"),
    )
    .await
    .unwrap();
    let dump = dump(&repo).await;
    let key = &dump["ride_ops_driver_live"].keys().next().unwrap().0;
    assert_eq!(
        key,
        "020000006472697665725f69640400000008000000e903000000000000"
    );
}

#[tokio::test]
async fn progress_ends_at_the_number_of_rows() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let mut seen = Vec::new();
    let views = ["driver_live".to_owned()];
    let (start, end) = (Timestamp::EPOCH, moment("2030-01-01T00:00:00Z"));
    let done = store
        .materialize(Some(&views), start, end, &mut |progress| {
            seen.push(progress)
        })
        .await
        .unwrap();
    let progress = |rows_done| Progress {
        view: "driver_live".into(),
        rows_done,
        rows_total: 2,
    };
    assert_eq!(seen, [progress(0), progress(2)]);
    let wanted = MaterializedView {
        view: "driver_live".into(),
        rows_total: 2,
        rows_written: 2,
    };
    assert_eq!(done, [wanted]);
}

#[tokio::test]
async fn what_cannot_be_materialized_is_refused_before_anything_is_written() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let range = ("2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z");
    for (view, message) in [
        (
            "driver_lives",
            "feature view `driver_lives` is not in the registry of project `ride_ops`",
        ),
        ("offline_only", "feature view `offline_only` is not online"),
        (
            "fare_py",
            "feature view `fare_py` has a Python function (on-demand feature view), which this build cannot materialize",
        ),
    ] {
        let error = run(&store, Some(&["driver_live", view]), range)
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
    }
    let error = run(&store, None, (range.1, range.0)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the range ends at 2024-03-01T00:00:00Z, before its start at 2024-03-02T00:00:00Z"
    );
    assert!(!repo.path("online.db").exists());
    fs_err::remove_file(repo.path("data/driver_live_push_batch.parquet")).unwrap();
    let error = run(&store, Some(&["driver_live"]), range)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "feature_source_missing");
}

/// Writes a Parquet file in place of driver_live's source.
fn replace_source(repo: &TestRepo, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let path = repo.path("data/driver_live_push_batch.parquet");
    let file = fs_err::File::create(path).unwrap().into_file();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn source_columns(ids: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let n = ids.len();
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(
        vec![1_700_000_000_123_456_789; n],
    ));
    vec![
        ("driver_id", ids),
        ("event_ts", times.clone()),
        ("created_ts", times),
        ("speed", Arc::new(Float64Array::from(vec![1.5; n]))),
        ("zone", Arc::new(StringViewArray::from(vec!["n"; n]))),
        // pandas makes floating point of integers beside a null.
        ("hits", Arc::new(Float64Array::from(vec![f64::NAN; n]))),
    ]
}

#[tokio::test]
async fn sources_in_other_arrow_types_and_units_are_read() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    replace_source(
        &repo,
        source_columns(Arc::new(Int32Array::from(vec![7, 8]))),
    );
    let everything = ("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    let done = run(&store, Some(&["driver_live"]), everything)
        .await
        .unwrap();
    assert_eq!(done[0].rows_written, 2);
    let dump = dump(&repo).await;
    let cells: Vec<_> = dump["ride_ops_driver_live"]
        .iter()
        .map(|(place, cell)| (place.1.as_str(), cell.0.as_str()))
        .collect();
    assert_eq!(
        cells[..3],
        [
            ("hits", ""),
            ("speed", "29000000000000f83f"),
            ("zone", "12016e")
        ]
    );
}

#[tokio::test]
async fn a_source_that_does_not_fit_its_view_is_told_by_column() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let everything = ("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    let mut missing = source_columns(Arc::new(Int64Array::from(vec![1])));
    missing.remove(4);
    for (columns, message) in [
        (
            source_columns(Arc::new(Int64Array::from(vec![Some(1), None]))),
            "join key `driver_id` of feature view `driver_live` is null in a row of its source",
        ),
        (
            source_columns(Arc::new(UInt64Array::from(vec![u64::MAX]))),
            "column `driver_id` of feature view `driver_live` has a value that cannot become INT64",
        ),
        (
            source_columns(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
                [Some([Some(1)])],
            ))),
            "column `driver_id` of feature view `driver_live` is List(Int64) in its source and cannot become INT64",
        ),
        (
            missing,
            "has no column `zone`; it has `driver_id`, `event_ts`, `created_ts`, `speed`, `hits`",
        ),
    ] {
        replace_source(&repo, columns);
        let error = run(&store, Some(&["driver_live"]), everything)
            .await
            .unwrap_err();
        assert!(error.to_string().ends_with(message), "{error}");
    }
}

fn converted(array: impl arrow::array::Array + 'static, wanted: ValueType) -> Vec<Value> {
    let array: ArrayRef = Arc::new(array);
    convert::values(&array, wanted).unwrap().unwrap()
}

#[test]
fn nulls_and_nan_are_null_except_for_timestamps_and_inside_lists() {
    let nulls = Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)]);
    assert_eq!(
        converted(nulls, ValueType::Float),
        [Value::Float(1.5), Value::Null, Value::Null]
    );
    let flags = BooleanArray::from(vec![Some(true), None]);
    assert_eq!(
        converted(flags, ValueType::Bool),
        [Value::Bool(true), Value::Null]
    );
    let times = TimestampMillisecondArray::from(vec![Some(-1_500), None]);
    assert_eq!(
        converted(times, ValueType::UnixTimestamp),
        [Value::UnixTimestamp(-2), Value::UnixTimestamp(i64::MIN)]
    );
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
        Some(vec![Some(1.0), None]),
        None,
        Some(vec![]),
    ]);
    assert_eq!(
        converted(lists, ValueType::DoubleList),
        [
            Value::List(List::Double(vec![1.0, 0.0])),
            Value::Null,
            Value::List(List::Double(vec![])),
        ]
    );
}

#[test]
fn integers_beside_a_null_keep_all_bits() {
    let big = 1_700_000_000_123_456_789;
    let numbers = Int64Array::from(vec![Some(big), None]);
    assert_eq!(
        converted(numbers, ValueType::Int64),
        [Value::Int64(big), Value::Null]
    );
}

#[test]
fn numbers_widen_and_narrow_only_where_they_fit() {
    assert_eq!(
        converted(Int8Array::from(vec![-1]), ValueType::Int64),
        [Value::Int64(-1)]
    );
    assert_eq!(
        converted(Int64Array::from(vec![5]), ValueType::Double),
        [Value::Double(5.0)]
    );
    assert_eq!(
        converted(Float64Array::from(vec![-2.9]), ValueType::Int32),
        [Value::Int32(-2)]
    );
    assert_eq!(
        converted(Date32Array::from(vec![1]), ValueType::UnixTimestamp),
        [Value::UnixTimestamp(86_400)]
    );
    let too_wide: ArrayRef = Arc::new(Int64Array::from(vec![1 << 31]));
    assert!(convert::values(&too_wide, ValueType::Int32).is_err());
    let too_large: ArrayRef = Arc::new(Float64Array::from(vec![1e19]));
    assert!(convert::values(&too_large, ValueType::Int64).is_err());
}

#[test]
fn a_sliced_list_column_gives_its_own_items() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), Some(2)]),
        Some(vec![Some(3)]),
        Some(vec![Some(4), Some(4)]),
    ]);
    let slice: ArrayRef = Arc::new(lists.slice(1, 2));
    assert_eq!(
        convert::values(&slice, ValueType::Int64Set)
            .unwrap()
            .unwrap(),
        [
            Value::Set(List::Int64(vec![3])),
            Value::Set(List::Int64(vec![4]))
        ]
    );
}

#[test]
fn json_must_parse_and_is_kept_as_it_stands() {
    let texts = StringArray::from(vec![Some(" {\"a\" : 1}"), None]);
    assert_eq!(
        converted(texts, ValueType::Json),
        [
            Value::Text(TextKind::Json, " {\"a\" : 1}".into()),
            Value::Null
        ]
    );
    let broken: ArrayRef = Arc::new(StringArray::from(vec!["{"]));
    assert!(convert::values(&broken, ValueType::Json).is_err());
    assert!(convert::values(&broken, ValueType::Map).is_err());
}

#[test]
fn maps_in_json_are_typed_by_what_they_hold() {
    let texts = StringArray::from(vec![
        r#"{"i": 1, "d": 1.5, "n": null, "l": [1, 2], "x": [1, "a"], "o": {"b": true}}"#,
    ]);
    let entry = |key: &str, value| (key.to_owned(), value);
    assert_eq!(
        converted(texts, ValueType::Map),
        [Value::Map(vec![
            entry("i", Value::Int64(1)),
            entry("d", Value::Double(1.5)),
            entry("n", Value::Null),
            entry("l", Value::List(List::Int64(vec![1, 2]))),
            entry(
                "x",
                Value::Values(vec![Value::Int64(1), Value::String("a".into())])
            ),
            entry("o", Value::Map(vec![entry("b", Value::Bool(true))])),
        ])]
    );
}

#[test]
fn bytes_of_fixed_size_are_bytes() {
    let array = FixedSizeBinaryArray::try_from_iter([[1u8, 2], [3, 4]].iter()).unwrap();
    assert_eq!(
        converted(array, ValueType::Bytes),
        [Value::Bytes(vec![1, 2]), Value::Bytes(vec![3, 4])]
    );
}

#[test]
fn naive_and_zoned_times_are_the_same_moment() {
    let naive = TimestampMicrosecondArray::from(vec![1_500_000]);
    let zoned = naive.clone().with_timezone("+05:30");
    assert_eq!(
        converted(naive, ValueType::UnixTimestamp),
        [Value::UnixTimestamp(1)]
    );
    assert_eq!(
        converted(zoned, ValueType::UnixTimestamp),
        [Value::UnixTimestamp(1)]
    );
}
