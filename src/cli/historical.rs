//! `terrarium features historical`: a training set from entity rows, point-in-time correct.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::features::Selected;
use super::output::{Output, remark};
use super::{A_YEAR, Failed, explain, serve};
use crate::features::FeatureStore;
use crate::features::historical::{
    Entities, EntityTypes, FileFormat, FileSummary, Progress, Request,
};
use crate::features::retrieve::{Naming, Wanted};
use crate::shutdown::run_blocking;
use crate::types::deadline::Deadline;

#[derive(Debug, clap::Args)]
pub(super) struct Historical {
    #[command(flatten)]
    selection: Selected,
    /// Entity rows, keys and times: a file of Parquet or CSV, or a query (`SELECT ...`) in the Postgres of the offline store
    #[arg(long, value_name = "FILE|QUERY")]
    entities: String,
    /// The file to write, `*.parquet` or `*.csv`
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Call features `view__feature`
    #[arg(long)]
    full_feature_names: bool,
    /// Leave out source rows that were created after the entity row's time
    #[arg(long)]
    filter_by_created_timestamp: bool,
}

pub(super) async fn run(
    store: &FeatureStore,
    historical: &Historical,
    output: Output,
) -> Result<(), Failed> {
    let Some(format) = FileFormat::of(&historical.out) else {
        return Err(Failed::Start(format!(
            "{}: the name must end in `.parquet` or `.csv`",
            historical.out.display()
        )));
    };
    let wanted = wanted(&historical.selection);
    let naming = match historical.full_feature_names {
        true => Naming::Full,
        false => Naming::Short,
    };
    let types = store.entity_types(&wanted, naming);
    let types = types.map_err(|error| Failed::command(&error))?;
    let request = Request {
        wanted,
        naming,
        entities: entities(store, &historical.entities, types).await?,
        filter_by_created_timestamp: historical.filter_by_created_timestamp,
    };
    let joined = store.historical(request, Deadline::after(A_YEAR)).await;
    let joined = joined.map_err(|error| Failed::command(&error))?;
    let notes = joined.schema.metadata().clone();
    let n_rows = joined.n_rows as u64;
    let bar = ProgressBar::new(0);
    let mut progress = |progress: Progress, n_written: usize| {
        show(&bar, progress, n_written as u64, n_rows);
    };
    let writing = joined.write_file(&historical.out, format, &mut progress);
    let written = serve::unless_stopped(writing).await;
    bar.finish_and_clear();
    let summary = written?.map_err(|error| Failed::Command(Some(explain(&error))))?;
    if output.is_json() {
        return Ok(output.json(&json!({
            "path": summary.path,
            "n_rows": summary.n_rows,
            "features": summary.features.iter().map(|feature| json!({
                "feature": feature.name,
                "n_null": feature.n_null,
                "null_rate": null_rate(feature.n_null, summary.n_rows),
            })).collect::<Vec<_>>(),
            "metadata": notes,
        }))?);
    }
    table(&summary, output)
}

fn wanted(selection: &Selected) -> Wanted {
    match &selection.service {
        Some(service) => Wanted::Service(service.clone()),
        None => {
            let names = selection.features.iter();
            Wanted::Features(names.map(|name| name.trim().to_owned()).collect())
        }
    }
}

/// By what the text begins or ends with.
pub(super) async fn entities(
    store: &FeatureStore,
    text: &str,
    types: EntityTypes,
) -> Result<Entities, Failed> {
    if is_query(text) {
        let rows = store.query_entities(text).await;
        return rows.map_err(|error| Failed::command(&error));
    }
    let path = PathBuf::from(text);
    let read = move || match FileFormat::of(&path) {
        Some(FileFormat::Csv) => {
            Entities::of_csv(&path, &types).map_err(|error| Failed::command(&error))
        }
        Some(FileFormat::Parquet) => Entities::of_parquet(&path)
            .map_err(|error| Failed::Start(format!("{}: {error}", path.display()))),
        None => Err(unknown(&path)),
    };
    let rows = run_blocking(read).await;
    rows.map_err(|_| Failed::Command(Some("reading the entity rows panicked".to_owned())))?
}

fn is_query(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.eq_ignore_ascii_case("select") || first.eq_ignore_ascii_case("with")
}

fn unknown(path: &Path) -> Failed {
    Failed::Start(format!(
        "{}: entity rows are a file `*.parquet` or `*.csv`, or a query that begins with SELECT or WITH",
        path.display()
    ))
}

/// A bar for the sources while nothing has come out, then one for the rows.
fn show(bar: &ProgressBar, progress: Progress, n_written: u64, n_rows: u64) {
    let (message, position, length) = match n_written {
        0 => ("reading sources", progress.rows_read, progress.rows_to_read),
        _ => ("writing", n_written, n_rows),
    };
    if bar.message() != message {
        bar.reset();
        let template = "{msg:<16} {bar:24} {human_pos}/{human_len} rows, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(message);
    }
    bar.set_length(length);
    bar.set_position(position);
}

fn null_rate(n_null: usize, n_rows: usize) -> f64 {
    match n_rows {
        0 => 0.0,
        n_rows => n_null as f64 / n_rows as f64,
    }
}

fn table(summary: &FileSummary, output: Output) -> Result<(), Failed> {
    let rows = summary.features.iter().map(|feature| {
        let rate = 100.0 * null_rate(feature.n_null, summary.n_rows);
        vec![
            feature.name.clone(),
            feature.n_null.to_string(),
            format!("{rate:.2} %"),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    output.table(&["feature", "nulls", "null rate"], &rows)?;
    remark(&format!(
        "{} rows written to {}",
        summary.n_rows,
        summary.path.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_told_from_a_file() {
        for query in [
            "SELECT 1",
            "  select *\nfrom t",
            "WITH a AS (SELECT 1) SELECT * FROM a",
        ] {
            assert!(is_query(query), "{query}");
        }
        for file in ["rows.parquet", "selected rows.csv", "with.csv", ""] {
            assert!(!is_query(file), "{file}");
        }
    }
}
