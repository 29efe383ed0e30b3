//! Materialization against what Feast stored from the same files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int64Type;
use serde_json::Value as Json;
use sqlx::Row as _;

use super::super::definitions::{FeatureView, OnDemandFeatureView, OnDemandSource, ViewState};
use super::super::plan::Rules;
use super::super::registry::Registry;
use super::super::registry::source::ViewChange;
use super::super::testing::{TestRepo, bytes_of, hex, recorded};
use super::super::transform::Transforms;
use super::super::{Error as FeatureError, FeatureStore};
use super::joined::Part;
use super::on_demand::OnDemandJob;
use super::*;
use crate::error::Failure;

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
    let repo = pit_repo();
    let store = repo.open().await;
    let recorded = recorded("pit_materialize_file.json");
    let range = recorded["range"].as_array().unwrap();
    let range = (range[0].as_str().unwrap(), range[1].as_str().unwrap());
    run(&store, None, range).await.unwrap();
    assert_eq!(dump(&repo).await, recorded_dump(&recorded["tables"]));
}

fn pit_repo() -> TestRepo {
    let yaml = "project: ride_ops_pit\nregistry: registry.db\nonline_store:\n  path: online.db\n";
    TestRepo::new("pit_repo", "file/registry.db", yaml)
}

/// State and intervals by view, as the recording has them.
fn watermarks(store: &FeatureStore) -> BTreeMap<String, Json> {
    let of = |view: &FeatureView| {
        let state = match view.state {
            ViewState::Unspecified => 0,
            ViewState::AvailableOnline => 4,
            other => panic!("{other:?}"),
        };
        let intervals = view.materialized.iter();
        let intervals: Vec<_> = intervals
            .map(|(start, end)| [start.to_string(), end.to_string()])
            .collect();
        serde_json::json!({ "state": state, "intervals": intervals })
    };
    let registry = store.registry();
    let views = registry.feature_views.iter();
    views.map(|view| (view.name.clone(), of(view))).collect()
}

/// The registry without the intervals (field 3) and states (6) in the metadata (2) of its feature views (6).
fn never_materialized(registry: &[u8]) -> Vec<u8> {
    edited(registry, &|field, view| match field {
        6 => Some(edited(view, &|field, meta| match field {
            2 => Some(edited(meta, &|field, bytes| {
                (field != 3 && field != 6).then(|| bytes.to_vec())
            })),
            _ => Some(meta.to_vec()),
        })),
        _ => Some(view.to_vec()),
    })
}

/// What becomes of a field's content; without any the field goes.
type Edit<'a> = &'a dyn Fn(u64, &[u8]) -> Option<Vec<u8>>;

/// A message with other contents of its fields, or without them; numbers are handed over as their bytes.
fn edited(message: &[u8], edit: Edit<'_>) -> Vec<u8> {
    use prost::encoding::{decode_varint, encode_varint};

    let (mut rest, mut out) = (message, Vec::new());
    while !rest.is_empty() {
        let tag = decode_varint(&mut rest).unwrap();
        let length = match tag & 7 {
            2 => usize::try_from(decode_varint(&mut rest).unwrap()).unwrap(),
            0 => rest.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1,
            other => panic!("wire type {other}"),
        };
        let content;
        (content, rest) = rest.split_at(length);
        if let Some(content) = edit(tag >> 3, content) {
            encode_varint(tag, &mut out);
            if tag & 7 == 2 {
                encode_varint(content.len() as u64, &mut out);
            }
            out.extend(content);
        }
    }
    out
}

fn recorded_watermarks(json: &Json) -> BTreeMap<String, Json> {
    serde_json::from_value(json.clone()).unwrap()
}

#[tokio::test]
async fn watermarks_and_incremental_ranges_are_feasts() {
    let repo = pit_repo();
    // The registry was recorded after Feast's runs.
    let registry = fs_err::read(repo.path("registry.db")).unwrap();
    fs_err::write(repo.path("registry.db"), never_materialized(&registry)).unwrap();
    let store = repo.open().await;
    let recorded = recorded("materialize_watermarks.json");
    let end = |json: &Json| json.as_str().unwrap().to_owned();
    let first = &recorded["after_materialize"]["pit_a"]["intervals"][0];
    run(&store, None, (&end(&first[0]), &end(&first[1])))
        .await
        .unwrap();
    assert_eq!(
        watermarks(&store),
        recorded_watermarks(&recorded["after_materialize"])
    );
    let then = &recorded["then_materialize_incremental"];
    let views = [end(&then["view"])];
    let done = store
        .materialize_incremental(Some(&views), moment(&end(&then["end"])), &mut |_| {})
        .await
        .unwrap();
    assert_eq!(done[0].start, moment("2024-05-01T11:00:00Z"));
    let wanted = recorded_watermarks(&recorded["after_incremental"]);
    assert_eq!(watermarks(&store), wanted);
    assert_eq!(watermarks(&repo.open().await), wanted);
}

fn state(store: &FeatureStore, view: &str) -> ViewState {
    store.registry().feature_view(view).unwrap().state
}

#[tokio::test]
async fn a_failed_run_leaves_the_watermark_and_puts_the_state_back() {
    let repo = pit_repo();
    let store = repo.open().await;
    let range = ("2024-05-01T09:00:00Z", "2024-05-01T11:00:00Z");
    run(&store, None, range).await.unwrap();
    let before = watermarks(&store);
    fs_err::write(repo.path("data/pit_b.parquet"), "broken").unwrap();
    let views = ["pit_a", "pit_b", "pit_c"];
    let error = run(&store, Some(&views), range).await.unwrap_err();
    assert_eq!(error.code(), "feature_source_unreadable");
    let after = watermarks(&store);
    // What was done before it is done and recorded; what comes after it is untouched.
    let n_intervals =
        |of: &BTreeMap<String, Json>, view| of[view]["intervals"].as_array().unwrap().len();
    assert_eq!(
        n_intervals(&after, "pit_a"),
        n_intervals(&before, "pit_a") + 1
    );
    for view in ["pit_b", "pit_c"] {
        assert_eq!(after[view], before[view], "{view}");
    }
    // One that was interrupted in an earlier run is no obstacle, and not available if it fails again.
    let materializing = ViewChange::State(ViewState::Materializing);
    store.record("pit_b", materializing).await.unwrap();
    run(&store, Some(&["pit_b"]), range).await.unwrap_err();
    assert_eq!(state(&store, "pit_b"), ViewState::Generated);
    assert_eq!(
        watermarks_of(&store, "pit_b"),
        n_intervals(&before, "pit_b")
    );
}

fn watermarks_of(store: &FeatureStore, view: &str) -> usize {
    store
        .registry()
        .feature_view(view)
        .unwrap()
        .materialized
        .len()
}

#[tokio::test]
async fn a_view_is_materializing_while_it_is_written() {
    let repo = pit_repo();
    let (store, other) = (repo.open().await, repo.open().await);
    let range = ("2024-05-01T09:00:00Z", "2024-05-01T11:00:00Z");
    run(&store, Some(&["pit_a"]), range).await.unwrap();
    other.refresh().await.unwrap();
    assert_eq!(state(&other, "pit_a"), ViewState::AvailableOnline);
    let path = repo.path("registry.db");
    let mut seen = Vec::new();
    let views = ["pit_a".to_owned()];
    let mut look = |_: Progress| {
        let registry = super::super::registry::Registry::load(&path, "ride_ops_pit").unwrap();
        seen.push(registry.feature_view("pit_a").unwrap().state);
    };
    let (start, end) = (moment(range.0), moment(range.1));
    store
        .materialize(Some(&views), start, end, &mut look)
        .await
        .unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|state| *state == ViewState::Materializing));
    assert_eq!(state(&store, "pit_a"), ViewState::AvailableOnline);
}

#[tokio::test]
async fn two_runs_at_the_same_time_leave_store_and_registry_right() {
    let repo = pit_repo();
    let (one, two) = (repo.open().await, repo.open().await);
    let views = ["pit_a", "pit_b", "pit_c", "pit_d", "pit_g"];
    let before = views.map(|view| watermarks_of(&one, view));
    let range = ("2024-05-01T09:00:00Z", "2024-05-01T11:00:00Z");
    let (first, second) = tokio::join!(run(&one, None, range), run(&two, None, range));
    first.unwrap();
    second.unwrap();
    let recorded = recorded("pit_materialize_file.json");
    assert_eq!(dump(&repo).await, recorded_dump(&recorded["tables"]));
    let after = repo.open().await;
    for (view, n_before) in views.into_iter().zip(before) {
        assert_eq!(state(&after, view), ViewState::AvailableOnline, "{view}");
        assert_eq!(watermarks_of(&after, view), n_before + 2, "{view}");
    }
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
    let last = Progress {
        view: "driver_live".into(),
        stage: Stage::Writing,
        rows_done: 2,
        rows_total: Some(2),
    };
    assert_eq!(seen.last(), Some(&last));
    assert!(seen.is_sorted_by_key(|progress| progress.stage == Stage::Writing));
    let wanted = MaterializedView {
        view: "driver_live".into(),
        start,
        end,
        rows_total: 2,
        rows_written: 2,
    };
    assert_eq!(done, [wanted]);
}

/// The recorded repository with SQL for its written view.
async fn with_sql(repo: &TestRepo, sql: &str) -> FeatureStore {
    let mut config = repo.config();
    let declared = crate::features::transform::OnDemandConfig {
        sql: sql.to_owned(),
    };
    config.on_demand.insert("rev_written".to_owned(), declared);
    let utc = |name: &str| (name == "TZ").then(|| "UTC".to_owned());
    FeatureStore::open(&config, &utc).await.unwrap()
}

const REV: &str =
    "SELECT CASE WHEN visitors <> 0 THEN revenue / visitors END AS rev_per_visit FROM input";

#[tokio::test]
async fn a_written_on_demand_view_is_computed_from_the_newest_rows_of_its_source() {
    let repo = TestRepo::ride_ops();
    let store = with_sql(&repo, REV).await;
    let before = Timestamp::now().as_seconds();
    let range = ("2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z");
    let registry = fs_err::read(repo.path("registry.db")).unwrap();
    let done = run(&store, Some(&["rev_written"]), range).await.unwrap();
    let wanted = MaterializedView {
        view: "rev_written".into(),
        start: moment(range.0),
        end: moment(range.1),
        rows_total: 3,
        rows_written: 3,
    };
    assert_eq!(done, [wanted]);
    let unchanged = fs_err::read(repo.path("registry.db")).unwrap();
    assert_eq!(unchanged, registry, "neither a state nor a watermark");
    let stored = dump(&repo).await["ride_ops_rev_written"].clone();
    assert_eq!(stored.len(), 6);
    let mut texts = Vec::new();
    for ((_, feature), (_, text, event_ts, created_ts)) in &stored {
        assert!(event_ts.as_i64().unwrap() >= before && event_ts == created_ts);
        if feature == "rev_per_visit" {
            texts.push(text.clone());
        }
    }
    texts.sort_by_key(ToString::to_string);
    // 100 / 10, nobody, and no revenue.
    assert_eq!(texts, [Json::from("10.0"), Json::Null, Json::Null]);

    // A run for all does it behind the others.
    let done = run(&store, None, range).await.unwrap();
    assert_eq!(done.last().unwrap().view, "rev_written");
    let done = store
        .materialize_incremental(
            Some(&["rev_written".to_owned()]),
            moment(range.1),
            &mut |_| {},
        )
        .await
        .unwrap();
    // The source's ttl is a week.
    assert_eq!(done[0].start, moment("2024-02-24T00:00:00Z"));
}

#[tokio::test]
async fn several_sources_are_joined_as_of_the_newest_moment_of_a_key() {
    let repo = TestRepo::ride_ops();
    let store = with_sql(&repo, "SELECT revenue AS rev_per_visit FROM input").await;
    let mut registry = Registry::clone(&store.registry());
    // Two views over one source: what is joined is known to both, but for the ttl of the second.
    let mut other = registry.feature_view("store_daily").unwrap().clone();
    other.name = "store_other".to_owned();
    other.ttl = std::time::Duration::from_secs(1);
    registry.feature_views.push(other);
    let view = registry
        .on_demand_feature_views
        .iter_mut()
        .find(|view| view.name == "rev_written");
    let view = view.unwrap();
    let mut projection = match &view.sources[0] {
        OnDemandSource::View(projection) => projection.clone(),
        OnDemandSource::Request { .. } => panic!("it has a source"),
    };
    projection.view = "store_other".to_owned();
    view.sources.push(OnDemandSource::View(projection));
    let view = view.clone();
    let sql = "SELECT store_daily__revenue + store_other__visitors AS rev_per_visit FROM input";
    let transforms = Transforms::declaring(&[("rev_written", sql)]);
    let window = Window::Between {
        start: moment("2024-03-01T00:00:00Z"),
        end: moment("2024-03-02T00:00:00Z"),
    };
    let rules = Rules::of(&store.0.repo);
    let job = OnDemandJob::of(&registry, &transforms, &view, window, rules).unwrap();
    let done = store.materialize_on_demand(job, &mut |_| {}).await.unwrap();
    assert_eq!((done.rows_total, done.rows_written), (3, 3));
    let stored = dump(&repo).await["ride_ops_rev_written"].clone();
    let texts = stored
        .iter()
        .filter(|(place, _)| place.1 == "rev_per_visit");
    let mut texts: Vec<String> = texts.map(|(_, cell)| cell.1.to_string()).collect();
    texts.sort();
    assert_eq!(texts, ["\"110.0\"", "\"250.5\"", "null"]);
}

#[tokio::test]
async fn what_no_source_has_or_has_under_other_keys_is_not_materialized() {
    let store = TestRepo::ride_ops().open().await;
    let registry = store.registry();
    let transforms = Transforms::declaring(&[
        ("fare_py", "SELECT f64 AS fare, label AS tag FROM input"),
        ("rev_written", REV),
    ]);
    let window = Window::SinceLast {
        end: moment("2024-03-02T00:00:00Z"),
        now: Timestamp::now(),
    };
    let rules = Rules::of(&store.0.repo);
    let refusal = |view: &str, change: &dyn Fn(&mut OnDemandFeatureView)| {
        let mut view = registry.on_demand_feature_view(view).unwrap().clone();
        view.write_to_online_store = true;
        change(&mut view);
        let job = OnDemandJob::of(&registry, &transforms, &view, window, rules);
        let error = job.unwrap_err();
        (error.code(), error.to_string())
    };
    let (code, text) = refusal("fare_py", &|_| {});
    assert_eq!(code, "materialize_unsupported");
    assert!(
        text.contains("request data (`distance_km`, `pax`)"),
        "{text}"
    );
    let (code, text) = refusal("rev_written", &|view| view.join_keys.clear());
    assert_eq!(code, "materialize_unsupported");
    assert!(
        text.contains("other join keys () than its source `store_daily` (store_no (INT32))"),
        "{text}"
    );
    let (code, _) = refusal("rev_written", &|view| view.sources.clear());
    assert_eq!(code, "materialize_unsupported");
    let (code, _) = refusal("rev_written", &|view| view.disabled = true);
    assert_eq!(code, "feature_view_not_served");
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
            "on-demand feature view `fare_py` is computed when it is read, so nothing of it is stored",
        ),
        (
            "rev_written",
            "on-demand feature view `rev_written` (mode `python`) cannot be computed here",
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

#[cfg(all(feature = "postgres", feature = "test-services"))]
#[tokio::test]
async fn the_recorded_range_picks_feasts_rows_from_postgres() {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the test's Postgres is, is not configuration"
    )]
    let url = std::env::var("TERRARIUM_POSTGRES").unwrap();
    let schema = format!("pit{}", uuid::Uuid::now_v7().simple());
    let sql =
        fs_err::read_to_string(super::super::testing::fixture("pit_repo/postgres.sql")).unwrap();
    let sql = format!(
        "CREATE SCHEMA {schema}; {}",
        sql.replace("public.", &format!("{schema}."))
    );
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&pool)
        .await
        .unwrap();
    let (account, place) = url
        .strip_prefix("postgres://")
        .unwrap()
        .split_once('@')
        .unwrap();
    let (user, password) = account.split_once(':').unwrap();
    let (address, database) = place.split_once('/').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    let yaml = format!(
        "project: ride_ops_pit\nregistry: registry.db\nonline_store:\n  path: online.db\noffline_store:\n  type: postgres\n  \
         host: {host}\n  port: {port}\n  database: {database}\n  db_schema: {schema}\n  user: {user}\n  password: {password}\n  \
         sslmode: disable\n"
    );
    let repo = TestRepo::new("pit_repo", "pg/registry.db", &yaml);
    let store = repo.open().await;
    let pg = recorded("pit_materialize_pg.json");
    let range = pg["range"].as_array().unwrap();
    let range = (range[0].as_str().unwrap(), range[1].as_str().unwrap());
    run(&store, None, range).await.unwrap();
    // The view without entities fails in Feast; ours is what it is from files.
    let mut wanted = recorded_dump(&pg["tables"]);
    let entityless = "ride_ops_pit_pit_g";
    let files = recorded_dump(&recorded("pit_materialize_file.json")["tables"]);
    wanted.insert(entityless.to_owned(), files[entityless].clone());
    assert_eq!(dump(&repo).await, wanted);
    let drop = sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    sqlx::query(drop).execute(&pool).await.unwrap();
}

#[test]
fn halves_of_a_part_have_its_keys_between_them() {
    let part = Part { number: 1, of: 3 };
    let halves = part.halves();
    for number in 0..1_000_u32 {
        let key = number.to_le_bytes();
        let n_halves = halves.iter().filter(|half| half.has(&key)).count();
        assert_eq!(n_halves, usize::from(part.has(&key)));
    }
}
