//! What a result was made of, as notes in its file: enough to tell whether it would come out the same.
//!
//! | key | |
//! |---|---|
//! | `terrarium.model`, `terrarium.model_version`, `terrarium.model_alias` | what scored; the alias if it was reached by one |
//! | `terrarium.scored_features` | where features came from: `offline`, `online`, `given`, `none` |
//! | `terrarium.fingerprint` | SHA-256 of what went in, in hexadecimal: the rows' file by name, size and time of change, the version and its serving plan, the definitions of its features, and how it was asked to score |
//! | `terrarium.definitions`, `terrarium.features`, ... | of the features, as in a training set (`features/historical/fingerprint`) |
//!
//! A file cannot have a checksum of itself in it: that is in the audit event.

use std::collections::HashMap;
use std::path::Path;

use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::Request;
use super::calls::Used;
use super::source::{Part, PartRows};
use crate::models::Resolved;
use crate::predict::ServingPlan;

const MODEL: &str = "terrarium.model";
const VERSION: &str = "terrarium.model_version";
const ALIAS: &str = "terrarium.model_alias";
const SCORED_FEATURES: &str = "terrarium.scored_features";
pub(super) const FINGERPRINT: &str = "terrarium.fingerprint";

/// `definitions` are the notes of the features that were used.
pub(super) fn notes(
    model: &Resolved<ServingPlan>,
    part: &Part,
    request: &Request,
    rows_per_call: usize,
    used: Used,
    definitions: HashMap<String, String>,
) -> HashMap<String, String> {
    let version = &model.version;
    let rows = match &part.rows {
        PartRows::File { path, stamp, .. } => json!({
            "name": path.file_name().map(|name| name.to_string_lossy()),
            "n_bytes": stamp.n_bytes,
            "modified": stamp.modified.to_string(),
        }),
        PartRows::Query(query) => json!({ "query": query }),
    };
    // Of the registry's notes only what is used counts: another view may change.
    let made_of = json!({
        "terrarium": env!("CARGO_PKG_VERSION"),
        "rows": rows,
        "model": [&*version.name, &version.version.to_string()],
        "uuid": version.model_uuid,
        "model_bytes": version.n_bytes,
        "sha256": version.tags.get("terrarium.sha256"),
        "plan": version.plan.describe(),
        "definitions": definitions.get("terrarium.definitions"),
        "features": used.as_str(),
        "with_features": request.with_features,
        "rows_per_call": rows_per_call,
    });
    let mut notes = definitions;
    notes.extend([
        (MODEL.to_owned(), version.name.to_string()),
        (VERSION.to_owned(), version.version.to_string()),
        (SCORED_FEATURES.to_owned(), used.as_str().to_owned()),
        (
            FINGERPRINT.to_owned(),
            hexadecimal(made_of.to_string().as_bytes()),
        ),
    ]);
    if let Some(alias) = &model.alias {
        notes.insert(ALIAS.to_owned(), alias.to_string());
    }
    notes
}

/// SHA-256 of what a version is, in hexadecimal: two processes with the same one score alike.
#[cfg(feature = "cluster")]
pub(super) fn of_version(model: &Resolved<ServingPlan>) -> String {
    let version = &model.version;
    let made_of = json!({
        "model": [&*version.name, &version.version.to_string()],
        "uuid": version.model_uuid,
        "model_bytes": version.n_bytes,
        "sha256": version.tags.get("terrarium.sha256"),
        "plan": version.plan.describe(),
    });
    hexadecimal(made_of.to_string().as_bytes())
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let bytes = digest.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The number of rows of a result that is there and was made of the same; `None` where it has to be made. Blocks.
pub(super) fn finished(path: &Path, notes: &HashMap<String, String>) -> Option<u64> {
    // Whatever is wrong with what is there, it is made anew.
    let file = fs_err::File::open(path).ok()?.into_file();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).ok()?;
    let schema: &Schema = builder.schema();
    let is_same = schema.metadata().get(FINGERPRINT) == notes.get(FINGERPRINT);
    let n_rows = builder.metadata().file_metadata().num_rows();
    u64::try_from(n_rows).ok().filter(|_| is_same)
}
