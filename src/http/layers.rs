//! Around every request: counting, and the answers for routes that are not there.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Response;
use axum::middleware::Next;

use super::error::Error;
use super::{Api, extract, problem};

/// Counts requests by route template and status, and those in flight.
pub(super) async fn count(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let _in_flight = api.metrics.http_in_flight();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    api.metrics.http_answered(route, response.status().as_u16());
    response
}

pub(super) async fn unknown_route(request: Request) -> Response<Body> {
    let error = Error::RouteUnknown {
        path: request.uri().path().to_owned(),
    };
    problem::render(&error, &extract::request_id(request.headers()))
}

pub(super) async fn method_not_allowed(request: Request) -> Response<Body> {
    let error = Error::MethodNotAllowed {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    };
    problem::render(&error, &extract::request_id(request.headers()))
}
