//! gRPC: the methods that there are, and the server that they are behind.
//!
//! Limits: a message is as large as an HTTP body of the same protocol may be. Stop: connections end after the calls that they are at.
//! Not here: what the calls mean; each method decodes, calls one function of `features` or `predict`, encodes.

mod feast;
pub mod messages;
pub mod oip;
mod status;
mod timeout;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prost::Message;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_prost::ProstCodec;

use self::messages::{HealthCheckRequest, HealthCheckResponse};
use crate::features::FeatureStore;
use crate::models::{Handle, Ready};
use crate::predict::Predictor;
use crate::shutdown::Shutdown;
use crate::types::deadline::Deadline;

/// What the methods share.
pub struct Api {
    /// Absent without a feature repository.
    pub features: Option<Arc<FeatureStore>>,
    pub predictor: Predictor,
    /// Has the model registry looked at.
    pub registry: Handle,
    /// When the models count as ready.
    pub ready: Ready,
    /// Largest message of Feast's services, in bytes.
    pub max_message: usize,
    /// Largest message of the Open Inference Protocol.
    pub max_oip_message: usize,
    /// Most rows in one predict call.
    pub max_rows: usize,
    /// Longest that a call may take.
    pub request_timeout: Duration,
    pub shutdown: Shutdown,
}

/// Serves until `shutdown` of the API is told to stop.
pub async fn serve(listener: TcpListener, api: Arc<Api>) {
    let shutdown = api.shutdown.clone();
    // Small answers must not wait for more bytes to fill a packet.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = Server::builder()
        .add_routes(routes(api).into())
        .serve_with_incoming_shutdown(incoming, shutdown.stopped());
    if let Err(error) = served.await {
        tracing::error!(%error, "the gRPC server ended");
    }
}

/// The method table.
fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route(
            "/feast.serving.ServingService/GetFeastServingInfo",
            post(|State(api), request| unary(api, request, feast::serving_info)),
        )
        .route(
            "/feast.serving.ServingService/GetOnlineFeatures",
            post(|State(api), request| unary(api, request, feast::get_online_features)),
        )
        .route(
            "/GrpcFeatureServer/GetOnlineFeatures",
            post(|State(api), request| unary(api, request, feast::get_online_features)),
        )
        .route(
            "/GrpcFeatureServer/Push",
            post(|State(api), request| unary(api, request, feast::push)),
        )
        .route(
            "/GrpcFeatureServer/WriteToOnlineStore",
            post(|State(api), request| unary(api, request, feast::write_to_online_store)),
        )
        .route(
            "/grpc.health.v1.Health/Check",
            post(|State(api), request| unary(api, request, health)),
        )
        .merge(oip::routes())
        .fallback(async || {
            Status::unimplemented("there is no such method").into_http::<axum::body::Body>()
        })
        .with_state(api)
}

/// Every service is served as long as the process is and there are features or models to serve.
async fn health(
    api: Arc<Api>,
    _: Deadline,
    _: HealthCheckRequest,
) -> Result<HealthCheckResponse, Status> {
    let has_models = api.predictor.models().readiness().n_loaded > 0;
    let is_serving = (api.features.is_some() || has_models) && !api.shutdown.is_stopping();
    Ok(HealthCheckResponse {
        status: if is_serving { 1 } else { 2 },
    })
}

/// One message in, one message out.
async fn unary<Q, A, F>(
    api: Arc<Api>,
    request: Request,
    method: impl Fn(Arc<Api>, Deadline, Q) -> F + Send + Sync + 'static,
) -> Response
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<A, Q>::default())
        .max_decoding_message_size(api.max_message)
        .accept_compressed(CompressionEncoding::Gzip);
    let deadline = timeout::deadline(request.headers(), api.request_timeout);
    let method = Method {
        api,
        deadline,
        method,
    };
    grpc.unary(method, request).await.into_response()
}

/// A function as the service that tonic calls.
struct Method<M> {
    api: Arc<Api>,
    deadline: Deadline,
    method: M,
}

impl<M, Q, A, F> tower::Service<tonic::Request<Q>> for Method<M>
where
    M: Fn(Arc<Api>, Deadline, Q) -> F,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    type Response = tonic::Response<A>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<A>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let answer = (self.method)(Arc::clone(&self.api), self.deadline, request.into_inner());
        Box::pin(async move { answer.await.map(tonic::Response::new) })
    }
}
