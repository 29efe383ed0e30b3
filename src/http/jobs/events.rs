//! `GET /v1/jobs/{id}/events`: server-sent events, one for each state that the job is seen in, the last with its result.
//!
//! The stream ends after the last event. A client that connects again gets the state as it is then; nothing is lost, since
//! every event tells all.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response};
use futures::stream;

use super::{Error, answered, id};
use crate::error::Failure;
use crate::http::{Api, extract};
use crate::jobs::{self, JobId, JobStatus, View};

/// A job's state is looked at that often; its end is told at once.
const LOOK: Duration = Duration::from_secs(1);
/// A comment that often keeps proxies from closing the connection.
const LOOKS_PER_COMMENT: u32 = 15;

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let request_id = extract::request_id(&headers);
    answered(follow(api, &job).await, &request_id)
}

async fn follow(api: Arc<Api>, job: &str) -> Result<Response<Body>, Error> {
    let id = id(job)?;
    let first = api.jobs()?.client.get(&id).await?;
    let first = first.ok_or_else(|| jobs::Error::NotFound { id: id.clone() })?;
    let following = Following {
        api,
        id,
        told: None,
        n_quiet: 0,
        next: Some(first),
    };
    let events = stream::unfold(following, |following| async move {
        let (bytes, following) = following.event().await?;
        Some((Ok::<_, Infallible>(bytes), following))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A stream on its way.
struct Following {
    api: Arc<Api>,
    id: JobId,
    told: Option<JobStatus>,
    n_quiet: u32,
    /// What was read and not told yet.
    next: Option<View>,
}

impl Following {
    /// The next event; `None` at the end.
    async fn event(mut self) -> Option<(Bytes, Self)> {
        if self.told.is_some_and(JobStatus::is_final) || self.api.shutdown.is_stopping() {
            return None;
        }
        loop {
            let view = match self.next.take() {
                Some(view) => view,
                None => match self.look().await {
                    Ok(Some(view)) => view,
                    Ok(None) if self.api.shutdown.is_stopping() => return None,
                    // Its result is no longer kept.
                    Ok(None) => return None,
                    Err(error) => {
                        tracing::warn!(id = %self.id, code = error.code(), "a job is no longer followed: {error}");
                        return None;
                    }
                },
            };
            if self.told != Some(view.state) {
                self.told = Some(view.state);
                self.n_quiet = 0;
                return Some((told(&view), self));
            }
            self.n_quiet += 1;
            if self.n_quiet >= LOOKS_PER_COMMENT {
                self.n_quiet = 0;
                return Some((Bytes::from_static(b": waiting\n\n"), self));
            }
        }
    }

    async fn look(&self) -> Result<Option<View>, Error> {
        let client = &self.api.jobs()?.client;
        tokio::select! {
            view = client.wait(&self.id, LOOK) => Ok(view?),
            () = self.api.shutdown.stopped() => Ok(None),
        }
    }
}

fn told(view: &View) -> Bytes {
    let data = serde_json::to_string(view).unwrap_or_default();
    Bytes::from(format!("event: {}\ndata: {data}\n\n", view.state))
}
