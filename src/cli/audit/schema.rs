//! `terrarium audit schema`: what the events look like.

use clap::ValueEnum;

use super::{Failed, Output};
use crate::audit::schema;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// In which language
    #[arg(long, value_enum, default_value = "json-schema")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    JsonSchema,
    Avro,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failed> {
    Ok(output.json(&match args.format {
        Format::JsonSchema => schema::json_schema(),
        Format::Avro => schema::avro(),
    })?)
}
