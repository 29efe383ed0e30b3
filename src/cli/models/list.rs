//! `terrarium models list`: what is served, or what the registry has.

use serde::Serialize;

use crate::cli::output::Output;
use crate::cli::{Failed, explain};
use crate::error::Failure;
use crate::http::models::{LoadFailure, Model, ModelList, describe};
use crate::models::registry::{Listing, ModelRegistry, RegisteredModel};
use crate::predict::Models;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Show what the registry has, with all versions and tags; nothing is loaded
    #[arg(long)]
    pub(super) registry: bool,
}

pub(super) fn served(catalog: &Models, output: Output) -> Result<(), Failed> {
    let models: Vec<Model> = catalog
        .models()
        .iter()
        .map(|model| describe(model))
        .collect();
    if output.is_json() {
        return Ok(output.json(&ModelList { models })?);
    }
    let mut rows = Vec::new();
    for model in &models {
        if let Some(error) = &model.error {
            rows.push(vec![
                model.name.clone(),
                "-".into(),
                "failed".into(),
                String::new(),
                error.message.clone(),
            ]);
        }
        for version in &model.versions {
            let serves = model
                .serving
                .as_ref()
                .is_some_and(|serving| serving.version == version.version);
            let aliases = model
                .aliases
                .iter()
                .filter(|(_, target)| **target == version.version);
            rows.push(vec![
                model.name.clone(),
                version.version.clone(),
                if serves && version.state == "loaded" {
                    "serving".into()
                } else {
                    version.state.into()
                },
                aliases
                    .map(|(alias, _)| alias.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
                version
                    .error
                    .as_ref()
                    .map_or_else(String::new, |error| error.message.clone()),
            ]);
        }
    }
    Ok(output.table(&["model", "version", "state", "aliases", "error"], &rows)?)
}

/// A registered model, as the registry has it.
#[derive(Serialize)]
struct Registered {
    name: String,
    versions: Vec<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<LoadFailure>,
}

#[derive(Serialize)]
struct Version {
    version: String,
    aliases: Vec<String>,
    tags: std::collections::BTreeMap<String, String>,
}

pub(super) async fn registry(registry: &dyn ModelRegistry, output: Output) -> Result<(), Failed> {
    let listings = registry
        .list()
        .await
        .map_err(|error| Failed::start(&error))?;
    let models: Vec<Registered> = listings.into_iter().map(registered).collect();
    if output.is_json() {
        let location = registry.location();
        return Ok(output.json(&serde_json::json!({ "location": location, "models": models }))?);
    }
    let mut rows = Vec::new();
    for model in &models {
        if let Some(error) = &model.error {
            rows.push(vec![
                model.name.clone(),
                "-".to_owned(),
                String::new(),
                error.message.clone(),
            ]);
        }
        for version in &model.versions {
            let tags = version
                .tags
                .iter()
                .map(|(tag, value)| format!("{tag}={value}"));
            rows.push(vec![
                model.name.clone(),
                version.version.clone(),
                version.aliases.join(", "),
                tags.collect::<Vec<_>>().join(", "),
            ]);
        }
    }
    Ok(output.table(&["model", "version", "aliases", "tags"], &rows)?)
}

fn registered(listing: Listing) -> Registered {
    match listing.model {
        Ok(model) => Registered {
            versions: versions(model),
            name: listing.name,
            error: None,
        },
        Err(error) => Registered {
            name: listing.name,
            versions: Vec::new(),
            error: Some(LoadFailure {
                code: error.code(),
                message: explain(&error),
                hint: error.hint(),
            }),
        },
    }
}

fn versions(model: RegisteredModel) -> Vec<Version> {
    let RegisteredModel { versions, aliases } = model;
    let versions = versions.into_iter().map(|(version, tags)| {
        let aliases = aliases.iter().filter(|(_, target)| **target == version);
        Version {
            version: version.to_string(),
            aliases: aliases.map(|(alias, _)| alias.clone()).collect(),
            tags,
        }
    });
    versions.collect()
}
