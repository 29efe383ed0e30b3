//! `POST /materialize` and `POST /materialize-incremental`, also in the background (`?async=true`).
//!
//! A run goes on when its caller leaves. In the background a view is materialized by one run at a time: a second one is
//! refused with 409 as long as the registry or this process says that it runs, unless `?force=true`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::failure::Refusal;
use super::schema::{self, Field};
use super::{answered, body, feature_store, json};
use crate::error::Failure;
use crate::features::FeatureStore;
use crate::features::definitions::ViewState;
use crate::features::registry::source::ViewChange;
use crate::http::{Api, extract};
use crate::types::timestamp::Timestamp;

/// The views that runs in the background are at.
#[derive(Debug, Default)]
pub struct Running(Mutex<HashSet<String>>);

impl Running {
    fn with<T>(&self, look: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Deserialize)]
struct MaterializeRequest {
    #[serde(default)]
    start_ts: Option<String>,
    #[serde(default)]
    end_ts: Option<String>,
    #[serde(default)]
    feature_views: Option<Vec<String>>,
    #[serde(default)]
    disable_event_timestamp: bool,
    #[serde(default)]
    version: Option<String>,
}

/// What a run does. `start: None` goes on from where each view was left.
struct Run {
    store: FeatureStore,
    views: Vec<String>,
    /// Nobody has named the views.
    is_for_all: bool,
    start: Option<Timestamp>,
    end: Timestamp,
}

pub(super) async fn materialize(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    answered(answer(&api, request, schema::MATERIALIZE, range).await)
}

pub(super) async fn materialize_incremental(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response<Body> {
    answered(answer(&api, request, schema::MATERIALIZE_INCREMENTAL, to_the_end).await)
}

type Range = (Option<Timestamp>, Timestamp);

async fn answer(
    api: &Arc<Api>,
    request: Request,
    fields: &[Field],
    range: fn(&MaterializeRequest) -> Result<Range, Refusal>,
) -> Result<Response<Body>, Refusal> {
    let store = feature_store(api)?;
    let is_async = schema::query_flag(request.uri().query(), "async")?;
    let force = schema::query_flag(request.uri().query(), "force")?;
    let (parts, body) = request.into_parts();
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    let limit = api.config.max_body.as_usize();
    let bytes = body::read(&parts.headers, body, limit, deadline).await?;
    let body: MaterializeRequest = body::checked(&bytes, fields)?;
    let views = views(store, &body)?;
    let (start, end) = range(&body)?;
    let run = Run {
        store: FeatureStore::clone(store),
        views,
        is_for_all: body.feature_views.is_none(),
        start,
        end,
    };
    if is_async {
        return background(api, run, force).await;
    }
    let outcome = api
        .shutdown
        .finish("materialize", async move { run.run().await });
    let outcome = outcome.await;
    outcome.ok_or_else(|| Refusal::text("the materialization panicked; the log says more"))??;
    Ok(json(b"null".to_vec()))
}

async fn background(api: &Arc<Api>, run: Run, force: bool) -> Result<Response<Body>, Refusal> {
    let marked = run.marked();
    let conflicting: Vec<String> = api.materializing.with(|running| {
        let is_taken = |name: &&String| running.contains(*name) || marked.contains(*name);
        let conflicting: Vec<String> = run.views.iter().filter(is_taken).cloned().collect();
        if conflicting.is_empty() || force {
            running.extend(run.views.iter().cloned());
            return Vec::new();
        }
        conflicting
    });
    if !conflicting.is_empty() {
        return Err(taken(conflicting));
    }
    let answer = json!({ "status": "accepted", "feature_views": run.views }).to_string();
    let (sender, marked) = oneshot::channel();
    let shared = Arc::clone(api);
    api.shutdown.spawn("materialize", async move {
        let outcome = run.mark(ViewState::Materializing).await;
        let is_marked = outcome.is_ok();
        // A caller that has left is not told.
        let _ = sender.send(outcome);
        if is_marked && let Err(refusal) = run.run().await {
            tracing::error!(views = ?run.views, ?refusal, "a materialization in the background failed");
            run.unmark().await;
        }
        let ended = |running: &mut HashSet<String>| running.retain(|name| !run.views.contains(name));
        shared.materializing.with(ended);
    });
    // What follows this answer must find the views marked.
    let marked = marked.await;
    marked.map_err(|_| Refusal::text("the materialization panicked; the log says more"))??;
    let mut response = json(answer.into_bytes());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn taken(views: Vec<String>) -> Refusal {
    let names: Vec<String> = views.iter().map(|name| format!("'{name}'")).collect();
    Refusal::Json {
        status: 409,
        body: json!({
            "error": format!(
                "Cannot start async materialization — the following feature views are already in MATERIALIZING state: [{}]. Use ?force=true to override.",
                names.join(", ")
            ),
            "feature_views": views,
        }),
    }
}

impl Run {
    async fn run(&self) -> Result<(), Refusal> {
        let views = (!self.is_for_all).then_some(self.views.as_slice());
        let end = self.end;
        let store = &self.store;
        match self.start {
            Some(start) => store.materialize(views, start, end, &mut |_| {}).await?,
            None => {
                store
                    .materialize_incremental(views, end, &mut |_| {})
                    .await?
            }
        };
        Ok(())
    }

    /// Those of the views that the registry says are being materialized.
    fn marked(&self) -> Vec<String> {
        let registry = self.store.registry();
        let is_marked = |name: &&String| {
            let view = registry.feature_view(name);
            view.is_some_and(|view| view.state == ViewState::Materializing)
        };
        self.views.iter().filter(is_marked).cloned().collect()
    }

    /// Writes a state into the registry, as Feast does before it answers.
    async fn mark(&self, state: ViewState) -> Result<(), Refusal> {
        let registry = self.store.registry();
        for name in &self.views {
            if registry.feature_view(name).is_some() {
                self.store.record(name, ViewChange::State(state)).await?;
            }
        }
        Ok(())
    }

    /// After a failure, as Feast: what is not done is no longer said to run.
    async fn unmark(&self) {
        for name in self.marked() {
            let state = ViewChange::State(ViewState::Generated);
            if let Err(error) = self.store.record(&name, state).await {
                tracing::error!(view = name, code = error.code(), %error, "the view stays MATERIALIZING");
            }
        }
    }
}

/// The named views, or all that are kept online.
fn views(store: &FeatureStore, body: &MaterializeRequest) -> Result<Vec<String>, Refusal> {
    let registry = store.registry();
    let Some(names) = &body.feature_views else {
        if body.version.is_some() {
            return Err(Refusal::text(
                "`version` needs `feature_views` with exactly one view",
            ));
        }
        let views = registry.feature_views.iter();
        let views = views.filter(|view| view.online && !view.disabled);
        let on_demand = registry.on_demand_feature_views.iter();
        let on_demand = on_demand.filter(|view| view.write_to_online_store && !view.disabled);
        let names = views.map(|view| view.name.clone());
        return Ok(names
            .chain(on_demand.map(|view| view.name.clone()))
            .collect());
    };
    for name in names {
        if let Some(view) = registry.feature_view(name) {
            if !view.online {
                return Err(Refusal::text(format!(
                    "FeatureView {name} is not configured to be served online."
                )));
            }
            check_version(body, names, name, view.version)?;
        } else if let Some(view) = registry.on_demand_feature_view(name) {
            if !view.write_to_online_store {
                return Err(Refusal::text(format!(
                    "OnDemandFeatureView {name} is not configured for write_to_online_store."
                )));
            }
            check_version(body, names, name, view.version)?;
        } else {
            return Err(Refusal::unknown_view(name, store.project()));
        }
    }
    Ok(names.clone())
}

/// Only the current version of a view can be materialized.
fn check_version(
    body: &MaterializeRequest,
    names: &[String],
    view: &str,
    current: u32,
) -> Result<(), Refusal> {
    let Some(version) = &body.version else {
        return Ok(());
    };
    if names.len() != 1 {
        return Err(Refusal::text(
            "`version` needs `feature_views` with exactly one view",
        ));
    }
    let is_current = version.eq_ignore_ascii_case("latest")
        || version.trim_start_matches(['v', 'V']).parse() == Ok(current);
    if is_current {
        return Ok(());
    }
    Err(Refusal::Feast {
        status: 404,
        class: "FeatureViewVersionNotFound",
        message: format!("Version {version} of feature view {view} does not exist"),
    })
}

fn range(body: &MaterializeRequest) -> Result<Range, Refusal> {
    if body.disable_event_timestamp {
        return Ok((Some(Timestamp::EPOCH), Timestamp::now()));
    }
    let (Some(start), Some(end)) = (&body.start_ts, &body.end_ts) else {
        return Err(Refusal::text(
            "start_ts and end_ts are required when disable_event_timestamp is False",
        ));
    };
    let (start, end) = (moment(start)?, moment(end)?);
    if start >= end {
        return Err(Refusal::text(format!(
            "start_ts ({start}) must be before end_ts ({end})"
        )));
    }
    Ok((Some(start), end))
}

fn to_the_end(body: &MaterializeRequest) -> Result<Range, Refusal> {
    Ok((None, moment(body.end_ts.as_deref().unwrap_or_default())?))
}

/// ISO 8601; without an offset it is UTC.
fn moment(text: &str) -> Result<Timestamp, Refusal> {
    let text = text.trim();
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| {
        let naive: DateTime = text.parse()?;
        Ok::<_, jiff::Error>(naive.to_zoned(TimeZone::UTC)?.timestamp())
    });
    match parsed {
        Ok(moment) => Ok(Timestamp::from_micros(moment.as_microsecond())),
        Err(_) => Err(Refusal::text(format!(
            "Invalid timestamp format: `{text}` is not an ISO 8601 time"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_an_offset_are_utc() {
        let wanted = Timestamp::from_seconds(1_709_251_200);
        for text in [
            "2024-03-01",
            "2024-03-01T00:00:00",
            "2024-03-01 00:00:00.000",
            "2024-03-01T00:00:00Z",
            "2024-03-01T02:00:00+02:00",
        ] {
            assert_eq!(moment(text).unwrap(), wanted, "{text}");
        }
        assert!(moment("yesterday-ish").is_err());
    }
}
