//! Around every request: counting, where it runs, and the answers for routes that are not there.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::error::Error;
use super::place::{self, Placed};
use super::{Api, extract, feast, mlflow, oip, problem};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{InFlight, Metrics};

/// Where routes of our own lie.
const OWN_PREFIXES: [&str; 2] = ["/v1", "/docs"];

/// Counts requests by route template and status, and those in flight; sends long ones elsewhere (`place`).
///
/// Written out because it is on every request's path: `axum::middleware::from_fn` boxes and clones for each.
#[derive(Clone)]
pub(super) struct Around {
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl Around {
    pub(super) fn new(api: &Api) -> Self {
        Self {
            metrics: Arc::clone(&api.metrics),
            shutdown: api.shutdown.clone(),
        }
    }
}

impl<S> Layer<S> for Around {
    type Service = Surrounded<S>;

    fn layer(&self, service: S) -> Surrounded<S> {
        Surrounded {
            service,
            around: self.clone(),
        }
    }
}

#[derive(Clone)]
pub(super) struct Surrounded<S> {
    service: S,
    around: Around,
}

impl<S> Service<Request> for Surrounded<S>
where
    S: Service<Request, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let is_short = place::is_short(route.as_ref().map(MatchedPath::as_str), request.headers());
        let in_flight = self.around.metrics.http_in_flight();
        let answer = self.service.call(request);
        Answering {
            route,
            in_flight,
            metrics: Arc::clone(&self.around.metrics),
            answer: if is_short {
                Placed::here(answer)
            } else {
                Placed::elsewhere(answer, &self.around.shutdown)
            },
        }
    }
}

pin_project! {
    pub(super) struct Answering<F: Future> {
        route: Option<MatchedPath>,
        in_flight: InFlight,
        metrics: Arc<Metrics>,
        #[pin]
        answer: Placed<F>,
    }
}

impl<F: Future<Output = Result<Response<Body>, E>>, E> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context));
        if let Ok(response) = &answer {
            let route = this.route.as_ref().map_or("unmatched", MatchedPath::as_str);
            this.metrics
                .http_answered(route, response.status().as_u16());
        }
        Poll::Ready(answer)
    }
}

/// Where every answer is one of the Open Inference Protocol.
const OIP_PREFIX: &str = "/v2";

/// Below our own prefixes a problem document; anywhere else what Feast's server answers, whose clients may ask for any path.
pub(super) async fn unknown_route(request: Request) -> Response<Body> {
    if is_below(OIP_PREFIX, &request) {
        return oip::unknown_route(&request);
    }
    if !OWN_PREFIXES.iter().any(|prefix| is_below(prefix, &request)) {
        return feast::not_found();
    }
    let error = Error::RouteUnknown {
        path: request.uri().path().to_owned(),
    };
    problem::render(&error, &extract::request_id(request.headers()))
}

fn is_below(prefix: &str, request: &Request) -> bool {
    let rest = request.uri().path().strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) async fn method_not_allowed(request: Request) -> Response<Body> {
    if is_below(OIP_PREFIX, &request) {
        return oip::method_not_allowed(&request);
    }
    let route = request.extensions().get::<MatchedPath>();
    let is_theirs = |path| feast::PATHS.contains(&path) || mlflow::PATHS.contains(&path);
    if route.is_some_and(|route| is_theirs(route.as_str())) {
        return feast::method_not_allowed();
    }
    let error = Error::MethodNotAllowed {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    };
    problem::render(&error, &extract::request_id(request.headers()))
}
