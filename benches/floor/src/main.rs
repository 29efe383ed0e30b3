//! The floor: `driver_ranking` with one `HMGET` and one `session.run`, and nothing else. No registry, no plan, no checks of
//! the input, no audit, no statuses; what is wrong panics. `make bench` measures Terrarium against it.
//!
//! `floor LISTEN REDIS MODEL LIBRARY`: addresses as `host:port`, the model's ONNX file, ONNX Runtime's library.

use std::error::Error;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use ort::session::Session;
use ort::value::TensorRef;
use redis::aio::MultiplexedConnection;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Floor {
    redis: MultiplexedConnection,
    /// One per core: a session runs one call at a time.
    sessions: Vec<Mutex<Session>>,
    /// Names of the hash fields, in the order of the model's columns; the view's timestamp last.
    fields: [Vec<u8>; 4],
}

#[derive(serde::Deserialize)]
struct Request {
    entities: Entities,
    inputs: Inputs,
}

#[derive(serde::Deserialize)]
struct Entities {
    driver_id: Vec<i64>,
}

#[derive(serde::Deserialize)]
struct Inputs {
    trip_km: Vec<f32>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [listen, redis, model, library] =
        <[String; 4]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
            .map_err(|_| "usage: floor LISTEN REDIS MODEL LIBRARY")?;
    let environment = ort::init_from(library)?.build()?;
    let session = || {
        Session::builder(&environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .commit_from_file(&model)
    };
    let n_sessions = std::thread::available_parallelism()?.get();
    let field = |feature: &str| floor::field(&format!("driver_hourly_stats:{feature}"));
    let floor = Floor {
        redis: redis::Client::open(format!("redis://{redis}"))?
            .get_multiplexed_async_connection()
            .await?,
        sessions: (0..n_sessions)
            .map(|_| session().map(Mutex::new))
            .collect::<Result<_, _>>()?,
        fields: [
            field("conv_rate"),
            field("acc_rate"),
            field("avg_daily_trips"),
            b"_ts:driver_hourly_stats".to_vec(),
        ],
    };
    let routes = axum::Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/predict", post(predict))
        .with_state(Arc::new(floor));
    let listener = tokio::net::TcpListener::bind(listen)
        .await?
        .tap_io(|stream| stream.set_nodelay(true).expect("nodelay"));
    Ok(axum::serve(listener, routes).await?)
}

async fn predict(
    State(floor): State<Arc<Floor>>,
    body: Bytes,
) -> ([(&'static str, &'static str); 1], Vec<u8>) {
    let request: Request = serde_json::from_slice(&body).expect("a request");
    let mut pipeline = redis::pipe();
    for driver_id in &request.entities.driver_id {
        pipeline
            .cmd("HMGET")
            .arg(floor::entity_key(*driver_id, "terrarium_demo"))
            .arg(&floor.fields);
    }
    let rows: Vec<Vec<Option<Vec<u8>>>> = pipeline
        .query_async(&mut floor.redis.clone())
        .await
        .expect("redis");

    let mut matrix = Vec::with_capacity(rows.len() * 4);
    for (row, trip_km) in rows.iter().zip(&request.inputs.trip_km) {
        matrix.extend(
            row[..3]
                .iter()
                .map(|value| decode(value.as_deref().unwrap_or_default())),
        );
        matrix.push(*trip_km);
    }
    let input = TensorRef::from_array_view(([rows.len(), 4], matrix.as_slice())).expect("a matrix");
    let free = floor
        .sessions
        .iter()
        .find_map(|session| session.try_lock().ok());
    let mut session = free.unwrap_or_else(|| floor.sessions[0].lock().expect("a session"));
    let outputs = session.run(ort::inputs![input]).expect("a run");
    let (_, score) = outputs[0].try_extract_tensor::<f32>().expect("scores");
    let answer =
        serde_json::to_vec(&serde_json::json!({"outputs": {"score": score}})).expect("JSON");
    ([("content-type", "application/json")], answer)
}

/// A `feast.types.Value` holding a float, double or int64; anything else, nothing included, is NaN.
fn decode(value: &[u8]) -> f32 {
    match value {
        [0x35, bytes @ ..] if bytes.len() == 4 => {
            f32::from_le_bytes(bytes.try_into().expect("4 bytes"))
        }
        [0x29, bytes @ ..] if bytes.len() == 8 => {
            f64::from_le_bytes(bytes.try_into().expect("8 bytes")) as f32
        }
        [0x20, bytes @ ..] => bytes
            .iter()
            .rev()
            .fold(0_u64, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
            as i64 as f32,
        _ => f32::NAN,
    }
}
