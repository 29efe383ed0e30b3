//! Writers that meet, and a bucket that speaks S3's language.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde_yaml_ng::Value;

use super::client::ObjectFile;
use super::*;
use crate::features::registry::source::ViewChange;
use crate::features::testing::fixture;
use crate::shutdown::Shutdown;
use crate::types::timestamp::Timestamp;

fn registry() -> Vec<u8> {
    fs_err::read(fixture("repo/registry.db")).unwrap()
}

fn materialized(start: i64) -> ViewChange {
    ViewChange::Materialized {
        start: Timestamp::from_seconds(start),
        end: Timestamp::from_seconds(start + 1),
    }
}

async fn intervals(store: &dyn Store) -> usize {
    let registry = store.load("ride_ops").await.unwrap();
    registry
        .feature_view("driver_lists")
        .unwrap()
        .materialized
        .len()
}

#[tokio::test]
async fn writers_that_meet_lose_nothing_of_each_other() {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    memory
        .put(&Path::from("feast/registry.db"), registry().into())
        .await
        .unwrap();
    let store = ObjectFile::of(memory, "feast/registry.db");
    let before = intervals(&store).await;
    let writers = (0..8).map(|i| store.record("ride_ops", "driver_lists", materialized(i)));
    for outcome in futures::future::join_all(writers).await {
        outcome.unwrap();
    }
    assert_eq!(intervals(&store).await, before + 8);
    let missing = ObjectFile::of(Arc::new(InMemory::new()), "nope");
    let error = missing.load("ride_ops").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "feature registry memory:///nope does not exist"
    );
}

/// One object, as an S3 server keeps it, and what was asked.
#[derive(Default)]
struct Bucket {
    object: Vec<u8>,
    version: u32,
    /// So many writes come second to somebody else's.
    n_races: u32,
    asked: Vec<String>,
}

async fn s3(
    State(bucket): State<Arc<Mutex<Bucket>>>,
    method: Method,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut bucket = bucket.lock().unwrap();
    bucket.asked.push(format!("{method} {}", uri.path()));
    let etag = format!("\"v{}\"", bucket.version);
    if method == Method::PUT {
        if bucket.n_races > 0 {
            bucket.n_races -= 1;
            bucket.version += 1;
        }
        let etag = format!("\"v{}\"", bucket.version);
        if headers
            .get("if-match")
            .is_none_or(|wanted| wanted != etag.as_str())
        {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        bucket.object = body.to_vec();
        bucket.version += 1;
        return ([("etag", format!("\"v{}\"", bucket.version))], "").into_response();
    }
    let dated = ("last-modified", "Tue, 05 Mar 2024 00:00:00 GMT".to_owned());
    ([("etag", etag), dated], bucket.object.clone()).into_response()
}

#[tokio::test]
async fn an_object_in_s3_is_written_only_over_what_was_read() {
    let bucket = Arc::new(Mutex::new(Bucket {
        object: registry(),
        n_races: 2,
        ..Bucket::default()
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let router = Router::new().fallback(s3).with_state(Arc::clone(&bucket));
    let stop = shutdown.clone();
    shutdown.spawn("s3", async move {
        let server = axum::serve(listener, router);
        let _ = server
            .with_graceful_shutdown(async move { stop.stopped().await })
            .await;
    });
    let environment = HashMap::from([
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
    ]);
    let mut notes = Vec::new();
    let config = Config::read(
        "s3://bucket/feast/registry.db",
        &mut Settings::new("registry", Value::Null).unwrap(),
        &|name| environment.get(name).cloned(),
        &mut notes,
    );
    let Ok(config) = config else {
        panic!("these are settings");
    };
    assert!(
        !format!("{config:?}").contains("secret"),
        "no secret is printed"
    );
    let store = open(&config).unwrap();
    let before = intervals(&*store).await;
    store
        .record("ride_ops", "driver_lists", materialized(5))
        .await
        .unwrap();
    assert_eq!(intervals(&*store).await, before + 1);
    let puts = {
        let bucket = bucket.lock().unwrap();
        let puts = bucket
            .asked
            .iter()
            .filter(|asked| *asked == "PUT /bucket/feast/registry.db");
        puts.count()
    };
    assert_eq!(puts, 3, "two came too late");
    drop(store);
    shutdown.stop();
}
