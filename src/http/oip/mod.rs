//! The Open Inference Protocol v2 over REST: any client of Triton or KServe works unchanged.
//!
//! An infer body becomes whole tensors (`request`), goes the way of every prediction, and its outputs become a body again
//! (`response`), either as JSON, as bytes, or mixed. No Content-Type is asked for, since tritonclient sends none.
//! Choices that the protocol leaves to a server: docs/oip.md.
//! Not here: tensors as bytes and as JSON (`types/oip`), gRPC.

mod compression;
mod describe;
mod failure;
mod object;
mod openapi;
mod repository;
mod request;
mod response;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response};
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::compression::Encoding;
use self::failure::Refusal;
pub(super) use self::failure::{method_not_allowed, unknown_route};
pub(super) use self::openapi::paths as openapi_paths;
pub use self::request::{InferRequest, RequestedOutput, decode};
use super::{Api, extract};
use crate::predict::Interface;
use crate::shutdown::run_here;
use crate::types::byte_size::ByteSize;
use crate::types::deadline::Deadline;
use crate::types::names::ModelRef;
use crate::types::oip;
use crate::types::prediction::Prediction;
use crate::types::request::{PredictRequest, RequestContext, RequestInputs, Surface};

/// Length of the JSON in front of the tensors' bytes.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// Working through so many bytes takes about half a millisecond.
const LARGE_BODY: usize = 64 * 1024;

/// `[http.oip]`: the Open Inference Protocol, over HTTP and over gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Largest body, before and after decompression, and largest gRPC message.
    pub max_body: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body: ByteSize::from_mebibytes(64),
        }
    }
}

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v2", get(describe::server))
        .route("/v2/health/live", get(describe::live))
        .route("/v2/health/ready", get(describe::ready))
        .route("/v2/models", get(describe::list))
        .route("/v2/models/stats", get(describe::all_statistics))
        .route("/v2/models/{model}", get(describe::model))
        .route("/v2/models/{model}/ready", get(describe::model_ready))
        .route("/v2/models/{model}/config", get(describe::config))
        .route("/v2/models/{model}/stats", get(describe::statistics))
        .route("/v2/models/{model}/infer", post(infer))
        .route(
            "/v2/models/{model}/versions/{version}",
            get(describe::model),
        )
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(describe::model_ready),
        )
        .route(
            "/v2/models/{model}/versions/{version}/config",
            get(describe::config),
        )
        .route(
            "/v2/models/{model}/versions/{version}/stats",
            get(describe::statistics),
        )
        .route("/v2/models/{model}/versions/{version}/infer", post(infer))
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::load))
        .route(
            "/v2/repository/models/{model}/unload",
            post(repository::unload),
        )
}

/// The part of a path that names a model.
#[derive(Deserialize)]
struct Named {
    model: String,
    /// Absent in paths without one.
    #[serde(default)]
    version: String,
}

impl Named {
    fn reference(&self) -> Result<ModelRef, Refusal> {
        Ok(oip::model_ref(&self.model, &self.version)?)
    }
}

async fn infer(
    State(api): State<Arc<Api>>,
    Path(named): Path<Named>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let context = RequestContext {
        surface: Surface::Oip,
        ..extract::context(&parts.headers)
    };
    let request_id = Arc::clone(&context.request_id);
    let answer = answer(&api, &named, &parts, body, context).await;
    let mut response = answer.unwrap_or_else(|refusal| refusal.render(&request_id));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(extract::REQUEST_ID, id);
    }
    response
}

async fn answer(
    api: &Api,
    named: &Named,
    parts: &Parts,
    body: Body,
    mut context: RequestContext,
) -> Result<Response<Body>, Refusal> {
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    context.priority = extract::priority(&parts.headers)?;
    let model = named.reference()?;
    let bytes = read(api, &parts.headers, body, deadline).await?;
    let header_length = header_length(&parts.headers);
    let decoded = run_here(bytes.len() > LARGE_BODY, || -> Result<_, Refusal> {
        if request::is_raw(header_length) {
            let resolved = api.predictor.models().resolve(&model)?;
            let interface = Interface::of(&resolved.version);
            return Ok(request::decode_raw(&bytes, &interface)?);
        }
        Ok(request::decode(&bytes, header_length)?)
    })?;
    decoded.check_rows(api.config.max_rows.get())?;
    context.priority = decoded.priority.unwrap_or(context.priority);
    let deadline = match decoded.timeout {
        Some(timeout) => deadline.at_most(timeout),
        None => deadline,
    };
    let request = PredictRequest {
        model,
        inputs: RequestInputs::Tensors(decoded.tensors),
        params: decoded.params,
        deadline,
        context,
    };
    let prediction = api.predictor.predict(&request).await?;
    let asked = response::Asked {
        id: decoded.id.as_deref(),
        outputs: &decoded.outputs,
        binary: decoded.binary_output,
    };
    let encoded = run_here(request.is_large(), || response::encode(&prediction, &asked))?;
    let encoding = Encoding::accepted(&parts.headers);
    Ok(compressed(encoded, encoding))
}

/// The body as its sender wrote it: decompressed, and neither form longer than the limit.
async fn read(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
    deadline: Deadline,
) -> Result<Bytes, Refusal> {
    let limit = api.config.oip.max_body.as_usize();
    let encoding = Encoding::of_body(headers)?;
    let bytes = extract::body(headers, body, limit, deadline)
        .await
        .map_err(|error| match error {
            super::Error::BodyTooLarge { limit } => oip::Error::BodyTooLarge { limit }.into(),
            other => Refusal::from(other),
        })?;
    match encoding {
        None => Ok(bytes),
        // How long that takes nobody knows before.
        Some(encoding) => {
            let decompressed = run_here(true, || encoding.decompress(&bytes, limit))?;
            Ok(Bytes::from(decompressed))
        }
    }
}

/// For fuzzing: the body of an answer and how much of it is JSON.
pub(super) fn answer_body(
    prediction: &Prediction,
    id: Option<&str>,
    outputs: &[RequestedOutput],
    binary: bool,
) -> Option<(Vec<u8>, usize)> {
    let asked = response::Asked {
        id,
        outputs,
        binary,
    };
    let encoded = response::encode(prediction, &asked).ok()?;
    let json_length = encoded.json_length.unwrap_or(encoded.body.len());
    Some((encoded.body, json_length))
}

fn header_length(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(HEADER_LENGTH)?;
    // What is no text is no number either.
    Some(value.to_str().unwrap_or("?"))
}

fn compressed(encoded: response::Encoded, encoding: Option<Encoding>) -> Response<Body> {
    let (kind, json_length) = match encoded.json_length {
        Some(length) => ("application/octet-stream", Some(length)),
        None => ("application/json", None),
    };
    let n_bytes = encoded.body.len();
    let compressed = encoding
        .filter(|_| n_bytes >= compression::WORTH_WHILE)
        .and_then(|encoding| {
            let body = run_here(n_bytes > LARGE_BODY / 8, || {
                encoding.compress(&encoded.body)
            });
            Some((encoding, body?))
        });
    let (name, body) = match compressed {
        Some((encoding, body)) => (Some(encoding.name()), body),
        None => (None, encoded.body),
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(length) = json_length {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    if let Some(name) = name {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        headers.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
    }
    response
}
