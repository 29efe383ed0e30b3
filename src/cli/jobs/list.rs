//! `terrarium jobs list`, also as a live view.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::json;

use super::failed;
use crate::cli::Failed;
use crate::cli::output::Output;
use crate::jobs::{Client, Health, JobStatus, View};
use crate::types::timestamp::Timestamp;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// `queued`, `running`, `deferred`, `dead` or `complete` [default: all]
    #[arg(long, value_parser = state)]
    state: Option<JobStatus>,
    /// Most jobs
    #[arg(long, default_value = "50")]
    limit: NonZeroUsize,
    /// Show the queue as it changes, until interrupted
    #[arg(long)]
    watch: bool,
    /// How often `--watch` looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration, requires = "watch")]
    every: Duration,
}

/// Back to the top of the screen, and everything below is erased.
const CLEAR: &str = "\x1b[H\x1b[J";

fn state(text: &str) -> Result<JobStatus, String> {
    let names = JobStatus::ALL.map(JobStatus::name).join("`, `");
    text.parse()
        .map_err(|()| format!("the states are `{names}`"))
}

pub(super) async fn run(client: &Client, args: &Args, output: Output) -> Result<(), Failed> {
    if !args.watch {
        let jobs = jobs(client, args).await?;
        return match output.is_json() {
            true => Ok(output.json(&json!({ "jobs": jobs }))?),
            false => table(&jobs, output),
        };
    }
    loop {
        let health = client.health().await.map_err(|error| failed(&error))?;
        let jobs = jobs(client, args).await?;
        if output.is_json() {
            // One line each time, for programs that follow.
            let line = json!({ "queue": counts(&health), "jobs": jobs });
            output.line(&line.to_string())?;
        } else {
            if std::io::stdout().is_terminal() {
                write!(std::io::stdout(), "{CLEAR}")?;
            }
            output.line(&headline(client, &health))?;
            table(&jobs, output)?;
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(args.every) => {}
        }
    }
}

/// As many as asked for, page by page.
async fn jobs(client: &Client, args: &Args) -> Result<Vec<View>, Failed> {
    let mut jobs: Vec<View> = Vec::new();
    let mut cursor: Option<String> = None;
    while let Some(left) = NonZeroUsize::new(args.limit.get().saturating_sub(jobs.len())) {
        let page = client.listing(args.state, cursor.as_deref(), left).await;
        let page = page.map_err(|error| failed(&error))?;
        jobs.extend(page.jobs);
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    Ok(jobs)
}

fn counts(health: &Health) -> serde_json::Value {
    json!({
        "queued": health.n_queued, "running": health.n_running, "deferred": health.n_deferred, "dead": health.n_dead,
        "oldest_due_s": health.oldest_due.map(|age| age.as_secs_f64()),
    })
}

fn headline(client: &Client, health: &Health) -> String {
    let oldest = match health.oldest_due {
        Some(age) => format!(", the first due for {:.1} s", age.as_secs_f64()),
        None => String::new(),
    };
    format!(
        "{}: {} queued{oldest}, {} running, {} deferred, {} dead",
        client.describe(),
        health.n_queued,
        health.n_running,
        health.n_deferred,
        health.n_dead
    )
}

fn table(jobs: &[View], output: Output) -> Result<(), Failed> {
    let now = Timestamp::now();
    let row = |job: &View| {
        let age = |at: Option<Timestamp>| {
            at.map_or(String::new(), |at| {
                format!("{:.1} s", at.age_at(now).as_secs_f64())
            })
        };
        let took = match (job.started_at, job.finished_at) {
            (Some(started), Some(finished)) => {
                format!("{:.3} s", started.age_at(finished).as_secs_f64())
            }
            _ => String::new(),
        };
        let first = job.args.as_ref().and_then(|args| args.get(0));
        vec![
            job.id.to_string(),
            job.state.to_string(),
            job.function.clone().unwrap_or_default(),
            first.map_or(String::new(), |arg| shortened(&arg.to_string())),
            job.attempts.to_string(),
            age(job.enqueued_at),
            took,
            match (&job.dead, &job.error) {
                (Some(dead), _) => shortened(&dead.reason),
                (None, Some(error)) => shortened(error.code.as_deref().unwrap_or(&error.message)),
                (None, None) => String::new(),
            },
        ]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    let headings = [
        "id",
        "state",
        "function",
        "first argument",
        "attempts",
        "age",
        "took",
        "error",
    ];
    Ok(output.table(&headings, &rows)?)
}

/// No longer than a column should be.
fn shortened(text: &str) -> String {
    const LIMIT: usize = 40;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
