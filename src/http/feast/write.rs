//! `POST /push` and `POST /write-to-online-store`: columns of values in, rows in the stores.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::Refusal;
use super::schema::{self, Field};
use super::{answered, body, empty, features, json, pending};
use crate::features::registry::Registry;
use crate::http::Api;
use crate::types::deadline::Deadline;

/// Whether the registry is asked anew and whether on-demand views are computed is not for the caller to say here: the
/// registry is refreshed live, and what is declared as written is computed.
#[derive(Deserialize)]
struct PushRequest {
    push_source_name: String,
    df: Map<String, Value>,
    #[serde(default = "online")]
    to: String,
}

fn online() -> String {
    "online".to_owned()
}

#[derive(Deserialize)]
struct WriteRequest {
    feature_view_name: String,
    df: Map<String, Value>,
}

pub(super) async fn push(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    answered(answer_push(&api, request).await)
}

async fn answer_push(api: &Api, request: Request) -> Result<Response<Body>, Refusal> {
    let store = features(api)?;
    let request: PushRequest = parse(api, request, schema::PUSH).await?;
    let frame = frame(request.df)?;
    let Some(to) = pending::target(&request.to) else {
        return Err(Refusal::text(format!(
            "{} is not a supported push format. Please specify one of these ['online', 'offline', 'online_and_offline'].",
            request.to
        )));
    };
    let source = &request.push_source_name;
    if !feeds_a_view(&store.registry(), source) {
        return Err(Refusal::Feast {
            status: 422,
            class: "PushSourceNotFoundException",
            message: format!("Unable to find push source '{source}'."),
        });
    }
    pending::push(store, source, frame, to).await?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn write_to_online_store(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response<Body> {
    answered(answer_write(&api, request).await)
}

async fn answer_write(api: &Api, request: Request) -> Result<Response<Body>, Refusal> {
    let store = features(api)?;
    let request: WriteRequest = parse(api, request, schema::WRITE).await?;
    let frame = frame(request.df)?;
    let view = &request.feature_view_name;
    let registry = store.registry();
    if registry.feature_view(view).is_none() && registry.on_demand_feature_view(view).is_none() {
        return Err(Refusal::Feast {
            status: 404,
            class: "FeastObjectNotFoundException",
            message: format!("Can't recognize feast object with a name {view}"),
        });
    }
    pending::write_to_online_store(store, view, frame).await?;
    Ok(json(b"null".to_vec()))
}

async fn parse<T: serde::de::DeserializeOwned>(
    api: &Api,
    request: Request,
    fields: &[Field],
) -> Result<T, Refusal> {
    let deadline = Deadline::after(api.config.request_timeout);
    let (parts, body) = request.into_parts();
    let limit = api.config.max_body.as_usize();
    let bytes = body::read(&parts.headers, body, limit, deadline).await?;
    body::parse(&bytes, fields, &mut Vec::new())
}

fn feeds_a_view(registry: &Registry, source: &str) -> bool {
    let mut views = registry.feature_views.iter();
    views.any(|view| view.stream_source.as_deref() == Some(source))
}

/// Columns by name. A value that is no list stands for every row, as in a pandas data frame.
fn frame(df: Map<String, Value>) -> Result<pending::Frame, Refusal> {
    let lists = df.values().filter_map(Value::as_array);
    let n_rows = lists.map(Vec::len).max();
    if n_rows.is_none() && !df.is_empty() {
        return Err(Refusal::text(
            "`df` has no list: which number of rows is meant?",
        ));
    }
    let mut columns = Vec::with_capacity(df.len());
    for (name, value) in df {
        let values = match value {
            Value::Array(values) => values,
            scalar => vec![scalar; n_rows.unwrap_or(0)],
        };
        if Some(values.len()) != n_rows {
            return Err(Refusal::text(format!(
                "column `{name}` of `df` has {} values where another has {}",
                values.len(),
                n_rows.unwrap_or(0)
            )));
        }
        columns.push((name, values));
    }
    Ok(pending::Frame { columns })
}
