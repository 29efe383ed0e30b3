//! `POST /get-online-features`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;

use super::failure::Refusal;
use super::request::{OnlineRequest, wanted};
use super::{answer, answered, body, feature_store, json, schema};
use crate::error::Failure;
use crate::features::InvalidValues;
use crate::features::retrieve::Answer;
use crate::http::{Api, extract};
use crate::shutdown::run_here;

/// Writing so many values takes about half a millisecond.
const LARGE_ANSWER: usize = 5_000;

pub(super) async fn get_online_features(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response<Body> {
    answered(answer(&api, request).await)
}

async fn answer(api: &Api, request: Request) -> Result<Response<Body>, Refusal> {
    let store = feature_store(api)?;
    let (parts, body) = request.into_parts();
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    let limit = api.config.max_body.as_usize();
    let bytes = body::read(&parts.headers, body, limit, deadline).await?;
    let mut rewritten = Vec::new();
    let request: OnlineRequest<'_> = body::parse(&bytes, schema::ONLINE, &mut rewritten)?;
    let selection = request.selection().ok_or_else(|| mistaken(&bytes))?;
    let retrieval = store.retrieval(selection, request.naming(), || {
        wanted(selection).map_err(|_| mistaken(&bytes))
    })?;
    let answer = store
        .retrieve(&retrieval, request.entities(), deadline)
        .await?;
    write(&answer, request.with_versions(), store.invalid_values())
}

/// A selection that is neither a service's name nor a list of texts: FastAPI's words for that.
fn mistaken(bytes: &[u8]) -> Refusal {
    match schema::check(bytes, schema::ONLINE) {
        Err(mistakes) => mistakes.into(),
        Ok(_) => Refusal::text("the selection of features cannot be read"),
    }
}

fn write(
    answer: &Answer,
    with_versions: bool,
    invalid_values: InvalidValues,
) -> Result<Response<Body>, Refusal> {
    let n_values = answer.n_rows() * answer.n_columns();
    let written = run_here(n_values > LARGE_ANSWER, || {
        answer::write(answer, with_versions, invalid_values)
    })?;
    if let Some(error) = &written.first_invalid {
        tracing::warn!(
            code = error.code(),
            n_values = written.n_invalid,
            "{error}; answered as null"
        );
    }
    Ok(json(written.body))
}
