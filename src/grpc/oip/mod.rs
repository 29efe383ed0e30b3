//! `inference.GRPCInferenceService`: the Open Inference Protocol v2 over gRPC, with Triton's extensions.
//!
//! `infer` decodes a message, calls the predictor and encodes; `ModelStreamInfer` does that for each message of a stream and
//! answers in their order, several at once (`stream`). Failures are gRPC statuses, of a stream's message a text in its answer.
//! Not here: tensors as bytes (`types/oip`), REST.

mod contents;
mod describe;
mod infer;
pub mod messages;
mod repository;
mod stream;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prost::Message;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

use super::{Api, timeout};
use crate::types::deadline::Deadline;
use crate::types::oip::check_round_trip;

const ENCODINGS: [CompressionEncoding; 2] =
    [CompressionEncoding::Gzip, CompressionEncoding::Deflate];

pub(super) fn routes() -> Router<Arc<Api>> {
    let at = |method: &str| format!("/inference.GRPCInferenceService/{method}");
    Router::new()
        .route(
            &at("ServerLive"),
            post(|api, r| unary(api, r, describe::server_live)),
        )
        .route(
            &at("ServerReady"),
            post(|api, r| unary(api, r, describe::server_ready)),
        )
        .route(
            &at("ModelReady"),
            post(|api, r| unary(api, r, describe::model_ready)),
        )
        .route(
            &at("ServerMetadata"),
            post(|api, r| unary(api, r, describe::server)),
        )
        .route(
            &at("ModelMetadata"),
            post(|api, r| unary(api, r, describe::model)),
        )
        .route(
            &at("ModelConfig"),
            post(|api, r| unary(api, r, describe::config)),
        )
        .route(
            &at("ModelStatistics"),
            post(|api, r| unary(api, r, describe::statistics)),
        )
        .route(
            &at("RepositoryIndex"),
            post(|api, r| unary(api, r, repository::index)),
        )
        .route(
            &at("RepositoryModelLoad"),
            post(|api, r| unary(api, r, repository::load)),
        )
        .route(
            &at("RepositoryModelUnload"),
            post(|api, r| unary(api, r, repository::unload)),
        )
        .route(
            &at("ModelInfer"),
            post(|api, r| unary(api, r, infer::infer)),
        )
        .route(&at("ModelStreamInfer"), post(stream::stream_infer))
}

/// For fuzzing: the tensors of any bytes that are a `ModelInferRequest`.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let Ok(request) = messages::ModelInferRequest::decode(data) else {
        return;
    };
    if let Ok(tensors) = contents::tensors(request.inputs, &request.raw_input_contents) {
        for named in &tensors {
            check_round_trip(&named.tensor);
        }
    }
}

/// What a call brings beside its message.
#[derive(Clone)]
struct Call {
    api: Arc<Api>,
    headers: HeaderMap,
    /// When the caller stops waiting.
    until: Option<Deadline>,
}

impl Call {
    fn new(api: Arc<Api>, headers: HeaderMap) -> Self {
        Self {
            until: timeout::of(&headers).map(Deadline::after),
            api,
            headers,
        }
    }

    /// The server's own limit from now, or an earlier moment that the caller has. For a message of a stream that is the
    /// whole stream's.
    fn deadline(&self) -> Deadline {
        let deadline = Deadline::after(self.api.request_timeout);
        self.until.map_or(deadline, |until| until.min(deadline))
    }

    /// Of a header, if it has one that is text.
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Answers are compressed as the request was: every caller says that it could read it, few want to wait for it.
fn grpc<Q, A>(api: &Api, headers: &HeaderMap) -> Grpc<ProstCodec<A, Q>>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
{
    let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(api.max_oip_message);
    for encoding in ENCODINGS {
        grpc = grpc.accept_compressed(encoding);
    }
    match headers
        .get("grpc-encoding")
        .and_then(|value| value.to_str().ok())
    {
        Some("gzip") => grpc.send_compressed(CompressionEncoding::Gzip),
        Some("deflate") => grpc.send_compressed(CompressionEncoding::Deflate),
        _ => grpc,
    }
}

/// One message in, one message out.
async fn unary<Q, A, F>(
    State(api): State<Arc<Api>>,
    request: Request,
    method: impl Fn(Call, Q) -> F + Send + Sync + 'static,
) -> Response
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let mut grpc = grpc::<Q, A>(&api, request.headers());
    let call = Call::new(api, request.headers().clone());
    grpc.unary(Method { call, method }, request)
        .await
        .into_response()
}

/// A function as the service that tonic calls.
struct Method<M> {
    call: Call,
    method: M,
}

impl<M, Q, A, F> tower::Service<tonic::Request<Q>> for Method<M>
where
    M: Fn(Call, Q) -> F,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    type Response = tonic::Response<A>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<A>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let answer = (self.method)(self.call.clone(), request.into_inner());
        Box::pin(async move { answer.await.map(tonic::Response::new) })
    }
}
