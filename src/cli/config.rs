//! `terrarium config`: check and print.

use super::output::{Output, remark};
use super::{Failed, Global, load_from};
use crate::config::{Environment, docs, print};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check file, environment and flags, and report every mistake; exit code 2 if there is one
    Check,
    /// Print the configuration in effect, each value with its origin, secrets hidden
    Print,
    /// Print the reference of all options in Markdown
    Docs,
}

pub(super) fn run(
    command: Command,
    global: &Global,
    environment: &Environment,
    output: Output,
) -> Result<(), Failed> {
    match command {
        Command::Docs => Ok(output.line(docs::markdown().trim_end())?),
        Command::Print => {
            let loaded = load_from(global, environment)?;
            match output.is_json() {
                true => output.json(&print::json(&loaded))?,
                false => output.line(print::toml(&loaded).trim_end())?,
            }
            Ok(())
        }
        Command::Check => {
            let loaded = load_from(global, environment)?;
            let file = loaded
                .file
                .as_ref()
                .map_or("no file".to_owned(), |file| file.display().to_string());
            if output.is_json() {
                output.json(&serde_json::json!({ "ok": true, "file": loaded.file }))?;
            } else {
                remark(&format!(
                    "the configuration is in order ({file}, environment, flags)"
                ));
            }
            Ok(())
        }
    }
}
