//! `terrarium audit query`: SQL over the trail.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use futures::StreamExt;

use super::{Failed, Output};
use crate::audit::query::{self, Archive, Format, Question, moment};
use crate::cli::output;
use crate::config::Config;
use crate::types::timestamp::Timestamp;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// One SELECT over the tables `predictions`, `features` and `outputs`
    sql: String,
    /// Where the events are read from
    #[arg(long, value_enum, default_value = "files")]
    from: Source,
    /// The directory of `--from files`, instead of `audit.file.directory`
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Only events since so long ago, as in `1h`, or since a time, as in `2026-11-22T14:00:00Z`
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only events before that
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    until: Option<Timestamp>,
    /// Of a topic only this partition
    #[arg(long)]
    partition: Option<i32>,
    /// Of a topic only messages from this offset on, in each partition
    #[arg(long, value_name = "OFFSET")]
    first_offset: Option<i64>,
    /// Of a topic only messages before this offset
    #[arg(long, value_name = "OFFSET")]
    end_offset: Option<i64>,
    /// Print CSV instead of a table
    #[arg(long)]
    csv: bool,
    /// Longest that the query may take, instead of `audit.query.timeout`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Most rows of the answer, instead of `audit.query.max_rows`
    #[arg(long, value_name = "N")]
    max_rows: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Source {
    /// The files that the sink wrote
    Files,
    /// What waits in the spool, and no sink has yet
    Spool,
    /// The Kafka topic of `[audit.kafka]`
    Topic,
}

pub(super) async fn run(args: Args, config: &Config, output: Output) -> Result<(), Failed> {
    let mut archive = Archive::of(&config.audit);
    if let Some(directory) = args.directory {
        archive = archive.with_files(directory);
    }
    let format = match (output.is_json(), args.csv) {
        (true, _) => Format::Json,
        (false, true) => Format::Csv,
        (false, false) => Format::Table,
    };
    let question = Question {
        sql: args.sql,
        source: match args.from {
            Source::Files => query::Source::Files,
            Source::Spool => query::Source::Spool,
            Source::Topic => query::Source::Topic,
        },
        since: args.since,
        until: args.until,
        partition: args.partition,
        first_offset: args.first_offset,
        end_offset: args.end_offset,
        timeout: args.timeout,
        max_rows: args.max_rows,
    };
    let answer = archive.ask(question, format).await;
    let mut answer = answer.map_err(|error| Failed::command(&error))?;
    while let Some(piece) = answer.pieces.next().await {
        output.bytes(&piece.map_err(|error| Failed::command(&error))?)?;
    }
    if let Some(told) = answer.left_out.told() {
        output::remark(&told);
    }
    Ok(())
}
