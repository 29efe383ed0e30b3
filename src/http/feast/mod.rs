//! Feast's feature-server API (Feast 0.67), on the paths that Feast gives it: any client of `feast serve` works unchanged.
//!
//! Same JSON, same order of keys and columns, same text of numbers, same status and shape of errors (`failure`).
//! Not here: what the answers mean (`features::retrieve`), pages to look at (Feast's `/chat` page).

mod answer;
mod body;
mod documents;
mod failure;
mod materialize;
mod online;
mod openapi;
mod request;
mod schema;
mod text;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};

use self::failure::Refusal;
pub use self::materialize::Running;
pub(super) use self::openapi::paths as openapi_paths;
use super::{Api, mlflow};
use crate::features::FeatureStore;

/// Paths on which even a wrong method is answered as Feast does.
pub(super) const PATHS: [&str; 12] = [
    "/get-online-features",
    "/push",
    "/write-to-online-store",
    "/materialize",
    "/materialize-incremental",
    "/health",
    "/search",
    "/retrieve-online-documents",
    "/chat",
    "/v1/vector_stores",
    "/v1/vector_stores/{id}",
    "/v1/vector_stores/{id}/search",
];

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/get-online-features", post(online::get_online_features))
        .route("/push", post(write::push))
        .route("/write-to-online-store", post(write::write_to_online_store))
        .route("/materialize", post(materialize::materialize))
        .route(
            "/materialize-incremental",
            post(materialize::materialize_incremental),
        )
        .route("/health", get(health))
        .route("/search", post(documents::search))
        .route("/retrieve-online-documents", post(documents::search))
        .route("/chat", post(documents::chat))
        .route("/v1/vector_stores", get(documents::vector_stores))
        .route("/v1/vector_stores/{id}", get(documents::vector_store))
        .route(
            "/v1/vector_stores/{id}/search",
            post(documents::search_vector_store),
        )
}

/// 200 while there is a registry to answer from. `/readyz` also asks the online store. MLflow's scoring server has the
/// same path: without features it is answered as MLflow does, by whether there is a model.
async fn health(State(api): State<Arc<Api>>) -> Response<Body> {
    match api.features {
        Some(_) => empty(StatusCode::OK),
        None => mlflow::ping(State(api)).await,
    }
}

/// FastAPI's answer where there is nothing.
pub(super) fn not_found() -> Response<Body> {
    detail(StatusCode::NOT_FOUND, "{\"detail\":\"Not Found\"}")
}

pub(super) fn method_not_allowed() -> Response<Body> {
    let body = "{\"detail\":\"Method Not Allowed\"}";
    detail(StatusCode::METHOD_NOT_ALLOWED, body)
}

fn detail(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = json(body.into());
    *response.status_mut() = status;
    response
}

fn json(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The feature store, which a server without a feature repository has not.
fn feature_store(api: &Api) -> Result<&Arc<FeatureStore>, Refusal> {
    api.features.as_ref().ok_or_else(|| Refusal::Text {
        status: 503,
        message: "this server has no feature repository (set `features.repo`)".to_owned(),
    })
}

fn answered(outcome: Result<Response<Body>, Refusal>) -> Response<Body> {
    outcome.unwrap_or_else(|refusal| refusal.render())
}
