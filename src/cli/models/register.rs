//! `terrarium models register`: tried on this machine, then uploaded; the alias comes last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::check::Report;
use super::show::show_loaded;
use super::{Bench, registry};
use crate::cli::output::{Output, remark};
use crate::cli::{Failed, explain};
use crate::config::{Config, Environment};
use crate::http::models::{Loaded, describe_loaded};
use crate::models::register::{
    Identity, Opened, Order, Package, Progress, Registered, Registry, Source, Stage,
};
use crate::shutdown::run_blocking;

/// Which features a version takes.
const FEATURES: &str = "terrarium.features";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// An `.onnx` file, or a directory with an `MLmodel` file
    path: PathBuf,
    /// The registered model; made if it is not there
    #[arg(long)]
    name: String,
    /// Alias that is pointed to the new version, as the last step
    #[arg(long)]
    alias: Option<String>,
    /// Features that the model takes: a feature service, or `view:feature,...`; checked against the feature repository
    #[arg(long, value_name = "SERVICE")]
    features: Option<String>,
    /// Tag of the version; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,
    /// Description of the version
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// MLflow signature as JSON [default: that of the directory, else inferred from the graph]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Input example as JSON; a data frame of a matrix model's width names its columns
    #[arg(long, value_name = "FILE")]
    input_example: Option<PathBuf>,
    /// MLflow experiment that the model is logged in; made if it is not there
    #[arg(long, default_value = "Default", value_name = "NAME")]
    experiment: String,
    /// Make a run that the model comes from (default)
    #[arg(long, overrides_with = "no_run")]
    run: bool,
    /// Make no run
    #[arg(long)]
    no_run: bool,
    /// Register a new version even if this content is registered already
    #[arg(long)]
    force: bool,
    /// Write the model directory, say what would be done, and register nothing
    #[arg(long, value_name = "DIRECTORY", num_args = 0..=1, require_equals = true)]
    dry_run: Option<Option<PathBuf>>,
    /// MLflow server [default: the configured registry]
    #[arg(long, value_name = "URL")]
    registry_uri: Option<String>,
}

pub(super) async fn run(
    args: Args,
    config: &Config,
    environment: &Environment,
    output: Output,
) -> Result<(), Failed> {
    let order = order(&args, environment)?;
    order.check().map_err(|error| Failed::start(&error))?;
    let registry = registry(args.registry_uri.as_deref(), config, environment)?;
    let bench = Bench::open(config, environment).await?;
    let (package, loaded) = tried(&args, &order, &bench).await?;
    if let Some(directory) = &args.dry_run {
        return rehearse(
            directory.as_deref(),
            &package,
            loaded,
            &order,
            &registry,
            output,
        )
        .await;
    }
    let bar = Bar::new();
    let registered = registry.register(&package, &order, &bar.progress()).await;
    bar.clear();
    let registered = registered.map_err(|error| {
        let again = "the alias is not set; the same command goes on from here";
        match error.is_usage() {
            true => Failed::start(&error),
            false => Failed::Command(Some(format!("{}; {again}", explain(&error)))),
        }
    })?;
    print(&registered, &package, loaded, output)
}

fn order(args: &Args, environment: &Environment) -> Result<Order, Failed> {
    let mut tags = BTreeMap::new();
    for text in &args.tags {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => tags.insert(key.to_owned(), value.to_owned()),
            _ => {
                return Err(Failed::Start(format!(
                    "`{text}` is not a tag; write `key=value`"
                )));
            }
        };
    }
    if let Some(features) = &args.features {
        tags.insert(FEATURES.to_owned(), features.clone());
    }
    let user = environment
        .get("USER")
        .or_else(|| environment.get("LOGNAME"));
    Ok(Order {
        name: args.name.clone(),
        alias: args.alias.clone(),
        tags,
        description: args.description.clone(),
        experiment: args.experiment.clone(),
        run: !args.no_run,
        user: user.map(str::to_owned),
        force: args.force,
    })
}

/// Opens the model and does with it what the server will do.
async fn tried(args: &Args, order: &Order, bench: &Bench) -> Result<(Package, Loaded), Failed> {
    let source = Source {
        path: args.path.clone(),
        signature: args.signature.clone(),
        input_example: args.input_example.clone(),
    };
    let runtime = bench.runtime.clone();
    let opened: Opened = run_blocking(move || source.open(&runtime))
        .await
        .map_err(|error| Failed::Start(error.to_string()))?
        .map_err(|error| Failed::command(&error))?;
    let mut tags = order.tags.clone();
    if !bench.has_features && tags.remove(FEATURES).is_some() {
        remark(
            "there is no feature repository here: that the features exist and fit is not checked",
        );
    }
    // A run of the model may take seconds; nothing else waits in this process.
    let (package, version) = opened
        .try_out(&order.name, &tags, &bench.binder)
        .map_err(|error| Failed::command(&error))?;
    Ok((package, describe_loaded(&version, Vec::new())))
}

async fn rehearse(
    directory: Option<&Path>,
    package: &Package,
    loaded: Loaded,
    order: &Order,
    registry: &Registry,
    output: Output,
) -> Result<(), Failed> {
    let directory = match directory {
        Some(directory) => directory.to_owned(),
        None => {
            // This one is ours, so that a second rehearsal replaces the first.
            let directory = Path::new(".terrarium/register").join(&order.name);
            if directory.exists() {
                fs_err::remove_dir_all(&directory)?;
            }
            directory
        }
    };
    let (copy, target) = (package.clone(), directory.clone());
    run_blocking(move || copy.write_to(&target, &Identity::default()))
        .await
        .map_err(|error| Failed::Start(error.to_string()))?
        .map_err(|error| Failed::command(&error))?;
    if output.is_json() {
        return Ok(output.json(&json!({
            "dry_run": true,
            "name": order.name,
            "alias": order.alias,
            "tags": order.tags,
            "location": registry.location(),
            "directory": directory,
            "files": files(package),
            "sha256": package.fingerprint(),
            "signature_from": package.signature_from.as_str(),
            "model": loaded,
        }))?);
    }
    output.line(&format!("written to {}", directory.display()))?;
    for file in package.file_list() {
        output.line(&format!("  {} ({} bytes)", file.path, file.n_bytes))?;
    }
    output.line(&format!("  signature {}", package.signature_from.as_str()))?;
    show_loaded(&loaded, output)?;
    output.line(&format!(
        "would be registered as a version of {} in {}",
        order.name,
        registry.location()
    ))?;
    if let Some(alias) = &order.alias {
        output.line(&format!("and {}@{alias} would mean it", order.name))?;
    }
    Ok(())
}

fn files(package: &Package) -> Vec<Value> {
    let files = package.file_list().iter();
    files
        .map(|file| json!({ "path": file.path, "n_bytes": file.n_bytes }))
        .collect()
}

fn print(
    registered: &Registered,
    package: &Package,
    loaded: Loaded,
    output: Output,
) -> Result<(), Failed> {
    let name = format!("{}:{}", registered.name, registered.version);
    if output.is_json() {
        let mut value = serde_json::to_value(registered).map_err(std::io::Error::from)?;
        value["version"] = json!(registered.version.to_string());
        value["signature_from"] = json!(package.signature_from.as_str());
        value["check"] = json!(Report::ok(name, loaded));
        return Ok(output.json(&value)?);
    }
    let what = match (registered.is_new, registered.resumed) {
        (true, false) => "registered",
        (true, true) => "registered, where an interrupted attempt had left off",
        (false, _) => "was registered with this content already (`--force` registers it again)",
    };
    output.line(&format!("{name} {what} in {}", registered.location))?;
    if let Some(alias) = &registered.alias {
        output.line(&format!("  {}@{alias}", registered.name))?;
    }
    if let Some(model_id) = &registered.model_id {
        output.line(&format!("  logged model {model_id}"))?;
    }
    output.line(&format!("  signature {}", package.signature_from.as_str()))?;
    show_loaded(&loaded, output)
}

/// One line on standard error that shows how far the upload is; nothing where nobody watches.
struct Bar(Arc<ProgressBar>);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self(Arc::new(bar))
    }

    fn progress(&self) -> Progress {
        let bar = Arc::clone(&self.0);
        Progress::new(move |stage| match stage {
            Stage::Step(step) => {
                bar.set_style(ProgressStyle::default_spinner());
                bar.set_message(step);
                bar.tick();
            }
            Stage::Uploading {
                file,
                n_sent,
                n_bytes,
            } => {
                let template = "{bytes}/{total_bytes} {wide_bar} {msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_length(n_bytes);
                bar.set_position(n_sent);
                bar.set_message(file.to_owned());
            }
        })
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}
