//! `terrarium predict`: one prediction in this process, over the same path as the server's.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::output::Output;
use super::{Failed, request};
use crate::app::App;
use crate::config::{Config, Environment};
use crate::http;
use crate::types::deadline::Deadline;
use crate::types::request::{RequestContext, Surface};
use crate::types::urgency::Priority;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `name`, `name@alias` or `name:version`
    model: String,
    /// Entity column, such as `driver_id=1001,1002`; may be repeated
    #[arg(long = "entity", short, value_name = "NAME=VALUES")]
    entities: Vec<String>,
    /// Input column, such as `trip_km=3.2,7.5`; may be repeated
    #[arg(long = "input", short, value_name = "NAME=VALUES")]
    inputs: Vec<String>,
    /// Request body as for HTTP, from a file or `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["entities", "inputs"])]
    body: Option<PathBuf>,
    /// Also print features, their ages, and timings
    #[arg(long, conflicts_with = "body")]
    explain: bool,
}

pub(super) async fn run(
    args: Args,
    config: Config,
    environment: Environment,
    output: Output,
) -> Result<(), Failed> {
    let body = body(&args)?;
    let app = App::start(config, &environment)
        .await
        .map_err(|error| Failed::Start(format!("{error:#}")))?;
    let deadline = Deadline::after(app.api().config.request_timeout);
    let answer = http::predict_once(app.api(), &args.model, &body, deadline, context()).await;
    app.stop().await;
    let answer = answer.map_err(|error| Failed::command(&error))?;
    if output.is_json() {
        output.line(&String::from_utf8_lossy(&answer))?;
    } else {
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        output.json(&answer)?;
    }
    Ok(())
}

/// Of a call that comes from a command.
pub(super) fn context() -> RequestContext {
    let request_id = uuid::Uuid::now_v7().to_string().into();
    RequestContext {
        surface: Surface::Cli,
        request_id,
        trace_id: None,
        principal: None,
        priority: Priority::default(),
    }
}

fn body(args: &Args) -> Result<Vec<u8>, Failed> {
    if let Some(path) = &args.body {
        let bytes = if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(|_| bytes)
        } else {
            fs_err::read(path)
        };
        return bytes.map_err(|error| Failed::Start(format!("{error:#}")));
    }
    let body = json!({
        "entities": request::columns(&args.entities)?,
        "inputs": request::columns(&args.inputs)?,
        "explain": args.explain,
    });
    Ok(body.to_string().into_bytes())
}
