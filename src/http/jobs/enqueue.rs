//! `POST /v1/models/{model}/jobs`: a predict call, queued.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{HeaderValue, LOCATION};
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::query::Query;
use super::{Error, answered, id, location};
use crate::error::{ErrorClass, Failure};
use crate::http::{self, Api, extract, json};
use crate::jobs::client::NewCall;
use crate::jobs::{Client, Due, Enqueued, JobId, JobStatus};
use crate::predict;
use crate::tasks::PredictJob;
use crate::types::deadline::Deadline;
use crate::types::names::ModelRef;
use crate::types::request::RequestContext;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest that a job may be put off.
const MAX_DELAY: Duration = Duration::from_secs(365 * 24 * 3600);
const WANTED_SPAN: &str = "a time span of at most a year, such as 90s or 2h";

/// The answer: where to look for the rest.
#[derive(Serialize)]
struct Accepted<'a> {
    id: &'a str,
    state: JobStatus,
}

pub(super) async fn enqueue(
    State(api): State<Arc<Api>>,
    Path(model): Path<String>,
    request: Request,
) -> Response<Body> {
    let context = extract::context(request.headers());
    let request_id = Arc::clone(&context.request_id);
    answered(answer(&api, &model, request, context).await, &request_id)
}

async fn answer(
    api: &Api,
    model: &str,
    request: Request,
    context: RequestContext,
) -> Result<Response<Body>, Error> {
    let jobs = api.jobs()?;
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query(), &["delay", "expires", "webhook"])?;
    let id = key(&parts.headers)?;
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    let limit = api.config.max_body.as_usize();
    let bytes = extract::json_body(&parts.headers, body, limit, deadline).await?;
    predict::json::check(model, &bytes, api.config.max_rows.get())?;
    check_model(api, model)?;
    let webhook = query.text("webhook");
    if let Some(url) = webhook {
        jobs.webhooks.check(url)?;
    }
    let request = serde_json::from_slice(&bytes);
    let job = PredictJob {
        model,
        request: request.map_err(|source| http::Error::Encode { source })?,
        request_id: &context.request_id,
        traceparent: extract::traceparent(&parts.headers),
        webhook,
    };
    let delay = query.duration("delay", MAX_DELAY, WANTED_SPAN)?;
    let due = delay.map_or(Due::Now, Due::After);
    let call = NewCall {
        id,
        function: "predict".to_owned(),
        args: job.args(),
        kwargs: job.kwargs(),
        due,
        expires: query.duration("expires", MAX_DELAY, WANTED_SPAN)?,
    };
    let state = match due {
        Due::Now => JobStatus::Queued,
        Due::After(_) | Due::At(_) => JobStatus::Deferred,
    };
    let (id, state) = put(&jobs.client, call, state, deadline).await?;
    accepted(&id, state)
}

/// The caller's key is the job's id, so that the same call may be sent again.
fn key(headers: &HeaderMap) -> Result<JobId, Error> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(JobId::random());
    };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => id(text.trim()),
        Err(_) => Err(Error::Query {
            name: "idempotency-key",
            actual: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            wanted: "text in UTF-8",
        }),
    }
}

/// A model that there is not is refused at once; one that cannot answer now may do so when the job runs.
fn check_model(api: &Api, model: &str) -> Result<(), Error> {
    let reference: ModelRef = model.parse().map_err(http::Error::ModelRef)?;
    match api.predictor.models().resolve(&reference) {
        Err(error) if error.class() == ErrorClass::NotFound => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The job, new or the same one as before.
async fn put(
    client: &Client,
    call: NewCall,
    state: JobStatus,
    deadline: Deadline,
) -> Result<(JobId, JobStatus), Error> {
    let id = call.id.clone();
    loop {
        match client.enqueue(call.clone()).await? {
            Enqueued::New => return Ok((id, state)),
            Enqueued::Duplicate => {}
        }
        if let Some(view) = client.get(&id).await? {
            if !view.is_call(&call) {
                let id = id.to_string();
                return Err(Error::KeyReused { id });
            }
            return Ok((id, view.state));
        }
        // Its result is no longer kept since a moment ago.
        if deadline.is_past() {
            return Err(crate::jobs::Error::NotFound { id }.into());
        }
    }
}

fn accepted(id: &JobId, state: JobStatus) -> Result<Response<Body>, Error> {
    let answer = Accepted {
        id: id.as_str(),
        state,
    };
    let mut response = json(StatusCode::ACCEPTED, &answer);
    if let Ok(location) = HeaderValue::from_str(&location(id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}
