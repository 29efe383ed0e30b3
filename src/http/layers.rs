//! Around every request: counting, and the answers for routes that are not there.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Response;
use axum::middleware::Next;

use super::error::Error;
use super::{Api, extract, feast, problem};

/// Where routes of our own lie.
const OWN_PREFIXES: [&str; 3] = ["/v1", "/v2", "/docs"];

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

/// Below our own prefixes a problem document; anywhere else what Feast's server answers, whose clients may ask for any path.
pub(super) async fn unknown_route(request: Request) -> Response<Body> {
    let path = request.uri().path();
    let is_ours = |prefix: &&str| {
        let rest = path.strip_prefix(*prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !OWN_PREFIXES.iter().any(is_ours) {
        return feast::not_found();
    }
    let error = Error::RouteUnknown {
        path: request.uri().path().to_owned(),
    };
    problem::render(&error, &extract::request_id(request.headers()))
}

pub(super) async fn method_not_allowed(request: Request) -> Response<Body> {
    let route = request.extensions().get::<MatchedPath>();
    if route.is_some_and(|route| feast::PATHS.contains(&route.as_str())) {
        return feast::method_not_allowed();
    }
    let error = Error::MethodNotAllowed {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    };
    problem::render(&error, &extract::request_id(request.headers()))
}
