//! `terrarium audit`: whether the trail is complete, and what its events look like.

use std::io;

use clap::{Args, Subcommand, ValueEnum};

use super::Failed;
use super::output::Output;
use crate::audit::verify::{self, Report};
use crate::audit::{self, schema};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Prove that no event is missing: exit code 1 if one is, or is damaged
    Verify(Verify),
    /// Print the schema of the events
    Schema(Schema),
}

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// In which language
    #[arg(long, value_enum, default_value = "json-schema")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    JsonSchema,
    Avro,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
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
}

pub(super) async fn run(command: Command, config: Config, output: Output) -> Result<(), Failed> {
    match command {
        Command::Verify(args) => verify(&args, config.audit, output).await,
        Command::Schema(args) => Ok(output.json(&match args.format {
            Format::JsonSchema => schema::json_schema(),
            Format::Avro => schema::avro(),
        })?),
    }
}

async fn verify(args: &Verify, audit: audit::Config, output: Output) -> Result<(), Failed> {
    let from = args.from;
    let verifying = crate::shutdown::run_blocking(move || match from {
        Source::Files => verify::files(&audit.file.directory),
        Source::Spool => verify::spool(&audit.spool_directory()),
    });
    let report = verifying.await.map_err(io::Error::other)?;
    let report = report.map_err(|error| Failed::Start(error.to_string()))?;
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
