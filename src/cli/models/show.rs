//! `terrarium models show`: one model, its versions and their plans.

use super::problem;
use crate::cli::Failed;
use crate::cli::output::Output;
use crate::http::models::{Loaded, Traffic, Version};
use crate::predict::Models;

pub(super) fn show(catalog: &Models, name: &str, output: Output) -> Result<(), Failed> {
    let model =
        crate::http::models::find(catalog, name).map_err(|error| Failed::command(&error))?;
    if output.is_json() {
        return Ok(output.json(&model)?);
    }
    if let Some(traffic) = &model.traffic {
        show_traffic(&model.name, traffic, output)?;
    }
    for version in &model.versions {
        show_version(&model.name, version, output)?;
    }
    match &model.error {
        None => Ok(()),
        Some(error) => Err(Failed::Command(Some(format!("{name}: {}", problem(error))))),
    }
}

fn show_traffic(name: &str, traffic: &Traffic, output: Output) -> Result<(), Failed> {
    output.line(&format!("{name} (traffic)"))?;
    for share in &traffic.shares {
        let alias = share.alias.as_deref().unwrap_or("highest version");
        let percent = share.share * 100.0;
        output.line(&format!(
            "  {alias}: version {}, {percent:.1} %",
            share.version
        ))?;
    }
    for shadow in &traffic.shadows {
        let alias = shadow.alias.as_deref().unwrap_or_default();
        output.line(&format!("  {alias}: version {}, shadow", shadow.version))?;
    }
    for left_out in &traffic.left_out {
        output.line(&format!(
            "  {}: {}",
            left_out.failure.code,
            problem(&left_out.failure)
        ))?;
    }
    Ok(())
}

fn show_version(name: &str, version: &Version, output: Output) -> Result<(), Failed> {
    output.line(&format!("{name}:{} ({})", version.version, version.state))?;
    if let Some(error) = &version.error {
        output.line(&format!("  {}: {}", error.code, error.message))?;
        if let Some(hint) = &error.hint {
            output.line(&format!("  {hint}"))?;
        }
    }
    match &version.loaded {
        Some(loaded) => show_loaded(loaded, output),
        None => Ok(()),
    }
}

pub(super) fn show_loaded(loaded: &Loaded, output: Output) -> Result<(), Failed> {
    if !loaded.aliases.is_empty() {
        output.line(&format!("  aliases: {}", loaded.aliases.join(", ")))?;
    }
    for entity in &loaded.plan.entities {
        let views = entity.views.join(", ");
        output.line(&format!(
            "  entity {} ({}), for {views}",
            entity.name, entity.value_type
        ))?;
    }
    for field in &loaded.plan.request_data {
        output.line(&format!(
            "  input {} ({}), for {}",
            field.name,
            field.value_type,
            field.views.join(", ")
        ))?;
    }
    for column in &loaded.plan.columns {
        let source = match &column.feature {
            Some(feature) => format!("feature {feature}"),
            None => column.source.to_owned(),
        };
        output.line(&format!(
            "  input {} ({}) from {source}",
            column.name, column.dtype
        ))?;
    }
    for name in &loaded.plan.outputs {
        output.line(&format!("  output {name}"))?;
    }
    Ok(())
}
