//! The floor of `/get-online-features`: parse the body, one pipeline of `HMGET`s over one multiplexed connection, decode,
//! render. No registry, no types, no checks of the input, no errors; what is wrong panics. One join key, `driver_id`.
//!
//! Feast keeps all views of an entity in one hash, so that one `HMGET` an entity is all that is needed.
//!
//! `features LISTEN REDIS PROJECT`: listens on `host:port`, reads from a `redis://` URL.

use std::error::Error;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use serde_json::value::Number;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Floor {
    redis: MultiplexedConnection,
    project: String,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    features: Vec<&'a str>,
    entities: Entities,
}

#[derive(Deserialize)]
struct Entities {
    driver_id: Vec<i64>,
}

#[derive(Serialize)]
struct Response<'a> {
    results: Vec<Column<'a>>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Column<'a> {
    values: Vec<Option<Number>>,
    statuses: Vec<&'static str>,
    event_timestamps: Vec<&'a str>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    feature_names: Vec<&'a str>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [listen, redis, project] =
        <[String; 3]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
            .map_err(|_| "usage: features LISTEN REDIS PROJECT")?;
    let redis = redis::Client::open(redis)?
        .get_multiplexed_async_connection()
        .await?;
    let routes = axum::Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/get-online-features", post(get_online_features))
        .with_state(Arc::new(Floor { redis, project }));
    let listener = tokio::net::TcpListener::bind(listen)
        .await?
        .tap_io(|stream| stream.set_nodelay(true).expect("nodelay"));
    Ok(axum::serve(listener, routes).await?)
}

async fn get_online_features(
    State(floor): State<Arc<Floor>>,
    body: Bytes,
) -> ([(&'static str, &'static str); 1], Vec<u8>) {
    let request: Request<'_> = serde_json::from_slice(&body).expect("a request");
    let drivers = &request.entities.driver_id;
    let (views, names): (Vec<&str>, Vec<&str>) = request
        .features
        .iter()
        .map(|reference| reference.split_once(':').expect("view:feature"))
        .unzip();
    let mut distinct = views.clone();
    distinct.dedup();
    let fields: Vec<Vec<u8>> = request
        .features
        .iter()
        .map(|reference| floor::field(reference))
        .chain(distinct.iter().map(|view| format!("_ts:{view}").into()))
        .collect();
    let mut pipeline = redis::pipe();
    for driver_id in drivers {
        let key = floor::entity_key(*driver_id, &floor.project);
        pipeline.cmd("HMGET").arg(key).arg(&fields);
    }
    let rows: Vec<Vec<Option<Vec<u8>>>> = pipeline
        .query_async(&mut floor.redis.clone())
        .await
        .expect("redis");

    // By row, one for each view.
    let timestamps: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row[names.len()..].iter().map(timestamp).collect())
        .collect();
    let mut results = vec![Column {
        values: drivers.iter().map(|id| Some((*id).into())).collect(),
        statuses: vec!["PRESENT"; drivers.len()],
        event_timestamps: vec!["1970-01-01T00:00:00Z"; drivers.len()],
    }];
    for (index, view) in views.iter().enumerate() {
        let view = distinct.iter().position(|known| known == view).expect("it");
        results.push(Column {
            values: rows
                .iter()
                .map(|row| number(row[index].as_deref()))
                .collect(),
            statuses: vec!["PRESENT"; drivers.len()],
            event_timestamps: timestamps.iter().map(|row| row[view].as_str()).collect(),
        });
    }
    let feature_names = std::iter::once("driver_id").chain(names).collect();
    let metadata = Metadata { feature_names };
    let answer = serde_json::to_vec(&Response { results, metadata }).expect("JSON");
    ([("content-type", "application/json")], answer)
}

/// A `feast.types.Value` holding a float, double or int64.
fn number(value: Option<&[u8]>) -> Option<Number> {
    match value? {
        [0x35, bytes @ ..] => {
            let single = f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
            Number::from_f64(single.into())
        }
        [0x29, bytes @ ..] => {
            Number::from_f64(f64::from_le_bytes(bytes.try_into().expect("8 bytes")))
        }
        [0x20, bytes @ ..] => Some((varint(bytes) as i64).into()),
        _ => None,
    }
}

/// A protobuf `Timestamp` of whole seconds, as text.
fn timestamp(value: &Option<Vec<u8>>) -> String {
    let seconds = match value.as_deref() {
        Some([0x08, bytes @ ..]) => varint(bytes),
        _ => 0,
    };
    // Civil date of a day: eras of 400 years that begin on 1 March.
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn varint(bytes: &[u8]) -> u64 {
    let low = bytes.iter().rev();
    low.fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
}
