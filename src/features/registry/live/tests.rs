//! A registry that changes, goes away and comes back while it is watched. Time is virtual.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::features::definitions::ViewState;
use crate::features::testing::{TestRepo, fixture};
use crate::telemetry::metrics::Metrics;

fn yaml(registry: &str) -> String {
    format!("project: ride_ops\nregistry: {registry}\nonline_store:\n  path: online.db\n")
}

fn repo(registry: &str) -> TestRepo {
    TestRepo::new("repo", "registry.db", &yaml(registry))
}

/// Puts a registry without `driver_lists` in place, as Feast does: without a rename.
fn rename_a_view(path: &Path) {
    let mut bytes = fs_err::read(fixture("repo/registry.db")).unwrap();
    let name = b"driver_lists";
    while let Some(at) = bytes.windows(name.len()).position(|window| window == name) {
        bytes[at] = b'D';
    }
    fs_err::write(path, bytes).unwrap();
}

fn sample(metrics: &Metrics, name: &str) -> String {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(name));
    line.unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_replaced_file_is_read_within_a_second_and_its_cache_starts_anew() {
    let repo = repo("registry.db");
    let store = repo.open().await;
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    store.watch(&shutdown, metrics.feature_registry());
    let mut changes = store.subscribe();
    let before = store.snapshot();
    let make = |_: &Registry| Ok::<_, Infallible>(1);
    let kept = before.cached("selection", make).unwrap();
    assert!(Arc::ptr_eq(
        &kept,
        &store.snapshot().cached("selection", make).unwrap()
    ));

    let started = Instant::now();
    rename_a_view(&repo.path("registry.db"));
    let after = changes.next().await.unwrap();
    assert!(started.elapsed() <= TICK, "{:?}", started.elapsed());
    assert_eq!(after.number(), before.number() + 1);
    assert!(after.registry().feature_view("Driver_lists").is_some());
    assert!(
        before.registry().feature_view("driver_lists").is_some(),
        "a snapshot stays as it is"
    );
    assert!(!Arc::ptr_eq(
        &kept,
        &after.cached("selection", make).unwrap()
    ));
    assert_eq!(store.registry_status().number, after.number());

    shutdown.stop();
    assert!(shutdown.drain(Duration::from_secs(5)).await);
    drop(store);
    assert!(changes.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_keeps_the_last_good_one_and_says_so() {
    let repo = repo("{path: registry.db, cache_ttl_seconds: 5}");
    let store = repo.open().await;
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    store.watch(&shutdown, metrics.feature_registry());
    assert_eq!(store.registry_status().failure, None);

    fs_err::remove_file(repo.path("registry.db")).unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let status = store.registry_status();
    let failure = status.failure.unwrap();
    assert_eq!(failure.code, "feature_registry_missing");
    assert!(
        failure.message.ends_with("registry.db does not exist"),
        "{}",
        failure.message
    );
    assert!(
        (3..=6).contains(&failure.n_attempts),
        "{}",
        failure.n_attempts
    );
    assert_eq!(status.number, 1);
    assert!(store.registry().feature_view("driver_lists").is_some());
    let failed = "terrarium_feature_registry_reads_total{outcome=\"failed\"}";
    assert_eq!(
        sample(&metrics, failed),
        format!("{failed} {}", failure.n_attempts)
    );

    rename_a_view(&repo.path("registry.db"));
    let mut changes = store.subscribe();
    assert_eq!(changes.next().await.unwrap().number(), 2);
    assert_eq!(store.registry_status().failure, None);
    shutdown.stop();
}

#[tokio::test(start_paused = true)]
async fn in_thread_mode_only_age_counts() {
    let repo = repo("{path: registry.db, cache_ttl_seconds: 60, cache_mode: thread}");
    let store = repo.open().await;
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    store.watch(&shutdown, metrics.feature_registry());
    let mut changes = store.subscribe();
    let started = Instant::now();
    rename_a_view(&repo.path("registry.db"));
    changes.next().await.unwrap();
    let waited = started.elapsed();
    assert!((59..=61).contains(&waited.as_secs()), "{waited:?}");
    shutdown.stop();
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_never_expires_is_read_once() {
    let repo = repo("{path: registry.db, cache_ttl_seconds: 0, cache_mode: thread}");
    let store = repo.open().await;
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    store.watch(&shutdown, metrics.feature_registry());
    rename_a_view(&repo.path("registry.db"));
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(store.snapshot().number(), 1);
    shutdown.stop();
}

#[tokio::test]
async fn what_is_recorded_is_served_at_once() {
    let repo = repo("registry.db");
    let store = repo.open().await;
    let mut changes = store.subscribe();
    let (start, end) = (Timestamp::from_seconds(1), Timestamp::from_seconds(2));
    store
        .record("driver_lists", ViewChange::State(ViewState::Materializing))
        .await
        .unwrap();
    assert_eq!(changes.next().await.unwrap().number(), 2);
    store
        .record("driver_lists", ViewChange::Materialized { start, end })
        .await
        .unwrap();
    let registry = store.registry();
    let view = registry.feature_view("driver_lists").unwrap();
    assert_eq!(view.state, ViewState::AvailableOnline);
    assert_eq!(view.materialized.last(), Some(&(start, end)));
    assert_eq!(store.snapshot().number(), 3);
    let error = store
        .record("nope", ViewChange::Materialized { start, end })
        .await
        .unwrap_err();
    assert_eq!(error.code(), "feature_view_unknown");
    assert_eq!(store.snapshot().number(), 3);
}
