//! `POST /v1/features/historical`: a point-in-time join. Entity rows come as JSON, Parquet or Arrow, and so does the result.
//!
//! The first rows are there before the answer begins, so that what is wrong with names, entity rows and sources is told with
//! a status; what fails later ends the connection before the answer is whole. A caller who leaves ends the join.
//! Overload: `concurrent` joins at once, each in bounded memory; one more is refused.

mod accept;
mod encode;
mod request;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use futures::StreamExt;
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::accept::Format;
use self::encode::Encoder;
use super::error::Error;
use super::{Api, extract, problem};
use crate::features::historical::{self, Historical};
use crate::shutdown::run_blocking;
use crate::types::byte_size::ByteSize;
use crate::types::deadline::Deadline;

/// Point-in-time joins over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "HttpHistorical")]
pub struct Config {
    /// Largest request body. Decoded it may be eight times as large.
    pub max_body: ByteSize,
    /// Most entity rows in a request. As JSON an answer has no more than `http.max_rows`.
    pub max_rows: NonZeroUsize,
    /// Joins at the same time; one more is answered with 429.
    pub concurrent: NonZeroUsize,
    /// Longest that a request may take. It may ask for less with `X-Request-Timeout-Ms`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body: ByteSize::from_mebibytes(64),
            max_rows: const { NonZeroUsize::new(1_000_000).unwrap() },
            concurrent: const { NonZeroUsize::new(2).unwrap() },
            timeout: Duration::from_secs(300),
        }
    }
}

/// The joins that are running.
#[derive(Debug)]
pub struct Joins {
    free: Arc<Semaphore>,
    limit: usize,
}

impl Joins {
    pub fn new(config: &Config) -> Self {
        let limit = config.concurrent.get();
        Self {
            free: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    fn begin(&self) -> Result<OwnedSemaphorePermit, Error> {
        let free = Arc::clone(&self.free).try_acquire_owned();
        free.map_err(|_| Error::HistoricalBusy { limit: self.limit })
    }
}

pub(super) async fn join(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let request_id = extract::request_id(request.headers());
    match answer(&api, request).await {
        Ok(mut response) => {
            if let Ok(id) = HeaderValue::from_str(&request_id) {
                response.headers_mut().insert(extract::REQUEST_ID, id);
            }
            response
        }
        Err(error) => problem::render(&error, &request_id),
    }
}

async fn answer(api: &Api, request: Request) -> Result<Response<Body>, Error> {
    let config = &api.config.historical;
    let store = api.features.as_ref().ok_or(Error::NoFeatures)?;
    let deadline = extract::deadline(request.headers(), config.timeout)?;
    let sent = Format::of_body(request.headers())?;
    let format = Format::of_answer(request.headers(), sent)?;
    let permit = api.historical.begin()?;
    let (parts, body) = request.into_parts();
    let body = extract::body(&parts.headers, body, config.max_body.as_usize(), deadline).await?;
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let limits = request::Limits {
        max_rows: config.max_rows.get(),
        max_bytes: config.max_body.as_usize().saturating_mul(8),
    };
    let read = run_blocking(move || request::read(sent, &query, body, limits)).await;
    let request = read.map_err(historical::Error::Panicked)??;
    let limit = api.config.max_rows.get();
    let n_rows = request.entities.n_rows();
    if format == Format::Json && n_rows > limit {
        return Err(historical::Error::TooManyRows { n_rows, limit }.into());
    }
    let joined = within(deadline, store.historical(request, deadline)).await?;
    respond(joined, format, deadline, permit).await
}

async fn within<T>(
    deadline: Deadline,
    work: impl Future<Output = Result<T, historical::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout_at(deadline.instant(), work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Error::HistoricalLate),
    }
}

/// The batches that are left, and what they are encoded with. The permit goes when the answer does.
struct Answering {
    joined: Historical,
    first: Option<RecordBatch>,
    encoder: Option<Encoder>,
    deadline: Deadline,
    _permit: OwnedSemaphorePermit,
}

async fn respond(
    mut joined: Historical,
    format: Format,
    deadline: Deadline,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Body>, Error> {
    let first = within(deadline, async { joined.batches.next().await.transpose() }).await?;
    let encoder = Encoder::new(format, &joined.schema, joined.n_rows)?;
    let answering = Answering {
        joined,
        first,
        encoder: Some(encoder),
        deadline,
        _permit: permit,
    };
    let chunks = stream::try_unfold(answering, |mut answering| async move {
        let chunk = answering.chunk().await.inspect_err(|error| {
            tracing::warn!(%error, "a point-in-time join ended in the middle of its answer");
        })?;
        Ok::<_, Error>(chunk.map(|chunk| (chunk, answering)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let kind = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

impl Answering {
    /// Bytes of the answer; `None` once it is whole.
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(None);
        };
        let batch = match self.first.take() {
            Some(first) => Some(first),
            None => {
                let deadline = self.deadline;
                let batches = &mut self.joined.batches;
                within(deadline, async { batches.next().await.transpose() }).await?
            }
        };
        let Some(batch) = batch else {
            let done = run_blocking(move || encoder.finish()).await;
            let bytes = done.map_err(historical::Error::Panicked)??;
            return Ok(Some(bytes).filter(|bytes| !bytes.is_empty()));
        };
        let done = run_blocking(move || encoder.push(&batch).map(|bytes| (encoder, bytes))).await;
        let (encoder, bytes) = done.map_err(historical::Error::Panicked)??;
        self.encoder = Some(encoder);
        Ok(Some(bytes))
    }
}

/// The route in `/openapi.json`.
pub(super) fn openapi_path() -> Value {
    let files = |description: &str| {
        let file = json!({ "schema": { "type": "string", "format": "binary" } });
        json!({
            "description": description,
            "content": {
                "application/json": { "schema": { "type": "object" } },
                "application/vnd.apache.parquet": file,
                "application/vnd.apache.arrow.stream": file,
            },
        })
    };
    let parameter = |name: &str, kind: &str, description: &str| {
        json!({ "name": name, "in": "query", "required": false, "schema": { "type": kind },
            "description": description })
    };
    let mut body = files(
        "Entity rows. As JSON `entities` (columns) or `rows`, beside `feature_service` or `features`, `full_feature_names` and \
         `filter_by_created_timestamp`; with Parquet and Arrow these are query parameters.",
    );
    body["required"] = json!(true);
    json!({ "post": {
        "tags": ["features"],
        "operationId": "historical_features",
        "summary": "Features as they were at each entity row's time",
        "parameters": [
            parameter("feature_service", "string", "The feature service"),
            parameter("features", "string", "`view:feature`, comma-separated, in place of a service"),
            parameter("full_feature_names", "boolean", "Call features `view__feature`"),
            parameter("filter_by_created_timestamp", "boolean", "Leave out rows that were created after the time"),
        ],
        "requestBody": body,
        "responses": {
            "200": files("One row for each entity row, in their order; `Accept` says in which format"),
            "default": { "description": "A problem document",
                "content": { "application/problem+json": { "schema": { "type": "object" } } } },
        },
    }})
}
