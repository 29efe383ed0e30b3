//! `terrarium audit verify`: proves that no event is missing.

use std::io;

use clap::ValueEnum;

use super::{Failed, Output};
use crate::audit::postgres;
use crate::audit::verify::{self, Report};
use crate::config::Config;
use crate::shutdown::run_blocking;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Where to look
    #[arg(long, value_enum, default_value = "files")]
    from: Source,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Source {
    /// The files that the sink wrote
    Files,
    /// What waits in the spool
    Spool,
    /// The Kafka topic of `[audit.kafka]`
    Topic,
    /// The table of `[audit.postgres]`, which a sink of Kafka Connect fills
    Postgres,
}

pub(super) async fn run(args: Args, config: Config, output: Output) -> Result<(), Failed> {
    let read = match args.from {
        Source::Topic => {
            let topic = super::topic(config)?;
            let read = run_blocking(move || verify::topic(&topic)).await;
            read.map(|report| report.map_err(|error| Failed::command(&error)))
        }
        Source::Postgres => {
            let table = config.audit.postgres.unwrap_or_default();
            let read = postgres::verify(&table).await;
            Ok(read.map_err(|error| Failed::start(&error)))
        }
        Source::Files => {
            let directory = config.audit.file.directory;
            let read = run_blocking(move || verify::files(&directory)).await;
            read.map(|report| report.map_err(|error| Failed::Start(error.to_string())))
        }
        Source::Spool => {
            let directory = config.audit.spool_directory();
            let read = run_blocking(move || verify::spool(&directory)).await;
            read.map(|report| report.map_err(|error| Failed::Start(error.to_string())))
        }
    };
    let report = read.map_err(io::Error::other)??;
    show(&report, output)?;
    match report.is_complete() {
        true => Ok(()),
        false => Err(Failed::Command(Some(
            "the audit trail is not complete".to_owned(),
        ))),
    }
}

fn show(report: &Report, output: Output) -> io::Result<()> {
    if output.is_json() {
        return output.json(report);
    }
    let rows = report.writers.iter().map(|writer| {
        let gaps = writer.gaps.iter().map(|gap| match gap.first == gap.last {
            true => gap.first.to_string(),
            false => format!("{}-{}", gap.first, gap.last),
        });
        let gaps: Vec<String> = gaps.collect();
        vec![
            writer.writer.to_string(),
            writer.n_events.to_string(),
            writer.first.to_string(),
            writer.last.to_string(),
            if gaps.is_empty() {
                "none".to_owned()
            } else {
                gaps.join(", ")
            },
            writer.n_duplicates.to_string(),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let headings = ["writer", "events", "first", "last", "gaps", "duplicates"];
    output.table(&headings, &rows)?;
    for place in &report.damaged {
        output.line(&format!("damaged: {place}"))?;
    }
    Ok(())
}
