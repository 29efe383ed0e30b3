//! `GET`, `DELETE /v1/jobs/{id}` and `POST /v1/jobs/{id}/retry`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use super::query::Query;
use super::{Error, MAX_WAIT, answered, id};
use crate::http::{Api, extract, json};
use crate::jobs::{self, Aborted};

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(job): Path<String>,
    request: Request,
) -> Response<Body> {
    let request_id = extract::request_id(request.headers());
    answered(view(&api, &job, request.uri().query()).await, &request_id)
}

async fn view(api: &Api, job: &str, query: Option<&str>) -> Result<Response<Body>, Error> {
    let id = id(job)?;
    let query = Query::parse(query, &["wait"])?;
    let wanted = "a time span of at most 60s, such as 5s";
    let wait = query.duration("wait", MAX_WAIT, wanted)?;
    let client = &api.jobs()?.client;
    let view = match wait.filter(|wait| *wait > Duration::ZERO) {
        None => client.get(&id).await?,
        Some(wait) => tokio::select! {
            view = client.wait(&id, wait) => view?,
            // The server stops: the job goes on elsewhere.
            () = api.shutdown.stopped() => client.get(&id).await?,
        },
    };
    let view = view.ok_or(jobs::Error::NotFound { id })?;
    Ok(json(StatusCode::OK, &view))
}

pub(super) async fn abort(
    State(api): State<Arc<Api>>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let request_id = extract::request_id(&headers);
    answered(end(&api, &job).await, &request_id)
}

async fn end(api: &Api, job: &str) -> Result<Response<Body>, Error> {
    let id = id(job)?;
    match api.jobs()?.client.abort(&id).await? {
        Aborted::Requested => {
            let answer = json!({ "id": job, "abort": "requested" });
            Ok(json(StatusCode::ACCEPTED, &answer))
        }
        Aborted::TooLate => Err(Error::Ended { id: id.to_string() }),
        Aborted::NotFound => Err(jobs::Error::NotFound { id }.into()),
    }
}

pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let request_id = extract::request_id(&headers);
    answered(again(&api, &job).await, &request_id)
}

async fn again(api: &Api, job: &str) -> Result<Response<Body>, Error> {
    api.jobs()?.client.retry(&id(job)?).await?;
    let answer = json!({ "id": job, "state": jobs::JobStatus::Queued });
    Ok(json(StatusCode::ACCEPTED, &answer))
}
