//! The model repository extension: what the registry has, and a look at it now.
//!
//! What is loaded is the registry's to say: `load` has it looked at and waits for what comes of it; nothing is loaded from
//! a request, and nothing that an alias points to is unloaded.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json as object};

use super::failure::{Refusal, answered};
use super::{Api, Named, read};
use crate::http::{extract, json};
use crate::types::oip::{self, Error};

#[derive(Default, Deserialize)]
struct IndexRequest {
    /// Only what is ready.
    #[serde(default)]
    ready: bool,
}

#[derive(Default, Deserialize)]
struct LoadRequest {
    #[serde(default)]
    parameters: Map<String, Value>,
}

pub(super) async fn index(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let request_id = extract::request_id(&parts.headers);
    let answer = async {
        let asked: IndexRequest = document(&api, &parts.headers, body).await?;
        let entries = oip_index(&api, asked.ready);
        Ok(json(StatusCode::OK, &entries))
    };
    answered(answer.await, &request_id)
}

fn oip_index(api: &Api, only_ready: bool) -> Vec<Value> {
    let entries = api.predictor.models().index(only_ready).into_iter();
    let entries = entries.map(|entry| {
        object!({
            "name": &*entry.name,
            "version": entry.version,
            "state": entry.state,
            "reason": entry.reason,
        })
    });
    entries.collect()
}

pub(super) async fn load(
    State(api): State<Arc<Api>>,
    Path(named): Path<Named>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let request_id = extract::request_id(&parts.headers);
    let answer = async {
        let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
        let model = named.reference()?;
        let asked: LoadRequest = document(&api, &parts.headers, body).await?;
        oip::check_load_parameters(asked.parameters.keys())?;
        let models = api.predictor.models();
        models.load_now(&api.registry, &model, deadline).await?;
        Ok(json(
            StatusCode::OK,
            &object!({ "name": named.model, "load": true }),
        ))
    };
    answered(answer.await, &request_id)
}

pub(super) async fn unload(Path(named): Path<Named>, headers: HeaderMap) -> Response<Body> {
    let refusal = Refusal::from(oip::unload_refused(&named.model));
    refusal.render(&extract::request_id(&headers))
}

/// A body that may be empty.
async fn document<T: Default + for<'de> Deserialize<'de>>(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Refusal> {
    let deadline = extract::deadline(headers, api.config.request_timeout)?;
    let bytes: Bytes = read(api, headers, body, deadline).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    let parsed = serde_json::from_slice(&bytes);
    Ok(parsed.map_err(|error| Error::malformed(error.to_string()))?)
}
