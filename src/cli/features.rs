//! `terrarium features`: read online features, load them from the offline files, and write rows (`push`).

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::output::{Output, remark};
use super::{Failed, explain, push, request};
use crate::app;
use crate::config::{Config, Environment};
use crate::features::{EntityRows, FeatureStore, KeyColumn, OnlinePlan, Progress, Selection};
use crate::http;
use crate::types::cell::Cell;
use crate::types::deadline::Deadline;
use crate::types::feature::FeatureRows;
use crate::types::names::FeatureRef;
use crate::types::timestamp::Timestamp;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Read features of entities from the online store, with statuses and ages
    Get(Get),
    /// Load the newest feature values of a time range from the offline files into the online store
    Materialize(Materialize),
    /// Write rows to all feature views of a push source: online, into their offline files, or both
    Push(push::Push),
    /// Write rows to one feature view in the online store
    Write(push::Write),
}

#[derive(Debug, clap::Args)]
pub(super) struct Get {
    #[command(flatten)]
    selection: Selected,
    /// Entity column, such as `driver_id=1001,1002`; may be repeated
    #[arg(long = "entity", short, value_name = "NAME=VALUES")]
    entities: Vec<String>,
}

/// Which features.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Selected {
    /// All features of a feature service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Features, comma-separated
    #[arg(long, value_name = "VIEW:FEATURE,...", value_delimiter = ',')]
    features: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Materialize {
    /// Start of the range, inclusive: RFC 3339, such as 2026-11-01T00:00:00Z
    start: String,
    /// End of the range, inclusive
    end: String,
    /// Only these feature views, comma-separated [default: all that are online]
    #[arg(long, value_name = "VIEW,...", value_delimiter = ',')]
    views: Option<Vec<String>>,
}

pub(super) async fn run(
    command: Command,
    config: Config,
    environment: Environment,
    output: Output,
) -> Result<(), Failed> {
    let store = match command {
        Command::Get(_) => app::open_features(&config.features, &environment).await,
        Command::Materialize(_) | Command::Push(_) | Command::Write(_) => {
            app::open_feature_repo(&config.features, &environment).await
        }
    };
    let Some(store) = store.map_err(|error| Failed::Start(format!("{error:#}")))? else {
        return Err(Failed::Start(
            "there is no feature repository (set `features.repo`)".to_owned(),
        ));
    };
    match command {
        Command::Get(get) => read(&store, &get, &config, output).await,
        Command::Materialize(arguments) => materialize(&store, &arguments, output).await,
        Command::Push(arguments) => push::push(&store, &arguments, output).await,
        Command::Write(arguments) => push::write(&store, &arguments, output).await,
    }
}

async fn read(
    store: &FeatureStore,
    get: &Get,
    config: &Config,
    output: Output,
) -> Result<(), Failed> {
    let plan = store
        .plan(&selection(&get.selection)?)
        .map_err(|error| Failed::command(&error))?;
    let keys = entity_rows(&plan, &get.entities, config.http.max_rows.get())?;
    let deadline = Deadline::after(config.http.request_timeout);
    let rows = store
        .online(&plan, &keys, deadline)
        .await
        .map_err(|error| Failed::command(&error))?;
    if output.is_json() {
        return Ok(output
            .json(&json!({ "n_rows": rows.n_rows, "features": http::features_json(&rows) }))?);
    }
    table(&rows, output)
}

fn selection(get: &Selected) -> Result<Selection, Failed> {
    if let Some(service) = &get.service {
        return Ok(Selection::Service(service.clone()));
    }
    let parse = |text: &String| {
        text.trim()
            .parse::<FeatureRef>()
            .map_err(|error| Failed::Start(format!("{error:#}")))
    };
    Ok(Selection::Features(
        get.features.iter().map(parse).collect::<Result<_, _>>()?,
    ))
}

/// The given columns as the plan's join keys; all of them must be there, and no others.
fn entity_rows(
    plan: &OnlinePlan,
    entities: &[String],
    max_rows: usize,
) -> Result<EntityRows, Failed> {
    let columns = request::columns(entities)?;
    if let Some(name) = columns
        .keys()
        .find(|name| plan.join_keys.iter().all(|key| key.name != **name))
    {
        return Err(refused(format!(
            "the features are not looked up by `{name}`"
        )));
    }
    let n_rows = columns
        .values()
        .filter_map(Value::as_array)
        .map(Vec::len)
        .max()
        .unwrap_or(1);
    if n_rows > max_rows {
        return Err(refused(format!(
            "{n_rows} rows are more than the limit of {max_rows}"
        )));
    }
    let mut keys = Vec::with_capacity(plan.join_keys.len());
    for join_key in &plan.join_keys {
        let Some(values) = columns.get(&join_key.name) else {
            let views = join_key.used_by.join(", ");
            return Err(refused(format!(
                "entity `{}` is not given; {views} is read by it",
                join_key.name
            )));
        };
        let convert = |row: usize, value: &Value| {
            let cell: Cell = serde_json::from_value(value.clone()).unwrap_or(Cell::Null);
            let key = join_key.key_type.convert(&cell);
            key.map_err(|error| refused(format!("row {row} of `{}`: {error}", join_key.name)))
        };
        keys.push(Some(match values {
            Value::Array(values) => {
                let values = values
                    .iter()
                    .enumerate()
                    .map(|(row, value)| convert(row, value));
                KeyColumn::List(values.collect::<Result<_, _>>()?)
            }
            value => KeyColumn::Scalar(convert(0, value)?),
        }));
    }
    Ok(EntityRows {
        n_rows,
        columns: keys,
    })
}

fn refused(message: String) -> Failed {
    Failed::Command(Some(message))
}

fn table(rows: &FeatureRows, output: Output) -> Result<(), Failed> {
    let mut lines = Vec::new();
    for row in 0..rows.n_rows {
        for (feature, name) in rows.names.iter().enumerate() {
            let cell = rows.cell(row, feature);
            let age = cell.event_timestamp.map(|at| at.age_at(rows.read_at));
            lines.push(vec![
                row.to_string(),
                name.clone(),
                serde_json::to_string(&cell.value).unwrap_or_default(),
                cell.status.as_str().to_owned(),
                cell.event_timestamp
                    .map_or_else(String::new, |at| at.to_string()),
                age.map_or_else(String::new, |age| {
                    humantime::format_duration(std::time::Duration::from_secs(age.as_secs()))
                        .to_string()
                }),
            ]);
        }
    }
    Ok(output.table(
        &[
            "row",
            "feature",
            "value",
            "status",
            "event timestamp",
            "age",
        ],
        &lines,
    )?)
}

async fn materialize(
    store: &Arc<FeatureStore>,
    arguments: &Materialize,
    output: Output,
) -> Result<(), Failed> {
    let (start, end) = (timestamp(&arguments.start)?, timestamp(&arguments.end)?);
    if start > end {
        return Err(Failed::Start(format!(
            "the range starts at {start}, after its end at {end}"
        )));
    }
    let bar = progress_bar();
    let mut progress = |progress: Progress| {
        bar.set_message(progress.view);
        bar.set_length(progress.rows_total as u64);
        bar.set_position(progress.rows_done as u64);
    };
    let done = store
        .materialize(arguments.views.as_deref(), start, end, &mut progress)
        .await;
    bar.finish_and_clear();
    let views = done.map_err(|error| Failed::Command(Some(explain(&error))))?;
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            vec![
                view.view.clone(),
                view.rows_total.to_string(),
                view.rows_written.to_string(),
            ]
        })
        .collect();
    if output.is_json() {
        let views = views.iter().map(|v| json!({ "view": v.view, "rows_total": v.rows_total, "rows_written": v.rows_written }));
        return Ok(output.json(&json!({ "views": views.collect::<Vec<_>>() }))?);
    }
    output.table(&["feature view", "entities", "written"], &rows)?;
    remark(&format!(
        "materialized {start} to {end} into {}",
        store.describe().online_store
    ));
    Ok(())
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg:<30} {bar:30} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// RFC 3339; without a zone it is UTC, as Feast has it.
fn timestamp(text: &str) -> Result<Timestamp, Failed> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    let micros = match parsed {
        Ok(timestamp) => Ok(timestamp.as_microsecond()),
        Err(_) => text
            .parse::<jiff::civil::DateTime>()
            .and_then(|naive| naive.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|zoned| zoned.timestamp().as_microsecond()),
    };
    micros.map(Timestamp::from_micros).map_err(|_| {
        Failed::Start(format!(
            "`{text}` is not a time; write it like 2026-11-01T00:00:00Z"
        ))
    })
}
