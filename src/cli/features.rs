//! `terrarium features`: read online features, load them from the offline store, make training sets (`historical`), hold
//! the stores against each other (`verify`), and write rows (`push`).

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::output::{Output, remark};
use super::{Failed, explain, historical, push, request, verify};
use crate::app;
use crate::config::{Config, Environment};
use crate::features::{
    DroppedView, EntityRows, FeatureStore, KeyColumn, MaterializedView, OnlinePlan, Progress,
    RequestData, Selection, Stage, request_value,
};
use crate::predict::json::features_json;
use crate::types::cell::Cell;
use crate::types::deadline::Deadline;
use crate::types::feature::FeatureRows;
use crate::types::names::FeatureRef;
use crate::types::timestamp::Timestamp;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Read features of entities from the online store, with statuses and ages
    Get(Get),
    /// Load the newest feature values of a time range from the offline store into the online store
    Materialize(Materialize),
    /// The same from where each view was left up to a time
    MaterializeIncremental(MaterializeIncremental),
    /// Make a training set: features of entity rows as they were at each row's time
    Historical(historical::Historical),
    /// Hold the online store against what a training set would have
    Verify(verify::Verify),
    /// Write rows to all feature views of a push source: online, into their offline files, or both
    Push(push::Push),
    /// Write rows to one feature view in the online store
    Write(push::Write),
    /// Delete what the online store has of a feature view
    DeleteView(DeleteView),
}

#[derive(Debug, clap::Args)]
pub(super) struct Get {
    #[command(flatten)]
    selection: Selected,
    /// Entity column, such as `driver_id=1001,1002`; may be repeated
    #[arg(long = "entity", short, value_name = "NAME=VALUES")]
    entities: Vec<String>,
    /// Column that on-demand features are computed from, such as `trip_km=3.2,7.5`; may be repeated
    #[arg(long = "input", short, value_name = "NAME=VALUES")]
    inputs: Vec<String>,
}

/// Which features.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Selected {
    /// All features of a feature service
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,
    /// Features, comma-separated
    #[arg(long, value_name = "VIEW:FEATURE,...", value_delimiter = ',')]
    pub(super) features: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Materialize {
    /// Start of the range, inclusive: RFC 3339, such as 2026-11-01T00:00:00Z
    start: String,
    /// End of the range, inclusive
    end: String,
    #[command(flatten)]
    views: Views,
}

#[derive(Debug, clap::Args)]
pub(super) struct MaterializeIncremental {
    /// End of the range, inclusive: RFC 3339, such as 2026-11-02T00:00:00Z
    end: String,
    #[command(flatten)]
    views: Views,
}

#[derive(Debug, clap::Args)]
pub(super) struct DeleteView {
    /// The feature view; of one that the registry no longer has, the name under which the online store keeps it
    view: String,
    /// Of a view that the registry no longer has: its join keys, comma-separated; none if it had no entities
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        requires = "features"
    )]
    join_keys: Vec<String>,
    /// Of a view that the registry no longer has: its features, comma-separated
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    features: Vec<String>,
    /// Do it; what is deleted cannot be brought back but by materializing or pushing it again
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct Views {
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
        Command::Get(_) => app::open_features(&config, &environment).await,
        Command::Materialize(_)
        | Command::MaterializeIncremental(_)
        | Command::Historical(_)
        | Command::Verify(_)
        | Command::Push(_)
        | Command::Write(_)
        | Command::DeleteView(_) => app::open_feature_repo(&config, &environment).await,
    };
    let Some(store) = store.map_err(|error| Failed::Start(format!("{error:#}")))? else {
        return Err(Failed::Start(
            "there is no feature repository (set `features.repo`)".to_owned(),
        ));
    };
    match command {
        Command::Get(get) => read(&store, &get, &config, output).await,
        Command::Materialize(arguments) => {
            let range = (
                Some(timestamp(&arguments.start)?),
                timestamp(&arguments.end)?,
            );
            materialize(&store, range, arguments.views, output).await
        }
        Command::MaterializeIncremental(arguments) => {
            let range = (None, timestamp(&arguments.end)?);
            materialize(&store, range, arguments.views, output).await
        }
        Command::Historical(arguments) => historical::run(&store, &arguments, output).await,
        Command::Verify(arguments) => verify::run(&store, arguments, output).await,
        Command::Push(arguments) => push::push(&store, &arguments, output).await,
        Command::Write(arguments) => push::write(&store, &arguments, output).await,
        Command::DeleteView(arguments) => delete_view(&store, arguments, output).await,
    }
}

async fn delete_view(
    store: &FeatureStore,
    arguments: DeleteView,
    output: Output,
) -> Result<(), Failed> {
    let DeleteView {
        view: name,
        join_keys,
        features,
        yes,
    } = arguments;
    if !yes {
        return Err(refused(format!(
            "this deletes all values of `{name}` from {}; add `--yes` to do it",
            store.describe().online_store
        )));
    }
    let deleted = match features.is_empty() {
        true => store.delete_view_named(&name).await,
        false => {
            let view = DroppedView {
                name: name.clone(),
                join_keys,
                features,
            };
            store.delete_dropped(view).await
        }
    };
    let n_keys = deleted.map_err(|error| Failed::command(&error))?;
    if output.is_json() {
        return Ok(output.json(&json!({ "view": name, "entity_keys": n_keys }))?);
    }
    Ok(output.line(&format!("deleted `{name}` of {n_keys} entity keys"))?)
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
    let entities = request::columns(&get.entities)?;
    let inputs = request::columns(&get.inputs)?;
    let n_rows = n_rows(&entities, &inputs, config.http.max_rows.get())?;
    let keys = entity_rows(&plan, &entities, n_rows)?;
    let data = request_data(&plan, &inputs, n_rows)?;
    let deadline = Deadline::after(config.http.request_timeout);
    let rows = store
        .online_with(&plan, &keys, &data, deadline)
        .await
        .map_err(|error| Failed::command(&error))?;
    if output.is_json() {
        return Ok(
            output.json(&json!({ "n_rows": rows.n_rows, "features": features_json(&rows) }))?
        );
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

type Columns = serde_json::Map<String, Value>;

/// The longest list's length; lists that are shorter are refused by the read.
fn n_rows(entities: &Columns, inputs: &Columns, max_rows: usize) -> Result<usize, Failed> {
    let columns = entities.values().chain(inputs.values());
    let lengths = columns.filter_map(Value::as_array).map(Vec::len);
    let n_rows = lengths.max().unwrap_or(1);
    match n_rows > max_rows {
        true => Err(refused(format!(
            "{n_rows} rows are more than the limit of {max_rows}"
        ))),
        false => Ok(n_rows),
    }
}

fn cell(value: &Value) -> Cell {
    serde_json::from_value(value.clone()).unwrap_or(Cell::Null)
}

/// The given columns as the plan's request data; all of them must be there, and no others.
fn request_data(
    plan: &OnlinePlan,
    columns: &Columns,
    n_rows: usize,
) -> Result<RequestData, Failed> {
    let is_known = |name: &String| plan.request_data.iter().any(|field| field.name == *name);
    if let Some(name) = columns.keys().find(|name| !is_known(name)) {
        return Err(refused(format!(
            "the features are not computed from `{name}`"
        )));
    }
    let mut data = RequestData::default();
    for field in &plan.request_data {
        let Some(values) = columns.get(&field.name) else {
            let views = field.used_by.join(", ");
            return Err(refused(format!(
                "input `{}` is not given; {views} is computed from it",
                field.name
            )));
        };
        let rows = match values {
            Value::Array(values) if values.len() != n_rows => {
                return Err(refused(format!(
                    "input `{}` has {} values where there are {n_rows} rows",
                    field.name,
                    values.len()
                )));
            }
            Value::Array(values) => values.clone(),
            value => vec![value.clone(); n_rows],
        };
        let convert = |(row, value): (usize, &Value)| {
            let converted = request_value(&cell(value), field.value_type);
            converted.map_err(|error| refused(format!("row {row} of `{}`: {error}", field.name)))
        };
        let converted = rows.iter().enumerate().map(convert);
        data.columns
            .push(Some(converted.collect::<Result<_, _>>()?));
    }
    Ok(data)
}

/// The given columns as the plan's join keys; all of them must be there, and no others.
fn entity_rows(plan: &OnlinePlan, columns: &Columns, n_rows: usize) -> Result<EntityRows, Failed> {
    if let Some(name) = columns
        .keys()
        .find(|name| plan.join_keys.iter().all(|key| key.name != **name))
    {
        return Err(refused(format!(
            "the features are not looked up by `{name}`"
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
            let key = join_key.key_type.convert(&cell(value));
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

/// From the watermark of each view where the range has no start.
async fn materialize(
    store: &Arc<FeatureStore>,
    (start, end): (Option<Timestamp>, Timestamp),
    Views { views }: Views,
    output: Output,
) -> Result<(), Failed> {
    let bar = ProgressBar::new(0);
    let mut progress = |progress: Progress| show(&bar, progress);
    let done = match start {
        Some(start) => {
            let views = views.as_deref();
            store.materialize(views, start, end, &mut progress).await
        }
        None => {
            let views = views.as_deref();
            store
                .materialize_incremental(views, end, &mut progress)
                .await
        }
    };
    bar.finish_and_clear();
    let views = done.map_err(|error| Failed::Command(Some(explain(&error))))?;
    if output.is_json() {
        let views: Vec<Value> = views.iter().map(json_of).collect();
        return Ok(output.json(&json!({ "views": views }))?);
    }
    let rows: Vec<Vec<String>> = views.iter().map(cells_of).collect();
    output.table(
        &["feature view", "from", "to", "entities", "written"],
        &rows,
    )?;
    remark(&format!(
        "materialized into {}",
        store.describe().online_store
    ));
    Ok(())
}

fn json_of(view: &MaterializedView) -> Value {
    json!({
        "view": view.view,
        "start": view.start,
        "end": view.end,
        "rows_total": view.rows_total,
        "rows_written": view.rows_written,
    })
}

fn cells_of(view: &MaterializedView) -> Vec<String> {
    vec![
        view.view.clone(),
        view.start.to_string(),
        view.end.to_string(),
        view.rows_total.to_string(),
        view.rows_written.to_string(),
    ]
}

/// A bar for each stage of each view.
fn show(bar: &ProgressBar, progress: Progress) {
    let verb = match progress.stage {
        Stage::Reading => "reading",
        Stage::Writing => "writing",
    };
    let message = format!("{verb} {}", progress.view);
    if bar.message() != message {
        bar.reset();
        let template = match progress.rows_total {
            Some(_) => "{msg:<38} {bar:24} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
            None => "{msg:<38} {spinner} {human_pos} rows, {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(message);
    }
    match progress.rows_total {
        Some(n_rows) => bar.set_length(n_rows),
        None => bar.unset_length(),
    }
    bar.set_position(progress.rows_done);
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
