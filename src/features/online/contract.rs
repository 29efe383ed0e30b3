//! What every online store must do, run against each of them.

use std::slice;
use std::time::Duration;

use super::*;
use crate::features::key::{KeyValue, KeyVersion};
use crate::types::value::{List, TextKind};

/// What a store does with a row that is not newer than the stored one.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum OldRows {
    Replace,
    #[cfg_attr(
        not(feature = "test-services"),
        expect(dead_code, reason = "Redis runs with `test-services` only")
    )]
    PassOver,
}

/// The store must be empty.
pub(super) async fn run(store: Arc<dyn OnlineStore>, old_rows: OldRows) {
    store.ping(soon()).await.unwrap();
    assert!(!store.describe().is_empty());
    every_value_reads_back(&*store).await;
    only_what_was_written_is_found(&*store).await;
    groups_and_views_keep_their_order(&*store).await;
    a_row_is_replaced_as_a_whole(&*store).await;
    old_rows_follow_the_rule(&*store, old_rows).await;
    moments_before_1970_keep_their_order(&*store, old_rows).await;
    many_keys_keep_their_order(&*store).await;
    odd_names_are_names(&*store).await;
    a_deleted_view_is_gone_and_the_others_stay(&*store).await;
    a_past_deadline_is_a_timeout(&*store).await;
}

pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub(super) fn view(name: &str, features: &[&str]) -> StoredView {
    StoredView {
        name: name.to_owned(),
        features: features.iter().map(|&feature| feature.to_owned()).collect(),
    }
}

pub(super) fn row(key: &[u8], seconds: i64, values: Vec<Value>) -> Row {
    Row {
        key: key.to_vec(),
        values,
        event_timestamp: Timestamp::from_seconds(seconds),
        created_timestamp: None,
    }
}

pub(super) fn keys(keys: &[&[u8]]) -> EntityKeys {
    let mut all = EntityKeys::default();
    for key in keys {
        all.push_with(|bytes| bytes.extend_from_slice(key));
    }
    all
}

fn found(value: Value, seconds: i64) -> Option<StoredValue> {
    Some(StoredValue {
        value,
        event_timestamp: Timestamp::from_seconds(seconds),
    })
}

/// Reads one view by some keys.
async fn read(store: &dyn OnlineStore, view: &StoredView, wanted: &[&[u8]]) -> StoredRows {
    let group = KeyGroup {
        views: vec![view.clone()],
    };
    let lookup = store.prepare(&[group]);
    let mut answer = lookup.read(&[keys(wanted)], soon()).await.unwrap();
    assert_eq!(answer.len(), 1);
    answer.remove(0)
}

fn samples() -> Vec<Value> {
    vec![
        Value::Null,
        Value::Bytes(vec![0, 255]),
        Value::Bytes(vec![]),
        Value::String("café ☃ \0 '\"".to_owned()),
        Value::Int32(-1),
        Value::Int64(i64::MIN),
        Value::Double(-0.0),
        Value::Float(f32::MAX),
        Value::Bool(false),
        Value::UnixTimestamp(i64::MIN),
        Value::List(List::Int64(vec![])),
        Value::List(List::String(vec!["a".to_owned(), String::new()])),
        Value::Map(vec![("k".to_owned(), Value::Int64(5))]),
        Value::Text(TextKind::Decimal, "1.50".to_owned()),
    ]
}

async fn every_value_reads_back(store: &dyn OnlineStore) {
    let samples = samples();
    let names: Vec<String> = (0..samples.len()).map(|i| format!("f{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let view = view("samples", &names);
    let written = store.write(&view, &[row(b"k", 7, samples.clone())]).await;
    assert_eq!(written.unwrap(), 1);
    let wanted: StoredRows = samples.into_iter().map(|value| found(value, 7)).collect();
    assert_eq!(read(store, &view, &[b"k"]).await, wanted);
}

async fn only_what_was_written_is_found(store: &dyn OnlineStore) {
    let one = view("sparse", &["a"]);
    store
        .write(&one, &[row(b"k", 7, vec![Value::Int64(1)])])
        .await
        .unwrap();
    let both = view("sparse", &["b", "a"]);
    let answer = read(store, &both, &[b"nobody", b"k"]).await;
    assert_eq!(answer, [None, None, None, found(Value::Int64(1), 7)]);
}

async fn groups_and_views_keep_their_order(store: &dyn OnlineStore) {
    let (left, right) = (view("left", &["a", "b"]), view("right", &["a"]));
    let values = |first: i64| vec![Value::Int64(first), Value::Int64(first + 1)];
    store
        .write(&left, &[row(b"x", 1, values(10)), row(b"y", 2, values(20))])
        .await
        .unwrap();
    store
        .write(&right, &[row(b"x", 3, vec![Value::Int64(30)])])
        .await
        .unwrap();
    let group = |views: &[StoredView]| KeyGroup {
        views: views.to_vec(),
    };
    let groups = [
        group(&[right.clone(), view("left", &["b"])]),
        group(slice::from_ref(&left)),
        group(slice::from_ref(&left)),
    ];
    let lookup = store.prepare(&groups);
    let wanted = [keys(&[b"x", b"y"]), EntityKeys::default(), keys(&[b"y"])];
    let answer = lookup.read(&wanted, soon()).await.unwrap();
    let number = |number, seconds| found(Value::Int64(number), seconds);
    assert_eq!(
        answer[0],
        [number(30, 3), number(11, 1), None, number(21, 2)]
    );
    assert!(answer[1].is_empty());
    assert_eq!(answer[2], [number(20, 2), number(21, 2)]);
    let nothing = vec![EntityKeys::default(); 3];
    let answer = lookup.read(&nothing, soon()).await.unwrap();
    assert_eq!(answer, vec![StoredRows::new(); 3]);
}

async fn a_row_is_replaced_as_a_whole(store: &dyn OnlineStore) {
    let view = view("replaced", &["a", "b"]);
    let values = vec![Value::Int64(1), Value::Int64(2)];
    store.write(&view, &[row(b"k", 1, values)]).await.unwrap();
    let values = vec![Value::Null, Value::Int64(3)];
    store.write(&view, &[row(b"k", 2, values)]).await.unwrap();
    let answer = read(store, &view, &[b"k"]).await;
    assert_eq!(answer, [found(Value::Null, 2), found(Value::Int64(3), 2)]);
}

async fn old_rows_follow_the_rule(store: &dyn OnlineStore, old_rows: OldRows) {
    let view = view("old", &["a"]);
    let at = |seconds, number| row(b"k", seconds, vec![Value::Int64(number)]);
    // Also within one batch, and an equally old row counts as old.
    let batch = [at(100, 1), at(90, 2), at(100, 3)];
    let n_written = store.write(&view, &batch).await.unwrap();
    let answer = read(store, &view, &[b"k"]).await;
    match old_rows {
        OldRows::Replace => {
            assert_eq!(n_written, 3);
            assert_eq!(answer, [found(Value::Int64(3), 100)]);
        }
        OldRows::PassOver => {
            assert_eq!(n_written, 1);
            assert_eq!(answer, [found(Value::Int64(1), 100)]);
        }
    }
    let newer = [at(101, 4)];
    assert_eq!(store.write(&view, &newer).await.unwrap(), 1);
    assert_eq!(
        read(store, &view, &[b"k"]).await,
        [found(Value::Int64(4), 101)]
    );
}

async fn moments_before_1970_keep_their_order(store: &dyn OnlineStore, old_rows: OldRows) {
    let view = view("ancient", &["a"]);
    let at = |seconds, number| row(b"k", seconds, vec![Value::Int64(number)]);
    for (seconds, number) in [(-100, 1), (-101, 2), (-99, 3), (0, 4)] {
        store.write(&view, &[at(seconds, number)]).await.unwrap();
    }
    assert_eq!(
        read(store, &view, &[b"k"]).await,
        [found(Value::Int64(4), 0)]
    );
    // A stored epoch never blocks: it is what an absent timestamp looks like.
    store.write(&view, &[at(-5, 5)]).await.unwrap();
    assert_eq!(
        read(store, &view, &[b"k"]).await,
        [found(Value::Int64(5), -5)]
    );
    store.write(&view, &[at(-6, 6)]).await.unwrap();
    let kept = if old_rows == OldRows::Replace {
        (6, -6)
    } else {
        (5, -5)
    };
    assert_eq!(
        read(store, &view, &[b"k"]).await,
        [found(Value::Int64(kept.0), kept.1)]
    );
}

async fn many_keys_keep_their_order(store: &dyn OnlineStore) {
    let view = view("many", &["a", "b"]);
    let names: Vec<String> = (0..2_500).map(|i| format!("key-{i}")).collect();
    let mut rows = Vec::new();
    for (i, name) in (0..).zip(&names) {
        if i % 3 != 0 {
            let values = vec![Value::Int64(i), Value::Null];
            rows.push(row(name.as_bytes(), i, values));
        }
    }
    assert_eq!(store.write(&view, &rows).await.unwrap(), rows.len());
    let wanted: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let answer = read(store, &view, &wanted).await;
    assert_eq!(answer.len(), 2 * names.len());
    for (i, cells) in (0..).zip(answer.chunks(2)) {
        if i % 3 == 0 {
            assert_eq!(cells, [None, None]);
        } else {
            assert_eq!(cells, [found(Value::Int64(i), i), found(Value::Null, i)]);
        }
    }
}

async fn odd_names_are_names(store: &dyn OnlineStore) {
    let view = view("it's \"odd\"; ünï", &["a'b", "\"c\"", "d?1"]);
    let values = vec![Value::Int64(1), Value::Int64(2), Value::Int64(3)];
    store
        .write(&view, &[row(b"\0\"'", 1, values)])
        .await
        .unwrap();
    let answer = read(store, &view, &[b"\0\"'"]).await;
    let wanted: Vec<_> = (1..=3).map(|i| found(Value::Int64(i), 1)).collect();
    assert_eq!(answer, wanted);
}

/// One key per driver.
fn driver_keys(layout: &KeyLayout, n: i64) -> Vec<Vec<u8>> {
    let key = |i| {
        let (value, mut bytes) = (KeyValue::Int64(i), Vec::new());
        layout.encode(|_| &value, &mut bytes);
        bytes
    };
    (0..n).map(key).collect()
}

async fn a_deleted_view_is_gone_and_the_others_stay(store: &dyn OnlineStore) {
    for version in [KeyVersion::V2, KeyVersion::V3] {
        let drivers = KeyLayout::new(version, &["driver_id"]);
        let (dropped, kept) = (view("dropped", &["a", "b"]), view("kept", &["a"]));
        let keys = driver_keys(&drivers, 300);
        let row_of = |key: &Vec<u8>, n| row(key, 7, vec![Value::Int64(1); n]);
        let rows: Vec<Row> = keys.iter().map(|key| row_of(key, 2)).collect();
        assert_eq!(store.write(&dropped, &rows).await.unwrap(), 300);
        let rows: Vec<Row> = keys[..100].iter().map(|key| row_of(key, 1)).collect();
        assert_eq!(store.write(&kept, &rows).await.unwrap(), 100);

        assert_eq!(store.delete_view(&dropped, &drivers).await.unwrap(), 300);
        let wanted: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let group = KeyGroup {
            views: vec![dropped.clone()],
        };
        let lookup = store.prepare(&[group]);
        match lookup.read(&[self::keys(&wanted)], soon()).await {
            Ok(answer) => assert!(answer[0].iter().all(Option::is_none)),
            Err(error) => assert!(matches!(error, Error::NotMaterialized { .. }), "{error}"),
        }
        let answer = read(store, &kept, &wanted).await;
        assert_eq!(answer.iter().flatten().count(), 100);
        assert_eq!(store.delete_view(&dropped, &drivers).await.unwrap(), 0);
        assert_eq!(store.delete_view(&kept, &drivers).await.unwrap(), 100);
    }
}

async fn a_past_deadline_is_a_timeout(store: &dyn OnlineStore) {
    let group = KeyGroup {
        views: vec![view("samples", &["f0"])],
    };
    let lookup = store.prepare(&[group]);
    let error = lookup
        .read(&[keys(&[b"k"])], Deadline::after(Duration::ZERO))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Unavailable);
}
