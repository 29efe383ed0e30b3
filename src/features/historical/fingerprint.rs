//! What a training set was made of, so that a model can say later what it was trained on.
//!
//! | key | |
//! |---|---|
//! | `terrarium.project` | the Feast project |
//! | `terrarium.registry_revision` | Feast's own id of the registry's content |
//! | `terrarium.definitions` | SHA-256 of the definitions that were used, in hexadecimal: views with keys, features, types, `ttl` and source, and on-demand views; it changes when one of them does, and not when anything else in the registry does |
//! | `terrarium.features` | `view:feature` of every feature column, comma-separated, in their order |

use std::collections::HashMap;

use ring::digest::{Digest, SHA256, digest};
use serde_json::{Value as Json, json};

use super::Error;
use crate::features::FeatureStore;
use crate::features::definitions::{DataSource, Field, SourceKind, Transformation};
use crate::features::registry::Registry;
use crate::features::retrieve::history::{self, History, HistoryOnDemand, HistoryView};
use crate::features::retrieve::{Naming, Wanted};

pub(super) const PROJECT: &str = "terrarium.project";
pub(super) const REVISION: &str = "terrarium.registry_revision";
pub(super) const DEFINITIONS: &str = "terrarium.definitions";
pub(super) const FEATURES: &str = "terrarium.features";

impl FeatureStore {
    /// The notes that a table of these features would have. Reads no source.
    pub fn definitions(&self, wanted: &Wanted) -> Result<HashMap<String, String>, Error> {
        let snapshot = self.snapshot();
        let registry = snapshot.registry();
        let history = history::resolve(self, registry, wanted, Naming::Full)?;
        Ok(metadata(self, registry, &history))
    }
}

pub(super) fn metadata(
    store: &FeatureStore,
    registry: &Registry,
    history: &History<'_>,
) -> HashMap<String, String> {
    let views: Vec<Json> = history.views.iter().map(view).collect();
    let on_demand = history.on_demand.iter().map(|view| on_demand(store, view));
    let on_demand: Vec<Json> = on_demand.collect();
    let definitions = json!({ "views": views, "on_demand": on_demand }).to_string();
    let mut features: Vec<String> = Vec::new();
    for view in &history.views {
        let names = view.features.iter();
        features.extend(names.map(|(field, _)| format!("{}:{}", view.effective, field.name)));
    }
    for view in &history.on_demand {
        let names = view.features.iter();
        features.extend(names.map(|(field, _)| format!("{}:{}", view.view.name, field.name)));
    }
    HashMap::from([
        (PROJECT.to_owned(), registry.project.clone()),
        (REVISION.to_owned(), registry.revision.clone()),
        (DEFINITIONS.to_owned(), hex(definitions.as_bytes())),
        (FEATURES.to_owned(), features.join(",")),
    ])
}

fn hex(bytes: &[u8]) -> String {
    hexadecimal(&digest(&SHA256, bytes))
}

/// Two lowercase digits for each byte.
pub(super) fn hexadecimal(digest: &Digest) -> String {
    let bytes = digest.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn fields<'a>(fields: impl Iterator<Item = &'a Field>) -> Vec<Json> {
    let field = |field: &Field| json!([field.name, field.value_type.name()]);
    fields.map(field).collect()
}

fn view(selected: &HistoryView<'_>) -> Json {
    let view = selected.view;
    json!({
        "view": view.name,
        "as": selected.effective,
        "join_keys": fields(view.join_keys.iter()),
        "join_key_map": selected.join_key_map,
        "features": fields(selected.features.iter().map(|(field, _)| field)),
        "ttl_us": view.ttl.as_micros().to_string(),
        "source": view.batch_source.as_ref().map(source),
    })
}

fn source(source: &DataSource) -> Json {
    let place = match &source.kind {
        SourceKind::File { uri, s3_endpoint } => json!(["file", uri, s3_endpoint]),
        SourceKind::Postgres { query, table } => json!(["postgres", query, table]),
        SourceKind::Other(kind) => json!([kind]),
    };
    json!({
        "place": place,
        "field_mapping": source.field_mapping,
        "timestamp_field": source.timestamp_field,
        "created_timestamp_column": source.created_timestamp_column,
    })
}

fn on_demand(store: &FeatureStore, selected: &HistoryOnDemand<'_>) -> Json {
    let view = selected.view;
    // What is computed here counts, and not what Feast would compute.
    let body = match (
        store.transforms().declared_sql(&view.name),
        &view.transformation,
    ) {
        (Some(sql), _) => json!(["sql", sql]),
        (None, Transformation::Pandas { source }) => json!(["pandas", source]),
        (None, Transformation::Python { source }) => json!(["python", source]),
        (None, Transformation::Substrait { plan }) => json!(["substrait", hex(plan)]),
        (None, Transformation::Other(kind)) => json!([kind]),
    };
    json!({
        "view": view.name,
        "features": fields(selected.features.iter().map(|(field, _)| field)),
        "computed": body,
    })
}
