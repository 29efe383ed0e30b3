//! `POST /v1/models/{model}/predict`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};

use super::error::Error;
use super::{Api, extract, problem};
use crate::predict::json;
use crate::types::deadline::Deadline;
use crate::types::request::RequestContext;

pub(super) async fn predict(
    State(api): State<Arc<Api>>,
    Path(model): Path<String>,
    request: Request,
) -> Response<Body> {
    let context = extract::context(request.headers());
    let request_id = context.request_id.clone();
    match answer(&api, &model, request, context).await {
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Ok(id) = HeaderValue::from_str(&request_id) {
                response.headers_mut().insert(extract::REQUEST_ID, id);
            }
            response
        }
        Err(error) => problem::render(&error, &request_id),
    }
}

async fn answer(
    api: &Api,
    model: &str,
    request: Request,
    mut context: RequestContext,
) -> Result<Vec<u8>, Error> {
    let (parts, body) = request.into_parts();
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    context.priority = extract::priority(&parts.headers)?;
    let bytes = extract::json_body(
        &parts.headers,
        body,
        api.config.max_body.as_usize(),
        deadline,
    )
    .await?;
    predict_once(api, model, &bytes, deadline, context).await
}

/// One predict call: JSON body in, JSON answer out.
pub async fn predict_once(
    api: &Api,
    model: &str,
    body: &[u8],
    deadline: Deadline,
    context: RequestContext,
) -> Result<Vec<u8>, Error> {
    let call = json::Call {
        model,
        body,
        max_rows: api.config.max_rows.get(),
        deadline,
        context,
    };
    Ok(json::answer(&api.predictor, call).await?)
}
