//! What every offline store must do, run against each of them and against a naive oracle.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use futures::TryStreamExt;
use proptest::prelude::*;

use super::*;
use crate::features::definitions::{DataSource, Field, ValueType};
use crate::types::timestamp::Timestamp;

/// A row of a source with the columns `acct` (INT64), `chan` (STRING), `event_ts`, `created_ts` and `v` (INT64).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SourceRow {
    pub(super) acct: Option<i64>,
    pub(super) chan: Option<&'static str>,
    /// Microseconds.
    pub(super) event: Option<i64>,
    pub(super) created: Option<i64>,
    pub(super) v: Option<i64>,
}

/// A store, and how to fill a source for it.
#[async_trait]
pub(super) trait Backend: Sync {
    /// Pulls from a source that holds these rows in this order.
    async fn pull(&self, rows: &[SourceRow], pull: PullLatest) -> Result<Latest, Error>;

    /// Joins with a source that holds these rows in this order.
    async fn join(&self, rows: &[SourceRow], join: PointInTime) -> Result<Joined, Error>;

    /// The kind of source that `pull` replaces with the real place.
    fn kind(&self) -> SourceKind;
}

/// Key, then event timestamp, created timestamp and feature.
type Newest = BTreeMap<(Option<i64>, Option<String>), (i64, Option<i64>, Option<i64>)>;

pub(super) async fn run(backend: &dyn Backend) {
    the_newest_row_is_by_event_then_created_then_source_order(backend).await;
    both_ends_of_the_range_count(backend).await;
    a_view_without_entities_has_one_row(backend).await;
    a_null_key_counts_in_the_range_only(backend).await;
    no_key_comes_twice_across_batches(backend).await;
    an_empty_range_gives_nothing(backend).await;
    a_column_that_is_not_there_is_named(backend).await;
}

/// Random rows against the naive loop.
pub(super) async fn agrees_with_the_oracle(
    backend: &dyn Backend,
    n_keys: usize,
    rows: &[SourceRow],
) {
    let range = (-3, 4);
    let wanted = oracle(n_keys, rows, range);
    assert_eq!(
        newest(backend, n_keys, rows, range).await.unwrap(),
        wanted,
        "{rows:?}"
    );
}

/// Few keys and few moments, so that rows meet.
pub(super) fn source_rows() -> impl Strategy<Value = Vec<SourceRow>> {
    let row = (
        0..4i64,
        prop::sample::select(vec!["a", "b", "A"]),
        prop::option::weighted(0.9, -5..6i64),
        prop::option::weighted(0.7, 0..3i64),
        prop::option::weighted(0.8, any::<i64>()),
    );
    let row = row.prop_map(|(acct, chan, event, created, v)| SourceRow {
        acct: Some(acct),
        chan: Some(chan),
        event,
        created,
        v,
    });
    prop::collection::vec(row, 1..60)
}

fn oracle(n_keys: usize, rows: &[SourceRow], (start, end): (i64, i64)) -> Newest {
    let mut newest = Newest::new();
    for row in rows {
        let Some(event) = row.event.filter(|event| (start..=end).contains(event)) else {
            continue;
        };
        let acct = row.acct.filter(|_| n_keys > 0);
        let chan = row.chan.filter(|_| n_keys > 1).map(str::to_owned);
        let found = (event, row.created, row.v);
        let best = newest.entry((acct, chan)).or_insert(found);
        if (event, row.created) > (best.0, best.1) {
            *best = found;
        }
    }
    newest
}

async fn newest(
    backend: &dyn Backend,
    n_keys: usize,
    rows: &[SourceRow],
    range: (i64, i64),
) -> Result<Newest, Error> {
    collect(
        n_keys,
        backend
            .pull(rows, pull(backend.kind(), n_keys, range))
            .await?,
    )
    .await
}

async fn collect(n_keys: usize, latest: Latest) -> Result<Newest, Error> {
    let batches: Vec<_> = latest.batches.try_collect().await?;
    let mut found = Newest::new();
    for batch in &batches {
        assert_eq!(batch.num_columns(), n_keys + 3);
        let times = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
        let option = |at: usize, row: usize| times(at).is_valid(row).then(|| times(at).value(row));
        for row in 0..batch.num_rows() {
            let acct = (n_keys > 0).then(|| batch.column(0).as_primitive::<Int64Type>().value(row));
            let chan =
                (n_keys > 1).then(|| batch.column(1).as_string::<i32>().value(row).to_owned());
            let v = batch.column(n_keys).as_primitive::<Int64Type>();
            let v = v.is_valid(row).then(|| v.value(row));
            let event = times(n_keys + 1).value(row);
            let before = found.insert((acct, chan), (event, option(n_keys + 2, row), v));
            assert_eq!(before, None, "a key came twice");
        }
    }
    Ok(found)
}

/// A view of the first `n_keys` of `acct` and `chan`, with the feature `v`.
pub(super) fn pull(kind: SourceKind, n_keys: usize, (start, end): (i64, i64)) -> PullLatest {
    let column = |name: &str, value_type| Column {
        field: Field {
            name: name.to_owned(),
            value_type,
        },
        name: name.to_owned(),
    };
    let mut keys = vec![
        column("acct", ValueType::Int64),
        column("chan", ValueType::String),
    ];
    keys.truncate(n_keys);
    PullLatest {
        view: "view".to_owned(),
        source: DataSource {
            name: "source".to_owned(),
            kind,
            field_mapping: Vec::new(),
            timestamp_field: "event_ts".to_owned(),
            created_timestamp_column: "created_ts".to_owned(),
        },
        keys,
        features: vec![column("v", ValueType::Int64)],
        start: Timestamp::from_micros(start),
        end: Timestamp::from_micros(end),
    }
}

pub(super) fn row(acct: i64, event: i64, created: Option<i64>, v: i64) -> SourceRow {
    SourceRow {
        acct: Some(acct),
        chan: Some("c"),
        event: Some(event),
        created,
        v: Some(v),
    }
}

fn key(acct: i64) -> (Option<i64>, Option<String>) {
    (Some(acct), None)
}

async fn the_newest_row_is_by_event_then_created_then_source_order(backend: &dyn Backend) {
    let rows = [
        row(1, 10, Some(9), 0),
        row(1, 20, Some(1), 1),
        row(2, 10, None, 2),
        row(2, 10, Some(0), 3),
        row(2, 10, Some(0), 4),
        row(3, 10, None, 5),
        row(3, 10, None, 6),
        SourceRow {
            v: None,
            ..row(4, 30, None, 0)
        },
        row(4, 20, None, 7),
    ];
    let found = newest(backend, 1, &rows, (0, 100)).await.unwrap();
    let wanted = Newest::from([
        (key(1), (20, Some(1), Some(1))),
        (key(2), (10, Some(0), Some(3))),
        (key(3), (10, None, Some(5))),
        (key(4), (30, None, None)),
    ]);
    assert_eq!(found, wanted);
}

async fn both_ends_of_the_range_count(backend: &dyn Backend) {
    let rows = [
        row(1, 9, None, 0),
        row(2, 10, None, 1),
        row(3, 20, None, 2),
        row(4, 21, None, 3),
    ];
    let found = newest(backend, 1, &rows, (10, 20)).await.unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [key(2), key(3)]);
}

async fn a_view_without_entities_has_one_row(backend: &dyn Backend) {
    let rows = [
        row(1, 10, None, 1),
        row(2, 30, Some(1), 2),
        row(3, 30, Some(2), 3),
        row(4, 99, None, 4),
    ];
    let found = newest(backend, 0, &rows, (0, 50)).await.unwrap();
    assert_eq!(
        found,
        Newest::from([((None, None), (30, Some(2), Some(3)))])
    );
}

async fn a_null_key_counts_in_the_range_only(backend: &dyn Backend) {
    let null = SourceRow {
        acct: None,
        ..row(0, 99, None, 1)
    };
    let rows = [row(1, 10, None, 0), null];
    assert_eq!(newest(backend, 1, &rows, (0, 50)).await.unwrap().len(), 1);
    let error = newest(backend, 1, &rows, (0, 99)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "join key `acct` of feature view `view` is null in a row of its source"
    );
}

async fn no_key_comes_twice_across_batches(backend: &dyn Backend) {
    let n = 25_000;
    let rows: Vec<_> = (0..n)
        .map(|i| row(i * 7919 % 9_001, i, Some(i), i))
        .collect();
    let wanted = oracle(1, &rows, (0, n));
    assert_eq!(newest(backend, 1, &rows, (0, n)).await.unwrap(), wanted);
    let pulled = backend
        .pull(&rows, pull(backend.kind(), 1, (0, n)))
        .await
        .unwrap();
    let meter = pulled.meter.clone();
    collect(1, pulled).await.unwrap();
    assert!(meter.read() >= 9_001 && meter.passed() >= 9_001);
}

async fn an_empty_range_gives_nothing(backend: &dyn Backend) {
    let rows = [row(1, 10, None, 1)];
    for n_keys in 0..2 {
        assert!(
            newest(backend, n_keys, &rows, (11, 12))
                .await
                .unwrap()
                .is_empty()
        );
    }
}

async fn a_column_that_is_not_there_is_named(backend: &dyn Backend) {
    let mut pull = pull(backend.kind(), 1, (0, 9));
    pull.features[0].name = "w".to_owned();
    let outcome = match backend.pull(&[row(1, 1, None, 1)], pull).await {
        Ok(latest) => collect(1, latest).await,
        Err(error) => Err(error),
    };
    let message = outcome.unwrap_err().to_string();
    assert!(
        message.contains("of feature view `view` has no column `w`; it has `acct`"),
        "{message}"
    );
}
