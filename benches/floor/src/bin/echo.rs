//! The least that a server can do with a body or a message: give it back. Over HTTP with axum, over gRPC with tonic; the
//! messages stay bytes. `make bench` measures the Open Inference Protocol against it.
//!
//! `echo LISTEN GRPC_LISTEN`: addresses as `host:port`.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use floor::grpc::BytesCodec;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [listen, grpc_listen] =
        <[String; 2]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
            .map_err(|_| "usage: echo LISTEN GRPC_LISTEN")?;
    let grpc = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(Echo)
        .serve(grpc_listen.parse()?);
    let routes = axum::Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/echo", post(|body: Bytes| async { body }));
    let listener = tokio::net::TcpListener::bind(listen)
        .await?
        .tap_io(|stream| stream.set_nodelay(true).expect("nodelay"));
    let http = axum::serve(listener, routes);
    tokio::try_join!(async { Ok::<_, Box<dyn Error>>(http.await?) }, async {
        Ok(grpc.await?)
    })?;
    Ok(())
}

/// Every method of the protocol's service.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async { Ok(Grpc::new(BytesCodec).unary(Back, request).await) })
    }
}

struct Back;

impl UnaryService<Bytes> for Back {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}
