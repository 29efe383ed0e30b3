//! What the operator keeps while a source goes by.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;

use super::super::contract;
use super::super::{Created, Entities, PointInTime, PullLatest, SourceKind};
use super::*;
use crate::types::timestamp::Timestamp;

fn file() -> SourceKind {
    SourceKind::File {
        uri: "source.parquet".to_owned(),
        s3_endpoint: None,
    }
}

fn asked(times: &[i64]) -> (PointInTime, RecordBatch) {
    let n = times.len();
    let batch = RecordBatch::try_from_iter([
        ("key_0", Arc::new(Int64Array::from(vec![1; n])) as ArrayRef),
        (
            "time",
            Arc::new(TimestampMicrosecondArray::from(times.to_vec())),
        ),
    ]);
    let batch = batch.unwrap();
    let join = PointInTime {
        view: contract::pull(file(), 1, (0, 0)),
        entities: Entities::of_batches(batch.schema(), vec![batch.clone()]),
        keys: vec![0],
        time: 1,
        ttl: None,
        created: Created::MayBeLater,
        max_bytes: 1 << 20,
    };
    (join, batch)
}

/// Rows of key 1: the moment and the feature, which is text.
fn source(rows: &[(i64, &str)]) -> RecordBatch {
    let n = rows.len();
    let times = rows.iter().map(|row| row.0).collect::<Vec<_>>();
    let features = rows.iter().map(|row| row.1).collect::<Vec<_>>();
    RecordBatch::try_from_iter([
        ("key_0", Arc::new(Int64Array::from(vec![1; n])) as ArrayRef),
        ("feature_0", Arc::new(StringArray::from(features))),
        (
            "event_timestamp",
            Arc::new(TimestampMicrosecondArray::from(times)),
        ),
        (
            "created_timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![None::<i64>; n])),
        ),
    ])
    .unwrap()
}

fn answers(asof: AsOf, schema: &Schema) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for batch in asof.finish(schema).unwrap() {
        let batch = batch.unwrap();
        let features = batch.column(0).as_string::<i32>();
        found.extend(features.iter().map(|text| text.map(str::to_owned)));
    }
    found
}

#[test]
fn what_is_kept_follows_the_entity_rows_and_not_the_source() {
    let (join, chunk) = asked(&[500_000, 999_999]);
    let mut asof = AsOf::new(join.rules(), &chunk).unwrap();
    // Every row is newer than all before it: the worst that can come.
    let rows: Vec<(i64, &str)> = (0..1_000_000).map(|time| (time, "some text")).collect();
    let mut most = 0;
    for rows in rows.chunks(100) {
        asof.push(&source(rows)).unwrap();
        most = most.max(asof.kept.n_bytes());
    }
    assert!(asof.n_bytes(0).unwrap() < 1_000, "two rows");
    assert!(most < 32 * 1024 * 1024, "{most}");
    let schema = source(&[]).schema();
    assert_eq!(
        answers(asof, &schema),
        [Some("some text".to_owned()), Some("some text".to_owned())]
    );
}

#[test]
fn rows_after_every_time_and_of_other_keys_are_not_kept() {
    let (join, chunk) = asked(&[10]);
    let mut asof = AsOf::new(join.rules(), &chunk).unwrap();
    asof.push(&source(&[(11, "later")])).unwrap();
    let mine = source(&[(1, "other")]);
    let (schema, columns) = (mine.schema(), mine.columns());
    let other: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    let columns = [&[other], &columns[1..]].concat();
    asof.push(&RecordBatch::try_new(schema.clone(), columns).unwrap())
        .unwrap();
    assert_eq!(asof.kept.n_bytes(), 0);
    assert_eq!(answers(asof, &schema), [None]);
}

#[test]
fn the_range_that_a_chunk_can_meet_is_all_that_is_read() {
    let (mut join, _) = asked(&[10]);
    let range = |join: &PointInTime| {
        let PullLatest { start, end, .. } = join.range(10, 20);
        (start, end)
    };
    assert_eq!(
        range(&join),
        (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(20))
    );
    join.ttl = Some(4);
    assert_eq!(
        range(&join),
        (Timestamp::from_micros(6), Timestamp::from_micros(20))
    );
    join.ttl = Some(i64::MAX);
    assert_eq!(range(&join).0, Timestamp::from_micros(10 - i64::MAX));
}

#[test]
fn numbers_of_all_kinds_are_told_apart() {
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![
        Some(i64::MIN),
        None,
        Some(-1),
        Some(i64::MIN),
    ]));
    let (groups, of_rows) = Groups::of(std::slice::from_ref(&keys), 4).unwrap();
    assert_eq!(of_rows, [0, NO_GROUP, 1, 0]);
    assert_eq!(groups.len(), 2);
    let source: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(-1), None]));
    assert_eq!(groups.find(&[source], 3).unwrap(), [NO_GROUP, 1, NO_GROUP]);
    assert_eq!(keys.as_primitive::<Int64Type>().len(), 4);
}
