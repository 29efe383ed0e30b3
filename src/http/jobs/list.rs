//! `GET /v1/jobs`: jobs of one state or of all, page by page.

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::json;

use super::query::Query;
use super::{Error, answered};
use crate::http::{Api, extract, json};
use crate::jobs::client::Listing;

const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);

pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let request_id = extract::request_id(request.headers());
    answered(page(&api, request.uri().query()).await, &request_id)
}

async fn page(api: &Api, query: Option<&str>) -> Result<Response<Body>, Error> {
    let query = Query::parse(query, &["state", "cursor", "limit"])?;
    let state = match query.text("state") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| Error::Query {
            name: "state",
            actual: text.to_owned(),
            wanted: "`queued`, `running`, `deferred`, `dead` or `complete`",
        })?),
    };
    let client = &api.jobs()?.client;
    let Listing { jobs, next } = client
        .listing(state, query.text("cursor"), query.limit(PAGE)?)
        .await?;
    let answer = json!({ "jobs": jobs, "next_cursor": next });
    Ok(json(StatusCode::OK, &answer))
}
