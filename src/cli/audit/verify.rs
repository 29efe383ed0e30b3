//! `terrarium audit verify`: proves that nothing is missing between the first and the last event of every writer.

use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Failed, Output, topic};
use crate::audit::completeness::{Completeness, WriterReport};
use crate::audit::read;
use crate::audit::sink::kafka::{self, Begin, End};
use crate::config::Config;
use crate::shutdown::run_blocking;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Where the events are read from
    #[arg(long, value_enum)]
    from: Source,
    /// The directory of `--from files`, instead of `audit.file.directory`
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// The Kafka topic of `[audit.kafka]`
    Topic,
    /// The files of `[audit.file]`
    Files,
}

pub(super) async fn run(args: Args, config: Config, output: Output) -> Result<(), Failed> {
    let read = match args.from {
        Source::Topic => {
            let topic = topic(config)?;
            run_blocking(move || of_topic(&topic)).await
        }
        Source::Files => {
            let directory = args.directory.unwrap_or(config.audit.file.directory);
            run_blocking(move || of_files(&directory)).await
        }
    };
    let completeness = read.map_err(|error| Failed::Command(Some(error.to_string())))??;
    tell(&completeness, output)
}

fn of_topic(topic: &kafka::Config) -> Result<Completeness, Failed> {
    let mut completeness = Completeness::default();
    let events = kafka::events(topic, Begin::Oldest, End::Last);
    for event in events.map_err(|error| Failed::command(&error))? {
        let event = event.map_err(|error| Failed::command(&error))?;
        match (event.writer, event.sequence) {
            (Some(writer), Some(sequence)) => completeness.see(writer, sequence),
            _ => completeness.see_unknown(),
        }
    }
    Ok(completeness)
}

fn of_files(directory: &std::path::Path) -> Result<Completeness, Failed> {
    let mut completeness = Completeness::default();
    for event in read::events(directory).map_err(|error| Failed::command(&error))? {
        let event = event.map_err(|error| Failed::command(&error))?;
        let writer = event["writer"].as_str();
        let writer = writer.and_then(|writer| Uuid::try_parse(writer).ok());
        match (writer, event["sequence"].as_u64()) {
            (Some(writer), Some(sequence)) => completeness.see(writer, sequence),
            _ => completeness.see_unknown(),
        }
    }
    Ok(completeness)
}

/// Exit code 1 if something is missing.
fn tell(completeness: &Completeness, output: Output) -> Result<(), Failed> {
    let reports = completeness.reports();
    let n_missing = reports
        .iter()
        .fold(0_u64, |sum, report| sum.saturating_add(report.n_missing));
    if output.is_json() {
        let writers: Vec<Value> = reports.iter().map(shown).collect();
        let unknown = completeness.n_unknown();
        output.json(&json!({"writers": writers, "n_missing": n_missing, "n_unknown": unknown}))?;
    } else {
        let rows: Vec<Vec<String>> = reports.iter().map(row).collect();
        output.table(
            &["writer", "first", "last", "events", "duplicates", "missing"],
            &rows,
        )?;
        for report in &reports {
            for gap in &report.gaps {
                output.line(&format!(
                    "missing: {} {} to {}",
                    report.writer,
                    gap.start(),
                    gap.end()
                ))?;
            }
        }
        if completeness.n_unknown() > 0 {
            let n = completeness.n_unknown();
            output.line(&format!("{n} messages do not say which event they are"))?;
        }
    }
    match n_missing {
        0 => Ok(()),
        n => Err(Failed::Command(Some(format!(
            "{n} audit events are missing"
        )))),
    }
}

fn shown(report: &WriterReport) -> Value {
    let gaps: Vec<_> = report
        .gaps
        .iter()
        .map(|gap| [gap.start(), gap.end()])
        .collect();
    json!({
        "writer": report.writer.to_string(),
        "first": report.first,
        "last": report.last,
        "n_events": report.n_events,
        "n_duplicates": report.n_duplicates,
        "n_missing": report.n_missing,
        "gaps": gaps,
    })
}

fn row(report: &WriterReport) -> Vec<String> {
    let numbers = [
        report.first,
        report.last,
        report.n_events,
        report.n_duplicates,
        report.n_missing,
    ];
    let mut row = vec![report.writer.to_string()];
    row.extend(numbers.map(|number| number.to_string()));
    row
}
