//! `terrarium jobs show`, `abort` and `retry`.

use std::time::Duration;

use serde_json::json;

use super::{failed, id, wait};
use crate::cli::Failed;
use crate::cli::output::Output;
use crate::jobs::{Aborted, Client, Error, JobId, View};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The job's id
    id: String,
    /// Wait so long for its end, such as `30s`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct One {
    /// The job's id
    id: String,
}

pub(super) async fn run(client: &Client, args: &Args, output: Output) -> Result<(), Failed> {
    let id = id(&args.id)?;
    if let Some(time) = args.wait {
        let view = wait(client, &id, time).await?;
        return ended(view, &id, output);
    }
    let view = client.get(&id).await.map_err(|error| failed(&error))?;
    shown(&found(view, &id)?, output)
}

/// Shows a job that was waited for; exit code 1 if it failed or has not ended.
pub(super) fn ended(view: Option<View>, id: &JobId, output: Output) -> Result<(), Failed> {
    let view = found(view, id)?;
    shown(&view, output)?;
    match view.success {
        Some(true) => Ok(()),
        Some(false) => Err(Failed::Command(None)),
        None => Err(Failed::Command(Some(format!(
            "the job `{id}` has not ended yet"
        )))),
    }
}

fn found(view: Option<View>, id: &JobId) -> Result<View, Failed> {
    view.ok_or_else(|| failed(&Error::NotFound { id: id.clone() }))
}

fn shown(view: &View, output: Output) -> Result<(), Failed> {
    if output.is_json() {
        return Ok(output.json(view)?);
    }
    let mut lines = vec![
        ("id", view.id.to_string()),
        ("state", view.state.to_string()),
    ];
    lines.extend(
        view.function
            .as_ref()
            .map(|function| ("function", function.clone())),
    );
    lines.extend(view.args.as_ref().map(|args| ("args", args.to_string())));
    let kwargs = view.kwargs.as_ref();
    let kwargs =
        kwargs.filter(|kwargs| kwargs.as_object().is_some_and(|kwargs| !kwargs.is_empty()));
    lines.extend(kwargs.map(|kwargs| ("kwargs", kwargs.to_string())));
    lines.push(("attempts", view.attempts.to_string()));
    let moments = [
        ("enqueued", view.enqueued_at),
        ("due", view.due_at),
        ("started", view.started_at),
        ("finished", view.finished_at),
    ];
    lines.extend(
        moments
            .into_iter()
            .filter_map(|(name, at)| Some((name, at?.to_string()))),
    );
    if let Some(error) = &view.error {
        let code = error
            .code
            .as_deref()
            .map_or(String::new(), |code| format!("{code}: "));
        lines.push(("error", format!("{code}{}", error.message)));
    }
    if let Some(dead) = &view.dead {
        lines.push(("dead", format!("{} since {}", dead.reason, dead.at)));
    }
    if let Some(result) = &view.result {
        lines.push((
            "result",
            serde_json::to_string_pretty(result).unwrap_or_default(),
        ));
    }
    for (name, value) in lines {
        output.line(&format!("{name:<9} {value}"))?;
    }
    Ok(())
}

pub(super) async fn abort(client: &Client, args: &One, output: Output) -> Result<(), Failed> {
    let id = id(&args.id)?;
    match client.abort(&id).await.map_err(|error| failed(&error))? {
        Aborted::Requested => say(output, &id, "abort", "requested"),
        Aborted::TooLate => Err(Failed::Command(Some(format!(
            "the job `{id}` has ended already"
        )))),
        Aborted::NotFound => Err(failed(&Error::NotFound { id })),
    }
}

pub(super) async fn retry(client: &Client, args: &One, output: Output) -> Result<(), Failed> {
    let id = id(&args.id)?;
    client.retry(&id).await.map_err(|error| failed(&error))?;
    say(output, &id, "state", "queued")
}

fn say(output: Output, id: &JobId, name: &str, value: &str) -> Result<(), Failed> {
    match output.is_json() {
        true => output.json(&json!({ "id": id.as_str(), name: value }))?,
        false => output.line(&format!("{id}: {name} {value}"))?,
    }
    Ok(())
}
