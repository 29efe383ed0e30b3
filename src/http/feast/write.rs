//! `POST /push` and `POST /write-to-online-store`: columns of values in, rows in the stores.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::Refusal;
use super::schema::{self, Field};
use super::{answered, body, empty, feature_store, json};
use crate::features;
use crate::features::registry::Registry;
use crate::features::write::{Frame, PushTarget};
use crate::http::{Api, extract};

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
    let store = feature_store(api)?;
    let request: PushRequest = parse(api, request, schema::PUSH).await?;
    let frame = frame(request.df)?;
    let Some(to) = target(&request.to) else {
        return Err(Refusal::text(format!(
            "{} is not a supported push format. Please specify one of these ['online', 'offline', 'online_and_offline'].",
            request.to
        )));
    };
    let source = &request.push_source_name;
    if !feeds_a_view(&store.registry(), source) {
        return Err(Refusal::unknown_push_source(source));
    }
    let (store, source) = (Arc::clone(store), source.clone());
    let written = async move { store.push(&source, frame, to).await };
    // A caller that leaves must not leave half of it.
    done(api.shutdown.finish("push", written).await)?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn write_to_online_store(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response<Body> {
    answered(answer_write(&api, request).await)
}

async fn answer_write(api: &Api, request: Request) -> Result<Response<Body>, Refusal> {
    let store = feature_store(api)?;
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
    let (store, view) = (Arc::clone(store), view.clone());
    let written = async move { store.write_to_online_store(&view, frame).await };
    done(api.shutdown.finish("write", written).await)?;
    Ok(json(b"null".to_vec()))
}

async fn parse<T: serde::de::DeserializeOwned>(
    api: &Api,
    request: Request,
    fields: &[Field],
) -> Result<T, Refusal> {
    let (parts, body) = request.into_parts();
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    let limit = api.config.max_body.as_usize();
    let bytes = body::read(&parts.headers, body, limit, deadline).await?;
    body::parse(&bytes, fields, &mut Vec::new())
}

fn done<T>(outcome: Option<Result<T, features::Error>>) -> Result<(), Refusal> {
    match outcome {
        Some(outcome) => outcome.map(|_| ()).map_err(Refusal::from),
        None => Err(Refusal::text("the write panicked; the log says more")),
    }
}

fn target(text: &str) -> Option<PushTarget> {
    match text {
        "online" => Some(PushTarget::Online),
        "offline" => Some(PushTarget::Offline),
        "online_and_offline" => Some(PushTarget::OnlineAndOffline),
        _ => None,
    }
}

fn feeds_a_view(registry: &Registry, source: &str) -> bool {
    let mut views = registry.feature_views.iter();
    views.any(|view| view.stream_source.as_deref() == Some(source))
}

/// Most values of a frame in which scalars stand for every row.
const MAX_VALUES: usize = 4_000_000;

/// Columns by name. A value that is no list stands for every row, as in a pandas data frame.
fn frame(df: Map<String, Value>) -> Result<Frame, Refusal> {
    let lists = df.values().filter_map(Value::as_array);
    let n_rows = lists.map(Vec::len).max();
    if n_rows.is_none() && !df.is_empty() {
        return Err(Refusal::text(
            "`df` has no list: which number of rows is meant?",
        ));
    }
    // A scalar costs the body a few bytes, however many rows it stands for.
    let n_values = df.len().saturating_mul(n_rows.unwrap_or(0));
    if n_values > MAX_VALUES && df.values().any(|value| !value.is_array()) {
        return Err(Refusal::text(format!(
            "`df` has {n_values} values with scalars repeated, more than the limit of {MAX_VALUES}"
        )));
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
    Ok(Frame { columns })
}
