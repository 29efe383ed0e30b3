//! `/v1/jobs` and `POST /v1/models/{model}/jobs`: predict calls that are queued, and what became of all jobs.
//!
//! A call is checked as far as it can be before it is queued, so that what could never be answered is refused at once.
//! Not here: how jobs are kept and run (`jobs`), what they do (`tasks`).

mod enqueue;
mod error;
mod events;
mod list;
pub(super) mod openapi;
mod query;
mod show;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use axum::http::header::HeaderValue;
use axum::routing::{get, post};

use self::error::Error;
use super::{Api, extract, problem};
use crate::jobs::{Client, JobId};
use crate::tasks::Webhooks;

/// What the handlers need beside what all have.
pub struct Jobs {
    pub client: Client,
    pub webhooks: Arc<Webhooks>,
}

/// Longest that one request waits for the end of a job.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/models/{model}/jobs", post(enqueue::enqueue))
        .route("/v1/jobs", get(list::list))
        .route("/v1/jobs/{id}", get(show::show).delete(show::abort))
        .route("/v1/jobs/{id}/retry", post(show::retry))
        .route("/v1/jobs/{id}/events", get(events::events))
}

impl Api {
    fn jobs(&self) -> Result<&Jobs, Error> {
        self.jobs.as_ref().ok_or(Error::Off)
    }
}

fn id(text: &str) -> Result<JobId, Error> {
    Ok(JobId::new(text)?)
}

/// The answer with its request id, or the problem document.
fn answered(answer: Result<Response<Body>, Error>, request_id: &str) -> Response<Body> {
    let mut response = match answer {
        Ok(response) => response,
        Err(error) => return problem::render(&error, request_id),
    };
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(extract::REQUEST_ID, id);
    }
    response
}

/// Where a job is to be found.
fn location(id: &JobId) -> String {
    let mut path = "/v1/jobs/".to_owned();
    for byte in id.as_str().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                path.push(char::from(byte));
            }
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}
