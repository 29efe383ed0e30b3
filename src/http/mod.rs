//! HTTP: the whole route table. Each protocol's file decodes, calls one function, encodes.
//!
//! Overload: the number of requests in flight is bounded by the connections that the system accepts; engines and
//! queues below refuse what they cannot take. A body is read up to `max_body` and no further.
//! Not here: anything about features or models beyond calling `predict`.

mod audit;
mod error;
mod extract;
mod feast;
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod health;
pub mod historical;
pub mod jobs;
mod layers;
pub mod mlflow;
pub mod models;
pub mod oip;
mod openapi;
mod place;
mod poll_again;
mod predict;
mod predictions;
mod problem;
mod queries;
mod retry_after;
mod server;
mod webhook;

pub use error::Error;
pub use feast::Running as Materializing;
pub use predict::predict_once;
pub use server::serve;
pub use webhook::Webhook;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::http::HttpLog;
use crate::features::FeatureStore;
use crate::predict::Predictor;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::types::byte_size::ByteSize;

/// `[http]`: where to listen and how much to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on.
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub listen: SocketAddr,
    /// Threads that serve connections; without it as many as there are cores.
    pub workers: Option<NonZeroUsize>,
    /// How long such a thread looks for its next event before it sleeps, as `net.core.busy_poll` of Linux does: a core that
    /// halts takes longer to wake than a request takes. `0s` for not at all.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub busy_poll: Duration,
    /// Address and port of the gRPC services; an empty text for none. Its messages have the limits of HTTP bodies.
    #[serde(with = "optional_address")]
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub grpc_listen: Option<SocketAddr>,
    /// Largest request body.
    pub max_body: ByteSize,
    /// Most rows in one predict call.
    pub max_rows: NonZeroUsize,
    /// Longest that a request may take before it is answered with 504.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub request_timeout: Duration,
    /// Longest that requests in flight may take once the server was told to stop.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub drain_timeout: Duration,
    /// Point-in-time joins over HTTP.
    pub historical: historical::Config,
    /// MLflow's scoring protocol.
    pub mlflow: mlflow::Config,
    /// The Open Inference Protocol, over HTTP and over gRPC.
    pub oip: oip::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            grpc_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))),
            workers: None,
            busy_poll: Duration::from_micros(50),
            max_body: ByteSize::from_mebibytes(16),
            max_rows: const { NonZeroUsize::new(100_000).unwrap() },
            request_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            historical: historical::Config::default(),
            mlflow: mlflow::Config::default(),
            oip: oip::Config::default(),
        }
    }
}

/// An address, or an empty text where there is none.
mod optional_address {
    use std::net::SocketAddr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(D::Error::custom)
    }
}

/// What the handlers share.
pub struct Api {
    pub config: Config,
    pub predictor: Predictor,
    /// Absent without a feature repository.
    pub features: Option<Arc<FeatureStore>>,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
    pub ready: crate::models::Ready,
    pub materializing: Materializing,
    pub historical: historical::Joins,
    pub webhook: Webhook,
    /// Absent in a process that answers once.
    pub jobs: Option<jobs::Jobs>,
    /// Has the model registry looked at.
    pub registry: crate::models::Handle,
    /// What versions answered before their gates.
    pub gates: crate::predict::gate::Reports,
    /// Absent where no calls but predictions are recorded.
    pub http_audit: Option<Arc<HttpLog>>,
}

/// All routes.
pub fn router(api: Arc<Api>) -> Router {
    let router = Router::new()
        .merge(feast::routes())
        .merge(mlflow::routes())
        .merge(oip::routes())
        .merge(jobs::routes())
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::show))
        .route(
            "/v1/models/{model}/versions/{version}/gate",
            get(gate::show),
        )
        .route("/v1/models/{model}/predict", post(predict::predict))
        .route("/v1/features/historical", post(historical::join))
        .route("/v1/predictions/{id}", get(predictions::show))
        .route("/v1/audit/query", post(queries::ask))
        .route("/v1/webhooks/mlflow", post(webhook::receive))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::redirect))
        .route("/docs/", get(openapi::redirect))
        .route("/docs/{*file}", get(openapi::swagger_ui))
        .fallback(layers::unknown_route)
        .method_not_allowed_fallback(layers::method_not_allowed);
    let recorded = match audit::Audit::new(&api) {
        Some(audit) => router.layer(audit),
        None => router,
    };
    recorded.layer(layers::Around::new(&api)).with_state(api)
}

/// A JSON answer.
fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(source) => problem::render(&Error::Encode { source }, ""),
    }
}
