//! `terrarium audit tail`: follows the topic.

use std::time::Duration;

use super::{Failed, Output};
use crate::audit::topic::{self, Begin, End, TopicEvents};
use crate::cli::output;
use crate::config::Config;
use crate::shutdown::run_blocking;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Where the events are read from
    #[arg(long, value_enum, default_value_t = Source::Topic)]
    from: Source,
    /// Begin so long ago, as in `10m`, instead of now
    #[arg(long, value_name = "AGO", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Begin with the oldest event that is kept
    #[arg(long, conflicts_with = "since")]
    all: bool,
    /// End with the last event that is there, instead of waiting for more
    #[arg(long)]
    no_follow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// The Kafka topic of `[audit.kafka]`
    Topic,
}

impl Args {
    fn begin(&self) -> Begin {
        match self.since {
            _ if self.all => Begin::Oldest,
            Some(ago) => Begin::Ago(ago),
            None => Begin::Now,
        }
    }

    fn end(&self) -> End {
        if self.no_follow {
            End::Last
        } else {
            End::Never
        }
    }
}

pub(super) async fn run(args: Args, config: Config, output: Output) -> Result<(), Failed> {
    let Source::Topic = args.from;
    let topic = super::topic(config)?;
    let printed = run_blocking(move || {
        let events = topic::events(&topic, args.begin(), args.end());
        print(events.map_err(|error| Failed::command(&error))?, output)
    });
    printed
        .await
        .map_err(|error| Failed::Command(Some(error.to_string())))?
}

fn print(events: TopicEvents, output: Output) -> Result<(), Failed> {
    for event in events {
        let event = event.map_err(|error| Failed::command(&error))?;
        match event.json {
            Some(json) => output.line(&json.to_string())?,
            None => output::remark(&format!(
                "the message at {}/{} is no audit event",
                event.partition, event.position
            )),
        }
    }
    Ok(())
}
