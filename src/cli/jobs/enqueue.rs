//! `terrarium jobs enqueue`.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{failed, id, show, wait};
use crate::cli::Failed;
use crate::cli::output::{Output, remark};
use crate::jobs::client::NewCall;
use crate::jobs::value::Value;
use crate::jobs::{Client, Due, Enqueued, JobId};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The function, such as `predict`
    function: String,
    /// Its arguments: JSON, or text where that is none; `-` reads one as JSON from standard input
    #[arg(allow_negative_numbers = true)]
    args: Vec<String>,
    /// An argument by name, such as `views=["trips"]`; may be repeated
    #[arg(long = "kwarg", short, value_name = "NAME=VALUE")]
    kwargs: Vec<String>,
    /// The job's id [default: a new one]
    #[arg(long)]
    id: Option<String>,
    /// Not before so long, such as `90s`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
    /// Not at all once it has waited so long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// Wait so long for its end, and show it
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

pub(super) async fn run(client: &Client, args: Args, output: Output) -> Result<(), Failed> {
    let id = match &args.id {
        Some(text) => id(text)?,
        None => JobId::random(),
    };
    let call = NewCall {
        id: id.clone(),
        function: args.function,
        args: args
            .args
            .iter()
            .map(|text| argument(text))
            .collect::<Result<_, _>>()?,
        kwargs: args
            .kwargs
            .iter()
            .map(|text| named(text))
            .collect::<Result<_, _>>()?,
        due: args.delay.map_or(Due::Now, Due::After),
        expires: args.expires,
    };
    let enqueued = client.enqueue(call).await.map_err(|error| failed(&error))?;
    let is_new = enqueued == Enqueued::New;
    if !is_new {
        remark(&format!("there is a job `{id}` already; nothing is queued"));
    }
    if let Some(time) = args.wait {
        let view = wait(client, &id, time).await?;
        return show::ended(view, &id, output);
    }
    match output.is_json() {
        true => output.json(&json!({ "id": id.as_str(), "new": is_new }))?,
        false => output.line(id.as_str())?,
    }
    Ok(())
}

fn argument(text: &str) -> Result<Value, Failed> {
    if text == "-" {
        let mut body = String::new();
        std::io::stdin().lock().read_to_string(&mut body)?;
        let value: Json = serde_json::from_str(&body)
            .map_err(|error| Failed::Start(format!("standard input is no JSON: {error}")))?;
        return Ok(Value::from(value));
    }
    Ok(serde_json::from_str::<Json>(text).map_or_else(|_| Value::from(text), Value::from))
}

fn named(text: &str) -> Result<(String, Value), Failed> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(Failed::Start(format!(
            "`{text}` is not an argument by name; write `name=value`"
        )));
    };
    Ok((name.to_owned(), argument(value)?))
}
