//! Where a request runs: on the thread of its connection, or on the shared runtime if it may compute for long.
//!
//! A thread serves many connections, so only what is over in less than a millisecond stays on it. That is judged before the
//! request is read: by its route and by the length of its body.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use pin_project_lite::pin_project;
use tokio_util::task::AbortOnDropHandle;

use crate::shutdown::Shutdown;

/// Routes whose requests are short if their bodies are.
const SHORT_ROUTES: [&str; 16] = [
    "/v1/models/{model}/predict",
    "/get-online-features",
    "/invocations",
    "/models/{model}/invocations",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/versions/{version}/ready",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2",
    "/ping",
    "/version",
    "/healthz",
    "/readyz",
    "/health",
];
/// A body of 4 KiB asks for some hundred rows.
const SHORT_BODY: usize = 4 * 1024;

/// Whether the request stays on its connection's thread.
pub(super) fn is_short(route: Option<&str>, headers: &HeaderMap) -> bool {
    let Some(route) = route else {
        return true;
    };
    let is_short_body = match headers.get(CONTENT_LENGTH) {
        // No body, or one of which nobody knows how long it is.
        None => !headers.contains_key(axum::http::header::TRANSFER_ENCODING),
        Some(length) => {
            let length = length.to_str().ok().and_then(|text| text.parse().ok());
            length.is_some_and(|length: usize| length <= SHORT_BODY)
        }
    };
    // A short body that is compressed may be a long one.
    let is_compressed = headers.contains_key(CONTENT_ENCODING);
    is_short_body && !is_compressed && SHORT_ROUTES.contains(&route)
}

pin_project! {
    /// The answer to a request, wherever it is made.
    #[project = PlacedProjection]
    pub(super) enum Placed<F: Future> {
        Here { #[pin] answer: F },
        Elsewhere { #[pin] answer: AbortOnDropHandle<F::Output> },
    }
}

impl<F> Placed<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    pub(super) fn here(answer: F) -> Self {
        Self::Here { answer }
    }

    /// A caller who leaves takes the request along, as on its own thread.
    pub(super) fn elsewhere(answer: F, shutdown: &Shutdown) -> Self {
        Self::Elsewhere {
            answer: shutdown.elsewhere(answer),
        }
    }
}

impl<F: Future> Future for Placed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let task = match self.project() {
            PlacedProjection::Here { answer } => return answer.poll(context),
            PlacedProjection::Elsewhere { answer } => answer,
        };
        match ready!(task.poll(context)) {
            Ok(answer) => Poll::Ready(answer),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The shared runtime ends, and with it the process.
                Err(_) => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::TRANSFER_ENCODING;

    use super::*;

    fn with_length(length: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(length))])
    }

    #[test]
    fn only_small_bodies_on_short_routes_stay() {
        let predict = Some("/v1/models/{model}/predict");
        assert!(is_short(predict, &with_length(SHORT_BODY)));
        assert!(!is_short(predict, &with_length(SHORT_BODY + 1)));
        assert!(!is_short(Some("/materialize"), &with_length(2)));
        assert!(is_short(Some("/healthz"), &HeaderMap::new()));
        let chunked =
            HeaderMap::from_iter([(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))]);
        assert!(!is_short(predict, &chunked));
    }

    #[tokio::test]
    async fn a_request_elsewhere_ends_when_its_caller_leaves() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let (began, begun) = tokio::sync::oneshot::channel();
        let answer = async move {
            let _held = sender;
            began.send(()).unwrap();
            std::future::pending::<()>().await;
        };
        let placed = Placed::elsewhere(answer, &Shutdown::new());
        begun.await.unwrap();
        drop(placed);
        assert!(receiver.await.is_err());
    }
}
