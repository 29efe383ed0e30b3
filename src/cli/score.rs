//! `terrarium score`: a model's outputs for files of entity rows.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::output::{Output, remark};
use super::{A_YEAR, Failed, predict, serve};
use crate::app::App;
use crate::config::{Config, Environment};
use crate::predict::score::{Audited, FeaturesFrom, Progress, Request, Source, Summary};
use crate::types::deadline::Deadline;
use crate::types::names::ModelRef;
use crate::types::request::RequestContext;
use crate::types::urgency::Priority;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The version that scores: `name`, `name@alias` or `name:version`
    #[arg(long, short)]
    model: String,
    /// Entity rows: a file of Parquet or CSV, a directory of Parquet files, or a query (`SELECT ...`) in the Postgres of the offline store
    #[arg(long, value_name = "FILE|DIRECTORY|QUERY")]
    entities: String,
    /// The file to write, `*.parquet` or `*.csv`; of a directory's files a directory
    #[arg(long, short, value_name = "FILE|DIRECTORY")]
    out: PathBuf,
    /// Where features come from [default: offline where the rows have a time, else online]
    #[arg(long, value_enum)]
    features: Option<Features>,
    /// Also write the features as the model was given them, as `view__feature`
    #[arg(long)]
    with_features: bool,
    /// Rows that the model is run on at once [default: 1024]
    #[arg(long, value_name = "N")]
    rows_per_call: Option<NonZeroUsize>,
    /// Also leave an audit event with rows, features and outputs for each call
    #[arg(long)]
    audit_rows: bool,
    /// Score files of a directory also whose results are there
    #[arg(long)]
    again: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Features {
    /// As they were at each row's time, from the views' sources
    Offline,
    /// As they are now, from the online store
    Online,
}

pub(super) async fn run(
    args: Args,
    config: Config,
    environment: Environment,
    output: Output,
) -> Result<(), Failed> {
    let request = request(args)?;
    let app = App::start_offline(config, &environment)
        .await
        .map_err(|error| Failed::Start(format!("{error:#}")))?;
    let bar = ProgressBar::new(0);
    let mut tell = |progress: Progress| show(&bar, progress);
    let scored = serve::unless_stopped(app.api().predictor.score(&request, &mut tell)).await;
    bar.finish_and_clear();
    app.stop().await;
    let summary = scored?.map_err(|error| Failed::command(&error))?;
    if output.is_json() {
        return Ok(output.json(&summary)?);
    }
    print(&summary, output)
}

fn request(args: Args) -> Result<Request, Failed> {
    let model = args.model.parse::<ModelRef>();
    Ok(Request {
        model: model.map_err(|error| Failed::Start(error.to_string()))?,
        source: Source::of(&args.entities),
        destination: args.out,
        features: args.features.map(|features| match features {
            Features::Offline => FeaturesFrom::Offline,
            Features::Online => FeaturesFrom::Online,
        }),
        with_features: args.with_features,
        rows_per_call: args.rows_per_call,
        again: args.again,
        audited: match args.audit_rows {
            true => Audited::Calls,
            false => Audited::Files,
        },
        confined_to: None,
        deadline: Deadline::after(A_YEAR),
        context: RequestContext {
            priority: Priority::Low,
            ..predict::context()
        },
    })
}

/// A bar for the sources while a join gives nothing yet, else one for the rows.
fn show(bar: &ProgressBar, progress: Progress) {
    let (message, position, length) = match progress.sources {
        Some(sources) => (
            "reading sources".to_owned(),
            sources.rows_read,
            sources.rows_to_read,
        ),
        None if progress.n_files > 1 => {
            let (done, n_files) = (progress.files_done, progress.n_files);
            let message = format!("scoring {done}/{n_files} files");
            (message, progress.rows_done, progress.n_rows)
        }
        None => ("scoring".to_owned(), progress.rows_done, progress.n_rows),
    };
    if bar.message() != message {
        if progress.sources.is_some() != bar.message().starts_with("reading") {
            bar.reset();
        }
        let template = "{msg:<20} {bar:24} {human_pos}/{human_len} rows, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(message);
    }
    bar.set_length(length);
    bar.set_position(position);
}

fn print(summary: &Summary, output: Output) -> Result<(), Failed> {
    let features = summary.features.iter().flat_map(|(feature, statuses)| {
        statuses
            .iter()
            .map(move |(status, n_rows)| (feature.clone(), status.to_string(), *n_rows))
    });
    let features: Vec<Vec<String>> = features
        .map(|(feature, status, n_rows)| vec![feature, status, n_rows.to_string()])
        .collect();
    if !features.is_empty() {
        output.table(&["feature", "status", "rows"], &features)?;
    }
    for (code, failed) in &summary.failed {
        let n_rows = HumanCount(failed.n_rows);
        remark(&format!(
            "{n_rows} rows not scored: {code}, first in {}: {}",
            failed.file, failed.message
        ));
    }
    if summary.n_skipped > 0 {
        remark(&format!(
            "{} of {} files were scored already",
            summary.n_skipped,
            summary.files.len()
        ));
    }
    let rate = format!("{:.0}", summary.rows_per_second);
    remark(&format!(
        "{} rows scored by {}:{}, {rate} rows/s",
        HumanCount(summary.n_rows - summary.n_failed),
        summary.model.name,
        summary.model.version
    ));
    Ok(())
}
