//! What every offline store must do in a point-in-time join, run against each of them and against a naive loop.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, Schema, TimestampMicrosecondType};
use futures::TryStreamExt;
use proptest::prelude::*;

use super::contract::{Backend, SourceRow, pull, row};
use super::*;

/// An entity row with the columns `acct`, `chan` and `time`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EntityRow {
    pub(super) acct: Option<i64>,
    pub(super) chan: Option<&'static str>,
    /// Microseconds.
    pub(super) time: i64,
}

/// How rows are chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) n_keys: usize,
    pub(super) ttl: Option<i64>,
    pub(super) created: Created,
}

/// Feature and event timestamp of each entity row.
type Found = Vec<Option<(Option<i64>, i64)>>;

pub(super) async fn run(backend: &dyn Backend) {
    both_ends_count_and_the_newest_row_wins_even_with_nulls(backend).await;
    created_timestamps_break_ties_whenever_they_are(backend).await;
    rows_that_were_not_known_can_be_left_out(backend).await;
    every_entity_row_is_answered_in_its_place(backend).await;
    a_view_without_entities_is_joined_by_time_alone(backend).await;
    null_keys_equal_nothing(backend).await;
    entity_keys_that_cannot_be_keys_are_named(backend).await;
    a_column_that_is_not_there_is_named(backend).await;
}

/// Random rows against the naive loop.
pub(super) async fn agrees_with_the_naive_loop(
    backend: &dyn Backend,
    rules: Rules,
    rows: &[SourceRow],
    entities: &[EntityRow],
) {
    let found = found(backend, rules, rows, entities).await.unwrap();
    let wanted = naive(rules, rows, entities);
    assert_eq!(found, wanted, "{rules:?} {rows:?} {entities:?}");
}

fn naive(rules: Rules, rows: &[SourceRow], entities: &[EntityRow]) -> Found {
    let of = |entity: &EntityRow| {
        let mut best: Option<(i64, Option<i64>, Option<i64>)> = None;
        for row in rows {
            let Some(event) = row.event else { continue };
            let acct = rules.n_keys < 1 || (row.acct.is_some() && row.acct == entity.acct);
            let chan = rules.n_keys < 2 || (row.chan.is_some() && row.chan == entity.chan);
            let young = rules.ttl.is_none_or(|ttl| event >= entity.time - ttl);
            let known = match rules.created {
                Created::MayBeLater => true,
                Created::MustBeKnown => row.created.is_some_and(|created| created <= entity.time),
            };
            let fits = acct && chan && event <= entity.time && young && known;
            if fits && best.is_none_or(|best| (event, row.created) > (best.0, best.1)) {
                best = Some((event, row.created, row.v));
            }
        }
        best.map(|(event, _, v)| (v, event))
    };
    entities.iter().map(of).collect()
}

pub(super) fn entity_rows() -> impl Strategy<Value = Vec<EntityRow>> {
    let row = (
        prop::option::weighted(0.9, 0..5i64),
        prop::option::weighted(0.9, prop::sample::select(vec!["a", "b", "A"])),
        -6..8i64,
    );
    let row = row.prop_map(|(acct, chan, time)| EntityRow { acct, chan, time });
    prop::collection::vec(row, 1..40)
}

pub(super) fn rules() -> impl Strategy<Value = Rules> {
    let created = prop::sample::select(vec![Created::MayBeLater, Created::MustBeKnown]);
    let rules = (0..3usize, prop::option::of(1..6i64), created);
    rules.prop_map(|(n_keys, ttl, created)| Rules {
        n_keys,
        ttl,
        created,
    })
}

/// Keys equal in part and null, times that meet, in batches of a few rows.
pub(super) fn entities(rows: &[EntityRow]) -> Entities {
    let batch = |rows: &[EntityRow]| {
        let acct: Int64Array = rows.iter().map(|row| row.acct).collect();
        let chan: StringArray = rows.iter().map(|row| row.chan).collect();
        let time: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.time)).collect();
        RecordBatch::try_from_iter_with_nullable([
            ("chan", Arc::new(chan) as ArrayRef, true),
            ("time", Arc::new(time.with_timezone("Europe/Paris")), true),
            ("acct", Arc::new(acct), true),
        ])
        .unwrap()
    };
    let schema = batch(&[]).schema();
    Entities::of_batches(schema, rows.chunks(7).map(batch).collect())
}

pub(super) fn join(kind: SourceKind, rules: Rules, entities: Entities) -> PointInTime {
    PointInTime {
        view: pull(kind, rules.n_keys, (0, 0)),
        entities,
        keys: [2, 0][..rules.n_keys].to_vec(),
        time: 1,
        ttl: rules.ttl,
        created: rules.created,
        max_bytes: 16 << 20,
    }
}

async fn found(
    backend: &dyn Backend,
    rules: Rules,
    rows: &[SourceRow],
    of: &[EntityRow],
) -> Result<Found, Error> {
    collect(
        backend
            .join(rows, join(backend.kind(), rules, entities(of)))
            .await?,
    )
    .await
}

async fn collect(joined: Joined) -> Result<Found, Error> {
    let batches: Vec<RecordBatch> = joined.batches.try_collect().await?;
    let mut found = Found::new();
    for batch in &batches {
        assert_eq!(batch.num_columns(), 2);
        let v = batch.column(0).as_primitive::<Int64Type>();
        let events = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let v = v.is_valid(row).then(|| v.value(row));
            found.push(events.is_valid(row).then(|| (v, events.value(row))));
        }
    }
    Ok(found)
}

pub(super) const BY_ACCT: Rules = Rules {
    n_keys: 1,
    ttl: None,
    created: Created::MayBeLater,
};

pub(super) fn entity(acct: i64, time: i64) -> EntityRow {
    EntityRow {
        acct: Some(acct),
        chan: Some("c"),
        time,
    }
}

async fn both_ends_count_and_the_newest_row_wins_even_with_nulls(backend: &dyn Backend) {
    let null = SourceRow {
        v: None,
        ..row(2, 10, None, 0)
    };
    let rows = [
        row(1, 10, None, 1),
        row(1, 5, None, 2),
        row(2, 9, None, 3),
        null,
    ];
    let asked = [
        entity(1, 9),
        entity(1, 10),
        entity(1, 14),
        entity(1, 15),
        entity(1, 4),
        entity(1, 16),
        entity(2, 10),
        entity(3, 10),
    ];
    let rules = Rules {
        ttl: Some(5),
        ..BY_ACCT
    };
    let found = found(backend, rules, &rows, &asked).await.unwrap();
    let wanted = [
        Some((Some(2), 5)),
        Some((Some(1), 10)),
        Some((Some(1), 10)),
        Some((Some(1), 10)),
        None,
        None,
        Some((None, 10)),
        None,
    ];
    assert_eq!(found, wanted);
}

async fn created_timestamps_break_ties_whenever_they_are(backend: &dyn Backend) {
    let rows = [
        row(1, 10, Some(11), 1),
        row(1, 10, Some(99), 2),
        row(1, 10, None, 3),
        row(2, 10, None, 4),
        row(2, 10, None, 5),
    ];
    let asked = [entity(1, 10), entity(2, 12)];
    let found = found(backend, BY_ACCT, &rows, &asked).await.unwrap();
    assert_eq!(found, [Some((Some(2), 10)), Some((Some(4), 10))]);
}

async fn rows_that_were_not_known_can_be_left_out(backend: &dyn Backend) {
    let rows = [
        row(1, 10, Some(20), 1),
        row(1, 15, Some(30), 2),
        row(1, 5, Some(40), 3),
        row(1, 16, None, 4),
    ];
    let rules = Rules {
        created: Created::MustBeKnown,
        ..BY_ACCT
    };
    let asked = [19, 20, 29, 30, 40].map(|time| entity(1, time));
    let found = found(backend, rules, &rows, &asked).await.unwrap();
    let (early, late) = (Some((Some(1), 10)), Some((Some(2), 15)));
    assert_eq!(found, [None, early, early, late, late]);
}

async fn every_entity_row_is_answered_in_its_place(backend: &dyn Backend) {
    let n = 20_000;
    let rows: Vec<_> = (0..n)
        .map(|i| row(i * 7919 % 9_001, i * 31 % n, Some(i), i))
        .collect();
    let asked: Vec<_> = (0..25_000)
        .map(|i| entity(i * 104_729 % 9_500, i * 17 % (n + 500)))
        .collect();
    let rules = Rules {
        ttl: Some(5_000),
        ..BY_ACCT
    };
    // The loop over all pairs would take too long: by key.
    let mut by_key: std::collections::BTreeMap<i64, Vec<SourceRow>> = Default::default();
    for row in &rows {
        by_key
            .entry(row.acct.unwrap())
            .or_default()
            .push(row.clone());
    }
    let wanted = asked.iter().map(|entity| {
        let rows = by_key
            .get(&entity.acct.unwrap())
            .cloned()
            .unwrap_or_default();
        naive(rules, &rows, std::slice::from_ref(entity))[0]
    });
    let wanted: Found = wanted.collect();
    let joined = backend
        .join(&rows, join(backend.kind(), rules, entities(&asked)))
        .await
        .unwrap();
    let meter = joined.meter.clone();
    assert_eq!(collect(joined).await.unwrap(), wanted);
    assert_eq!((meter.passed(), meter.to_pass()), (25_000, 25_000));
}

async fn a_view_without_entities_is_joined_by_time_alone(backend: &dyn Backend) {
    let rows = [row(1, 10, None, 1), row(2, 20, None, 2)];
    let rules = Rules {
        n_keys: 0,
        ..BY_ACCT
    };
    let asked = [entity(9, 30), entity(8, 9), entity(8, 19)];
    let found = found(backend, rules, &rows, &asked).await.unwrap();
    assert_eq!(found, [Some((Some(2), 20)), None, Some((Some(1), 10))]);
}

async fn null_keys_equal_nothing(backend: &dyn Backend) {
    let null = SourceRow {
        acct: None,
        ..row(0, 10, None, 1)
    };
    let rows = [null, row(1, 10, None, 2)];
    let asked = [
        EntityRow {
            acct: None,
            ..entity(0, 10)
        },
        entity(1, 10),
    ];
    let found = found(backend, BY_ACCT, &rows, &asked).await.unwrap();
    assert_eq!(found, [None, Some((Some(2), 10))]);
}

async fn entity_keys_that_cannot_be_keys_are_named(backend: &dyn Backend) {
    let message = async |entities: Entities| {
        let joined = backend
            .join(
                &[row(1, 1, None, 1)],
                join(backend.kind(), BY_ACCT, entities),
            )
            .await;
        let outcome = match joined {
            Ok(joined) => collect(joined).await,
            Err(error) => Err(error),
        };
        outcome.unwrap_err().to_string()
    };
    let batch = |acct: ArrayRef, time: Option<i64>| {
        let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1), time]));
        let batch = RecordBatch::try_from_iter_with_nullable([
            (
                "a",
                Arc::new(Int64Array::from(vec![0, 0])) as ArrayRef,
                true,
            ),
            ("at", time, true),
            ("acct", acct, true),
        ]);
        let batch = batch.unwrap();
        let schema: Arc<Schema> = batch.schema();
        Entities::of_batches(schema, vec![batch])
    };
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "one"]));
    let told = message(batch(texts, Some(1))).await;
    assert!(
        told.starts_with("column `acct` of the entity rows has a value that cannot become INT64"),
        "{told}"
    );
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let told = message(batch(numbers, None)).await;
    assert_eq!(told, "row 1 of the entity rows has no time in column `at`");
}

async fn a_column_that_is_not_there_is_named(backend: &dyn Backend) {
    let mut join = join(backend.kind(), BY_ACCT, entities(&[entity(1, 1)]));
    join.view.features[0].name = "w".to_owned();
    let outcome = match backend.join(&[row(1, 1, None, 1)], join).await {
        Ok(joined) => collect(joined).await,
        Err(error) => Err(error),
    };
    let message = outcome.unwrap_err().to_string();
    assert!(
        message.contains("of feature view `view` has no column `w`; it has `acct`"),
        "{message}"
    );
}
