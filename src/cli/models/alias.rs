//! `terrarium models alias`: which version an alias means.

use serde_json::json;

use super::{failed, registry};
use crate::cli::Failed;
use crate::cli::output::Output;
use crate::config::{Config, Environment};
use crate::types::names::ModelVersion;

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Point an alias to a version; it moves if it is there
    Set {
        /// The registered model
        name: String,
        alias: String,
        /// A version number
        version: u64,
        /// MLflow server [default: the configured registry]
        #[arg(long, value_name = "URL")]
        registry_uri: Option<String>,
    },
    /// Take an alias away
    Delete {
        /// The registered model
        name: String,
        alias: String,
        /// MLflow server [default: the configured registry]
        #[arg(long, value_name = "URL")]
        registry_uri: Option<String>,
    },
}

pub(super) async fn run(
    command: Command,
    config: &Config,
    environment: &Environment,
    output: Output,
) -> Result<(), Failed> {
    match command {
        Command::Set {
            name,
            alias,
            version,
            registry_uri,
        } => {
            let registry = registry(registry_uri.as_deref(), config, environment)?;
            registry
                .set_alias(&name, &alias, ModelVersion(version))
                .await
                .map_err(|error| failed(&error))?;
            if output.is_json() {
                return Ok(output.json(
                    &json!({ "name": name, "alias": alias, "version": version.to_string() }),
                )?);
            }
            Ok(output.line(&format!("{name}@{alias} is version {version}"))?)
        }
        Command::Delete {
            name,
            alias,
            registry_uri,
        } => {
            let registry = registry(registry_uri.as_deref(), config, environment)?;
            let was_there = registry
                .delete_alias(&name, &alias)
                .await
                .map_err(|error| failed(&error))?;
            if output.is_json() {
                return Ok(
                    output.json(&json!({ "name": name, "alias": alias, "deleted": was_there }))?
                );
            }
            let text = match was_there {
                true => format!("{name}@{alias} is deleted"),
                false => format!("{name} had no alias {alias}"),
            };
            Ok(output.line(&text)?)
        }
    }
}
