//! What Feast's feature server offers beside features: search by vector, and a stub of a chat.
//!
//! No online store here keeps vectors, so a search is answered as Feast answers it on Redis: it is not supported.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use serde_json::json;

use super::failure::Refusal;
use super::schema::{self, Field};
use super::{answered, body, feature_store};
use crate::http::{Api, extract};

pub(super) async fn search(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let refused = async {
        let store = feature_store(&api)?;
        check(&api, request, schema::SEARCH).await?;
        let store = store.describe().online_store;
        Err(Refusal::text(format!(
            "Online store {store} does not support online retrieval"
        )))
    };
    answered(refused.await)
}

pub(super) async fn vector_stores() -> Response<Body> {
    super::json(b"{\"object\":\"list\",\"data\":[]}".to_vec())
}

pub(super) async fn vector_store(Path(id): Path<String>) -> Response<Body> {
    no_vector_store(&id).render()
}

pub(super) async fn search_vector_store(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let checked = check(&api, request, schema::VECTOR_SEARCH).await;
    answered(checked.and(Err(no_vector_store(&id))))
}

pub(super) async fn chat(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let checked = check(&api, request, schema::CHAT).await;
    answered(checked.map(|()| {
        super::json(
            b"{\"response\":\"This is a dummy response from the Feast feature server.\"}".to_vec(),
        )
    }))
}

fn no_vector_store(id: &str) -> Refusal {
    Refusal::Json {
        status: 404,
        body: json!({ "error": {
            "message": format!("No vector store found with id '{id}'"), "type": "not_found_error" } }),
    }
}

async fn check(api: &Api, request: Request, fields: &[Field]) -> Result<(), Refusal> {
    let (parts, body) = request.into_parts();
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    let limit = api.config.max_body.as_usize();
    let bytes = body::read(&parts.headers, body, limit, deadline).await?;
    schema::check(&bytes, fields)?;
    Ok(())
}
